"""The Prometheus side: everything is read when it is scraped; nothing is pushed, nothing kept twice.

Theory: prometheus_client's own counters cost about as much per increment as a whole turn's counting may
cost, so turns count in `Stats`, and this collector turns what it finds into families at each scrape. The
registry is the exporter's own. The number of series is bounded: databases, applications, SQLSTATEs by
`Stats`, digests by `Ranking`; no series per user but the gauges of pools, and no histogram per digest (2000
of those would block the event loop for a quarter of a second).

Series that can be known before anything happened are there with 0 from the first scrape on, since rate()
and increase() do not see the first value of a series as an increase.
"""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from stats.ranking import MEASURES, Ranking
from stats.records import CACHE_RESULTS, Outcome
from stats.redact import label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from stats.counters import DatabaseStats
    from stats.gauges import Gauges
    from stats.histogram import Histogram
    from stats.stats import Stats

PREFIX: Final = "forebay_"

Row = tuple[tuple[str, ...], float]


class Exporter:
    """Renders one process's metrics in Prometheus' text format."""

    content_type: Final = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, stats: Stats, gauges: Callable[[], Gauges], ranking: Ranking | None = None) -> None:
        """Export `stats`, and at each scrape what `gauges` then returns."""
        self._registry = CollectorRegistry()
        self._registry.register(_Scrape(stats, gauges, ranking or Ranking()))
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self) -> bytes:
        """Return everything as it is now; must be called on the thread that counts."""
        return generate_latest(self._registry)


class _Scrape(Collector):
    def __init__(self, stats: Stats, gauges: Callable[[], Gauges], ranking: Ranking) -> None:
        self._stats = stats
        self._gauges = gauges
        self._ranking = ranking

    def collect(self) -> Iterator[Metric]:
        gauges = self._gauges()
        databases = list(self._stats.databases.values())
        yield from _turns(databases)
        yield from _cache(databases, gauges)
        yield from _applications(databases)
        yield from _events(self._stats)
        yield from _digests(self._stats, self._ranking)
        yield from _peers(gauges)
        yield from _process(gauges)


def _turns(databases: list[DatabaseStats]) -> Iterator[Metric]:
    yield _counter(
        "queries",
        "Turns that ended, by how they were answered.",
        ("database", "outcome"),
        (((db.name, outcome.label), db.outcomes[outcome]) for db in databases for outcome in Outcome),
    )
    by_database: tuple[tuple[str, str, Callable[[DatabaseStats], float]], ...] = (
        ("query_errors", "Turns that ended with an error.", lambda db: db.errors),
        ("slow_queries", "Turns that took longer than the threshold of slow queries.", lambda db: db.slow),
        ("rows", "Rows that turns returned or changed.", lambda db: db.rows),
    )
    for name, text, value in by_database:
        yield _counter(name, text, ("database",), (((db.name,), value(db)) for db in databases))
    histograms: tuple[tuple[str, str, Callable[[DatabaseStats], Histogram]], ...] = (
        ("query_duration_seconds", "Turns as clients see them, in seconds.", lambda db: db.total),
        ("cache_hit_duration_seconds", "Turns answered from the cache, in seconds.", lambda db: db.hit),
        (
            "server_duration_seconds",
            "Turns that reached a server: its share, in seconds.",
            lambda db: db.server,
        ),
        (
            "pool_wait_seconds",
            "Turns that needed a server: the wait for it, in seconds.",
            lambda db: db.queue,
        ),
    )
    for name, text, histogram in histograms:
        family = HistogramMetricFamily(PREFIX + name, text, labels=("database",))
        for db in databases:
            _observed(family, (db.name,), histogram(db))
        yield family


def _cache(databases: list[DatabaseStats], gauges: Gauges) -> Iterator[Metric]:
    yield _counter(
        "cache_requests",
        "Turns that were questions to the cache, by result.",
        ("database", "result"),
        (((db.name, result.label), db.outcomes[result]) for db in databases for result in CACHE_RESULTS),
    )
    yield _counter(
        "cache_bypass",
        "Turns that the cache may not answer, by reason.",
        ("database", "reason"),
        (((db.name, reason), count) for db in databases for reason, count in db.bypasses.items()),
    )
    yield _counter(
        "cache_invalidations",
        "Invalidations of cached answers, by cause.",
        ("database", "cause"),
        (((db.name, cause), count) for db in databases for cause, count in db.invalidations.items()),
    )
    yield _counter(
        "cache_saved_seconds",
        "Server seconds that hits did not cost, estimated from each digest's mean.",
        ("database",),
        (((db.name,), db.saved) for db in databases),
    )
    yield _counter(
        "cache_evictions",
        "Answers that left the cache for another reason than a write, by cause.",
        ("cause",),
        _named(gauges.cache_evictions),
    )
    if gauges.cache_fills is not None:
        yield _counter("cache_fills", "Answers put into the cache.", (), [((), gauges.cache_fills)])
    sizes = (
        ("cache_bytes", "Bytes held by the cache in this process.", gauges.cache_bytes),
        (
            "cache_limit_bytes",
            "Most bytes that the cache may hold in this process.",
            gauges.cache_limit_bytes,
        ),
        ("cache_entries", "Answers held by the cache in this process.", gauges.cache_entries),
    )
    for name, text, value in sizes:
        if value is not None:
            yield _gauge(name, text, (), [((), value)])


