"""Tables that change under statements that were prepared before.

A client is never given a result of another shape than it was told: it hears 0A000, as from PostgreSQL itself, on
whichever server connection its statement comes next, and drivers that know this answer prepare anew. Who prepares
after the change hears nothing of it.
"""

from __future__ import annotations

import secrets
import struct
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest

from tests.integration.caching import Caching
from tests.integration.rotating import Both
from tests.support import frames
from tests.support.forebay import forebay_before
from tests.support.frames import SYNC, bind, close, describe, execute, parse, query
from tests.support.wire import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.forebay import Forebay
    from tests.support.frames import Message
    from tests.support.postgres import Cluster

SERVERS = 3


@pytest.fixture(scope="module")
def rotating(postgres: Cluster) -> Iterator[Forebay]:
    """Without a cache, which would answer for a while as if nothing had changed elsewhere."""
    pool = {"size": SERVERS, "min_size": SERVERS, "rotate": True}
    with forebay_before(postgres, pool=pool, cache={"mode": "off"}) as proxy:
        yield proxy


@pytest.fixture
def both(postgres: Cluster, rotating: Forebay, shared_database: str) -> Both:
    return Both(postgres, rotating, shared_database)


@pytest.fixture
def cached(postgres: Cluster, rotating_proxy: Forebay, shared_database: str) -> Both:
    return Both(postgres, rotating_proxy, shared_database)


def use(name: str, *values: str, binary: bytes | None = None) -> bytes:
    """Bind and Execute by a client that knows what to expect."""
    message = bind(*values, statement=name)
    if binary is not None:
        sent = struct.pack("!hhhi", 1, 1, 1, len(binary)) + binary + struct.pack("!hh", 1, 0)
        message = frames.frame("B", b"\0" + name.encode() + b"\0" + sent)
    return message + execute() + SYNC


def refusal(messages: list[Message]) -> dict[str, str]:
    """The fields of the only error."""
    assert [m.tag for m in messages if m.tag in "DT"] == [], messages
    (error,) = [m for m in messages if m.tag == "E"]
    return frames.fields(error.body)


def outdated(messages: list[Message]) -> bool:
    """The error by which drivers know that they must prepare anew, and nothing else."""
    fields = refusal(messages)
    said = {letter: fields[letter] for letter in "SCMFR"}
    return said == {
        "S": "ERROR",
        "C": "0A000",
        "M": "cached plan must not change result type",
        "F": "plancache.c",
        "R": "RevalidateCachedQuery",
    }


@pytest.mark.parametrize(("told", "name"), [("statement", "s"), ("portal", "s"), ("statement", "")])
@pytest.mark.parametrize(
    "change",
    [
        "ADD y int DEFAULT 2",
        "ALTER x TYPE text",
        "RENAME x TO z",
        "ALTER v TYPE varchar(20)",
    ],
)
async def test_a_change_from_elsewhere_is_told_on_every_server(both: Both, change: str, told: str, name: str) -> None:
    """Whatever it was that told the client of the columns, and whoever made the change."""
    table = f"told_{secrets.token_hex(4)}"
    text = f"SELECT * FROM {table}"
    async with both.direct.wire() as elsewhere, both.through.wire() as client:
        await elsewhere.ask(query(f"CREATE TABLE {table} (x int, v varchar(10)); INSERT INTO {table} VALUES (1, 'v')"))
        first = describe("S", name) if told == "statement" else bind(statement=name) + describe("P") + execute()
        await client.ask(parse(text, name) + first + SYNC)
        assert frames.rows(await client.ask(use(name))) == [("1", "v")]
        await elsewhere.ask(query(f"ALTER TABLE {table} {change}"))
        for _ in range(2 * SERVERS):
            assert outdated(await client.ask(use(name)))
        messages = await client.ask(close("S", name) + parse(text, name) + describe("S", name) + SYNC)
        assert frames.tags(messages) == "31tTZ"
        for _ in range(2 * SERVERS):
            assert len(frames.rows(await client.ask(use(name)))) == 1


async def test_what_keeps_its_shape_goes_on(both: Both) -> None:
    """A new column that is not asked for, a table of the same kind in its place: as PostgreSQL, without a word."""
    async with both.direct.wire() as elsewhere, both.through.wire() as client:
        await elsewhere.ask(query("DROP TABLE IF EXISTS kept; CREATE TABLE kept (x int); INSERT INTO kept VALUES (1)"))
        await client.ask(parse("SELECT x FROM kept", "s") + describe("S", "s") + SYNC)
        for change in ("ALTER TABLE kept ADD y int", "DROP TABLE kept; CREATE TABLE kept AS SELECT 1 AS x"):
            await elsewhere.ask(query(change))
            for _ in range(2 * SERVERS):
                assert frames.rows(await client.ask(use("s"))) == [("1",)]


