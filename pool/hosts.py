"""Several hosts behind one name, as libpq has it: tried in order, or in any order, until one fits.

What a host is shows in what it reports at login (PostgreSQL 14 and later) or says when it is asked. `prefer-standby`
takes the first standby, else the first host of any kind. A host that refuses who we are or what we want ends the
search, since the others would as well; one that cannot be reached, or cannot serve yet, does not.

A host may change its role. A promoted standby reports it with its next answer; a primary that refuses to write (25006)
may have been demoted. Such a connection is not lent again.
"""

from __future__ import annotations

from enum import Enum
from struct import Struct
from typing import TYPE_CHECKING, Final

from protocol import build, tags
from protocol.errors import RemoteProtocolError
from protocol.hot import error_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pool.stream import Stream

_header = Struct(">BI").unpack_from
_length = Struct(">i").unpack_from
_LONGEST = 1 << 16  # bytes of a message in the answer
_ASK: Final = build.query(
    "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'on' ELSE 'off' END,"
    " pg_catalog.current_setting('default_transaction_read_only')"
)
REPORTED: Final = ("in_hot_standby", "default_transaction_read_only")


class Role(Enum):
    """libpq's target_session_attrs."""

    ANY = "any"
    READ_WRITE = "read-write"
    READ_ONLY = "read-only"
    PRIMARY = "primary"
    STANDBY = "standby"
    PREFER_STANDBY = "prefer-standby"

    @property
    def passes(self) -> tuple[Role, ...]:
        """What to look for, one search after the other."""
        return (Role.STANDBY, Role.ANY) if self is Role.PREFER_STANDBY else (self,)

    @property
    def writes(self) -> bool:
        """Whether a host of this kind must be able to write."""
        return self in (Role.READ_WRITE, Role.PRIMARY)


def fits(role: Role, reported: Mapping[str, str]) -> bool | None:
    """Whether a server is what is wanted, by what it reports; None if that does not tell."""
    if role in (Role.ANY, Role.PREFER_STANDBY):
        return True
    standby, read_only = (reported.get(name) for name in REPORTED)
    if standby is None or (read_only is None and role in (Role.READ_WRITE, Role.READ_ONLY)):
        return None
    if role in (Role.STANDBY, Role.PRIMARY):
        return (standby == "on") == (role is Role.STANDBY)
    return (standby == "on" or read_only == "on") == (role is Role.READ_ONLY)


async def ask(stream: Stream, leftover: bytes) -> tuple[dict[str, str], bytes]:
    """The same two values from a server that does not report them, and what it has said behind the answer."""
    stream.transport.write(_ASK)
    values: list[str] = []
    data = leftover
    while True:
        while len(data) >= 5:
            tag, length = _header(data)
            if not 4 <= length <= _LONGEST:
                raise RemoteProtocolError("the server gave no sensible answer when asked for its role")
            if len(data) < 1 + length:
                break
            if tag == tags.ERROR_RESPONSE:
                reason = error_fields(data, 5, 1 + length).get("M", "")
                raise RemoteProtocolError(f"the server did not say what role it has: {reason}")
            if tag == tags.DATA_ROW:
                values = _texts(data, 7)
            data = data[1 + length :]
            if tag == tags.READY_FOR_QUERY:
                return dict(zip(REPORTED, values, strict=True)), data
        more = await stream.read()
        if not more:
            raise ConnectionResetError("the server closed the connection when asked for its role")
        data += more


def _texts(data: bytes, position: int) -> list[str]:
    texts: list[str] = []
    for _ in REPORTED:
        (length,) = _length(data, position)
        texts.append(data[position + 4 : position + 4 + length].decode("ascii", "replace"))
        position += 4 + length
    return texts
