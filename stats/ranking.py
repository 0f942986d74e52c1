"""Which digests have Prometheus series of their own.

Theory: a label value per digest would be one per statement shape that a client ever thinks of, so only
`size` digests have series; all else is the series `other`. The obvious choice, "the top ones now", makes
series come and go at each scrape and makes `other` jump back whenever a digest leaves it, which rate()
takes for a restart. So:

- a place is held for at least `hold` seconds; places are contested only once in that time, by the seconds
  that digests cost since the last contest; free places are filled at any scrape;
- a digest's series starts at 0 when it gets its place: what it had counted before stays in `other`;
- what its series had counted when it loses its place is nobody's any more (`_retired`), and not put into
  `other`, where it would look like a burst of calls;
- a digest that was evicted and came back before the next scrape keeps its place and goes on.

So no series ever goes back while it is there, and what all series gain together is what was counted. The
sums are floats, and a difference of sums may be an ulp below the one before; `other` is kept from following
it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from heapq import nlargest
from typing import TYPE_CHECKING, Final

from stats.counters import OTHER
from stats.records import Outcome
from stats.redact import escape

if TYPE_CHECKING:
    from collections.abc import Callable

    from stats.digests import DigestStats
    from stats.stats import Stats

MEASURES: Final = (
    "calls",
    "errors",
    "cache_hits",
    "rows",
    "total_seconds",
    "server_seconds",
    "queue_seconds",
)
"""What the values of a `Series` are, in order."""
SUMMARY: Final = 120
"""Characters of the statement that are shown with the series."""


@dataclass(frozen=True, slots=True)
class Series:
    """The values of `MEASURES` of one digest, or of all the `other` ones, since its series began."""

    digest: str
    summary: str
    values: tuple[float, ...]


class _Place:
    __slots__ = ("base", "digest", "since")

    def __init__(self, digest: DigestStats, since: float) -> None:
        self.digest = digest
        self.base = _values(digest)
        self.since = since

    def gained(self) -> tuple[float, ...]:
        return _less(_values(self.digest), self.base)

    def follow(self, successor: DigestStats) -> None:
        """Go on with the counters that the shape got after its old ones were evicted."""
        # A base below zero: what the old counters gained is gained already when the new ones start.
        self.base = _less((0.0,) * len(MEASURES), self.gained())
        self.digest = successor


class Ranking:
    """Gives `size` digests a place each; `series` is called at every scrape."""

    __slots__ = ("_clock", "_contest", "_hold", "_other", "_places", "_retired", "_size")

    def __init__(self, size: int = 50, hold: float = 3600.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._hold = hold
        self._clock = clock
        self._places: dict[str, _Place] = {}
        self._retired = (0.0,) * len(MEASURES)
        self._other = (0.0,) * len(MEASURES)
        self._contest = clock() + hold

    def series(self, stats: Stats) -> list[Series]:
        """Return the series of this moment, `other` last."""
        self._review(stats)
        rows = []
        rest = _grand_total(stats)
        for fingerprint, place in self._places.items():
            gained = place.gained()
            rest = _less(rest, gained)
            rows.append(Series(escape(fingerprint, SUMMARY), escape(place.digest.text, SUMMARY), gained))
        rest = _less(rest, self._retired)
        self._other = tuple(max(before, now) for before, now in zip(self._other, rest, strict=True))
        rows.append(Series(OTHER, "", self._other))
        return rows

    def _review(self, stats: Stats) -> None:
        now = self._clock()
        for fingerprint, place in list(self._places.items()):
            if not place.digest.live:
                successor = stats.digests.find(fingerprint)
                if successor is None:
                    self._retire(place)
                else:
                    place.follow(successor)
        contest = now >= self._contest
        if not contest and len(self._places) >= self._size:
            return
        digests = stats.digests.all()
        wanted = nlargest(self._size, digests, _recent)
        if contest:
            self._contest = now + self._hold
            names = {digest.fingerprint for digest in wanted}
            for place in list(self._places.values()):
                if place.digest.fingerprint not in names and now - place.since >= self._hold:
                    self._retire(place)
        for digest in wanted:
            if len(self._places) >= self._size:
                break
            if digest.fingerprint not in self._places:
                self._places[digest.fingerprint] = _Place(digest, now)
        if contest:
            for digest in digests:
                digest.ranked = digest.total

    def _retire(self, place: _Place) -> None:
        del self._places[place.digest.fingerprint]
        self._retired = tuple(a + b for a, b in zip(self._retired, place.gained(), strict=True))


def _recent(digest: DigestStats) -> float:
    return digest.total - digest.ranked


def _values(digest: DigestStats) -> tuple[float, ...]:
    return (
        *(digest.calls, digest.errors, digest.hits, digest.rows),
        *(digest.total, digest.server, digest.queue),
    )


def _grand_total(stats: Stats) -> tuple[float, ...]:
    """Return what all digests counted; the databases count the same turns and are fewer."""
    databases = stats.databases.values()
    return (
        sum(db.calls for db in databases),
        sum(db.errors for db in databases),
        sum(db.outcomes[Outcome.HIT] for db in databases),
        sum(db.rows for db in databases),
        sum(db.total.sum for db in databases),
        sum(db.server.sum for db in databases),
        sum(db.queue.sum for db in databases),
    )


def _less(values: tuple[float, ...], gone: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(a - b for a, b in zip(values, gone, strict=True))
