"""Tags of tables and of databases."""

from __future__ import annotations

from cache.tags import read_tags, write_tags


def test_a_read_depends_on_its_tables_and_on_its_database() -> None:
    assert read_tags("shop", [1, 2]) == {("shop", 1), ("shop", 2), ("shop", None)}
    assert read_tags("shop", []) == {("shop", None)}


def test_a_write_touches_its_tables_only() -> None:
    assert write_tags("shop", [1, 2]) == {("shop", 1), ("shop", 2)}
    assert write_tags("shop", []) == frozenset()


def test_a_write_of_unknown_reach_touches_what_every_read_of_its_database_depends_on() -> None:
    assert write_tags("shop", None) & read_tags("shop", [])
    assert not write_tags("shop", None) & read_tags("other", [1])
