"""What the cache counts."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Fill(enum.Enum):
    """What became of an answer that was offered to the cache; the values serve as names in metrics."""

    STORED = "stored"
    STALE = "stale"  # one of its tags was written since the capture
    EXPIRED = "expired"  # its time was up before it arrived, or it was given none
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class Counters:
    """The counts since the cache was made, and its present size.

    Every lookup is exactly one of `hits`, `misses` (nothing there, as always for
    what is never kept), `stale` (written since) and `expired`.
    """

    hits: int
    misses: int
    stale: int
    expired: int
    fills: int
    rejected_fills: Mapping[Fill, int]  # every member but STORED
    doubts: int  # captures refused because a tag was in doubt
    evictions: int
    entries: int  # present
    bytes: int  # present
    marks_open: int  # present, without the abandoned
    abandoned: int  # present
