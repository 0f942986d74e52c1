from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stats.histogram import BOUNDS, EXPOSED, Histogram, quantile

durations = st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=60)


def test_bounds_ascend_and_contain_the_exposed_ones() -> None:
    assert list(BOUNDS) == sorted(set(BOUNDS))
    assert set(EXPOSED) <= set(BOUNDS)
    assert list(EXPOSED) == sorted(set(EXPOSED))


@given(durations)
def test_exposed_buckets_hold_what_prometheus_defines(values: list[float]) -> None:
    seen = Histogram()
    for value in [*values, *EXPOSED]:
        seen.observe(value)
    for bound, count in seen.exposed():
        assert count == sum(value <= bound for value in [*values, *EXPOSED])
    assert seen.count == len(values) + len(EXPOSED)


def test_what_is_no_duration_counts_as_zero() -> None:
    seen = Histogram()
    seen.observe(-1.0)
    seen.observe(float("nan"))
    assert seen.counts[0] == 2
    assert seen.sum == 0.0


@given(durations, st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_exact_one(values: list[float], share: float) -> None:
    seen = Histogram()
    for value in values:
        seen.observe(value)
    estimate = quantile(seen.counts, share, max(values))
    assert estimate is not None
    wanted = share * len(values)
    exact = next(value for rank, value in enumerate(sorted(values), 1) if rank >= wanted)
    lower = max((bound for bound in BOUNDS if bound < exact), default=0.0)
    upper = min((bound for bound in BOUNDS if bound >= exact), default=max(values))
    assert lower <= estimate <= upper
    assert estimate <= max(values)


def test_quantiles_of_nothing_and_above_all_bounds() -> None:
    empty = Histogram()
    assert quantile(empty.counts, 0.5) is None
    empty.observe(500.0)
    assert quantile(empty.counts, 0.5) == BOUNDS[-1]
    assert quantile(empty.counts, 1.0, 500.0) == 500.0


def test_a_quantile_is_interpolated_inside_its_bucket() -> None:
    seen = Histogram()
    for _ in range(100):
        seen.observe(0.0012)
    half, most = quantile(seen.counts, 0.5), quantile(seen.counts, 1.0)
    assert half is not None
    assert most == 0.0014
    assert abs(half - 0.0012) < 1e-9
