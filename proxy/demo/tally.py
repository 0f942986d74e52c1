"""What the shop's visitors count while they go about.

Stale answers. Each row that the visitors change carries a revision that only grows. A revision is *known*
once a write of it was acknowledged, or once a read outside any transaction returned it. A read that was
sent after that and returns less is stale: this is Forebay's promise, watched from outside, across all
connections. The floor must be taken before the read is sent; what becomes known while it is under way does
not count against it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from stats.histogram import Histogram, quantile

_RECENT: Final = 5  # how many ticks of the view the recent latencies cover


class Latencies:
    """Times of statements in seconds: all of them, and those of the last few ticks."""

    __slots__ = ("_recent", "total")

    def __init__(self) -> None:
        self.total = Histogram()
        self._recent = [Histogram()]

    def observe(self, seconds: float) -> None:
        """Count one statement."""
        self.total.observe(seconds)
        self._recent[-1].observe(seconds)

    def tick(self) -> None:
        """Let the oldest of the recent ones go."""
        self._recent = [*self._recent[1 - _RECENT :], Histogram()]

    def quantile(self, share: float) -> float | None:
        """Over everything, in seconds; None before the first statement."""
        return quantile(self.total.counts, share)

    def recent_quantile(self, share: float) -> float | None:
        """Over the last ticks, in seconds; None when nothing happened."""
        counts = [sum(column) for column in zip(*(part.counts for part in self._recent), strict=True)]
        return quantile(counts, share)


class Revisions:
    """The newest revision of each row that anybody may rely on."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], int] = {}

    def floor(self, kind: str, row: int) -> int:
        """What a read that is sent now must return at least."""
        return self._known.get((kind, row), 0)

    def learn(self, kind: str, row: int, revision: int) -> None:
        """A write was acknowledged, or a read returned it."""
        if revision > self.floor(kind, row):
            self._known[kind, row] = revision


@dataclass(slots=True)
class Tally:
    """Counters of one workload; `reads` and `writes` are statements, without BEGIN and COMMIT."""

    reads: int = 0
    writes: int = 0
    transactions: int = 0
    orders: int = 0
    sold_out: int = 0
    errors: int = 0
    stale: int = 0
    first_error: str = ""
    latencies: Latencies = field(default_factory=Latencies)

    @property
    def queries(self) -> int:
        """All statements that were answered."""
        return self.reads + self.writes

    def failed(self, error: BaseException) -> None:
        """Count an error; the first one is kept, because the later ones are often its consequences."""
        self.errors += 1
        if not self.first_error:
            self.first_error = f"{type(error).__name__}: {error}".replace("\n", " ")

    def was_stale(self, what: str) -> None:
        """Count an answer that was older than what its reader could rely on."""
        self.stale += 1
        if not self.first_error:
            self.first_error = f"stale answer: {what}"
