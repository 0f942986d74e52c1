"""Writers whose statements do not mean what they seem to: other names, roles and quoting; and those who vanish."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.integration.caching import Caching, rows
from tests.support import frames

if TYPE_CHECKING:
    from tests.integration.target import Target
    from tests.support.postgres import Cluster

SCHEMA = """
CREATE TABLE canary (id int);
CREATE SCHEMA a; CREATE SCHEMA b;
CREATE TABLE a.t (v int); INSERT INTO a.t VALUES (0);
CREATE TABLE b.t (v int); INSERT INTO b.t VALUES (0);
CREATE TABLE t (v int); INSERT INTO t VALUES (0);
CREATE TABLE log (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN INSERT INTO public.log VALUES (TG_OP); RETURN NEW; END$$;
DROP ROLE IF EXISTS b_role;
CREATE ROLE b_role;
CREATE SCHEMA b_role;
CREATE TABLE b_role.t (v int); INSERT INTO b_role.t VALUES (0);
GRANT ALL ON SCHEMA b_role, public, a, b TO b_role;
GRANT ALL ON ALL TABLES IN SCHEMA b_role, public, a, b TO b_role;
CREATE TABLE "café" (v int); INSERT INTO "café" VALUES (0);
CREATE TABLE "cafÃ©" (v int); INSERT INTO "cafÃ©" VALUES (0);
CREATE TABLE target (id int PRIMARY KEY, v int);
INSERT INTO target VALUES (1, 0);
CREATE TABLE other (id int PRIMARY KEY, v int, text text DEFAULT '');
INSERT INTO other VALUES (1, 0);
CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
INSERT INTO deferred VALUES (1);
"""


@pytest.fixture(scope="module")
def prepared(postgres: Cluster, shared_database: str) -> None:
    """The tables, made past Forebay."""
    with psycopg.connect(postgres.dsn(shared_database), autocommit=True) as connection:
        connection.execute(SCHEMA.encode())


@pytest.fixture
def caching(prepared: None, through: Target) -> Caching:
    """The module's database."""
    return Caching(through)


def bound(text: str) -> bytes:
    """Parse, Bind and Execute without their Sync."""
    return frames.parse(text) + frames.bind() + frames.execute()


async def sends(caching: Caching, *parts: bytes) -> None:
    """A client of its own sends these, one answered before the next."""
    async with caching.target.wire() as wire:
        for part in parts:
            messages = await wire.ask(part)
            assert not frames.errors(messages), frames.fields(messages[0].body)


MOVED = {
    "one query": (frames.query("SET search_path = b; UPDATE t SET v = v + 1"),),
    "one query, local": (frames.query("SET LOCAL search_path = b; UPDATE t SET v = v + 1"),),
    "one batch": (bound("SET search_path = b") + bound("UPDATE t SET v = v + 1") + frames.SYNC,),
    "block": tuple(map(frames.query, ("BEGIN", "SET search_path = b", "UPDATE t SET v = v + 1", "COMMIT"))),
    "local": tuple(map(frames.query, ("BEGIN", "SET LOCAL search_path = b", "UPDATE t SET v = v + 1", "COMMIT"))),
    "set_config": (
        frames.query("BEGIN"),
        frames.extended("SELECT set_config('search_path', $1, true)", "b"),
        frames.query("UPDATE t SET v = v + 1"),
        frames.query("COMMIT"),
    ),
}


@pytest.mark.parametrize("way", MOVED)
async def test_a_search_path_that_changes_on_the_way(caching: Caching, way: str) -> None:
    read = "SELECT sum(v) FROM b.t"
    async with caching.target.wire() as reader:
        await caching.cached_rows(reader, read)
        await sends(caching, *MOVED[way])
        assert await rows(reader, read) == caching.truth(read)


async def test_a_search_path_that_changes_in_a_rush(caching: Caching) -> None:
    read = "SELECT sum(v) FROM b.t"
    async with caching.target.wire() as reader, caching.target.wire() as writer:
        await caching.cached_rows(reader, read)
        writer.write(frames.query("SET search_path = b"), frames.query("UPDATE t SET v = v + 1"))
        for _ in range(2):
            await writer.until("Z")
        assert await rows(reader, read) == caching.truth(read)


ROLES = {
    "set role": (frames.query("SET ROLE b_role"), frames.query("UPDATE t SET v = v + 1")),
    "one query": (frames.query("SET ROLE b_role; UPDATE t SET v = v + 1"),),
    "local": (frames.query("BEGIN; SET LOCAL ROLE b_role"), frames.query("UPDATE t SET v = v + 1; COMMIT")),
    "authorization": (frames.query("SET SESSION AUTHORIZATION b_role"), frames.query("UPDATE t SET v = v + 1")),
    "one batch": (bound("SET ROLE b_role") + bound("UPDATE t SET v = v + 1") + frames.SYNC,),
}


@pytest.mark.parametrize("way", ROLES)
async def test_another_role_has_another_schema(caching: Caching, way: str) -> None:
    read = "SELECT sum(v) FROM b_role.t"
    async with caching.target.wire() as reader:
        await caching.cached_rows(reader, read)
        before = caching.truth(read)
        await sends(caching, *ROLES[way])
        assert caching.truth(read) != before
        assert await rows(reader, read) == caching.truth(read)


async def test_a_role_of_the_startup_message(caching: Caching) -> None:
    options = ("options", "-c role=b_role")
    async with caching.target.wire(options) as reader, caching.target.wire(options) as writer:
        assert await rows(reader, "SELECT current_user") == [("b_role",)]
        read = "SELECT sum(v) FROM t"
        before = await caching.cached_rows(reader, read)
        assert not frames.errors(await writer.ask(frames.query("UPDATE b_role.t SET v = v + 1")))
        assert await rows(reader, read) != before
        before = await caching.cached_rows(reader, read)
        assert not frames.errors(await writer.ask(frames.query("UPDATE t SET v = v + 1")))
        assert await rows(reader, read) != before


async def test_a_name_in_another_encoding(caching: Caching) -> None:
    """The bytes of "café" in UTF-8 are another name in Latin 1."""
    async with caching.target.wire() as reader, caching.target.wire(("client_encoding", "LATIN1")) as writer:
        read = 'SELECT sum(v) FROM "cafÃ©"'
        before = await caching.cached_rows(reader, read)
        assert not frames.errors(await writer.ask(frames.query('UPDATE "café" SET v = v + 1')))
        assert await rows(reader, read) == caching.truth(read) != before


@pytest.mark.parametrize("settled", [True, False])
async def test_a_backslash_that_means_something(caching: Caching, settled: bool) -> None:
    """With standard_conforming_strings off, the string of the first statement ends before the second."""
    read = "SELECT sum(v) FROM target"
    write = frames.query(r"UPDATE other SET text = '\''; UPDATE target SET v = v + 1; --'")
    async with caching.target.wire() as reader:
        before = await caching.cached_rows(reader, read)
        if settled:
            await sends(caching, frames.query("SET standard_conforming_strings = off"), write)
        else:
            async with caching.target.wire() as writer:
                writer.write(frames.query("SET standard_conforming_strings = off"), write)
                await writer.until("Z")
                await writer.until("Z")
        assert await rows(reader, read) == caching.truth(read) != before


async def test_a_temporary_view_in_the_way_of_a_table(caching: Caching) -> None:
    """What is written under the table's name goes to another table."""
    read = "SELECT sum(v) FROM a.t"
    async with caching.target.wire() as reader, caching.target.wire() as writer:
        assert not frames.errors(await writer.ask(frames.query("CREATE TEMP VIEW t AS SELECT v FROM a.t")))
        before = await caching.cached_rows(reader, read)
        assert not frames.errors(await writer.ask(frames.query("UPDATE t SET v = v + 1")))
        assert await rows(reader, read) == caching.truth(read) != before


async def test_a_temporary_table_with_a_trigger(caching: Caching) -> None:
    read = "SELECT count(*) FROM log"
    async with caching.target.wire() as reader, caching.target.wire() as writer:
        for text in (
            "CREATE TEMP TABLE t (v int)",
            "CREATE TRIGGER tell BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION note()",
        ):
            assert not frames.errors(await writer.ask(frames.query(text)))
        before = await caching.cached_rows(reader, read)
        assert not frames.errors(await writer.ask(frames.query("INSERT INTO t VALUES (1)")))
        assert await rows(reader, read) == caching.truth(read) != before


async def test_a_batch_without_sync_of_a_client_that_vanishes_is_void(caching: Caching) -> None:
    """PostgreSQL commits at Sync, which never comes: nothing has been written."""
    read = "SELECT sum(v) FROM target"
    async with caching.target.wire() as reader:
        before = await caching.cached_rows(reader, read)
        for _ in range(5):
            async with caching.target.wire() as writer:
                writer.write(bound("UPDATE target SET v = v + 1"), frames.FLUSH)
                await writer.until("C")
        for _ in range(20):
            async with caching.target.wire() as somebody:
                await rows(somebody, "SELECT 1")
        assert await rows(reader, read) == caching.truth(read)
        assert caching.truth(read) == before


async def test_a_transaction_that_defines_something(caching: Caching) -> None:
    """A definition counts from its COMMIT on, not from its statement."""
    read = "SELECT count(*) FROM log"
    async with caching.target.wire() as reader, caching.target.wire() as writer:
        for text in (
            "BEGIN",
            "CREATE TRIGGER tell AFTER INSERT ON other FOR EACH ROW EXECUTE FUNCTION note()",
        ):
            assert not frames.errors(await writer.ask(frames.query(text)))
        await caching.catalog_known(reader)
        assert not frames.errors(await writer.ask(frames.query("COMMIT")))
        for number in range(10, 15):
            before = await rows(reader, read)
            await rows(reader, read)
            assert not frames.errors(await writer.ask(frames.query(f"INSERT INTO other VALUES ({number}, 0)")))
            assert await rows(reader, read) == caching.truth(read) != before


async def test_definitions_of_a_client_that_vanishes(caching: Caching) -> None:
    read = "SELECT count(*) FROM log"
    async with caching.target.wire() as reader, caching.target.wire() as writer:
        await caching.cached_rows(reader, read)
        async with caching.target.wire() as vanishing:
            vanishing.write(
                frames.query("CREATE TRIGGER vanish AFTER UPDATE ON other FOR EACH ROW EXECUTE FUNCTION note()")
            )
            await vanishing.drain()
        for _ in range(50):
            before = await rows(reader, read)
            await rows(reader, read)
            assert not frames.errors(await writer.ask(frames.query("UPDATE other SET v = v + 1 WHERE id = 1")))
            after = await rows(reader, read)
            assert after == caching.truth(read)
            if after != before:
                break
        else:
            raise AssertionError("the trigger was never made")


async def test_settings_of_a_commit_that_failed(caching: Caching) -> None:
    """They are rolled back with it: nobody may be given what was computed under others."""
    read = "SELECT v / 3.0::float8 FROM a.t"
    async with (
        caching.target.wire() as writer,
        caching.target.wire(("extra_float_digits", "-10")) as short,
        caching.target.wire() as plain,
    ):
        caching.behind("UPDATE a.t SET v = 1")
        for text in ("BEGIN", "SET extra_float_digits = -10", "INSERT INTO deferred VALUES (1)"):
            assert not frames.errors(await writer.ask(frames.query(text)))
        assert frames.errors(await writer.ask(frames.query("COMMIT"))) == ["23505"]
        long = await caching.cached_rows(plain, read)
        assert await caching.cached_rows(writer, read) == long
        assert await rows(writer, "SHOW extra_float_digits") == await rows(plain, "SHOW extra_float_digits")
        assert await caching.cached_rows(short, read) != long


async def test_settings_of_blocks_within_one_query(caching: Caching) -> None:
    read = "SELECT v / 3.0::float8 FROM a.t"
    async with caching.target.wire() as writer, caching.target.wire(("extra_float_digits", "-10")) as short:
        caching.behind("UPDATE a.t SET v = 1")
        text = "BEGIN; SET extra_float_digits = -10; ROLLBACK; SET IntervalStyle = iso_8601"
        assert not frames.errors(await writer.ask(frames.query(text)))
        for _ in range(3):
            long = await rows(writer, read)
        wrong = await rows(writer, "SHOW extra_float_digits")
        assert wrong == [("1",)]
        assert await rows(short, read) != long


async def test_a_temporary_table_that_a_function_made_is_seen_by_nobody_else(caching: Caching) -> None:
    read = "SELECT sum(v) FROM t"
    make = "DO 'BEGIN CREATE TEMP TABLE t AS SELECT 1000000 AS v; END'"
    async with caching.target.wire() as reader:
        before = caching.truth(read)
        for _ in range(3):
            async with caching.target.wire() as maker:
                assert not frames.errors(await maker.ask(frames.query(make)))
                assert await rows(reader, read) == before
        assert await caching.cached_rows(reader, read) == before


async def test_a_transaction_left_open_by_a_batch_without_sync_reaches_nobody_else(caching: Caching) -> None:
    async with caching.target.wire() as writer:
        writer.write(bound("SELECT v FROM t"), frames.FLUSH)
        await writer.until("C")
    for _ in range(10):
        async with caching.target.wire() as somebody:
            messages = await somebody.ask(frames.query("SELECT 1"))
            assert messages[-1].body == b"I"


async def test_writers_do_not_keep_the_catalog_in_doubt(caching: Caching) -> None:
    """What they write while it is not known must not put it in doubt again, or nothing would ever be cached."""
    async with caching.target.wire() as reader, caching.target.wire() as definer:
        stop = asyncio.Event()

        async def write() -> None:
            async with caching.target.wire() as writer:
                while not stop.is_set():
                    assert not frames.errors(await writer.ask(frames.query("UPDATE a.t SET v = v + 1")))

        writers = [asyncio.create_task(write()) for _ in range(3)]
        try:
            assert not frames.errors(await definer.ask(frames.query("DO 'BEGIN END'")))
            await caching.catalog_known(reader)
        finally:
            stop.set()
            await asyncio.gather(*writers)
