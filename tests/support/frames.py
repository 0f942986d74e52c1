"""Messages as bytes, written by hand: the measure must not come from what is measured."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

PROTOCOL_3_0: Final = 196_608
SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)
GSSENC_REQUEST: Final = struct.pack("!ii", 8, 80877104)


class Message(NamedTuple):
    """One tagged message of either direction."""

    tag: str
    body: bytes


def frame(tag: str, body: bytes = b"") -> bytes:
    """A message with its right length."""
    return tag.encode() + struct.pack("!i", len(body) + 4) + body


def lying_frame(tag: bytes, length: int, body: bytes = b"") -> bytes:
    """A message that claims `length`, whatever its body is."""
    return tag + struct.pack("!i", length) + body


def startup(*pairs: tuple[str, str], version: int = PROTOCOL_3_0) -> bytes:
    """A StartupMessage."""
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in pairs) + b"\0"
    return struct.pack("!ii", len(body) + 8, version) + body


def cancel_request(pid: int, key: bytes) -> bytes:
    """A CancelRequest, with a key of any length."""
    return struct.pack("!iii", 12 + len(key), 80877102, pid) + key


def query(text: str | bytes) -> bytes:
    """A simple Query."""
    return frame("Q", _text(text) + b"\0")


def parse(text: str | bytes, name: str = "", oids: Sequence[int] = ()) -> bytes:
    """A Parse."""
    types = struct.pack(f"!h{len(oids)}I", len(oids), *oids)
    return frame("P", name.encode() + b"\0" + _text(text) + b"\0" + types)


def bind(*values: str | bytes | None, statement: str = "", portal: str = "", results: int = 0) -> bytes:
    """A Bind with parameters in text format; `results` is the one format of all result columns."""
    body = portal.encode() + b"\0" + statement.encode() + b"\0" + struct.pack("!hH", 0, len(values))
    for value in values:
        data = None if value is None else _text(value)
        body += struct.pack("!i", -1) if data is None else struct.pack("!i", len(data)) + data
    return frame("B", body + struct.pack("!hh", 1, results))


def describe(kind: str, name: str = "") -> bytes:
    """A Describe of a statement (S) or a portal (P)."""
    return frame("D", kind.encode() + name.encode() + b"\0")


def execute(portal: str = "", rows: int = 0) -> bytes:
    """An Execute of at most `rows` rows; 0 = all."""
    return frame("E", portal.encode() + b"\0" + struct.pack("!i", rows))


def close(kind: str, name: str = "") -> bytes:
    """A Close of a statement (S) or a portal (P)."""
    return frame("C", kind.encode() + name.encode() + b"\0")


SYNC: Final = frame("S")
FLUSH: Final = frame("H")
TERMINATE: Final = frame("X")
COPY_DONE: Final = frame("c")


def extended(text: str | bytes, *values: str | bytes | None) -> bytes:
    """Parse, Bind, Describe, Execute and Sync of one unnamed statement."""
    return parse(text) + bind(*values) + describe("P") + execute() + SYNC


def tags(messages: Sequence[Message]) -> str:
    """The tags in order: what a conversation looked like."""
    return "".join(message.tag for message in messages)


def fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse by their letter."""
    parts = body.split(b"\0")
    return {part[:1].decode(): part[1:].decode(errors="replace") for part in parts if part}


def errors(messages: Sequence[Message]) -> list[str]:
    """The SQLSTATEs of all errors in order."""
    return [fields(message.body).get("C", "") for message in messages if message.tag == "E"]


def rows(messages: Sequence[Message]) -> list[tuple[str | None, ...]]:
    """The values of every DataRow, as text."""
    return [_row(message.body) for message in messages if message.tag == "D"]


def _row(body: bytes) -> tuple[str | None, ...]:
    values: list[str | None] = []
    offset = 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        (length,) = struct.unpack_from("!i", body, offset)
        offset += 4
        values.append(None if length < 0 else body[offset : offset + length].decode())
        offset += max(length, 0)
    return tuple(values)


def _text(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def row_description(*names: str) -> bytes:
    """A RowDescription of text columns (backend)."""
    body = struct.pack("!h", len(names))
    for name in names:
        body += name.encode() + b"\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
    return frame("T", body)


def data_row(*values: str | None) -> bytes:
    """A DataRow of text values (backend)."""
    body = struct.pack("!h", len(values))
    for value in values:
        data = None if value is None else value.encode()
        body += struct.pack("!i", -1) if data is None else struct.pack("!i", len(data)) + data
    return frame("D", body)


def error_response(sqlstate: str, message: str, severity: str = "ERROR") -> bytes:
    """An ErrorResponse (backend)."""
    text = f"S{severity}\0V{severity}\0C{sqlstate}\0M{message}\0\0"
    return frame("E", text.encode())