async def test_what_goes_back_is_as_before(both: Both) -> None:
    async with both.direct.wire() as elsewhere, both.through.wire() as client:
        await elsewhere.ask(query("DROP TABLE IF EXISTS back; CREATE TABLE back (x int); INSERT INTO back VALUES (1)"))
        await client.ask(parse("SELECT * FROM back", "s") + describe("S", "s") + SYNC)
        await elsewhere.ask(query("ALTER TABLE back ADD y int"))
        for _ in range(SERVERS):
            assert outdated(await client.ask(use("s")))
        await elsewhere.ask(query("ALTER TABLE back DROP y"))
        for _ in range(2 * SERVERS):
            assert frames.rows(await client.ask(use("s"))) == [("1",)]


async def test_nothing_runs_in_the_wrong_shape(both: Both) -> None:
    """Neither what is outdated, nor what stands behind it in its batch; what stood before it is undone with it."""
    async with both.direct.wire() as elsewhere, both.through.wire() as client, both.through.wire() as other:
        await elsewhere.ask(query("DROP TABLE IF EXISTS runs; CREATE TABLE runs (x int)"))
        write = parse("INSERT INTO runs VALUES ($1) RETURNING *", "w") + describe("S", "w")
        await client.ask(write + parse("INSERT INTO runs VALUES ($1)", "plain") + SYNC)
        await elsewhere.ask(query("ALTER TABLE runs ADD y int"))
        for number in range(SERVERS):
            await other.ask(query("SELECT 1"))
            batch = bind("1", statement="plain") + execute() + bind("2", statement="w") + execute() + use("plain", "3")
            messages = await client.ask(batch)
            assert frames.errors(messages) == ["0A000"], number
            assert frames.tags(messages) == "2CEZ"
            await client.ask(query("BEGIN"))
            assert outdated(await client.ask(use("w", "4")))
            assert frames.errors(await client.ask(use("plain", "5"))) == ["25P02"]
            assert frames.tags(await client.ask(query("COMMIT"))) == "CZ"
        assert await elsewhere.value("SELECT count(*) FROM runs") == "0"


async def test_parameters_keep_the_types_that_were_told(both: Both) -> None:
    """A client that sends four bytes for an integer goes on doing so; one that prepares later is told of eight."""
    text = "SELECT x = $1 FROM wide"
    four, eight = struct.pack("!i", 1), struct.pack("!q", 1 << 32)
    async with both.direct.wire() as elsewhere, both.through.wire() as old, both.through.wire() as new:
        await elsewhere.ask(query("DROP TABLE IF EXISTS wide; CREATE TABLE wide (x int); INSERT INTO wide VALUES (1)"))
        await old.ask(parse(text, "s") + describe("S", "s") + SYNC)
        await elsewhere.ask(query("ALTER TABLE wide ALTER x TYPE bigint"))
        for _ in range(2 * SERVERS):
            messages = await old.ask(use("s", binary=four))
            assert frames.rows(messages) == [("t",)]
        await old.ask(query("COMMENT ON TABLE wide IS 'from now on what is prepared is new'"))
        for number in range(SERVERS):
            name = f"n{number}"
            await new.ask(parse(text, name) + describe("S", name) + SYNC)
            for _ in range(SERVERS):
                messages = await new.ask(use(name, binary=eight))
                assert frames.rows(messages) == [("f",)]


async def test_who_prepares_after_a_change_hears_nothing_of_it(both: Both) -> None:
    """Although the servers know the statement, as it was before; the change has come through us."""
    text = "SELECT * FROM fresh"
    async with both.wires(both.through, 3) as (old, new, changing):
        await changing.ask(query("CREATE TABLE fresh AS SELECT 1 AS x"))
        await old.ask(parse(text, "s") + describe("S", "s") + SYNC)
        for _ in range(2 * SERVERS):
            assert frames.rows(await old.ask(use("s"))) == [("1",)]
        await changing.ask(query("BEGIN"))
        await changing.ask(query("ALTER TABLE fresh ADD y int DEFAULT 2"))
        await changing.ask(parse(text, "own") + describe("S", "own") + SYNC)
        assert frames.rows(await changing.ask(use("own"))) == [("1", "2")]
        await changing.ask(query("COMMIT"))
        for number in range(2 * SERVERS):
            name = f"n{number}"
            await new.ask(parse(text, name) + SYNC)
            assert frames.rows(await new.ask(use(name))) == [("1", "2")]
            assert outdated(await old.ask(use("s")))


