"""The pipeline's tables: the kinds of request, and which reply belongs to which.

Manual: "Message Formats" and "Message Flow"; what the table of pipeline.py says in words.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from protocol.errors import RemoteProtocolError

Entry = tuple[int, int, object, bytes]
"""An outstanding request: kind, action, note, reply (see pipeline.py)."""

QUERY: Final = 0
FUNCTION: Final = 1
PARSE: Final = 2
BIND: Final = 3
CLOSE: Final = 4
DESCRIBE_STATEMENT: Final = 5
DESCRIBE_PORTAL: Final = 6
EXECUTE: Final = 7
SYNC: Final = 8
COPY_END: Final = 9

FORWARD: Final = 0
SWALLOW: Final = 1
FAKE: Final = 2

# Which kinds of request a reply may answer, and whether it ends them. Keys are the message bytes of the manual.
EXTENDED: Final = frozenset((PARSE, BIND, CLOSE, DESCRIBE_STATEMENT, DESCRIBE_PORTAL, EXECUTE))
_ENDS: Final[dict[int, frozenset[int]]] = {
    0x31: frozenset((PARSE,)),  # 1 ParseComplete
    0x32: frozenset((BIND,)),  # 2 BindComplete
    0x33: frozenset((CLOSE,)),  # 3 CloseComplete
    0x54: frozenset((DESCRIBE_STATEMENT, DESCRIBE_PORTAL)),  # T RowDescription
    0x6E: frozenset((DESCRIBE_STATEMENT, DESCRIBE_PORTAL)),  # n NoData
    0x43: frozenset((EXECUTE,)),  # C CommandComplete
    0x49: frozenset((EXECUTE,)),  # I EmptyQueryResponse
    0x73: frozenset((EXECUTE,)),  # s PortalSuspended
    0x5A: frozenset((SYNC, QUERY, FUNCTION)),  # Z ReadyForQuery
}
_WITHIN: Final[dict[int, frozenset[int]]] = {
    0x44: frozenset((QUERY, EXECUTE)),  # D DataRow
    0x54: frozenset((QUERY,)),
    0x43: frozenset((QUERY,)),
    0x49: frozenset((QUERY,)),
    0x74: frozenset((DESCRIBE_STATEMENT,)),  # t ParameterDescription
    0x47: frozenset((QUERY, EXECUTE)),  # G CopyInResponse
    0x48: frozenset((QUERY, EXECUTE)),  # H CopyOutResponse
    0x64: frozenset((QUERY, EXECUTE)),  # d CopyData
    0x63: frozenset((QUERY, EXECUTE)),  # c CopyDone
    0x56: frozenset((FUNCTION,)),  # V FunctionCallResponse
}
# The same two tables as one, keyed by kind << 8 | message byte: one look-up for each message.
ROW: Final = 1  # DataRow
END: Final = 2  # ends the request, and that is all
END_LOOK: Final = 3  # ends the request, and its content matters
WITHIN_LOOK: Final = 4
WITHIN_PASS: Final = 5
DESCRIBED: Final = 6  # an answer to Describe of a statement; all but ParameterDescription end it


def _rules() -> dict[int, int]:
    rules = {kind << 8 | tag: WITHIN_PASS for tag, kinds in _WITHIN.items() for kind in kinds}
    rules.update((kind << 8 | 0x44, ROW) for kind in _WITHIN[0x44])
    rules.update((kind << 8 | tag, WITHIN_LOOK) for tag in (0x43, 0x47) for kind in _WITHIN[tag])
    rules.update((kind << 8 | tag, END) for tag, kinds in _ENDS.items() for kind in kinds)
    rules.update((kind << 8 | 0x5A, END_LOOK) for kind in _ENDS[0x5A])
    rules.update((EXECUTE << 8 | tag, END_LOOK) for tag in (0x43, 0x49, 0x73))
    rules.update((DESCRIBE_STATEMENT << 8 | tag, DESCRIBED) for tag in (0x74, 0x54, 0x6E))
    return rules


RULES: Final = _rules()
ANY_TIME: Final = frozenset((0x4E, 0x41, 0x53, 0x45))  # N A S E

LONGEST: Final = 2**30
"""Bytes; PostgreSQL makes no longer message."""

HOLD: Final = 64 * 1024
"""Bytes; a message longer than this is never held back to be looked at."""
_STREAMED: Final = frozenset((0x44, 0x64, 0x45, 0x4E, 0x54, 0x74, 0x41, 0x56))  # D d E N T t A V
_DESCRIPTIONS: Final = frozenset((0x54, 0x74))
_LONGEST_DESCRIPTION: Final = 1 << 20  # bytes; 1664 columns have less to say, and 65,535 parameters too
_ALWAYS_STREAMED: Final = frozenset((0x44, 0x64))


def is_held(tag: int, length: int) -> bool:
    """Must a message that is not all there wait for its rest? Raises if the rest would be too much."""
    if tag in _DESCRIPTIONS and length <= _LONGEST_DESCRIPTION:
        return True
    if tag in _ALWAYS_STREAMED or (length > HOLD and tag in _STREAMED):
        return False
    if length > HOLD:
        raise RemoteProtocolError(f"the server sent a message of type {tag:#04x} with length {length}")
    return True


class Finished(NamedTuple):
    """A turn has been answered."""

    note: object  # of its QUERY, SYNC or FUNCTION
    status: int
    error: bytes | None  # the body of the last ErrorResponse passed on, cut at HOLD
    tag: bytes  # the last CommandComplete
    rows: int
    notices: int  # notices and notifications passed on meanwhile
