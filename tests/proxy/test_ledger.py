"""What a session has done, turn by turn, and what is in doubt meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.knowledge import Doubt
from proxy.ledger import Ledger
from sql.facts import Pin
from tests.proxy.judging import IN_B, LOG, T, World

if TYPE_CHECKING:
    from proxy.database import Database

IDLE, OPEN = ord("I"), ord("T")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def database(world: World) -> Database:
    return world.database()


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


def doubt(ledger: Ledger) -> Doubt:
    return ledger.doubt


def test_an_autocommitted_write_is_in_doubt_until_it_is_answered(
    world: World, database: Database, ledger: Ledger
) -> None:
    turn = world.send(ledger, database, "UPDATE t SET v = 1")
    assert world.doubted(T, LOG) == {T}
    ledger.finished(turn, IDLE, b"UPDATE 1")
    assert world.doubted(T, LOG) == set()


def test_in_a_block_it_is_in_doubt_from_its_commit_on(world: World, database: Database, ledger: Ledger) -> None:
    ledger.finished(world.send(ledger, database, "BEGIN"), OPEN, b"BEGIN")
    ledger.finished(world.send(ledger, database, "UPDATE t SET v = 1", block=True), OPEN, b"UPDATE 1")
    assert world.doubted(T) == set()
    turn = world.send(ledger, database, "COMMIT", block=True)
    assert world.doubted(T, LOG) == {T}
    ledger.finished(turn, IDLE, b"COMMIT")
    assert world.doubted(T) == set()
    assert not ledger.in_block


def test_a_rollback_marks_nothing(world: World, database: Database, ledger: Ledger) -> None:
    ledger.finished(world.send(ledger, database, "BEGIN"), OPEN, b"BEGIN")
    ledger.finished(world.send(ledger, database, "UPDATE t SET v = 1", block=True), OPEN, b"UPDATE 1")
    turn = world.send(ledger, database, "ROLLBACK", block=True)
    assert world.doubted(T) == set()
    ledger.finished(turn, IDLE, b"ROLLBACK")
    assert not ledger.in_block


def test_a_commit_sent_in_a_rush_marks_what_is_in_flight(world: World, database: Database, ledger: Ledger) -> None:
    begin = world.send(ledger, database, "BEGIN")
    update = world.send(ledger, database, "UPDATE t SET v = 1", begin)
    commit = world.send(ledger, database, "COMMIT", begin, update)
    ledger.finished(begin, OPEN, b"BEGIN")
    ledger.finished(update, OPEN, b"UPDATE 1")
    assert world.doubted(T, LOG) == {T}
    ledger.finished(commit, IDLE, b"COMMIT")
    assert world.doubted(T) == set()


def test_a_definition_in_a_block_counts_from_its_commit_on(world: World, database: Database, ledger: Ledger) -> None:
    ledger.finished(world.send(ledger, database, "BEGIN"), OPEN, b"BEGIN")
    ledger.finished(world.send(ledger, database, "ALTER TABLE t ADD x int", block=True), OPEN, b"ALTER TABLE")
    assert database.catalog is None
    newest = database._newest
    assert newest is not None
    database.learnt(newest, ("cluster", 5))  # the probe has seen nothing new yet
    ledger.finished(world.send(ledger, database, "COMMIT", block=True), IDLE, b"COMMIT")
    assert database.catalog is None


def test_a_place_that_moves_is_looked_for_everywhere(world: World, database: Database, ledger: Ledger) -> None:
    moved = world.send(ledger, database, "SET search_path = b")
    assert doubt(ledger) is Doubt.PLACE
    update = world.send(ledger, database, "UPDATE t SET v = 1", moved)
    assert world.doubted(T, IN_B, LOG) == {T, IN_B}
    ledger.finished(moved, IDLE, b"SET")
    assert doubt(ledger) is Doubt.PLACE
    ledger.finished(update, IDLE, b"UPDATE 1")
    assert doubt(ledger) is Doubt.NONE


def test_within_one_query_a_place_moves_too(world: World, database: Database, ledger: Ledger) -> None:
    world.send(ledger, database, "SET LOCAL ROLE somebody; UPDATE t SET v = 1")
    assert world.doubted(T, IN_B, LOG) == {T, IN_B}


def test_with_a_temporary_table_a_write_goes_anywhere(world: World, database: Database, ledger: Ledger) -> None:
    ledger.finished(world.send(ledger, database, "CREATE TEMP TABLE t (v int)"), IDLE, b"CREATE TABLE")
    assert ledger.pins == {Pin.TEMP_TABLE}
    turn = world.send(ledger, database, "UPDATE t SET v = 1")
    assert world.doubted(T, LOG, IN_B) == {T, LOG, IN_B}
    ledger.finished(turn, IDLE, b"UPDATE 1")
    assert world.send(ledger, database, "SELECT v FROM log").effects is None


@pytest.mark.parametrize(("tag", "sqlstate"), [(b"ROLLBACK", None), (b"", "23505"), (b"COMMIT", None)])
def test_settings_follow_their_transaction(
    world: World, database: Database, ledger: Ledger, tag: bytes, sqlstate: str | None
) -> None:
    ledger.finished(world.send(ledger, database, "BEGIN"), OPEN, b"BEGIN")
    ledger.finished(world.send(ledger, database, "SET extra_float_digits = 0", block=True), OPEN, b"SET")
    commit = world.send(ledger, database, "COMMIT", block=True)
    commit.sqlstate = sqlstate
    assert ledger.finished(commit, IDLE, tag) is (tag == b"COMMIT")
    assert [change.name for change in ledger.take_settings()] == (["extra_float_digits"] if tag == b"COMMIT" else [])


def test_settings_of_blocks_within_one_query_pin(world: World, database: Database, ledger: Ledger) -> None:
    turn = world.send(ledger, database, "BEGIN; SET extra_float_digits = 0; ROLLBACK; SET enable_sort = off")
    ledger.finished(turn, IDLE, b"SET")
    assert Pin.SETTING_IN_TRANSACTION in ledger.pins


def test_a_statement_that_failed_pins_nothing(world: World, database: Database, ledger: Ledger) -> None:
    turn = world.send(ledger, database, "CREATE TEMP TABLE x (v int)")
    turn.sqlstate = "42P07"
    ledger.finished(turn, IDLE, b"")
    assert not ledger.pins
    assert doubt(ledger) is Doubt.NONE
