"""The last word of a demo: one `key=value` a line, for people and scripts alike.

Times are milliseconds as the shop's visitors saw them (`p50_ms`, `p95_ms`) or as Forebay measured them; a
value that is not known is `nan`. hit_rate is hits / (hits + misses); bypasses are what could never have
been a hit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.demo.meter import Reading
    from proxy.demo.tally import Tally


@dataclass(frozen=True, slots=True)
class Period:
    """What a summary is of: the time it took, and what Forebay said before and after."""

    seconds: float
    before: Reading
    after: Reading


def figures(tally: Tally, period: Period) -> dict[str, str]:
    """The summary's keys and values, in the order in which they are printed."""
    before, after = period.before, period.after
    times = {
        "server": after.server.since(before.server),
        "queue": after.queue.since(before.queue),
        "cache": after.hit.since(before.hit),
    }
    known: dict[str, str] = {
        "seconds": f"{period.seconds:.1f}",
        "queries": str(tally.queries),
        "qps": f"{tally.queries / period.seconds if period.seconds else 0.0:.0f}",
        "errors": str(tally.errors),
        "stale": str(tally.stale),
        "reads": str(tally.reads),
        "writes": str(tally.writes),
        "transactions": str(tally.transactions),
        "orders": str(tally.orders),
        "p50_ms": _milliseconds(tally.latencies.quantile(0.5)),
        "p95_ms": _milliseconds(tally.latencies.quantile(0.95)),
        "hit_rate": _ratio(after.hit_rate(before)),
        "hits": f"{after.answers('hit', before):.0f}",
        "misses": f"{after.answers('miss', before):.0f}",
        "bypasses": f"{after.answers('bypass', before):.0f}",
        "slow_queries": f"{after.slow - before.slow:.0f}",
    }
    for name, buckets in times.items():
        known[f"{name}_p50_ms"] = _milliseconds(buckets.quantile(0.5))
        known[f"{name}_p95_ms"] = _milliseconds(buckets.quantile(0.95))
    return known


def lines(found: dict[str, str]) -> str:
    """The text of a summary; a value never has a line break."""
    return "".join(f"{key}={' '.join(value.split())}\n" for key, value in found.items())


def parse(text: str) -> dict[str, str]:
    """Read a summary back; lines of another form are skipped."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value for key, equals, value in pairs if equals and key.isidentifier()}


def exit_status(tally: Tally) -> int:
    """0 when statements were answered and every answer was a good one, else 1."""
    return 0 if tally.queries and not tally.errors and not tally.stale else 1


def _milliseconds(seconds: float | None) -> str:
    return "nan" if seconds is None else f"{seconds * 1000:.2f}"


def _ratio(share: float | None) -> str:
    return "nan" if share is None else f"{share:.3f}"
