"""Readings from documents as Forebay writes them, and from ones that it should not write."""

from __future__ import annotations

import math

import pytest
from aiohttp import web

from proxy.demo import children
from proxy.demo.meter import Buckets, Meter, Reading, read_metrics

METRICS = """\
# TYPE forebay_cache_requests_total counter
forebay_cache_requests_total{database="shop",result="hit"} 90
forebay_cache_requests_total{database="shop",result="miss"} 10
forebay_cache_requests_total{database="shop",result="bypass"} 7
forebay_cache_requests_total{database="forebay",result="hit"} 1000
# TYPE forebay_cache_bypass_total counter
forebay_cache_bypass_total{database="shop",reason="volatile_function"} 7
# TYPE forebay_servers gauge
forebay_servers{database="shop",user="app",state="idle"} 3
forebay_servers{database="shop",user="other",state="idle"} 2
# TYPE forebay_slow_queries_total counter
forebay_slow_queries_total{database="shop"} 4
# TYPE forebay_server_duration_seconds histogram
forebay_server_duration_seconds_bucket{database="shop",kind="read",le="0.001"} 10
forebay_server_duration_seconds_bucket{database="shop",kind="read",le="0.01"} 10
forebay_server_duration_seconds_bucket{database="shop",kind="read",le="+Inf"} 10
forebay_server_duration_seconds_bucket{database="shop",kind="write",le="0.001"} 0
forebay_server_duration_seconds_bucket{database="shop",kind="write",le="0.01"} 10
forebay_server_duration_seconds_bucket{database="shop",kind="write",le="+Inf"} 10
"""


def test_a_reading_sums_what_it_does_not_tell_apart() -> None:
    """By result, reason and state; other databases are none of the shop's business."""
    reading = read_metrics(METRICS, {}, "shop")
    assert reading.reached
    assert reading.cache == {"hit": 90, "miss": 10, "bypass": 7}
    assert reading.hit_rate(Reading()) == 0.9
    assert reading.bypasses == {"volatile_function": 7}
    assert reading.servers == {"idle": 5}
    assert reading.slow == 4
    assert list(reading.server.rows) == [(0.001, 10), (0.01, 20), (math.inf, 20)]
    assert reading.queue.quantile(0.5) is None


def test_digests_are_read_as_far_as_they_go() -> None:
    """At the top or among the statistics; what is missing is zero."""
    row = {"text": "SELECT\n  1", "calls": 10, "hits": 6, "server_seconds": 2.0}
    for status in ({"digests": [row, {}, 3]}, {"stats": {"digests": [row, {}, 3]}}):
        known, empty = read_metrics("", status, "shop").digests
        assert (known.text, known.calls, known.hits, known.mean) == ("SELECT 1", 10, 6, 0.5)
        assert (empty.text, empty.calls, empty.mean) == ("", 0, 0)
    assert read_metrics("", {"digests": None}, "shop").digests == ()


@pytest.mark.parametrize(("share", "value"), [(0.25, 0.5), (0.5, 1.0), (0.75, 1.5), (1.0, 2.0)])
def test_quantiles_are_interpolated(share: float, value: float) -> None:
    """Half of the observations in each bucket."""
    buckets = Buckets(((1.0, 10), (2.0, 20), (math.inf, 20)))
    assert buckets.quantile(share) == pytest.approx(value)


def test_quantiles_at_the_edges() -> None:
    """Nothing, and what no bound holds."""
    assert Buckets().quantile(0.5) is None
    assert Buckets(((1.0, 0), (math.inf, 0))).quantile(0.5) is None
    assert Buckets(((1.0, 1), (2.0, 1), (math.inf, 10))).quantile(0.95) == 2.0
    assert Buckets(((1.0, 0), (2.0, 0), (4.0, 8), (math.inf, 8))).quantile(0.5) == 3.0


def test_a_period_is_a_difference() -> None:
    """Of histograms and of counters; a bound that was not there counts from zero."""
    before = Buckets(((1.0, 4), (math.inf, 5)))
    after = Buckets(((1.0, 6), (2.0, 9), (math.inf, 9)))
    assert after.since(before).rows == ((1.0, 2), (2.0, 9), (math.inf, 4))
    early, late = (read_metrics(METRICS.replace("90", count), {}, "shop") for count in ("90", "110"))
    assert late.answers("hit", early) == 20
    assert late.hit_rate(early) == 1.0
    assert late.hit_rate(late) is None


async def test_a_meter_survives_whatever_answers() -> None:
    """Good documents, a missing status, nonsense, and nobody at all."""
    documents: dict[str, str] = {}

    async def answer(request: web.Request) -> web.Response:
        text = documents.get(request.path)
        return web.Response(status=404) if text is None else web.Response(text=text)

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = children.free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with Meter(f"http://127.0.0.1:{port}", "shop") as meter:
        assert await meter.read() == Reading()
        documents["/metrics"] = METRICS
        assert (await meter.read()).slow == 4
        documents["/api/status"] = '{"digests": [{"text": "a", "calls": 1}]}'
        assert [digest.text for digest in (await meter.read()).digests] == ["a"]
        documents["/api/status"] = "[]"
        assert (await meter.read()).digests == ()
        documents["/metrics"] = "forebay_servers{ nonsense"
        assert await meter.read() == Reading()
        await runner.cleanup()
        assert await meter.read() == Reading()
