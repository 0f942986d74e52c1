"""Durations in buckets.

Theory: one list of bounds serves everything, so that one search in it per duration is enough. Neighbouring
bounds differ by a factor of about 1.4, seven to a decade from 10 us to 70 s; so a quantile that is
interpolated inside its bucket is wrong by at most that factor, mostly by far less. Prometheus gets only the
bounds of `EXPOSED`, a subset; its cumulative counts are exact, since no bucket lies across an exposed
bound.

A bucket holds the durations above the bound before it, up to and including its own, as Prometheus defines
`le`. The bucket after the last bound holds the rest.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


def _bounds() -> tuple[float, ...]:
    # Written through decimal texts: 2.5 * 10**-4 is not the float that the literal 0.00025 is.
    steps = ("1", "1.4", "1.8", "2.5", "3.5", "5", "7")
    return tuple(float(f"{step}e{power}") for power in range(-5, 2) for step in steps)


BOUNDS: Final = _bounds()
"""Upper bounds of all buckets but the last, in seconds."""

EXPOSED: Final = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0),
)
"""The bounds that Prometheus sees, in seconds: hits are below the first ones, reports at the last ones."""

_EXPOSED_SLOTS: Final = tuple(map(BOUNDS.index, EXPOSED))


class Histogram:
    """Counts by bucket, and the sum of everything observed, in seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        """Return how many durations were observed."""
        return sum(self.counts)

    def observe(self, seconds: float) -> None:
        """Count one duration; what is negative or not a number counts as 0."""
        if not seconds >= 0.0:
            seconds = 0.0
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def exposed(self) -> list[tuple[float, int]]:
        """Return (bound, how many were at most that) for each bound of `EXPOSED` and for infinity."""
        cumulated = list(accumulate(self.counts))
        rows = [(bound, cumulated[slot]) for bound, slot in zip(EXPOSED, _EXPOSED_SLOTS, strict=True)]
        rows.append((float("inf"), cumulated[-1]))
        return rows


def quantile(counts: Sequence[int], share: float, maximum: float | None = None) -> float | None:
    """Estimate the duration that `share` (0..1) of those counted do not exceed; None when there are none.

    `maximum`, when known, is the largest observed duration: the estimate never exceeds it, and it stands for
    the bucket without an upper bound.
    """
    wanted = share * sum(counts)
    below = 0
    last = max((slot for slot, count in enumerate(counts) if count), default=None)
    if last is None:
        return None
    for slot, count in enumerate(counts):
        if count and (below + count >= wanted or slot == last):
            lower = BOUNDS[slot - 1] if slot else 0.0
            upper = BOUNDS[slot] if slot < len(BOUNDS) else max(maximum or 0.0, lower)
            value = lower + (upper - lower) * max(0.0, wanted - below) / count
            return value if maximum is None else min(value, maximum)
        below += count
    raise AssertionError("the last filled bucket ends the search")
