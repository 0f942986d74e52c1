from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats.counters import MAX_APPLICATIONS, OTHER, UNNAMED, DatabaseStats
from stats.digests import Digests


def call(digests: Digests, name: str) -> None:
    digest = digests.get(name, f"select {name}")
    digest.calls += 1
    digest.total += 1.0
    digest.counts[3] += 1


def test_a_shape_keeps_its_counters() -> None:
    digests = Digests(2)
    assert digests.get("a", "select $1") is digests.get("a", "select $1")
    assert digests.find("a") is digests.get("a", "")
    assert digests.find("b") is None


def test_a_flood_of_unique_shapes_evicts_only_itself() -> None:
    digests = Digests(4)
    for _ in range(2):
        call(digests, "used")
    for number in range(100):
        call(digests, f"once{number}")
        call(digests, "used")
    used = digests.find("used")
    assert used is not None
    assert used.calls == 102
    assert len(digests) == 4
    assert digests.evictions == 97
    assert digests.other.calls == 97


def test_what_is_no_longer_used_goes() -> None:
    digests = Digests(2)
    for _ in range(5):
        call(digests, "old")
    call(digests, "a")
    for name in ("b", "c", "d"):
        call(digests, name)
    assert digests.find("old") is None


def test_the_evicted_one_is_dead_and_folded() -> None:
    digests = Digests(1)
    gone = digests.get("a", "")
    gone.calls, gone.errors, gone.hits, gone.served, gone.slow, gone.rows = 1, 2, 3, 4, 5, 6
    gone.total, gone.server, gone.queue, gone.saved, gone.maximum = 1.0, 2.0, 3.0, 4.0, 5.0
    gone.counts[7] = 1
    digests.get("b", "")
    other = digests.other
    assert not gone.live
    assert (other.calls, other.errors, other.hits, other.served, other.slow, other.rows) == (1, 2, 3, 4, 5, 6)
    assert (other.total, other.server, other.queue, other.saved, other.maximum) == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert other.counts[7] == 1


@given(st.lists(st.integers(0, 12), max_size=200), st.integers(1, 6))
def test_the_table_is_bounded_and_loses_no_call(names: list[int], limit: int) -> None:
    digests = Digests(limit)
    for name in names:
        call(digests, str(name))
        assert len(digests) <= limit
    everything = [*digests.all(), digests.other]
    assert sum(digest.calls for digest in everything) == len(names)
    assert sum(sum(digest.counts) for digest in everything) == len(names)


def test_when_all_are_in_use_a_new_shape_still_finds_room() -> None:
    digests = Digests(100)
    for _ in range(3):
        for number in range(100):
            call(digests, str(number))
    call(digests, "new")
    assert digests.find("new") is not None
    assert len(digests) == 100
    assert sum(digest.looked == digest.calls for digest in digests.all()) < 50, "a new shape costs too much"


def test_top_is_ordered_by_the_key() -> None:
    digests = Digests(10)
    for number in range(5):
        digests.get(str(number), "").total = float(number)
        digests.get(str(number), "").calls = -number
    assert [digest.fingerprint for digest in digests.top(2)] == ["4", "3"]
    assert [digest.fingerprint for digest in digests.top(1, lambda digest: digest.calls)] == ["0"]


def test_texts_are_redacted_and_bounded() -> None:
    digests = Digests(10)
    assert digests.get("a", "select 'secret'\n").text == "select ?"
    assert len(digests.get("b", "select a" + ",a" * 1_000_000).text) <= 2000


def test_there_is_room_for_one() -> None:
    with pytest.raises(ValueError, match="room"):
        Digests(0)


def test_applications_are_bounded_and_each_shown_once() -> None:
    db = DatabaseStats("shop")
    for number in range(3 * MAX_APPLICATIONS):
        db.application(f"app{number}").calls += 1
    rows = db.by_application()
    assert len(rows) == MAX_APPLICATIONS + 1
    assert {app.name: app.calls for app in rows}[OTHER] == 2 * MAX_APPLICATIONS
    assert len(db.applications) == MAX_APPLICATIONS


def test_applications_that_look_the_same_are_one() -> None:
    db = DatabaseStats("shop")
    assert db.application("") is db.application(UNNAMED)
    assert db.application("a\n") is db.application(r"a\n")
    db.application(OTHER).calls += 1
    for number in range(MAX_APPLICATIONS):
        db.application(str(number)).calls += 1
    rows = db.by_application()
    assert len({app.name for app in rows}) == len(rows)
    assert sum(app.calls for app in rows) == 1 + MAX_APPLICATIONS
