"""The summary that scripts read."""

from __future__ import annotations

import math

from proxy.demo import summary
from proxy.demo.meter import Buckets, Reading
from proxy.demo.tally import Tally


def test_a_summary_covers_the_period_alone() -> None:
    """Forebay counted before the workload began: that is left out."""
    tally = Tally(reads=95, writes=5, orders=2)
    for _ in range(100):
        tally.latencies.observe(0.002)
    before = Reading(True, cache={"hit": 100, "miss": 100}, server=Buckets(((1.0, 50), (math.inf, 50))))
    after = Reading(
        True,
        cache={"hit": 130, "miss": 110, "bypass": 5},
        server=Buckets(((0.001, 0), (1.0, 50), (2.0, 60), (math.inf, 60))),
        slow=3,
    )
    found = summary.figures(tally, summary.Period(4.0, before, after))
    assert found["seconds"] == "4.0"
    assert (found["queries"], found["qps"], found["errors"], found["stale"]) == ("100", "25", "0", "0")
    assert (found["hits"], found["misses"], found["bypasses"]) == ("30", "10", "5")
    assert found["hit_rate"] == "0.750"
    assert found["slow_queries"] == "3"
    assert 1.8 <= float(found["p50_ms"]) <= float(found["p95_ms"]) <= 2.5
    assert 1000 < float(found["server_p50_ms"]) < 2000
    assert math.isnan(float(found["queue_p95_ms"]))


def test_every_value_is_one_line_and_reads_back() -> None:
    """Also with an odd message in it."""
    found = {"seconds": "1.0", "first_error": "a = b\nc=d", "metrics_url": "http://127.0.0.1:1/metrics"}
    text = summary.lines(found)
    assert text.count("\n") == 3
    assert summary.parse(f"noise\n{text}") == {**found, "first_error": "a = b c=d"}


def test_an_empty_run_has_a_summary_too() -> None:
    """Nothing ran, Forebay was never reached: zeros and nan, no exception."""
    found = summary.figures(Tally(), summary.Period(0.0, Reading(), Reading()))
    assert found["qps"] == "0"
    assert all(math.isnan(float(found[key])) for key in ("hit_rate", "p50_ms", "server_p95_ms"))


def test_the_exit_status_tells_good_from_bad() -> None:
    """Something must have run, and all of it well."""
    assert summary.exit_status(Tally(reads=1)) == 0
    assert summary.exit_status(Tally()) == 1
    assert summary.exit_status(Tally(reads=1, errors=1)) == 1
    assert summary.exit_status(Tally(reads=1, stale=1)) == 1
