"""The tables that only Forebay has: pins, the cache, statement shapes, slow queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.console.pgbouncer import timestamp
from proxy.console.table import columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.console.table import Row
    from proxy.console.view import View

PINS = columns("id:i database user application_name reason remote_pid:i")
CACHE = columns("name value:b")
DIGESTS = columns(
    "digest calls:b errors:b hits:b slow:b rows:b total_ms:n server_ms:n queue_ms:n saved_ms:n mean_ms:n max_ms:n"
    " p50_ms:n p95_ms:n p99_ms:n query"
)
SLOW = columns(
    "time database user application_name digest outcome sqlstate rows:b total_ms:n server_ms:n queue_ms:n"
    " suppressed:b query"
)
TOP = 50
"""Rows of SHOW DIGESTS and SHOW SLOW, unless another number is asked for."""


def pins(view: View) -> Iterator[Row]:
    """SHOW PINS: a row for each reason why a session keeps its server."""
    for client in view.clients():
        for reason in client.pins:
            yield (client.id, client.database, client.user, client.application, reason, client.server_pid)


def cache(view: View) -> Iterator[Row]:
    """SHOW CACHE: counts since the start, and what is there now."""
    counters = view.cache()
    yield ("entries", counters.entries)
    yield ("bytes", counters.bytes)
    yield ("limit_bytes", view.config.cache.memory)
    for name in ("hits", "misses", "stale", "expired", "fills"):
        yield (name, getattr(counters, name))
    for fill, count in counters.rejected_fills.items():
        yield (f"fills_{fill.value}", count)
    for name in ("doubts", "evictions", "marks_open", "abandoned"):
        yield (name, getattr(counters, name))


def digests(view: View, limit: int) -> Iterator[Row]:
    """SHOW DIGESTS: the statement shapes that took most time, with literals left out."""
    for row in view.snapshot(limit).digests:
        if not row.calls:
            continue  # parsed, but nobody has run it
        seconds = (row.total_seconds, row.server_seconds, row.queue_seconds, row.saved_seconds)
        yield (
            *(row.digest, row.calls, row.errors, row.hits, row.slow, row.rows),
            *(1000 * each for each in seconds),
            *(row.mean_ms, row.max_ms, row.p50_ms, row.p95_ms, row.p99_ms, row.text),
        )


def slow(view: View, limit: int) -> Iterator[Row]:
    """SHOW SLOW: the last slow queries, newest first, with literals left out."""
    for record in view.slow()[:limit]:
        yield (
            *(timestamp(record.time), record.database, record.user, record.application, record.digest),
            *(record.outcome, record.sqlstate, record.rows, record.total_ms, record.server_ms, record.queue_ms),
            *(record.suppressed, record.text),
        )