async def test_an_answer_from_the_cache_has_the_shape_that_was_told(cached: Both) -> None:
    text = "SELECT * FROM asked"
    async with cached.wires(cached.through, 3) as (old, new, changing):
        await changing.ask(query("CREATE TABLE asked AS SELECT 1 AS x"))
        await old.ask(parse(text, "s") + describe("S", "s") + SYNC)
        await old.ask(parse(text) + describe("S") + SYNC)
        for _ in range(SERVERS):
            assert frames.rows(await old.ask(use("s"))) == [("1",)]
        await changing.ask(query("ALTER TABLE asked ADD y int DEFAULT 2"))
        await old.ask(parse(text) + describe("S") + SYNC)
        await changing.ask(query("ALTER TABLE asked ADD z int DEFAULT 3"))
        for number in range(3 * SERVERS):
            await new.ask(parse(text, f"n{number}") + SYNC)
            assert frames.rows(await new.ask(parse(text) + use(""))) == [("1", "2", "3")]
            assert frames.rows(await new.ask(use(f"n{number}"))) == [("1", "2", "3")]
            assert outdated(await old.ask(use("s")))
            assert outdated(await old.ask(use("")))


async def test_an_answer_is_kept_under_the_shape_that_it_has(cached: Both) -> None:
    """Although the statement was still another when the cache was asked: the change came from elsewhere just now."""
    text = "SELECT * FROM filled WHERE x > $1::int"
    async with cached.wires(cached.through, 8) as (old, new, *others), cached.direct.wire() as elsewhere:
        await elsewhere.ask(query("CREATE TABLE filled AS SELECT 1 AS x"))
        prepare = parse(text, "s") + describe("S", "s") + SYNC
        await others[0].ask(prepare)
        await Caching(cached.through).cached(lambda: others[0].ask(use("s", "0")))
        await old.ask(prepare)  # as the catalog is now, of which nothing was known before
        for other in others:
            await other.ask(query("BEGIN"))
        await elsewhere.ask(query("ALTER TABLE filled ADD y int DEFAULT 2"))
        heard = await new.ask(parse(text, "n") + use("n", "-1"))
        assert frames.rows(heard) == [("1", "2")], "on a server that never had the statement"
        assert outdated(await old.ask(use("s", "-1")))


async def test_constants_are_read_by_their_own_clients_settings(both: Both) -> None:
    """The same text, prepared under two DateStyles, TimeZones, and search_paths, is not the same statement."""
    setup = "CREATE SCHEMA IF NOT EXISTS a; CREATE TABLE IF NOT EXISTS a.there AS SELECT 'a'"
    await _each_by_its_own(
        both, "SELECT '01/02/2003'::date", ["SET DateStyle = 'ISO, MDY'", "SET DateStyle = 'ISO, DMY'"]
    )
    await _each_by_its_own(
        both,
        "SELECT extract(epoch FROM '2003-01-01 00:00'::timestamptz)",
        ["SET TimeZone = 'Asia/Tokyo'", "SET TimeZone = 'America/Lima'"],
    )
    async with both.direct.wire() as wire:
        await wire.ask(query(setup))
        await wire.ask(query("CREATE SCHEMA IF NOT EXISTS b; CREATE TABLE IF NOT EXISTS b.there AS SELECT 1, 2"))
    await _each_by_its_own(both, "SELECT * FROM there", ["SET search_path = a", "SET search_path = b"])


async def _each_by_its_own(both: Both, text: str, settings: list[str]) -> None:
    steps = [(number, query(setting)) for number, setting in enumerate(settings)]
    steps += [(number, parse(text, "s") + describe("S", "s") + SYNC) for number in range(2)]
    steps += [(number, use("s")) for _ in range(2 * SERVERS) for number in range(2)]
    heard = await both.same(steps)
    assert heard[-1] != heard[-2]


async def test_cursors_of_different_shapes_under_one_name(both: Both) -> None:
    """FETCH has the shape of its cursor, which need not be the one that it had when it was prepared."""
    fetch = parse("FETCH 1 FROM c", "f") + describe("S", "f") + SYNC
    steps = [
        (0, query("BEGIN; DECLARE c CURSOR FOR SELECT 1")),
        (0, fetch),
        (0, use("f")),
        (0, query("COMMIT")),
    ]
    for number in range(SERVERS):
        steps += [
            (0, query("BEGIN")),
            (0, query("DECLARE c CURSOR FOR SELECT 1, 'two'")),
            (0, use("f")),
            (0, query("COMMIT")),
            (1, query(f"SELECT {number}")),
        ]
    await both.same(steps)


