"""Definitions that change, through Forebay, under another name and past it; and commits whose outcome nobody hears."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.integration.caching import Caching, rows
from tests.integration.target import Target
from tests.support import frames
from tests.support.forebay import forebay, forebay_before
from tests.support.patience import eventually
from tests.support.toxic import toxic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.postgres import Cluster
    from tests.support.wire import Wire

SCHEMA = """
CREATE TABLE canary (id int);
CREATE TABLE t (id int, v int, f timestamptz DEFAULT '2024-01-01 00:00+00'); INSERT INTO t VALUES (1, 0);
CREATE TABLE log (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN INSERT INTO public.log VALUES (TG_OP); RETURN NULL; END$$;
CREATE TABLE one (v int); INSERT INTO one VALUES (1);
CREATE TABLE two (v int); INSERT INTO two VALUES (2);
CREATE SCHEMA a; CREATE TABLE a.placed (v int); INSERT INTO a.placed VALUES (1);
CREATE SCHEMA b; CREATE TABLE b.placed (v int); INSERT INTO b.placed VALUES (2);
CREATE TABLE root (id int, v int) PARTITION BY RANGE (id);
CREATE TABLE leaf1 PARTITION OF root FOR VALUES FROM (0) TO (10);
CREATE TABLE leaf2 (id int, v int);
CREATE TABLE slow (id int, v int); INSERT INTO slow VALUES (1, 0);
CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER sleep AFTER UPDATE ON slow DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION sleep();
"""

_COMMITTING = "SELECT count(*) FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active'"


@pytest.fixture(scope="module")
def names(postgres: Cluster, shared_database: str) -> Iterator[Caching]:
    """One database under three names, one of which has settings of its own."""
    with psycopg.connect(postgres.dsn(shared_database), autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
    url = postgres.dsn(shared_database)
    databases = {
        shared_database: {"url": url},
        "second": {"url": url},
        "tokyo": {"url": url + "&options=-c%20TimeZone%3DAsia/Tokyo"},
    }
    with forebay_before(postgres, databases=databases) as started:
        yield Caching(Target(postgres, started, shared_database))


@contextlib.asynccontextmanager
async def login(caching: Caching, name: str) -> AsyncIterator[Wire]:
    """A connection to one of the names."""
    target = caching.target
    async with Target(target.cluster, target.forebay, name).wire() as wire:
        yield wire


async def does(wire: Wire, *texts: str) -> None:
    """Statements that must not fail."""
    for text in texts:
        messages = await wire.ask(frames.query(text))
        assert not frames.errors(messages), (text, frames.errors(messages))


async def test_a_trigger_made_under_another_name(names: Caching) -> None:
    read = "SELECT count(*) FROM log"
    async with names.target.wire() as reader, login(names, "second") as second:
        await does(second, "SELECT 1 FROM t", "UPDATE t SET v = v + 1")
        await names.cached_rows(reader, read)
        await does(reader, "CREATE TRIGGER tell AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()")
        for _ in range(20):
            before = await names.cached_rows(reader, read)
            await does(second, "UPDATE t SET v = v + 1")
            assert await rows(reader, read) == names.truth(read) != before
        await does(reader, "DROP TRIGGER tell ON t")


async def test_a_write_under_another_name(names: Caching) -> None:
    async with names.target.wire() as reader, login(names, "second") as second:
        before = await names.cached_rows(reader, "SELECT sum(v) FROM t")
        await does(second, "UPDATE t SET v = v + 1")
        assert await rows(reader, "SELECT sum(v) FROM t") != before


async def test_names_with_settings_of_their_own(names: Caching) -> None:
    read = "SELECT f FROM t"
    async with names.target.wire() as reader, login(names, "tokyo") as tokyo:
        here = await names.cached_rows(reader, read)
        for _ in range(20):
            assert await rows(tokyo, read) == [("2024-01-01 09:00:00+09",)]
        assert await names.cached_rows(reader, read) == here


@pytest.mark.parametrize("block", [False, True])
async def test_tables_that_swap_their_names(names: Caching, block: bool) -> None:
    swap = ["ALTER TABLE one RENAME TO three", "ALTER TABLE two RENAME TO one", "ALTER TABLE three RENAME TO two"]
    async with names.target.wire() as reader, names.target.wire() as writer:
        before = await names.cached_rows(reader, "SELECT v FROM one")
        await does(writer, *(["BEGIN", *swap, "COMMIT"] if block else swap))
        after = await rows(reader, "SELECT v FROM one")
        assert after == names.truth("SELECT v FROM one") != before
        await names.cached_rows(reader, "SELECT v FROM one")
        await does(writer, "UPDATE one SET v = v + 10")
        assert await rows(reader, "SELECT v FROM one") == names.truth("SELECT v FROM one") != after


async def test_a_table_that_is_made_again(names: Caching) -> None:
    async with names.target.wire() as reader, names.target.wire() as writer:
        for number in range(3):
            await does(
                writer, "DROP TABLE IF EXISTS again", f"CREATE TABLE again AS SELECT {number} AS v", "ANALYZE again"
            )
            assert await rows(reader, "SELECT v FROM again") == [(str(number),)]
            assert await names.cached_rows(reader, "SELECT v FROM again") == [(str(number),)]


async def test_a_table_earlier_on_the_path(names: Caching) -> None:
    async with names.target.wire() as reader, names.target.wire() as writer:
        await does(reader, "SET search_path = b, a")
        await does(writer, "ALTER TABLE b.placed RENAME TO away")
        assert await names.cached_rows(reader, "SELECT v FROM placed") == [("1",)]
        await does(writer, "ALTER TABLE b.away RENAME TO placed")
        assert await rows(reader, "SELECT v FROM placed") == [("2",)]


async def test_a_partition_attached_while_a_transaction_writes(names: Caching) -> None:
    """Its row goes where no partition was when its transaction began."""
    read = "SELECT count(*) FROM leaf2"
    async with names.target.wire() as reader, names.target.wire() as writer, names.target.wire() as owner:
        await names.cached_rows(reader, read)
        await does(writer, "BEGIN", "INSERT INTO root VALUES (1, 1)")
        await does(owner, "ALTER TABLE root ATTACH PARTITION leaf2 FOR VALUES FROM (10) TO (20)")
        await does(writer, "INSERT INTO root VALUES (11, 1)")
        before = await names.cached_rows(reader, read)
        await does(writer, "COMMIT")
        assert await rows(reader, read) == names.truth(read) != before


async def test_a_definition_past_forebay_is_noticed(names: Caching) -> None:
    async with names.target.wire() as reader:
        await names.cached_rows(reader, "SELECT v FROM two")
        names.behind("ALTER TABLE two RENAME TO gone", "CREATE TABLE two AS SELECT 4711 AS v")
        async with asyncio.timeout(20):
            while await rows(reader, "SELECT v FROM two") != [("4711",)]:
                pass
        assert await names.cached_rows(reader, "SELECT v FROM two") == [("4711",)]


async def test_defaults_that_change(names: Caching) -> None:
    """New connections would look into another schema than old ones, under the same key."""
    database = names.target.database
    async with names.target.wire() as reader, names.target.wire() as writer:
        try:
            await does(reader, "SELECT 1")
            for schema, value in (("a", "1"), ("b", "2"), ("a", "1")):
                await does(writer, f'ALTER DATABASE "{database}" SET search_path = {schema}')
                async with asyncio.timeout(20):  # connections that were open before must have gone
                    while frames.rows(await reader.ask(frames.query("SELECT v FROM placed"))) != [(value,)]:
                        pass
                assert await names.cached_rows(reader, "SELECT v FROM placed") == [(value,)]
                async with names.target.wire() as other:
                    assert await rows(other, "SELECT v FROM placed") == [(value,)]
                    await does(other, f"UPDATE {schema}.placed SET v = v + 100")
                    assert await rows(reader, "SELECT v FROM placed") == [(str(int(value) + 100),)]
                    await does(other, f"UPDATE {schema}.placed SET v = v - 100")
        finally:
            names.behind(f'ALTER DATABASE "{database}" RESET search_path')
            async with login(names, "forebay") as console:  # no connection with the old default is left to other tests
                await does(console, "RECONNECT")
        async with asyncio.timeout(20):
            while frames.errors(await reader.ask(frames.query("SELECT count(*) FROM t"))):
                pass


async def test_what_cannot_be_looked_at_is_not_believed(names: Caching) -> None:
    """The connection that watches definitions is gone and cannot come back, while clients are still served."""
    database = names.target.database
    read = "SELECT sum(id) FROM t"
    async with names.target.wire() as reader:
        await names.cached_rows(reader, read)
        try:
            names.target.cluster.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
            names.target.cluster.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                f" WHERE application_name = 'forebay catalog' AND datname = '{database}'"
            )
            async with asyncio.timeout(20):
                before = -1.0
                while names.hits != before:
                    before = names.hits
                    await rows(reader, read)
        finally:
            names.target.cluster.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
        await names.cached_rows(reader, read)


async def test_a_commit_whose_answer_is_lost(postgres: Cluster, names: Caching) -> None:
    """The server goes on with it after the connection broke, and nobody is served what it replaces."""
    database = names.target.database
    read = "SELECT sum(v) FROM slow"
    async with toxic(postgres.port) as relay:
        upstream = f"postgresql://{postgres.superuser}:{postgres.password}@{postgres.host}:{relay.port}/{database}"
        settings = {"databases": {database: {"url": f"{upstream}?sslmode=disable"}}}
        async with forebay(settings, postgres.superuser, postgres.password) as started:
            caching = Caching(Target(postgres, started, database))
            async with caching.target.wire() as reader, caching.target.wire() as writer:
                before = await caching.cached_rows(reader, read)
                await does(writer, "BEGIN", "UPDATE slow SET v = v + 1")
                writer.write(frames.query("COMMIT"))
                await eventually(lambda: caching.truth(_COMMITTING) != [("0",)])
                relay.reset_all()
                assert frames.tags(await writer.rest()) in ("", "E")
            async with caching.target.wire() as reader:
                while caching.truth(read) == before:
                    await caching.asked_afresh(lambda: rows(reader, read))
                assert await rows(reader, read) == caching.truth(read) != before
                assert await caching.cached_rows(reader, read) == caching.truth(read)
