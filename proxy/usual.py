"""The batches that drivers send all day, read in few steps.

    Parse and Bind of the unnamed statement, perhaps Describe, Execute of all rows, Sync
    Bind of a named statement,               perhaps Describe, Execute of all rows, Sync

with the unnamed portal, and all in one piece. Whatever is not exactly so is read by somebody else.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from protocol import build, tags
from protocol.plain import BOUND, BOUND_DESCRIBED, PARSED, PARSED_DESCRIBED

if TYPE_CHECKING:
    from protocol.plain import Shape

_header = Struct(">BI").unpack_from
_bind_header = Struct(">BIBB").unpack_from
_count = Struct(">H").unpack_from
_EXECUTION = build.execute("", 0) + build.sync()
_DESCRIBED_EXECUTION = build.describe("P", "") + _EXECUTION
_SHORT, _LONG = len(_EXECUTION), len(_DESCRIBED_EXECUTION)


def execution_of(data: bytes) -> int:
    """The length of what ends a usual batch: perhaps Describe of the portal, Execute of all rows, Sync; or 0."""
    if data.endswith(_DESCRIBED_EXECUTION):
        return _LONG
    return _SHORT if data.endswith(_EXECUTION) else 0


def describes(tail: int) -> bool:
    """Is there a Describe in an execution of this length?"""
    return tail == _LONG


def execution_shape(tail: int, *, parsed: bool = False) -> Shape:
    """What such a batch asks for."""
    if parsed:
        return PARSED_DESCRIBED if tail == _LONG else PARSED
    return BOUND_DESCRIBED if tail == _LONG else BOUND


def read_parsed(data: bytes, bound: int) -> tuple[bytes, bytes, int] | None:
    """Of Parse and Bind of the unnamed statement, which end at ``bound``: text, types, and where Bind begins."""
    bind = 1 + _header(data)[1]
    if data[5] or bind + 7 > bound:
        return None
    text_end = data.find(0, 6, bind)
    tag, length, portal, name = _bind_header(data, bind)
    if tag != tags.BIND or portal or name or bind + 1 + length != bound or text_end < 0 or bind - text_end < 3:
        return None
    types = data[text_end + 3 : bind]
    if len(types) != 4 * _count(data, text_end + 1)[0]:
        return None
    return data[6:text_end], types, bind


def read_bound(data: bytes, bound: int) -> int:
    """Of Bind of a named statement, which ends at ``bound``: where the name ends that begins at 6; 0 if it is not."""
    if _header(data)[1] + 1 != bound or data[5]:
        return 0
    name_end = data.find(0, 6, bound)
    return name_end if name_end > 6 else 0


def read_text(data: bytes, end: int) -> bytes | None:
    """The text of a Query that ends at ``end``; None if it is malformed."""
    return data[5 : end - 1] if data.find(0, 5, end) == end - 1 else None
