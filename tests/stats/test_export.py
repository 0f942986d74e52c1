from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from stats.export import Exporter
from stats.gauges import Gauges
from stats.histogram import EXPOSED
from stats.records import Outcome
from stats.stats import Stats

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Key = tuple[str, tuple[tuple[str, str], ...]]


def families(exporter: Exporter) -> dict[str, Metric]:
    found = list(text_string_to_metric_families(exporter.render().decode()))
    assert len({family.name for family in found}) == len(found)
    return {family.name: family for family in found}


def samples(exporter: Exporter) -> dict[Key, float]:
    rows = [
        ((sample.name, tuple(sorted(sample.labels.items()))), sample.value)
        for family in families(exporter).values()
        for sample in family.samples
    ]
    assert len(dict(rows)) == len(rows), "a scrape with a series twice is refused as a whole"
    return dict(rows)


def key(name: str, **labels: str) -> Key:
    return name, tuple(sorted(labels.items()))


def exporter_of(stats: Stats, gauges: Gauges | None = None) -> Exporter:
    return Exporter(stats, lambda: gauges or Gauges())


def test_what_can_be_known_before_anything_happened_is_there_with_zero() -> None:
    stats = Stats(0.1)
    stats.database("shop")
    shown = samples(exporter_of(stats))
    for result in ("hit", "miss", "bypass"):
        assert shown[key("forebay_cache_requests_total", database="shop", result=result)] == 0
    assert key("forebay_cache_requests_total", database="shop", result="write") not in shown
    assert shown[key("forebay_slow_queries_total", database="shop")] == 0
    assert shown[key("forebay_query_duration_seconds_count", database="shop")] == 0


def test_turns_show_under_the_promised_names() -> None:
    stats = Stats(0.1)
    db, digest = stats.database("shop"), stats.digest("d1", "select $1")
    stats.finish(db, digest, "ann", "web", 0.0, 0.0, 0.00004, Outcome.HIT)
    stats.finish(db, digest, "ann", "web", 0.02, 0.2, 0.25, Outcome.MISS)
    stats.finish(db, digest, "ann", "web", 0.0, 0.003, 0.004, Outcome.BYPASS, "23505", reason="locking")
    stats.invalidation(db, "write")
    stats.pin("temp_table")
    shown = samples(exporter_of(stats))
    expected = {
        key("forebay_cache_requests_total", database="shop", result="hit"): 1,
        key("forebay_cache_requests_total", database="shop", result="miss"): 1,
        key("forebay_cache_requests_total", database="shop", result="bypass"): 1,
        key("forebay_cache_bypass_total", database="shop", reason="locking"): 1,
        key("forebay_cache_invalidations_total", database="shop", cause="write"): 1,
        key("forebay_query_duration_seconds_count", database="shop"): 3,
        key("forebay_query_duration_seconds_sum", database="shop"): 0.00004 + 0.25 + 0.004,
        key("forebay_query_duration_seconds_bucket", database="shop", le="5e-05"): 1,
        key("forebay_query_duration_seconds_bucket", database="shop", le="0.1"): 2,
        key("forebay_query_duration_seconds_bucket", database="shop", le="0.25"): 3,
        key("forebay_query_duration_seconds_bucket", database="shop", le="+Inf"): 3,
        key("forebay_server_duration_seconds_count", database="shop"): 2,
        key("forebay_pool_wait_seconds_count", database="shop"): 2,
        key("forebay_pool_wait_seconds_sum", database="shop"): 0.02,
        key("forebay_pins_total", reason="temp_table"): 1,
        key("forebay_slow_queries_total", database="shop"): 1,
        key("forebay_errors_total", sqlstate="23505"): 1,
        key("forebay_query_errors_total", database="shop"): 1,
        key("forebay_app_queries_total", database="shop", application="web"): 3,
        key("forebay_digest_info", digest="d1", summary="select $1"): 1,
    }
    assert {name: shown.get(name) for name in expected} == expected


