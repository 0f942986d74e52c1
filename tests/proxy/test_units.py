from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.units import duration, format_duration, format_size, size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("100ms", 0.1),
        ("60s", 60.0),
        ("5m", 300.0),
        ("5min", 300.0),
        ("1.5h", 5400.0),
        ("2d", 172800.0),
        ("250us", 0.00025),
        (" 3 S ", 3.0),
        ("7", 7.0),
        (7, 7.0),
        (0.25, 0.25),
        (0, 0.0),
    ],
)
def test_a_duration_is_read_as_seconds(text: object, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "value", ["", "s", "-1s", "1y", "1 2s", "1e3", "١s", True, None, [], -1, float("inf"), float("nan")]
)
def test_what_is_no_duration_is_refused_with_the_form(value: object) -> None:
    with pytest.raises(ValueError, match="must be a duration like"):
        duration(value)


def test_a_duration_that_overflows_timers_is_refused() -> None:
    assert duration("3650d") == 3650 * 86400
    with pytest.raises(ValueError, match="ten years"):
        duration("3651d")


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("128MiB", 2**27),
        ("1GiB", 2**30),
        ("64kB", 64000),
        ("1mb", 10**6),
        ("1.5KiB", 1536),
        ("10", 10),
        (10, 10),
    ],
)
def test_a_size_is_read_as_bytes(text: object, amount: int) -> None:
    assert size(text) == amount


@pytest.mark.parametrize("value", ["", "MiB", "-1", "1TiB", "1 2", False, None, -1])
def test_what_is_no_size_is_refused_with_the_form(value: object) -> None:
    with pytest.raises(ValueError, match="must be a size like"):
        size(value)


def test_a_size_is_a_whole_number_of_bytes_and_has_an_end() -> None:
    with pytest.raises(ValueError, match="whole number of bytes"):
        size("0.3KiB")
    with pytest.raises(ValueError, match="at most"):
        size("99999999GiB")


@given(st.integers(0, 10**7))
def test_written_sizes_are_read_back(amount: int) -> None:
    assert size(format_size(amount)) == amount


@given(st.one_of(st.integers(0, 10**6).map(float), st.floats(0.0001, 10**6)))
def test_written_durations_are_read_back(seconds: float) -> None:
    assert duration(format_duration(seconds)) == seconds


def test_durations_and_sizes_are_written_short() -> None:
    assert [format_duration(value) for value in (0.1, 60, 90, 7200, 0)] == ["100ms", "1m", "90s", "2h", "0"]
    assert [format_size(value) for value in (2**27, 2**30, 1000, 0)] == ["128MiB", "1GiB", "1000", "0"]
