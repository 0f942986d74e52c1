from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stats.counters import OTHER
from stats.ranking import MEASURES, Ranking
from stats.records import Outcome
from stats.stats import Stats


class Ranked:
    """Two places, held for 100 seconds, on a clock that the test moves."""

    def __init__(self, max_digests: int = 100) -> None:
        self.now = 0.0
        self.stats = Stats(0.0, max_digests)
        self.ranking = Ranking(2, 100.0, lambda: self.now)

    def call(self, name: str, seconds: float) -> None:
        db = self.stats.database("shop")
        outcome = Outcome.HIT if seconds < 0.1 else Outcome.MISS
        server = 0.0 if outcome is Outcome.HIT else seconds
        self.stats.finish(db, self.stats.digest(name, name), "ann", "web", 0.0, server, seconds, outcome, rows=1)

    def scrape(self) -> dict[str, tuple[float, ...]]:
        return {row.digest: row.values for row in self.ranking.series(self.stats)}


def test_the_costly_ones_get_places_and_the_rest_is_other() -> None:
    ranked = Ranked()
    for name, seconds in (("a", 1.0), ("b", 2.0), ("c", 4.0)):
        ranked.call(name, seconds)
    first = ranked.scrape()
    assert set(first) == {"b", "c", OTHER}
    assert not any(first["b"])
    assert list(first[OTHER]) == [3, 0, 0, 3, 7.0, 7.0, 0.0]
    for name in ("a", "b", "c"):
        ranked.call(name, 0.5)
    ranked.call("c", 0.01)
    second = ranked.scrape()
    assert list(second["b"]) == [1, 0, 0, 1, 0.5, 0.5, 0.0]
    assert list(second["c"])[:4] == [2, 0, 1, 2]
    assert list(second[OTHER])[:6] == [4, 0, 0, 4, 7.5, 7.5]


def test_a_place_is_held_and_then_contested_by_recent_cost() -> None:
    ranked = Ranked()
    ranked.call("a", 50.0)
    ranked.call("b", 40.0)
    ranked.scrape()
    ranked.now = 99.0
    ranked.call("c", 1000.0)
    assert set(ranked.scrape()) == {"a", "b", OTHER}
    ranked.now = 100.0
    assert set(ranked.scrape()) == {"a", "c", OTHER}
    ranked.now = 200.0
    ranked.call("b", 3.0)
    ranked.call("c", 2.0)
    ranked.call("a", 1.0)
    assert set(ranked.scrape()) == {"b", "c", OTHER}


def test_a_place_got_between_contests_is_held_as_long() -> None:
    ranked = Ranked()
    ranked.call("a", 50.0)
    ranked.scrape()
    ranked.now = 60.0
    ranked.call("b", 1.0)
    assert set(ranked.scrape()) == {"a", "b", OTHER}
    ranked.call("c", 40.0)
    ranked.now = 100.0
    assert set(ranked.scrape()) == {"a", "b", OTHER}
    ranked.now = 200.0
    ranked.call("c", 40.0)
    ranked.call("a", 50.0)
    assert set(ranked.scrape()) == {"a", "c", OTHER}


def test_an_evicted_digest_gives_its_place_away() -> None:
    ranked = Ranked(max_digests=1)
    ranked.call("a", 1.0)
    assert set(ranked.scrape()) == {"a", OTHER}
    ranked.call("b", 1.0)
    assert set(ranked.scrape()) == {"b", OTHER}


def test_a_digest_that_was_evicted_and_came_back_goes_on() -> None:
    ranked = Ranked(max_digests=1)
    ranked.call("a", 1.0)
    ranked.scrape()
    ranked.call("a", 1.0)
    for name in "bca":
        ranked.call(name, 1.0)
    assert ranked.scrape()["a"][0] == 2
    ranked.call("a", 1.0)
    assert ranked.scrape()["a"][0] == 3


steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abcdefgh"), st.floats(0.0, 3.0)),
        st.floats(1.0, 60.0),
    ),
    max_size=60,
)


@given(steps, st.integers(1, 8))
def test_no_series_goes_back_and_nothing_is_counted_twice(
    history: list[tuple[str, float] | float], max_digests: int
) -> None:
    ranked = Ranked(max_digests)
    before = ranked.scrape()
    gained = 0.0
    for step in history:
        if isinstance(step, tuple):
            ranked.call(*step)
        else:
            ranked.now += step
        after = ranked.scrape()
        # What the series gained together, as increase() would see it, is at most what was counted.
        for name, values in after.items():
            old = before.get(name, (0.0,) * len(MEASURES))
            if name in before:
                assert all(new >= value for new, value in zip(values, old, strict=True))
            gained += values[0] - old[0]
        assert len(after) <= 3
        before = after
    assert gained == sum(isinstance(step, tuple) for step in history)
