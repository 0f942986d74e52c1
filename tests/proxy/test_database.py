"""Several names for one database, judgements that were overtaken, and outcomes that nobody hears."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pool.settings import Profile
from proxy.database import split_path
from proxy.ledger import Ledger
from tests.proxy.judging import IDENTITY, IN_B, LOG, T, World, catalog

IDLE, OPEN = ord("I"), ord("T")
ALL = {T, LOG, IN_B}


@pytest.fixture
def world() -> World:
    return World()


class Gone:
    """A server connection that was lost."""

    pid = 42


def test_two_names_share_their_tags(world: World) -> None:
    first, second = world.database("first"), world.database("second")
    stamp = world.cache.capture([(IDENTITY, None), (IDENTITY, T)])
    assert stamp is not None
    turn = world.send(Ledger(second), second, "UPDATE t SET v = 1")
    assert world.doubted(*ALL) == {T}
    second.unmark(turn)
    assert not stamp.live()
    assert first.identity == second.identity


class Servers:
    """A pool, as far as its process ids go."""

    def __init__(self, *pids: int) -> None:
        self.servers = [SimpleNamespace(pid=pid) for pid in pids]


def test_backends_are_those_of_all_names_that_surely_share_a_server(world: World) -> None:
    """Any other process with the number of one of ours may be a stranger."""
    own, same, standby = world.database("own", known=False), world.database("same"), world.database("standby")
    unknown, elsewhere = world.database("unknown", known=False), world.database("elsewhere", known=False)
    elsewhere.learnt(catalog(), ("other cluster", 5))
    standby.unfit = True
    for pid, database in enumerate((own, same, standby, unknown, elsewhere)):
        database.pools["u"] = Servers(pid)  # type: ignore[assignment]  # only its servers are asked for
    assert own.backends(IDENTITY) == {0, 1}


def test_a_definition_under_one_name_puts_the_other_in_doubt(world: World) -> None:
    first, second = world.database("first"), world.database("second")
    first.suspect("ddl")
    assert second.catalog is None


def test_a_name_that_is_not_known_yet_writes_to_all_that_are(world: World) -> None:
    world.database("first")
    stranger = world.database("stranger", known=False)
    world.send(Ledger(stranger), stranger, "UPDATE t SET v = 1")
    assert world.doubted(*ALL) == ALL


def test_what_runs_unjudged_when_another_name_learns_the_catalog_may_write_anything(world: World) -> None:
    """A read may lead to a function that writes, and the other name begins to keep answers."""
    late = world.database("late", known=False)
    ledger = Ledger(late)
    turn = world.send(ledger, late, "SELECT v FROM seen")
    early = world.database("early")
    assert early.catalog is not None
    assert world.doubted(*ALL) == ALL
    ledger.finished(turn, IDLE, b"SELECT 1")
    assert world.doubted(*ALL) == set()


@pytest.mark.parametrize("how", ["suspect", "outdated"])
def test_what_is_running_when_definitions_change_may_write_anything(world: World, how: str) -> None:
    database = world.database()
    running, carrying = Ledger(database), Ledger(database)
    carrying.finished(world.send(carrying, database, "BEGIN"), OPEN, b"BEGIN")
    carrying.finished(world.send(carrying, database, "UPDATE t SET v = 1", block=True), OPEN, b"UPDATE 1")
    turn = world.send(running, database, "UPDATE t SET v = 1")
    assert world.doubted(*ALL) == {T}
    database.suspect("ddl") if how == "suspect" else database.outdated()
    assert world.doubted(*ALL) == ALL
    running.finished(turn, IDLE, b"UPDATE 1")
    assert world.doubted(*ALL) == set()
    database.learnt(catalog("2"), IDENTITY)
    world.send(carrying, database, "COMMIT", block=True)
    assert world.doubted(*ALL) == ALL


def test_a_lost_commit_stays_in_doubt_until_it_is_settled(world: World) -> None:
    database = world.database()
    ledger = Ledger(database)
    turn = world.send(ledger, database, "UPDATE t SET v = 1")
    database.orphaned(ledger.leave([turn]), Gone())  # type: ignore[arg-type]  # only its pid is asked for
    assert world.doubted(*ALL) == {T}
    (mark,) = database.orphans
    database.settle(mark)
    assert world.doubted(*ALL) == set()
    assert database.catalog is None  # it may have defined something
    assert not database.writing


def test_a_lost_write_may_go_anywhere_once_definitions_change(world: World) -> None:
    database = world.database()
    ledger = Ledger(database)
    database.orphaned(ledger.leave([world.send(ledger, database, "UPDATE t SET v = 1")]), Gone())  # type: ignore[arg-type]  # as above
    database.suspect("ddl")
    assert world.doubted(*ALL) == ALL
    (mark,) = database.orphans
    database.settle(mark)
    assert world.doubted(*ALL) == set()


def test_definitions_of_one_who_left_count(world: World) -> None:
    database = world.database()
    ledger = Ledger(database)
    left = ledger.leave([world.send(ledger, database, "CREATE TABLE x (v int)")])
    database.settled(left, Gone(), known=True)  # type: ignore[arg-type]  # as above
    assert database.catalog is None
    assert world.doubted(*ALL) == set()


def test_a_blind_write_does_not_put_the_next_catalog_in_doubt(world: World) -> None:
    """Else a steady stream of writes would keep it in doubt for ever."""
    database = world.database()
    database.suspect("ddl")
    doubts: list[str] = []
    database.on_suspect = lambda: doubts.append("again")
    ledger = Ledger(database)
    turn = world.send(ledger, database, "UPDATE t SET v = 1")
    assert world.doubted(*ALL) == ALL
    ledger.finished(turn, IDLE, b"UPDATE 1")
    database.learnt(catalog("2"), IDENTITY)
    assert not doubts
    assert database.catalog is not None


def test_a_blind_call_does(world: World) -> None:
    """Nobody knows the function, so it may have defined something while the catalog was read."""
    database = world.database()
    database.suspect("ddl")
    ledger = Ledger(database)
    ledger.finished(world.send(ledger, database, "SELECT unheard_of()"), IDLE, b"SELECT 1")
    database.learnt(catalog("2"), IDENTITY)
    assert database.catalog is None


def test_a_view_knows_role_encoding_and_options(world: World) -> None:
    database = world.database()
    database.options = {"timezone": "Asia/Tokyo"}
    plain = database.view(Profile({}, 1), "u")
    role = database.view(Profile({"role": "b"}, 2), "u")
    latin = database.view(Profile({"client_encoding": "LATIN1"}, 3), "u")
    assert plain is not None
    assert role is not None
    assert latin is not None
    assert b"Asia/Tokyo" in plain.scope
    assert (plain.role, role.role) == ("u", "b")
    assert len({plain.scope, role.scope, latin.scope}) == 3
    assert plain.reads("é".encode())
    assert not latin.reads("é".encode())
    assert latin.reads(b"e")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('"$user", public', ("$user", "public")),
        ("A, b", ("a", "b")),
        ('"A""b", c', ('A"b', "c")),
        ("", ()),
        ('""', ()),
        (" x ", ("x",)),
    ],
)
def test_search_paths_are_read_as_postgresql_does(text: str, path: tuple[str, ...]) -> None:
    assert split_path(text) == path
