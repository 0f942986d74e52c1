"""Keys: equal exactly when two requests may share an answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cache.key import extended_key, key_bytes, scope, simple_key

names = st.text(max_size=4)
scopes = st.tuples(
    names,
    st.integers(min_value=1, max_value=12),
    names,
    names,
    st.lists(names, max_size=3),
    st.dictionaries(names, names, max_size=3),
)
DEFAULT = ("7312", 16384, "app", "app", ["$user", "public"], {"TimeZone": "UTC"})


@given(scopes, scopes)
def test_scopes_are_equal_exactly_when_all_fields_are(
    one: tuple[str, int, str, str, list[str], dict[str, str]],
    other: tuple[str, int, str, str, list[str], dict[str, str]],
) -> None:
    assert (scope(*one) == scope(*other)) == (one == other)


def test_every_field_of_a_scope_matters() -> None:
    others = [
        ("7313", *DEFAULT[1:]),
        ("7312", 16385, *DEFAULT[2:]),
        (*DEFAULT[:2], "other", *DEFAULT[3:]),
        (*DEFAULT[:3], "other", *DEFAULT[4:]),
        (*DEFAULT[:4], ["public", "$user"], DEFAULT[5]),
        (*DEFAULT[:5], {"TimeZone": "CET"}),
        (*DEFAULT[:5], {}),
    ]
    assert len({scope(*fields) for fields in [DEFAULT, *others]}) == len(others) + 1


def test_fields_do_not_run_into_each_other() -> None:
    assert scope("1", 1, "ab", "c", [], {}) != scope("1", 1, "a", "bc", [], {})
    assert scope("1", 1, "a", "b", ["x", "y"], {}) != scope("1", 1, "a", "b", [], {"x": "y"})
    assert scope("1", 1, "a", "b", [], {"x": "yz"}) != scope("1", 1, "a", "b", [], {"xy": "z"})


def test_the_order_of_settings_does_not_matter() -> None:
    assert scope("1", 1, "a", "b", [], {"x": "1", "y": "2"}) == scope("1", 1, "a", "b", [], {"y": "2", "x": "1"})


def test_undecodable_bytes_stay_apart() -> None:
    one, other = (data.decode("utf-8", "surrogateescape") for data in (b"\xff", b"\xfe"))
    assert scope("1", 1, one, "b", [], {}) != scope("1", 1, other, "b", [], {})


def test_every_part_of_a_key_matters() -> None:
    keys = {
        extended_key(b"s", 1, b"q", b"t", b"b"),
        extended_key(b"S", 1, b"q", b"t", b"b"),
        extended_key(b"s", 2, b"q", b"t", b"b"),
        extended_key(b"s", 1, b"Q", b"t", b"b"),
        extended_key(b"s", 1, b"q", b"T", b"b"),
        extended_key(b"s", 1, b"q", b"t", b"B"),
    }
    assert len(keys) == 6


def test_simple_and_extended_never_share() -> None:
    assert simple_key(b"s", 1, b"q") != extended_key(b"s", 1, b"q", b"", b"")


def test_the_bytes_of_a_key_are_counted() -> None:
    assert key_bytes(simple_key(b"abc", 1, b"defg")) == 7
    assert key_bytes(extended_key(b"abc", 1, b"defg", b"hi", b"jklmn")) == 14
