"""How many connections to open and which to close: tables and laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.plan import PoolLimits, Situation, retry_delay, to_close, to_open

CALM = Situation(idle=0, busy=0, opening=0, waiting=0, longest_wait=0.0, failing=False, held_back=False)


def at(**changes: float) -> Situation:
    """A calm pool but for these."""
    values = {name: getattr(CALM, name) for name in Situation.__slots__}
    return Situation(**{**values, **changes})


@pytest.mark.parametrize(
    ("now", "limits", "count"),
    [
        (at(), PoolLimits(size=5), 0),
        (at(waiting=3), PoolLimits(size=5), 3),
        (at(waiting=9), PoolLimits(size=5), 5),
        (at(waiting=3, opening=2), PoolLimits(size=5), 1),
        (at(waiting=2, opening=2), PoolLimits(size=5), 0),
        (at(waiting=3, busy=4), PoolLimits(size=5), 1),
        (at(waiting=3, busy=5), PoolLimits(size=5), 0),
        (at(waiting=3, busy=7), PoolLimits(size=5), 0),
        (at(), PoolLimits(size=5, min_size=3), 3),
        (at(idle=1, busy=1), PoolLimits(size=5, min_size=3), 1),
        (at(opening=3), PoolLimits(size=5, min_size=3), 0),
        (at(waiting=2, busy=5, longest_wait=4.9), PoolLimits(size=5, reserve_size=3, reserve_timeout=5), 0),
        (at(waiting=2, busy=5, longest_wait=5.0), PoolLimits(size=5, reserve_size=3, reserve_timeout=5), 2),
        (at(waiting=9, busy=6, longest_wait=5.0), PoolLimits(size=5, reserve_size=3, reserve_timeout=5), 2),
        (at(waiting=9, failing=True), PoolLimits(size=5), 1),
        (at(waiting=9, failing=True, opening=1), PoolLimits(size=5), 0),
        (at(waiting=9, failing=True, held_back=True), PoolLimits(size=5), 0),
        (at(waiting=9, held_back=True), PoolLimits(size=5), 0),
    ],
)
def test_opening(now: Situation, limits: PoolLimits, count: int) -> None:
    assert to_open(now, limits) == count


_counts = st.integers(0, 30)
_situations = st.builds(
    Situation,
    idle=_counts,
    busy=_counts,
    opening=_counts,
    waiting=_counts,
    longest_wait=st.floats(0, 20),
    failing=st.booleans(),
    held_back=st.booleans(),
)


@given(_situations, st.integers(1, 20), st.integers(0, 20), st.integers(0, 5))
def test_opening_never_goes_beyond_what_is_allowed(now: Situation, size: int, least: int, reserve: int) -> None:
    limits = PoolLimits(size=size, min_size=min(least, size), reserve_size=reserve)
    count = to_open(now, limits)
    total = now.idle + now.busy + now.opening
    assert count >= 0
    assert count == 0 or total + count <= size + (reserve if now.longest_wait >= limits.reserve_timeout else 0)
    assert count == 0 or not now.held_back
    assert not now.failing or now.opening + count <= max(1, now.opening)
    assert count <= max(now.waiting, limits.min_size)


def test_closing_by_age_and_by_idleness() -> None:
    limits = PoolLimits(idle_timeout=10, min_size=2)
    assert to_close([0, 5, 50, 95], [0, 0, 0, 0], 4, 100, limits) == [0, 1], "two stay, even if idle"
    assert to_close([0, 5, 50, 95], [0, 0, 0, 0], 6, 100, limits) == [0, 1, 2], "busy ones count"
    assert to_close([99, 99], [100, 101], 2, 100, limits) == [0], "past its lifetime, whatever min_size says"
    assert to_close([0], [0], 9, 100, PoolLimits(idle_timeout=0)) == [], "0 = never"
    assert to_close([90], [0], 9, 100, PoolLimits(idle_timeout=10)) == [0], "exactly then"


@given(st.integers(1, 2000), st.floats(0, 1, exclude_max=True), st.floats(0.01, 1), st.floats(1, 60))
def test_the_pause_grows_up_to_its_limit(failures: int, jitter: float, first: float, longest: float) -> None:
    limits = PoolLimits(retry_delay=first, retry_max=longest)
    delay = retry_delay(failures, limits, jitter)
    assert 0.5 * first < delay <= longest
    assert retry_delay(failures + 1, limits, jitter) >= delay
    assert retry_delay(1, limits, jitter) <= first
