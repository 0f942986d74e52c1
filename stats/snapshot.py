"""A frozen copy of the counters for the JSON interface and live views, and what happened between two copies.

Theory: counters only grow, so everything "per second" or "of the last ten seconds" is the difference of two
copies; nobody has to keep windows while turns are counted. Histograms are subtracted bucket by bucket, so
quantiles of an interval are as good as those since the start. Quantiles themselves are never averaged.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from stats.digests import by_total
from stats.histogram import quantile
from stats.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from stats.counters import DatabaseStats
    from stats.digests import DigestStats
    from stats.stats import Stats


@dataclass(frozen=True, slots=True)
class ApplicationRow:
    """One application of a database; seconds are sums."""

    name: str
    calls: int
    errors: int
    server_seconds: float
    total_seconds: float


@dataclass(frozen=True, slots=True)
class DigestRow:
    """One statement shape; seconds are sums, milliseconds are of one turn."""

    digest: str
    text: str
    calls: int
    errors: int
    hits: int
    slow: int
    rows: int
    total_seconds: float
    server_seconds: float
    queue_seconds: float
    saved_seconds: float
    mean_ms: float
    max_ms: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class DatabaseRow:
    """One database; the counts by bucket are those of `histogram.BOUNDS`."""

    name: str
    outcomes: tuple[int, ...]
    errors: int
    slow: int
    rows: int
    saved_seconds: float
    total_seconds: float
    server_seconds: float
    queue_seconds: float
    total_counts: tuple[int, ...]
    server_counts: tuple[int, ...]
    queue_counts: tuple[int, ...]
    bypasses: dict[str, int]
    invalidations: dict[str, int]
    applications: tuple[ApplicationRow, ...]

    @property
    def calls(self) -> int:
        """Return how many turns ended."""
        return sum(self.outcomes)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All counters at one moment; `at` is monotonic seconds, only good for differences."""

    at: float
    databases: tuple[DatabaseRow, ...]
    digests: tuple[DigestRow, ...]
    """The top digests, largest first."""
    digest_count: int
    digest_evictions: int
    evicted: DigestRow
    """The sum of the digests that were evicted."""
    errors: dict[str, int]
    pins: dict[str, int]
    slow_suppressed: int


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened between two snapshots; None where there was nothing to divide by."""

    seconds: float
    per_second: float
    errors_per_second: float
    hit_ratio: float | None
    """Hits of all turns that were questions the cache could answer (hits and misses)."""
    saved_per_second: float
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    server_p95_ms: float | None
    queue_p95_ms: float | None


def take(
    stats: Stats,
    top: int = 50,
    key: Callable[[DigestStats], float] = by_total,
    clock: Callable[[], float] = time.monotonic,
) -> Snapshot:
    """Copy the counters, with the `top` digests by `key`."""
    return Snapshot(
        at=clock(),
        databases=tuple(_database(db) for db in stats.databases.values()),
        digests=tuple(digest_row(digest) for digest in stats.digests.top(top, key)),
        digest_count=len(stats.digests),
        digest_evictions=stats.digests.evictions,
        evicted=digest_row(stats.digests.other),
        errors=dict(stats.errors),
        pins=dict(stats.pins),
        slow_suppressed=stats.slowlog.suppressed,
    )


def rates(before: Snapshot, after: Snapshot, database: str | None = None) -> Rates:
    """Return what happened between two snapshots of one process, of all databases or of one."""
    old = [row for row in before.databases if database in (None, row.name)]
    new = [row for row in after.databases if database in (None, row.name)]
    seconds = max(after.at - before.at, 0.0)
    outcomes = _difference([row.outcomes for row in new], [row.outcomes for row in old])
    total = _difference([row.total_counts for row in new], [row.total_counts for row in old])
    server = _difference([row.server_counts for row in new], [row.server_counts for row in old])
    queue = _difference([row.queue_counts for row in new], [row.queue_counts for row in old])
    calls = sum(total)
    hits, asked = 0, 0
    if outcomes:
        hits = outcomes[Outcome.HIT]
        asked = hits + outcomes[Outcome.MISS]
    spent = sum(row.total_seconds for row in new) - sum(row.total_seconds for row in old)
    errors = sum(row.errors for row in new) - sum(row.errors for row in old)
    saved = sum(row.saved_seconds for row in new) - sum(row.saved_seconds for row in old)
    return Rates(
        seconds=seconds,
        per_second=calls / seconds if seconds else 0.0,
        errors_per_second=errors / seconds if seconds else 0.0,
        hit_ratio=hits / asked if asked else None,
        saved_per_second=saved / seconds if seconds else 0.0,
        mean_ms=1000 * spent / calls if calls else None,
        p50_ms=_ms(quantile(total, 0.50)),
        p95_ms=_ms(quantile(total, 0.95)),
        p99_ms=_ms(quantile(total, 0.99)),
        server_p95_ms=_ms(quantile(server, 0.95)),
        queue_p95_ms=_ms(quantile(queue, 0.95)),
    )


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return the snapshot as JSON's types: outcomes by name, quantiles instead of buckets."""
    return {
        "databases": [_database_json(row) for row in snapshot.databases],
        "digests": [asdict(row) for row in snapshot.digests],
        "digest_count": snapshot.digest_count,
        "digest_evictions": snapshot.digest_evictions,
        "evicted": asdict(snapshot.evicted),
        "errors": dict(snapshot.errors),
        "pins": dict(snapshot.pins),
        "slow_suppressed": snapshot.slow_suppressed,
    }