def _applications(databases: list[DatabaseStats]) -> Iterator[Metric]:
    rows = [(db.name, app) for db in databases for app in db.by_application()]
    labels = ("database", "application")
    keys = [(name, app.name) for name, app in rows]
    measures = (
        ("app_queries", "Turns that ended, by application.", [app.calls for _, app in rows]),
        ("app_errors", "Turns that ended with an error, by application.", [app.errors for _, app in rows]),
        ("app_seconds", "Clients' seconds, by application.", [app.total for _, app in rows]),
        ("app_server_seconds", "Servers' seconds, by application.", [app.server for _, app in rows]),
    )
    for name, text, values in measures:
        yield _counter(name, text, labels, zip(keys, values, strict=True))


def _events(stats: Stats) -> Iterator[Metric]:
    yield _counter("pins", "Sessions that got a reason to keep their server.", ("reason",), _named(stats.pins))
    yield _counter("errors", "Errors that clients were told, by SQLSTATE.", ("sqlstate",), _named(stats.errors))
    suppressed = stats.slowlog.suppressed
    yield _counter("slow_queries_suppressed", "Slow turns that the slow log left out.", (), [((), suppressed)])
    family = HistogramMetricFamily(
        PREFIX + "event_loop_lag_seconds", "How late the event loop ran what was due, in seconds.", labels=()
    )
    _observed(family, (), stats.loop_lag)
    yield family


def _digests(stats: Stats, ranking: Ranking) -> Iterator[Metric]:
    yield _gauge("digests", "Statement shapes in memory.", (), [((), len(stats.digests))])
    yield _counter("digest_evictions", "Statement shapes evicted from memory.", (), [((), stats.digests.evictions)])
    series = ranking.series(stats)
    for position, measure in enumerate(MEASURES):
        yield _counter(
            f"digest_{measure}",
            f"{measure.replace('_', ' ').capitalize()} of the costliest statement shapes; see digest_info.",
            ("digest",),
            (((row.digest,), row.values[position]) for row in series),
        )
    yield _gauge(
        "digest_info",
        "What the digests of the digest metrics are.",
        ("digest", "summary"),
        (((row.digest, row.summary), 1) for row in series),
    )


def _peers(gauges: Gauges) -> Iterator[Metric]:
    state, pool = ("database", "user", "state"), ("database", "user")
    yield _gauge("servers", "Server connections by state.", state, gauges.servers.items())
    yield _gauge("clients", "Client sessions by state.", state, gauges.clients.items())
    yield _gauge("pool_waiting", "Clients waiting for a server.", pool, gauges.waiting.items())
    yield _gauge("pool_oldest_wait_seconds", "How long the first of them waits.", pool, gauges.oldest_wait.items())
    yield _gauge("pool_size_limit", "Most server connections of a pool.", pool, gauges.pool_limit.items())
    yield _gauge(
        "server_up",
        "Whether the last attempt to reach the server succeeded.",
        ("database",),
        _named(gauges.upstream_up),
    )
    yield _counter(
        "server_connects",
        "Attempts to connect to servers: ok, or the SQLSTATE.",
        ("database", "outcome"),
        gauges.connects.items(),
    )
    yield _counter(
        "login_failures",
        "Clients that were not let in, by reason.",
        ("reason",),
        _named(gauges.login_failures),
    )
    yield _gauge("prepared_statements", "Prepared statements known.", ("database",), _named(gauges.prepared_entries))
    yield _counter(
        "prepared_parses",
        "Parse messages: sent by clients, sent to servers.",
        ("database", "peer"),
        gauges.prepared_parses.items(),
    )


def _process(gauges: Gauges) -> Iterator[Metric]:
    yield _counter("config_reloads", "Configuration reloads by result.", ("result",), _named(gauges.reloads))
    if gauges.build:
        yield _gauge("build_info", "The build that runs.", tuple(gauges.build), [(tuple(gauges.build.values()), 1)])
    if gauges.started is not None:
        yield _gauge("start_time_seconds", "When the process started, in Unix seconds.", (), [((), gauges.started)])


def _named(counts: Mapping[str, float]) -> Iterator[Row]:
    return (((name,), count) for name, count in counts.items())


def _counter(name: str, text: str, labels: tuple[str, ...], rows: Iterable[Row]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for values, count in rows:
        family.add_metric([label(value) for value in values], count)
    return family


def _gauge(name: str, text: str, labels: tuple[str, ...], rows: Iterable[Row]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in rows:
        family.add_metric([label(each) for each in values], value)
    return family


def _observed(family: HistogramMetricFamily, labels: tuple[str, ...], seen: Histogram) -> None:
    buckets = [("+Inf" if isinf(bound) else f"{bound:g}", float(count)) for bound, count in seen.exposed()]
    family.add_metric([label(value) for value in labels], buckets, seen.sum)
