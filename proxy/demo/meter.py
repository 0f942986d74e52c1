"""What Forebay says of itself: /metrics for everything with a promised name, /api/status for the digests.

Nothing here may break the demo: what is missing reads as zero, as no quantile, as no digest.
Prometheus histograms are cumulative, so a period is the difference of two readings.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram: (upper bound in seconds, how many were at most that), ascending, infinity last."""

    rows: tuple[tuple[float, float], ...] = ()

    @property
    def count(self) -> float:
        """How many were observed."""
        return self.rows[-1][1] if self.rows else 0.0

    def since(self, earlier: Buckets) -> Buckets:
        """What was observed after `earlier`."""
        before = dict(earlier.rows)
        return Buckets(tuple((bound, count - before.get(bound, 0.0)) for bound, count in self.rows))

    def quantile(self, share: float) -> float | None:
        """Interpolated in its bucket; above the last finite bound that bound; None when empty."""
        wanted = share * self.count
        lower, below = 0.0, 0.0
        for bound, count in self.rows:
            if count >= wanted and count > below:
                if math.isinf(bound):
                    return lower
                return lower + (bound - lower) * (wanted - below) / (count - below)
            lower, below = bound, count
        return None


@dataclass(frozen=True, slots=True)
class Digest:
    """One statement's shape; `server` is a sum in seconds."""

    text: str
    calls: float
    hits: float
    server: float

    @property
    def mean(self) -> float:
        """Seconds of server time for each call that was not a hit."""
        return self.server / max(1.0, self.calls - self.hits)


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that was read at one moment; the default is what an unreachable Forebay says."""

    reached: bool = False
    cache: Mapping[str, float] = field(default_factory=dict)  # by result: hit, miss, bypass
    bypasses: Mapping[str, float] = field(default_factory=dict)  # by reason
    servers: Mapping[str, float] = field(default_factory=dict)  # by state, as the next
    clients: Mapping[str, float] = field(default_factory=dict)
    query: Buckets = Buckets()
    hit: Buckets = Buckets()
    server: Buckets = Buckets()
    queue: Buckets = Buckets()
    slow: float = 0.0
    digests: tuple[Digest, ...] = ()

    def answers(self, result: str, since: Reading) -> float:
        """How many questions to the cache had this result after `since`."""
        return self.cache.get(result, 0.0) - since.cache.get(result, 0.0)

    def hit_rate(self, since: Reading) -> float | None:
        """The share of hits among what could have been one; None when nothing could."""
        hits, misses = self.answers("hit", since), self.answers("miss", since)
        return hits / (hits + misses) if hits + misses else None


def read_metrics(text: str, status: Mapping[str, Any], database: str) -> Reading:
    """Make a reading of the two documents; other databases (Forebay's own console) are left out."""
    samples = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("database", database) == database
    ]
    hits = [sample for sample in samples if "hit" in (sample.labels.get("cache"), sample.labels.get("result"))]
    duration = _buckets(samples, "forebay_cache_hit_duration_seconds")
    return Reading(
        reached=True,
        cache=_by_label(samples, "forebay_cache_requests_total", "result"),
        bypasses=_by_label(samples, "forebay_cache_bypass_total", "reason"),
        servers=_by_label(samples, "forebay_servers", "state"),
        clients=_by_label(samples, "forebay_clients", "state"),
        query=_buckets(samples, "forebay_query_duration_seconds"),
        hit=duration if duration.rows else _buckets(hits, "forebay_query_duration_seconds"),
        server=_buckets(samples, "forebay_server_duration_seconds"),
        queue=_buckets(samples, "forebay_pool_wait_seconds"),
        slow=sum(sample.value for sample in samples if sample.name == "forebay_slow_queries_total"),
        digests=tuple(_digests(status)),
    )


def _by_label(samples: Iterable[Any], name: str, label: str) -> dict[str, float]:
    sums: defaultdict[str, float] = defaultdict(float)
    for sample in samples:
        if sample.name == name:
            sums[sample.labels.get(label, "")] += sample.value
    return dict(sums)


def _buckets(samples: Iterable[Any], name: str) -> Buckets:
    counts = _by_label(samples, f"{name}_bucket", "le")
    return Buckets(tuple(sorted((float(bound), count) for bound, count in counts.items())))


def _digests(status: Mapping[str, Any]) -> Iterable[Digest]:
    inner = status.get("stats")
    rows = (inner if isinstance(inner, dict) else status).get("digests")
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict):
            yield Digest(
                text=" ".join(str(row.get("text", "")).split()),
                calls=_number(row.get("calls")),
                hits=_number(row.get("hits")),
                server=_number(row.get("server_seconds")),
            )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


class Meter:
    """Reads one Forebay; an async context manager."""

    def __init__(self, address: str, database: str) -> None:
        self._address = address
        self._database = database
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    async def read(self) -> Reading:
        """One reading; Reading() when Forebay does not answer."""
        try:
            metrics = await self._get("/metrics")
        except (aiohttp.ClientError, TimeoutError):
            return Reading()
        try:
            status = json.loads(await self._get("/api/status"))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            status = {}
        try:
            return read_metrics(metrics, status if isinstance(status, dict) else {}, self._database)
        except ValueError:
            return Reading()

    async def _get(self, path: str) -> str:
        assert self._http is not None
        async with self._http.get(self._address + path) as answer:
            answer.raise_for_status()
            return await answer.text()