def digest_row(digest: DigestStats) -> DigestRow:
    """Copy one digest."""
    return DigestRow(
        digest=digest.fingerprint,
        text=digest.text,
        calls=digest.calls,
        errors=digest.errors,
        hits=digest.hits,
        slow=digest.slow,
        rows=digest.rows,
        total_seconds=digest.total,
        server_seconds=digest.server,
        queue_seconds=digest.queue,
        saved_seconds=digest.saved,
        mean_ms=1000 * digest.total / digest.calls if digest.calls else 0.0,
        max_ms=1000 * digest.maximum,
        p50_ms=_ms(quantile(digest.counts, 0.50, digest.maximum)),
        p95_ms=_ms(quantile(digest.counts, 0.95, digest.maximum)),
        p99_ms=_ms(quantile(digest.counts, 0.99, digest.maximum)),
    )


def _database(db: DatabaseStats) -> DatabaseRow:
    return DatabaseRow(
        name=db.name,
        outcomes=tuple(db.outcomes),
        errors=db.errors,
        slow=db.slow,
        rows=db.rows,
        saved_seconds=db.saved,
        total_seconds=db.total.sum,
        server_seconds=db.server.sum,
        queue_seconds=db.queue.sum,
        total_counts=tuple(db.total.counts),
        server_counts=tuple(db.server.counts),
        queue_counts=tuple(db.queue.counts),
        bypasses=dict(db.bypasses),
        invalidations=dict(db.invalidations),
        applications=tuple(
            ApplicationRow(app.name, app.calls, app.errors, app.server, app.total) for app in db.by_application()
        ),
    )


def _database_json(row: DatabaseRow) -> dict[str, Any]:
    durations = {
        "total": (row.total_counts, row.total_seconds),
        "server": (row.server_counts, row.server_seconds),
        "queue": (row.queue_counts, row.queue_seconds),
    }
    return {
        "name": row.name,
        "calls": row.calls,
        "outcomes": {outcome.label: row.outcomes[outcome] for outcome in Outcome},
        "errors": row.errors,
        "slow": row.slow,
        "rows": row.rows,
        "saved_seconds": row.saved_seconds,
        "durations": {
            name: {
                "count": sum(counts),
                "seconds": seconds,
                "p50_ms": _ms(quantile(counts, 0.50)),
                "p95_ms": _ms(quantile(counts, 0.95)),
                "p99_ms": _ms(quantile(counts, 0.99)),
            }
            for name, (counts, seconds) in durations.items()
        },
        "bypasses": dict(row.bypasses),
        "invalidations": dict(row.invalidations),
        "applications": [asdict(app) for app in row.applications],
    }


def _difference(new: list[tuple[int, ...]], old: list[tuple[int, ...]]) -> list[int]:
    """Return the sums by position of `new` less those of `old`."""
    if not new:
        return []
    gone = [sum(column) for column in zip(*old, strict=True)] or [0] * len(new[0])
    return [sum(column) - less for column, less in zip(zip(*new, strict=True), gone, strict=True)]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds
