"""Statement shapes: counters of each, and a table that stays bounded.

Theory: the table must not grow with what clients send, and counting a turn must not pay for that. So
nothing is moved when a digest is used. The table is a queue in order of arrival; when it is full, the
oldest is looked at: was it called since it was last looked at, it goes to the end (its second chance), else
it is evicted. A shape seen only once has no second chance, so a flood of unique shapes pushes out only
itself. What an evicted digest had counted is folded into `other`, so that sums over the table never shrink.

Somebody may still hold an evicted digest (a session keeps the one of its prepared statement). `live` says
that it is no longer in the table; who counts asks for it and, when it is False, gets the shape's new
counters with `Digests.get`.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import nlargest
from typing import TYPE_CHECKING, Final

from stats.counters import OTHER
from stats.histogram import BOUNDS
from stats.redact import MAX_TEXT, escape, redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from stats.slowlog import Allowance

_LOOKS: Final = 32
"""Second chances given in a row: bounds what one new shape can cost when all the old ones are in use."""


class DigestStats:
    """What was counted about one statement shape; seconds are sums, only `maximum` is one turn's."""

    __slots__ = (
        "allowance",
        "calls",
        "counts",
        "errors",
        "fingerprint",
        "hits",
        "live",
        "looked",
        "maximum",
        "queue",
        "ranked",
        "rows",
        "saved",
        "served",
        "server",
        "slow",
        "text",
        "total",
    )

    def __init__(self, fingerprint: str, text: str) -> None:
        self.fingerprint = fingerprint
        self.text = text
        self.calls = 0
        self.errors = 0
        self.hits = 0
        self.served = 0
        """Calls that reached a server."""
        self.slow = 0
        self.rows = 0
        self.total = 0.0
        self.server = 0.0
        self.queue = 0.0
        self.saved = 0.0
        """Server seconds that hits did not cost, estimated from this digest's mean."""
        self.maximum = 0.0
        self.counts = [0] * (len(BOUNDS) + 1)
        """The totals by bucket of `histogram.BOUNDS`."""
        self.live = True
        self.looked = 1
        """`calls` when the table last looked at it; 1 at first, so that one call earns no second chance."""
        self.ranked = 0.0
        """`total` when the ranking last compared; belongs to `ranking`."""
        self.allowance: Allowance | None = None
        """How many lines it may still write; belongs to `slowlog`."""

    def fold(self, gone: DigestStats) -> None:
        """Add what another digest counted."""
        self.calls += gone.calls
        self.errors += gone.errors
        self.hits += gone.hits
        self.served += gone.served
        self.slow += gone.slow
        self.rows += gone.rows
        self.total += gone.total
        self.server += gone.server
        self.queue += gone.queue
        self.saved += gone.saved
        self.maximum = max(self.maximum, gone.maximum)
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, gone.counts, strict=True)]


def by_total(digest: DigestStats) -> float:
    """Return the clients' seconds of a digest: the usual order."""
    return digest.total


class Digests:
    """The digests in use, at most `limit`; `other` holds the sum of the evicted ones."""

    __slots__ = ("_limit", "_table", "evictions", "other")

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError("there must be room for one digest")
        self._limit = limit
        self._table: OrderedDict[str, DigestStats] = OrderedDict()
        self.other = DigestStats(OTHER, "")
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._table)

    def get(self, fingerprint: str, text: str) -> DigestStats:
        """Return the counters of a shape, made when it is new; `text` is its normalised text."""
        found = self._table.get(fingerprint)
        return found if found is not None else self._admit(fingerprint, text)

    def find(self, fingerprint: str) -> DigestStats | None:
        """Return the counters of a shape if the table has it."""
        return self._table.get(fingerprint)

    def all(self) -> list[DigestStats]:
        """Return all digests of the table, without `other`, in no useful order."""
        return list(self._table.values())

    def top(self, count: int, key: Callable[[DigestStats], float] = by_total) -> list[DigestStats]:
        """Return the `count` digests with the largest key, largest first."""
        return nlargest(count, self._table.values(), key)

    def _admit(self, fingerprint: str, text: str) -> DigestStats:
        if len(self._table) >= self._limit:
            self._evict()
        # Cut before the scan: a statement may be megabytes long.
        made = DigestStats(fingerprint, escape(redact(text[: 2 * MAX_TEXT]), MAX_TEXT))
        self._table[fingerprint] = made
        return made

    def _evict(self) -> None:
        oldest = next(iter(self._table))
        for _ in range(_LOOKS):
            digest = self._table[oldest]
            if digest.calls <= digest.looked:
                break
            digest.looked = digest.calls
            self._table.move_to_end(oldest)
            oldest = next(iter(self._table))
        gone = self._table.pop(oldest)
        gone.live = False
        self.other.fold(gone)
        self.evictions += 1