def test_gauges_show_at_the_scrape() -> None:
    stats = Stats(0.1)
    moment = [Gauges(servers={("shop", "ann", "active"): 2}, build={"version": "0.1.0"})]
    exporter = Exporter(stats, lambda: moment[0])
    shown = samples(exporter)
    assert shown[key("forebay_servers", database="shop", user="ann", state="active")] == 2
    assert shown[key("forebay_build_info", version="0.1.0")] == 1
    assert key("forebay_cache_bytes") not in shown
    pool = ("shop", "ann")
    moment[0] = Gauges(
        clients={(*pool, "idle"): 3},
        waiting={pool: 4},
        oldest_wait={pool: 0.5},
        pool_limit={pool: 20},
        upstream_up={"shop": False},
        connects={("shop", "53300"): 6},
        login_failures={"password": 7},
        prepared_entries={"shop": 8},
        prepared_parses={("shop", "server"): 9},
        cache_bytes=10,
        cache_limit_bytes=11,
        cache_entries=12,
        cache_evictions={"full": 13},
        cache_fills=14,
        reloads={"failed": 15},
        started=16.0,
    )
    shown = samples(exporter)
    both = {"database": "shop", "user": "ann"}
    expected = {
        key("forebay_clients", **both, state="idle"): 3,
        key("forebay_pool_waiting", **both): 4,
        key("forebay_pool_oldest_wait_seconds", **both): 0.5,
        key("forebay_pool_size_limit", **both): 20,
        key("forebay_server_up", database="shop"): 0,
        key("forebay_server_connects_total", database="shop", outcome="53300"): 6,
        key("forebay_login_failures_total", reason="password"): 7,
        key("forebay_prepared_statements", database="shop"): 8,
        key("forebay_prepared_parses_total", database="shop", peer="server"): 9,
        key("forebay_cache_bytes"): 10,
        key("forebay_cache_limit_bytes"): 11,
        key("forebay_cache_entries"): 12,
        key("forebay_cache_evictions_total", cause="full"): 13,
        key("forebay_cache_fills_total"): 14,
        key("forebay_config_reloads_total", result="failed"): 15,
        key("forebay_start_time_seconds"): 16.0,
    }
    assert {name: shown.get(name) for name in expected} == expected


def test_hostile_names_neither_break_nor_merge_anything() -> None:
    stats = Stats(0.1)
    names = ['a"} 1\nforged_total 5', "a\\n", "a\n", "\udc80", "", "x" * 5000]
    for name in names:
        db = stats.database(name)
        stats.finish(db, None, name, name, 0.0, 0.1, 0.2, Outcome.MISS)
    gauges = Gauges(servers={(name, name, "idle"): 1 for name in names})
    exporter = exporter_of(stats, gauges)
    shown = samples(exporter)
    assert not any(name == "forged_total" for name, _ in shown)
    found = families(exporter)
    assert len({s.labels["database"] for s in found["forebay_servers"].samples}) == len(names)


def test_every_family_has_a_help_text_and_the_exporters_own_registry() -> None:
    one, two = exporter_of(Stats(0.1)), exporter_of(Stats(0.1))
    assert set(families(one)) == set(families(two))
    assert all(family.documentation for family in families(one).values())
    assert one.content_type.startswith("text/plain; version=0.0.4")


turns = st.lists(
    st.tuples(
        st.sampled_from(["shop", "crm"]),
        st.sampled_from("abcdef"),
        st.sampled_from(list(Outcome)),
        st.floats(-0.001, 40.0),
        st.sampled_from([None, "23505", "40001"]),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(turns, max_size=4))
def test_counters_never_go_back(scrapes: list[list[tuple[str, str, Outcome, float, str | None]]]) -> None:
    stats = Stats(0.1, max_digests=4)
    exporter = exporter_of(stats)
    before: dict[Key, float] = {}
    for batch in scrapes:
        for name, shape, outcome, seconds, sqlstate in batch:
            server = 0.0 if outcome in (Outcome.HIT, Outcome.LOCAL) else seconds
            digest = stats.digest(shape, f"select {shape}")
            stats.finish(stats.database(name), digest, "ann", shape, seconds / 9, server, seconds, outcome, sqlstate)
        after = samples(exporter)
        kinds = families(exporter)
        growing = {
            sample.name
            for family in kinds.values()
            if family.type in ("counter", "histogram") and family.name.startswith("forebay_")
            for sample in family.samples
        }
        assert "forebay_digest_calls_total" in growing
        for series, value in before.items():
            if series[0] in growing and series in after:
                assert after[series] >= value, series
        for name in ("shop", "crm"):
            buckets = [
                after[key("forebay_query_duration_seconds_bucket", database=name, le=le)]
                for le in [*(f"{bound:g}" for bound in EXPOSED), "+Inf"]
                if key("forebay_query_duration_seconds_bucket", database=name, le=le) in after
            ]
            assert buckets == sorted(buckets)
        before = after
