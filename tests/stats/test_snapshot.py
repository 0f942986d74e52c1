from __future__ import annotations

import json

from stats.records import Outcome
from stats.snapshot import as_json, rates, take
from stats.stats import Stats


def read_past(stats: Stats, reason: str) -> None:
    stats.finish(stats.database("shop"), None, "ann", "web", 0.0, 0.0, 0.0, Outcome.BYPASS, reason=reason)


def work(stats: Stats, name: str, count: int, total: float, outcome: Outcome) -> None:
    db, digest = stats.database(name), stats.digest(f"d-{name}", "select $1")
    for _ in range(count):
        server = 0.0 if outcome is Outcome.HIT else total
        stats.finish(db, digest, "ann", "web", 0.0, server, total, outcome)


def test_a_snapshot_does_not_change() -> None:
    stats = Stats(10.0)
    work(stats, "shop", 3, 0.01, Outcome.MISS)
    read_past(stats, "locking")
    before = take(stats)
    kept = json.dumps(as_json(before))
    work(stats, "shop", 3, 0.01, Outcome.HIT)
    read_past(stats, "locking")
    stats.error("23505")
    assert json.dumps(as_json(before)) == kept


def test_rates_are_of_the_time_between() -> None:
    stats = Stats(10.0)
    work(stats, "shop", 1000, 5.0, Outcome.MISS)
    before = take(stats, clock=lambda: 10.0)
    work(stats, "shop", 30, 0.001, Outcome.HIT)
    work(stats, "shop", 10, 0.1, Outcome.MISS)
    work(stats, "crm", 40, 0.02, Outcome.BYPASS)
    stats.finish(stats.database("crm"), None, "ann", "web", 0.0, 0.0, 0.0, Outcome.LOCAL, "42601")
    after = take(stats, clock=lambda: 14.0)

    shop = rates(before, after, "shop")
    assert (shop.seconds, shop.per_second, shop.errors_per_second) == (4.0, 10.0, 0.0)
    assert shop.hit_ratio == 0.75
    assert shop.mean_ms is not None
    assert abs(shop.mean_ms - (30 * 1 + 10 * 100) / 40) < 1e-6
    assert shop.p50_ms is not None
    assert 0.7 <= shop.p50_ms <= 1.0
    assert shop.p99_ms is not None
    assert 70.0 <= shop.p99_ms <= 100.0
    assert shop.server_p95_ms is not None
    assert 70.0 <= shop.server_p95_ms <= 100.0
    assert abs(shop.saved_per_second - stats.database("shop").saved / 4) < 1e-9

    everything = rates(before, after)
    assert everything.per_second == 81 / 4
    assert everything.errors_per_second == 0.25
    assert rates(before, after, "crm").hit_ratio is None


def test_rates_of_nothing() -> None:
    empty = take(Stats(10.0), clock=lambda: 1.0)
    nothing = rates(empty, empty)
    assert nothing.per_second == 0.0
    assert nothing.p95_ms is nothing.mean_ms is nothing.hit_ratio is None


def test_top_digests_and_json() -> None:
    stats = Stats(10.0)
    work(stats, "shop", 2, 0.01, Outcome.MISS)
    work(stats, "crm", 1, 5.0, Outcome.MISS)
    work(stats, "crm", 1, 3.0, Outcome.MISS)
    page = as_json(take(stats, top=1))
    assert [row["digest"] for row in page["digests"]] == ["d-crm"]
    row = page["digests"][0]
    assert (row["calls"], row["mean_ms"], row["max_ms"]) == (2, 4000.0, 5000.0)
    assert row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] <= 5000.0
    shop = next(db for db in page["databases"] if db["name"] == "shop")
    assert shop["outcomes"] == {"hit": 0, "miss": 2, "bypass": 0, "write": 0, "local": 0}
    assert shop["durations"]["server"]["count"] == 2
    assert shop["applications"] == [
        {"name": "web", "calls": 2, "errors": 0, "server_seconds": 0.02, "total_seconds": 0.02}
    ]
    assert page["digest_count"] == 2
