from __future__ import annotations

from proxy.console.own import DIGESTS, SLOW, cache, digests, pins, slow
from stats.records import Outcome
from stats.stats import Stats
from tests.proxy.console.still import StillView, client


def busy(slow_after: float = 0.1) -> Stats:
    """Statistics of three shapes, of which one was never run."""
    stats = Stats(slow_after)
    shop = stats.database("shop")
    short, long = stats.digest("a" * 16, "SELECT ?"), stats.digest("b" * 16, "SELECT pg_sleep(?)")
    stats.digest("c" * 16, "SELECT never")
    for _ in range(3):
        stats.finish(shop, short, "app", "till", 0.0, 0.002, 0.004, Outcome.MISS, rows=1)
    stats.finish(shop, long, "app", "till", 0.25, 0.5, 0.75, Outcome.BYPASS, "57014", b"SELECT pg_sleep(1234)")
    return stats


def test_pins_have_a_row_for_each_reason() -> None:
    view = StillView(client_states=[client(1, "shop", "app", "listen", "temp_table", state="active"), client(2)])
    assert list(pins(view)) == [
        (1, "shop", "app", "till", "listen", 4711),
        (1, "shop", "app", "till", "temp_table", 4711),
    ]


def test_cache() -> None:
    view = StillView()
    found = {row[0]: row[1] for row in cache(view)}
    assert found["hits"] == 0
    assert found["limit_bytes"] == view.config.cache.memory
    view.kept.mark({"t"}, None)
    assert view.kept.capture({"t"}) is None
    found = {row[0]: row[1] for row in cache(view)}
    assert found["doubts"] == 1
    assert found["marks_open"] == 1
    assert {"entries", "bytes", "misses", "stale", "expired", "fills", "evictions", "abandoned"} <= set(found)


def test_digests_by_time_spent() -> None:
    names = [column.name for column in DIGESTS]
    long, short = (dict(zip(names, row, strict=True)) for row in digests(StillView(stats=busy()), 50))
    assert (long["query"], long["calls"], long["errors"], long["slow"]) == ("SELECT pg_sleep(?)", 1, 1, 1)
    assert (long["total_ms"], long["server_ms"], long["queue_ms"]) == (750.0, 500.0, 250.0)
    assert (short["calls"], short["rows"]) == (3, 3)


def test_so_many_rows_as_were_asked_for() -> None:
    view = StillView(stats=busy(slow_after=0.001))
    assert len(list(digests(view, 1))) == 1
    assert len(list(slow(view, 50))) == 4
    assert len(list(slow(view, 2))) == 2


def test_slow_queries_newest_first_and_without_literals() -> None:
    names = [column.name for column in SLOW]
    (row,) = (dict(zip(names, row, strict=True)) for row in slow(StillView(stats=busy()), 50))
    assert (row["database"], row["user"], row["application_name"]) == ("shop", "app", "till")
    assert (row["total_ms"], row["server_ms"], row["queue_ms"]) == (750.0, 500.0, 250.0)
    assert (row["outcome"], row["sqlstate"], row["query"]) == ("bypass", "57014", "SELECT pg_sleep(?)")
    assert "1234" not in repr(row)
