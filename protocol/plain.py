"""The plain turn: one question, alone on its connection, whose answer is rows and nothing else.

It is what drivers send all day, so it has a way of its own through the pipeline, which does no more than it must: the
requests enter the queue in one go, and an answer that has come in one piece is looked through once. The queue is the
same as on the long way; whatever is not exactly so (an error, a notice, half an answer, another request behind it) is
left to the long way, which finds everything as it would have made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from protocol import build
from protocol.replies import BIND, DESCRIBE_PORTAL, EXECUTE, FORWARD, QUERY, SYNC, Entry

_header = Struct(">BI").unpack_from
_READY: Final = build.ready_for_query(b"I")
_PARSED: Final = build.parse_complete()
_BOUND: Final = build.bind_complete()


@dataclass(frozen=True, slots=True)
class Shape:
    """The requests of a plain turn, in order: perhaps a Parse, then ``middle``, then what ReadyForQuery answers."""

    parsed: bool
    middle: tuple[Entry, ...]
    last: int
    described: bool  # a RowDescription comes before the rows
    head: bytes  # what the answer begins with
    start: int  # its length
    size: int  # how many requests


def _extended(*, parsed: bool, described: bool) -> Shape:
    kinds = (BIND, DESCRIBE_PORTAL, EXECUTE) if described else (BIND, EXECUTE)
    head = _PARSED + _BOUND if parsed else _BOUND
    middle: tuple[Entry, ...] = tuple((kind, FORWARD, None, b"") for kind in kinds)
    return Shape(parsed, middle, SYNC, described, head, len(head), len(kinds) + 1 + parsed)


SIMPLE: Final = Shape(False, (), QUERY, True, b"", 0, 1)
BOUND: Final = _extended(parsed=False, described=False)
BOUND_DESCRIBED: Final = _extended(parsed=False, described=True)
PARSED: Final = _extended(parsed=True, described=False)
PARSED_DESCRIBED: Final = _extended(parsed=True, described=True)


def count_rows(data: bytes, shape: Shape) -> int:
    """The rows of a whole, undisturbed answer that leaves no transaction open; -1 if it is anything else."""
    if data[-6:] != _READY or not data.startswith(shape.head):
        return -1
    end = len(data) - 6
    position = shape.start
    if shape.described:
        tag, length = _header(data, position)
        if tag != 0x54 or length < 4:
            return -1
        position += 1 + length
    rows = 0
    while position < end:
        tag, length = _header(data, position)
        position += 1 + length
        if tag != 0x44 or length < 4:
            return rows if tag == 0x43 and position == end and length > 4 else -1
        rows += 1
    return -1