async def test_pipelines_wait_where_they_must(both: Both) -> None:
    """Many statements in one go, on servers that have none of them, with errors and a long parameter."""
    texts = [f"SELECT {number} + $1::int" for number in range(100, 110)]
    names = [f"p{number}" for number in range(10)]
    long = parse("SELECT length($1)", "long") + describe("S", "long") + SYNC
    prepare = b"".join(parse(text, name) + describe("S", name) for text, name in zip(texts, names, strict=True)) + SYNC
    run = b"".join(bind("1", statement=name) + execute() for name in names) + SYNC
    again = b"".join(bind("1", statement=name) + execute() + SYNC for name in names)
    failing = bind("1", statement="p0") + execute() + bind("x", statement="p1") + execute() + run
    steps = [(0, long), (0, prepare), (0, run), (1, query("SELECT 1")), (0, again), (0, failing), (0, run)]
    steps += [(number % 2, prepare if number == 3 else query("SELECT 2")) for number in range(4)]
    steps += [(1, run), (1, again), (0, use("long", "x" * 1_000_000)), (0, use("long", "x" * 1_000_000))]
    await both.same(steps)


async def test_what_waits_to_be_seen_can_be_cancelled(both: Both) -> None:
    """The server cannot describe it while somebody has the table for himself."""
    async with both.direct.wire() as elsewhere, both.through.wire() as client:
        await elsewhere.ask(query("DROP TABLE IF EXISTS locked; CREATE TABLE locked (x int)"))
        await client.ask(parse("SELECT * FROM locked", "s") + describe("S", "s") + SYNC)
        await elsewhere.ask(query("BEGIN; LOCK TABLE locked"))
        for begin in (b"", query("BEGIN")):
            if begin:
                await client.ask(begin)
            client.write(use("s"))
            waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'locked'::regclass AND NOT granted"
            while await elsewhere.value(waiting) != "1":
                pass
            async with opened(both.through.host, both.through.port) as canceller:
                canceller.write(frames.cancel_request(client.pid, client.key))
                await canceller.rest()
            assert frames.errors(await client.until("Z")) == ["57014"]
        await elsewhere.ask(query("ROLLBACK"))
        assert frames.tags(await client.ask(query("ROLLBACK"))) == "CZ"
        assert frames.tags(await client.ask(use("s"))) == "2CZ"


async def test_asyncpg_prepares_anew(both: Both) -> None:
    """Two clients share a statement whose table gets another column; both see it, neither is lost."""
    async with both.direct.wire() as elsewhere:
        await elsewhere.ask(query("DROP TABLE IF EXISTS driven; CREATE TABLE driven (a int)"))
        await elsewhere.ask(query("INSERT INTO driven VALUES (1)"))
        connections = [await asyncpg.connect(both.through.dsn()) for _ in range(2)]
        for connection in connections * 3:
            assert [tuple(row) for row in await connection.fetch("SELECT * FROM driven")] == [(1,)]
        await elsewhere.ask(query("ALTER TABLE driven ADD COLUMN b text DEFAULT 'new'"))
        for connection in connections * 5:
            assert [tuple(row) for row in await connection.fetch("SELECT * FROM driven")] == [(1, "new")]
        for connection in connections:
            await connection.close()


def test_psycopg_hears_what_postgresql_says(both: Both) -> None:
    with psycopg.connect(both.direct.dsn(), autocommit=True) as elsewhere:
        elsewhere.execute("DROP TABLE IF EXISTS heard")
        elsewhere.execute("CREATE TABLE heard AS SELECT 1 AS a")
        with psycopg.connect(both.through.dsn(), autocommit=True, prepare_threshold=0) as connection:
            for _ in range(2 * SERVERS):
                assert connection.execute("SELECT * FROM heard").fetchall() == [(1,)]
            elsewhere.execute("ALTER TABLE heard ADD b int")
            for _ in range(2 * SERVERS):
                with pytest.raises(psycopg.errors.FeatureNotSupported, match="must not change result type"):
                    connection.execute("SELECT * FROM heard")
            connection.execute("DEALLOCATE ALL")
        with psycopg.connect(both.through.dsn(), autocommit=True, prepare_threshold=0) as connection:
            for _ in range(2 * SERVERS):
                assert connection.execute("SELECT * FROM heard").fetchall() == [(1, None)]
