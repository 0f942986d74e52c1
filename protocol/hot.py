"""Hand-written readers of the messages that every turn has, as construct is twenty to fifty times slower.

Each takes a buffer and the bounds of one body inside it, `start` to `end`, copies only what it returns and
makes nothing but bytes and tuples. It agrees with the declaration in `frontend` or `backend`: it returns the
declared fields where that parses, and raises RemoteProtocolError (08P01) where that does not, never anything
else. Tests hold the two together, on whole and on mutilated bodies.

The whole body has to be in the buffer (`end <= len(buf)`). `read_bind` alone works on less, since a Bind may
carry megabytes of values that are forwarded in parts as they come, while only its names decide where they go.
"""

from __future__ import annotations

from struct import Struct, unpack_from
from typing import Final, NoReturn

from protocol.errors import RemoteProtocolError

_int32: Final = Struct(">i").unpack_from
_PORTAL: Final = ord("P")
_STATEMENT: Final = ord("S")


class Incomplete(Exception):
    """The buffer ends before both names of a Bind do, and the body goes on: read again with more of it."""


def _malformed(name: str) -> NoReturn:
    raise RemoteProtocolError(f"invalid {name} message")


def read_query(buf: bytes, start: int, end: int) -> bytes:
    """Return the text of a Query, without its NUL."""
    nul = buf.find(0, start, end)
    if nul < 0 or nul + 1 != end:
        _malformed("Query")
    return buf[start:nul]


def read_parse(buf: bytes, start: int, end: int) -> tuple[bytes, bytes, bytes]:
    """Return name, query and parameter types of a Parse; the types as they came, four bytes for each OID."""
    name_end = buf.find(0, start, end)
    query_end = buf.find(0, name_end + 1, end)
    types = query_end + 3
    if name_end < 0 or query_end < 0 or types > end:
        _malformed("Parse")
    if types + 4 * (buf[types - 2] << 8 | buf[types - 1]) != end:
        _malformed("Parse")
    return buf[start:name_end], buf[name_end + 1 : query_end], buf[types:end]


def read_bind(buf: bytes, start: int, end: int) -> tuple[bytes, bytes, int]:
    """Return portal, statement and the offset of the rest of a Bind, which stays unread.

    Works on the head of a body: `end` may lie beyond the buffer. Raises Incomplete when the buffer ends ahead
    of the second NUL, and RemoteProtocolError when the body does. The rest is for `check_bind_rest` or
    `bind_parameters`, once all of it is there: until then the Bind is not proved valid.
    """
    portal_end = buf.find(0, start, end)
    statement_end = buf.find(0, portal_end + 1, end)
    if portal_end < 0 or statement_end < 0:
        if end > len(buf):
            raise Incomplete
        _malformed("Bind")
    return buf[start:portal_end], buf[portal_end + 1 : statement_end], statement_end + 1


def read_target(buf: bytes, start: int, end: int) -> tuple[int, bytes]:
    """Return what a Describe or Close names: ord("S") or ord("P"), and the name."""
    nul = buf.find(0, start + 1, end)
    if nul < 0 or nul + 1 != end or (buf[start] != _STATEMENT and buf[start] != _PORTAL):
        _malformed("Describe or Close")
    return buf[start], buf[start + 1 : nul]


def read_execute(buf: bytes, start: int, end: int) -> tuple[bytes, int]:
    """Return portal and row limit of an Execute; PostgreSQL takes every limit below 1 as none."""
    nul = buf.find(0, start, end)
    if nul < 0 or nul + 5 != end:
        _malformed("Execute")
    return buf[start:nul], _int32(buf, nul + 1)[0]


def check_bind_rest(buf: bytes, start: int, end: int) -> None:
    """Check what follows the names of a Bind: counts, lengths, and that nothing is left over."""
    position, count = _skip_formats(buf, start, end)
    for _ in range(count):
        if position + 4 > end:
            _malformed("Bind")
        length = _int32(buf, position)[0]
        position += 4
        if length > 0:
            position += length
        elif length < -1:
            _malformed("Bind")
    _check_result_formats(buf, position, end)


def bind_parameters(buf: bytes, start: int, end: int) -> tuple[tuple[int, ...], tuple[bytes | None, ...], bytes]:
    """Return formats, values and result formats from what follows the names of a Bind; None is NULL.

    Formats (0 text, 1 binary) are none, one for all or one for each; result formats come as sent, with their
    count.
    """
    position, count = _skip_formats(buf, start, end)
    formats = unpack_from(f">{(position - start) // 2 - 2}h", buf, start + 2)
    values, position = _values(buf, position, end, count, "Bind")
    _check_result_formats(buf, position, end)
    return formats, values, buf[position:end]


def data_row_values(buf: bytes, start: int, end: int) -> tuple[bytes | None, ...]:
    """Return the columns of a DataRow; None is NULL."""
    if start + 2 > end:
        _malformed("DataRow")
    values, position = _values(buf, start + 2, end, buf[start] << 8 | buf[start + 1], "DataRow")
    if position != end:
        _malformed("DataRow")
    return values


def command_tag(buf: bytes, start: int, end: int) -> bytes:
    """Return the tag of a CommandComplete, as `UPDATE 3`."""
    nul = buf.find(0, start, end)
    if nul < 0 or nul + 1 != end:
        _malformed("CommandComplete")
    return buf[start:nul]


def error_fields(buf: bytes, start: int, end: int) -> dict[str, str]:
    """Return the fields of an ErrorResponse or NoticeResponse under their one-letter codes.

    Any field may be missing. Undecodable bytes are replaced, since errors of login may come in any encoding;
    of a field that comes twice the last counts.
    """
    fields: dict[str, str] = {}
    position = start
    while position < end:
        code = buf[position]
        if not code:
            if position + 1 == end:
                return fields
            break
        nul = buf.find(0, position + 1, end)
        if nul < 0:
            break
        fields[chr(code)] = buf[position + 1 : nul].decode("utf-8", "replace")
        position = nul + 1
    _malformed("ErrorResponse or NoticeResponse")


def _skip_formats(buf: bytes, start: int, end: int) -> tuple[int, int]:
    """Return the offset of the first value and the number of values."""
    if start + 4 > end:
        _malformed("Bind")
    formats = buf[start] << 8 | buf[start + 1]
    position = start + 4 + 2 * formats
    if position > end:
        _malformed("Bind")
    count = buf[position - 2] << 8 | buf[position - 1]
    if formats > 1 and formats != count:
        _malformed("Bind")
    return position, count


def _values(buf: bytes, position: int, end: int, count: int, name: str) -> tuple[tuple[bytes | None, ...], int]:
    """Return `count` values and the offset behind them; the caller has to see that it is not beyond `end`."""
    values: list[bytes | None] = []
    for _ in range(count):
        first = position + 4
        if first > end:
            _malformed(name)
        length = _int32(buf, position)[0]
        if length >= 0:
            position = first + length
            values.append(buf[first:position])
        elif length == -1:
            position = first
            values.append(None)
        else:
            _malformed(name)
    return tuple(values), position


def _check_result_formats(buf: bytes, position: int, end: int) -> None:
    if position + 2 > end or position + 2 + 2 * (buf[position] << 8 | buf[position + 1]) != end:
        _malformed("Bind")
