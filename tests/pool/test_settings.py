"""Profiles are interned, and the text between two of them does on a real server what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.settings import Profiles, identifier, literal, switch_query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import Cluster

_names = st.sampled_from(["timezone", "datestyle", "work_mem", "app.user", "client_encoding"])
_values = st.dictionaries(_names, st.sampled_from(["a", "b", ""]), max_size=4)


@given(_values, _values)
def test_equal_settings_are_one_object(left: dict[str, str], right: dict[str, str]) -> None:
    profiles = Profiles()
    assert (profiles.of(left) is profiles.of(dict(right))) == (left == right)
    assert profiles.of({}) is profiles.empty


@given(_values, _names, st.sampled_from(["a", "b", None]))
def test_one_setting_changes(values: dict[str, str], name: str, value: str | None) -> None:
    profiles = Profiles()
    changed = profiles.changed(profiles.of(values), name.upper(), value)
    rest = {n: v for n, v in values.items() if n != name}
    assert changed is profiles.of(rest if value is None else {**rest, name: value})


def test_a_profile_that_was_forgotten_still_differs_from_all_others() -> None:
    profiles = Profiles(limit=2)
    old = profiles.of({"a": "1"})
    for number in range(5):
        profiles.of({"b": str(number)})
    again = profiles.of({"a": "1"})
    assert again is not old
    assert switch_query(old, again) == b"", "other object, same settings"
    assert again.number != old.number
    assert profiles.of({}) is profiles.empty


def test_the_text_between_two_profiles() -> None:
    profiles = Profiles()
    left = profiles.of({"a": "1", "b": "2", "app.user": "x"})
    right = profiles.of({"client_encoding": "LATIN1", "b": "3", "zz": "it's"})
    assert switch_query(left, right) == (
        b"""RESET "a";RESET "app"."user";SELECT pg_catalog.set_config('b', '3', false), """
        b"""pg_catalog.set_config('zz', 'it''s', false), pg_catalog.set_config('client_encoding', 'LATIN1', false)"""
    )
    assert switch_query(left, right) is switch_query(left, right), "kept"
    for number in range(200):
        switch_query(profiles.of({"n": str(number)}), right)
    assert switch_query(profiles.empty, profiles.empty) == b""


def test_names_are_quoted_by_their_parts() -> None:
    assert identifier('my."odd".name') == '"my"."""odd"""."name"'


@pytest.fixture(scope="module")
def connection(postgres: Cluster) -> Iterator[psycopg.Connection[tuple[str]]]:
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("conforming", ["on", "off"])
@pytest.mark.parametrize("text", ["plain", "it's", r"back\slash", r"\'; DROP TABLE x; --", "ü", "a\nb", "''", r"\\"])
def test_a_literal_means_itself(connection: psycopg.Connection[tuple[str]], conforming: str, text: str) -> None:
    connection.execute(f"SET standard_conforming_strings = {conforming}".encode())
    found = connection.execute(f"SELECT {literal(text)}".encode()).fetchone()
    assert found == (text,)


def test_a_switch_does_what_it_says(connection: psycopg.Connection[tuple[str]]) -> None:
    profiles = Profiles()
    path = '"my schema", public'
    wanted = profiles.of({"search_path": path, "app.user": "Ann's", "work_mem": "7MB", "datestyle": "SQL, DMY"})
    connection.execute(switch_query(profiles.empty, wanted))
    for name, value in wanted.values.items():
        assert connection.execute("SELECT current_setting(%s)", (name,)).fetchone() == (value,)
    connection.execute(switch_query(wanted, profiles.of({"work_mem": "7MB"})))
    assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)
    assert connection.execute("SELECT current_setting('app.user', true)").fetchone() == ("",)
    assert connection.execute("SHOW work_mem").fetchone() == ("7MB",)


def test_texts_are_read_by_some_settings_and_not_by_others() -> None:
    profiles = Profiles()
    place = profiles.of({"datestyle": "ISO, DMY", "search_path": "a"}).place
    assert profiles.of({"search_path": "a", "datestyle": "ISO, DMY", "work_mem": "1MB", "app.user": "7"}).place == place
    assert len({place, profiles.of({"datestyle": "ISO, DMY"}).place, profiles.empty.place}) == 3
