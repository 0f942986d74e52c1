from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.console.shows import SHOWS
from proxy.console.traffic import Averages
from proxy.console.view import Period, Traffic
from tests.proxy.console.still import StillView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.console.table import Value

SHOP = Traffic(600, 1_200, 2_400, 36_000_000, 48_000_000, 3_000_000)
BLOG = Traffic(60, 60, 60, 600, 600, 600)
VIEW = StillView(traffic={"shop": SHOP, "blog": BLOG}, last_period=Period(60.0, {"shop": SHOP}))


def rows(name: str, view: StillView = VIEW) -> dict[Value, Mapping[str, Value]]:
    """A table's rows by their first value."""
    names = [column.name for column in SHOWS[name].columns]
    return {row[0]: dict(zip(names, row, strict=True)) for row in SHOWS[name].rows(view)}


def test_totals_of_each_database() -> None:
    shop = rows("stats")["shop"]
    assert shop["total_server_assignment_count"] == 600
    assert shop["total_xact_count"] == 1_200
    assert shop["total_query_count"] == 2_400
    assert (shop["total_xact_time"], shop["total_query_time"]) == (36_000_000, 48_000_000)
    assert shop["total_wait_time"] == 3_000_000
    short = rows("stats_totals")["shop"]
    assert (short["server_assignment_count"], short["wait_time"]) == (600, 3_000_000)


def test_averages_are_a_second_or_one_of_its_kind() -> None:
    shop = rows("stats")["shop"]
    assert (shop["avg_server_assignment_count"], shop["avg_xact_count"], shop["avg_query_count"]) == (10, 20, 40)
    assert (shop["avg_xact_time"], shop["avg_query_time"], shop["avg_wait_time"]) == (30_000, 20_000, 5_000)
    averages = rows("stats_averages")["shop"]
    assert (averages["query_count"], averages["query_time"]) == (40, 20_000)


def test_a_database_without_traffic_in_the_period_has_zeros() -> None:
    blog = rows("stats")["blog"]
    assert blog["total_query_count"] == 60
    assert all(value == 0 for name, value in blog.items() if name.startswith("avg_"))


def test_no_time_has_passed() -> None:
    shop = rows("stats", replace(VIEW, last_period=Period(0.0, {"shop": SHOP})))["shop"]
    assert (shop["avg_query_count"], shop["avg_query_time"]) == (0, 20_000)


def test_totals_add_up_all_databases() -> None:
    totals = {name: row["value"] for name, row in rows("totals").items()}
    assert totals["total_query_count"] == 2_460
    assert totals["total_wait_time"] == 3_000_600
    assert totals["avg_query_count"] == 40
    assert totals["total_client_bytes"] == 0
    assert next(iter(totals)) == "total_server_assignment_count"
    assert list(totals)[-1] == "avg_ps_bind_count"


def test_averages_are_of_the_last_complete_period() -> None:
    averages = Averages(now=100.0)
    ten = {"shop": Traffic(queries=10)}
    thirty = {"shop": Traffic(queries=30)}
    assert averages.period(ten, now=105.0) == Period(5.0, ten)  # there is none yet
    averages.roll(ten, now=160.0)
    assert averages.period(thirty, now=170.0) == Period(60.0, ten)
    averages.roll(thirty, now=220.0)
    assert averages.period(thirty, now=230.0) == Period(60.0, {"shop": Traffic(queries=20)})


def test_counters_that_began_anew_give_no_negative_averages() -> None:
    averages = Averages(now=0.0)
    averages.roll({"shop": Traffic(assignments=50, queries=10)}, now=60.0)
    averages.roll({"shop": Traffic(assignments=5, queries=15)}, now=120.0)
    assert averages.period({}, now=121.0).traffic == {"shop": Traffic(assignments=0, queries=5)}
