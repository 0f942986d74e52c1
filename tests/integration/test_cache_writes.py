"""Whatever writes, in whatever way it is sent: the next reader sees it, though the answer was cached before.

Each case reads until the answer comes from the cache, lets another client write, and asks again through a third one.
PostgreSQL itself, asked past Forebay, says what is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import pg8000.dbapi
import psycopg
import pytest

from tests.integration.caching import Caching, rows
from tests.support import frames

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.integration.target import Target
    from tests.support.postgres import Cluster

SCHEMA = """
CREATE TABLE plain (id int PRIMARY KEY, v int NOT NULL DEFAULT 0);
INSERT INTO plain SELECT i, 0 FROM generate_series(1, 100) i;
CREATE TABLE parent (id int PRIMARY KEY, v int);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE nulled (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE SET NULL ON UPDATE SET NULL);
INSERT INTO parent SELECT i, 0 FROM generate_series(1, 500) i;
INSERT INTO child SELECT i, i FROM generate_series(1, 500) i;
INSERT INTO nulled SELECT i, i FROM generate_series(1, 500) i;
CREATE TABLE truncated (id int PRIMARY KEY);
CREATE TABLE dragged (id int REFERENCES truncated);
INSERT INTO truncated VALUES (1);
INSERT INTO dragged VALUES (1);
CREATE TABLE watched (id int PRIMARY KEY, v int);
INSERT INTO watched VALUES (1, 0);
CREATE TABLE log (n bigserial, what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN INSERT INTO log (what) VALUES (TG_OP); RETURN NULL; END$$;
CREATE TRIGGER watched_log AFTER INSERT OR UPDATE OR DELETE ON watched FOR EACH ROW EXECUTE FUNCTION note();
CREATE TABLE deferred (id int PRIMARY KEY, v int);
INSERT INTO deferred VALUES (1, 0);
CREATE CONSTRAINT TRIGGER deferred_log AFTER UPDATE ON deferred DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION note();
CREATE TABLE ruled (id int PRIMARY KEY, v int);
INSERT INTO ruled VALUES (1, 0);
CREATE RULE ruled_log AS ON UPDATE TO ruled DO ALSO INSERT INTO log (what) VALUES ('rule');
CREATE VIEW seen AS SELECT id, v FROM plain;
CREATE FUNCTION write_plain() RETURNS int LANGUAGE plpgsql AS
  $$BEGIN UPDATE plain SET v = v + 1; RETURN 1; END$$;
CREATE FUNCTION write_dynamic() RETURNS int LANGUAGE plpgsql AS
  $$BEGIN EXECUTE 'UPDATE pl' || 'ain SET v = v + 1'; RETURN 1; END$$;
CREATE FUNCTION write_sql() RETURNS int LANGUAGE sql AS 'UPDATE plain SET v = v + 1; SELECT 1';
CREATE VIEW writing AS SELECT write_plain() AS done;
CREATE PROCEDURE call_plain() LANGUAGE plpgsql AS $$BEGIN UPDATE plain SET v = v + 1; END$$;
CREATE PROCEDURE call_commit() LANGUAGE plpgsql AS
  $$BEGIN UPDATE plain SET v = v + 1; COMMIT; UPDATE plain SET v = v + 1; END$$;
CREATE TABLE root (id int, v int) PARTITION BY RANGE (id);
CREATE TABLE leaf1 PARTITION OF root FOR VALUES FROM (0) TO (1000);
CREATE TABLE leaf2 PARTITION OF root FOR VALUES FROM (1000) TO (2000000);
INSERT INTO root SELECT i, 0 FROM generate_series(1, 40) i;
CREATE TABLE mother (id int, v int);
CREATE TABLE daughter () INHERITS (mother);
INSERT INTO mother VALUES (1, 0);
INSERT INTO daughter VALUES (2, 0);
CREATE FUNCTION plus_write(int, int) RETURNS int LANGUAGE plpgsql AS
  $$BEGIN UPDATE plain SET v = v + 1; RETURN $1 + $2; END$$;
CREATE OPERATOR <+> (LEFTARG = int, RIGHTARG = int, FUNCTION = plus_write);
CREATE TABLE defaulted (id int, v int DEFAULT write_plain());
"""

PLAIN = "SELECT sum(v), count(*) FROM plain"
LOG = "SELECT count(*) FROM log"


class Case(NamedTuple):
    """``write`` is sent as one statement; ``read`` must then say something else."""

    name: str
    write: str
    read: str
    block: bool = True  # may stand in a transaction block


CASES = (
    Case("insert", "INSERT INTO plain SELECT max(id) + 1, 1 FROM plain", PLAIN),
    Case("insert values", "INSERT INTO log (what) VALUES ('x')", LOG),
    Case("upsert", "INSERT INTO plain VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET v = plain.v + 1", PLAIN),
    Case("update", "UPDATE plain SET v = v + 1 WHERE id = 1", PLAIN),
    Case("update from", "UPDATE plain SET v = plain.v + 1 FROM mother WHERE mother.id = plain.id", PLAIN),
    Case("update only", "UPDATE ONLY plain SET v = v + 1", PLAIN),
    Case("update returning", "UPDATE public.plain AS p SET v = v + 1 RETURNING v", PLAIN),
    Case("delete", "DELETE FROM plain WHERE id = (SELECT max(id) FROM plain)", PLAIN),
    Case(
        "merge",
        "MERGE INTO plain p USING (VALUES (1)) s (id) ON p.id = s.id WHEN MATCHED THEN UPDATE SET v = p.v + 1",
        PLAIN,
    ),
    Case("writable cte", "WITH w AS (UPDATE plain SET v = v + 1 RETURNING v) SELECT count(*) FROM w", PLAIN),
    Case("cte insert", "WITH w AS (SELECT 1) INSERT INTO log (what) SELECT 'cte' FROM w", LOG),
    Case("view", "UPDATE seen SET v = v + 1", PLAIN),
    Case("function", "SELECT write_plain()", PLAIN),
    Case("dynamic sql", "SELECT write_dynamic()", PLAIN),
    Case("sql function", "SELECT 1 FROM mother WHERE write_sql() = 1", PLAIN),
    Case("function in from", "SELECT * FROM write_plain()", PLAIN),
    Case("operator", "SELECT 1 <+> 2", PLAIN),
    Case("view that writes", "SELECT * FROM writing", PLAIN),
    Case("default that writes", "INSERT INTO defaulted (id) VALUES (1)", PLAIN),
    Case("explain analyze", "EXPLAIN ANALYZE UPDATE plain SET v = v + 1", PLAIN),
    Case("do", "DO 'BEGIN UPDATE plain SET v = v + 1; END'", PLAIN),
    Case("call", "CALL call_plain()", PLAIN),
    Case("call that commits", "CALL call_commit()", PLAIN, block=False),
    Case("trigger", "UPDATE watched SET v = v + 1", LOG),
    Case("deferred trigger", "UPDATE deferred SET v = v + 1", LOG),
    Case("rule", "UPDATE ruled SET v = v + 1", LOG),
    Case("cascade", "DELETE FROM parent WHERE id = (SELECT max(parent) FROM child)", "SELECT count(*) FROM child"),
    Case(
        "set null", "DELETE FROM parent WHERE id = (SELECT max(parent) FROM nulled)", "SELECT count(parent) FROM nulled"
    ),
    Case(
        "update cascade",
        "UPDATE parent SET id = id + 100000 WHERE id = (SELECT min(parent) FROM child)",
        "SELECT sum(parent) FROM child",
    ),
    Case("root", "INSERT INTO root VALUES (1, 1)", "SELECT count(*), sum(v) FROM leaf1"),
    Case("leaf", "INSERT INTO leaf2 VALUES (1001, 1)", "SELECT count(*), sum(v) FROM root"),
    Case(
        "row that moves",
        "UPDATE root SET id = id + 1000 WHERE id = (SELECT id FROM leaf1 LIMIT 1)",
        "SELECT count(*) FROM leaf2",
    ),
    Case("inheritance parent", "UPDATE mother SET v = v + 1", "SELECT sum(v) FROM daughter"),
    Case("inheritance child", "UPDATE daughter SET v = v + 1", "SELECT sum(v) FROM mother"),
    Case("select into", "SELECT write_plain() AS x INTO TEMP t_into", PLAIN),
    Case("create as", "CREATE TEMP TABLE t_as AS SELECT write_plain() AS x", PLAIN),
    Case("copy query", "COPY (SELECT write_plain()) TO STDOUT", PLAIN),
    Case("cursor", "DECLARE c CURSOR WITH HOLD FOR SELECT write_plain()", PLAIN),
)


@pytest.fixture(scope="module")
def prepared(postgres: Cluster, shared_database: str) -> None:
    """The tables, made past Forebay."""
    with psycopg.connect(postgres.dsn(shared_database), autocommit=True) as connection:
        connection.execute(SCHEMA.encode())


@pytest.fixture
def caching(prepared: None, through: Target) -> Caching:
    """The module's database."""
    return Caching(through)


async def simple(caching: Caching, write: str) -> None:
    """One Query."""
    async with caching.target.wire() as wire:
        assert not frames.errors(await wire.ask(frames.query(write)))


async def extended(caching: Caching, write: str) -> None:
    """Parse to Sync, cut in two: the server has executed it before the Sync comes."""
    async with caching.target.wire() as wire:
        wire.write(frames.parse(write), frames.bind(), frames.execute(), frames.FLUSH)
        await wire.until("C")
        assert not frames.errors(await wire.ask(frames.SYNC))


async def piped(caching: Caching, write: str) -> None:
    """In a pipeline with others, and with its transaction written out."""
    one = frames.parse(write) + frames.bind() + frames.execute()
    async with caching.target.wire() as wire:
        begin, commit = (frames.parse(t) + frames.bind() + frames.execute() for t in ("BEGIN", "COMMIT"))
        wire.write(frames.extended("SELECT 1"), begin, one, commit, frames.SYNC, frames.extended("SELECT 2"))
        for _ in range(3):
            assert not frames.errors(await wire.until("Z"))


async def in_one_query(caching: Caching, write: str) -> None:
    """Several statements in one Query."""
    await simple(caching, f"SELECT 1; {write}; SELECT 2")


async def by_execute(caching: Caching, write: str) -> None:
    """Prepared in one transaction, executed in another."""
    async with caching.target.wire() as wire:
        for text in (f"PREPARE p AS {write}", "SELECT 1", "EXECUTE p"):
            assert not frames.errors(await wire.ask(frames.query(text)))


async def by_execute_in_block(caching: Caching, write: str) -> None:
    """Prepared by the protocol, executed by SQL in a transaction, with its COMMIT sent at once."""
    async with caching.target.wire() as wire:
        assert not frames.errors(await wire.ask(frames.parse(write, "p") + frames.SYNC))
        texts = ("BEGIN", "SAVEPOINT a", "EXECUTE p", "RELEASE a", "COMMIT")
        wire.write(b"".join(map(frames.query, texts)))
        for _ in texts:
            assert not frames.errors(await wire.until("Z"))


async def in_block(caching: Caching, write: str) -> None:
    """In a transaction block with savepoints."""
    async with caching.target.wire() as wire:
        for text in ("BEGIN", "SAVEPOINT a", write, "RELEASE a", "SELECT 1", "COMMIT"):
            assert not frames.errors(await wire.ask(frames.query(text)))


async def in_a_rush(caching: Caching, write: str) -> None:
    """A transaction whose statements are all sent before the first is answered."""
    async with caching.target.wire() as wire:
        texts = ("BEGIN", write, "COMMIT")
        wire.write(b"".join(map(frames.query, texts)))
        for _ in texts:
            assert not frames.errors(await wire.until("Z"))


async def two_phase(caching: Caching, write: str) -> None:
    """Prepared by one client, committed by another."""
    async with caching.target.wire() as first, caching.target.wire() as second:
        for text in ("BEGIN", write, "PREPARE TRANSACTION 'gid'"):
            assert not frames.errors(await first.ask(frames.query(text)))
        assert not frames.errors(await second.ask(frames.query("COMMIT PREPARED 'gid'")))


async def with_psycopg(caching: Caching, write: str) -> None:
    """psycopg, in a transaction that it makes."""
    async with await psycopg.AsyncConnection.connect(caching.dsn) as connection:
        if write.startswith("COPY"):
            async with connection.cursor().copy(write.encode()) as copy:
                assert [row async for row in copy]
        else:
            await connection.execute(write.encode(), prepare=True)


async def with_asyncpg(caching: Caching, write: str) -> None:
    """asyncpg, prepared by name."""
    connection = await asyncpg.connect(caching.dsn)
    await connection.fetch(write)
    await connection.close()


async def with_pg8000(caching: Caching, write: str) -> None:
    """pg8000, which begins transactions by itself."""
    target = caching.target
    connection = pg8000.dbapi.connect(
        target.user, host=target.host, port=target.port, database=target.database, password=target.password
    )
    connection.cursor().execute(write)
    connection.commit()
    connection.close()


ALONE = (simple, extended, with_asyncpg)
IN_BLOCK = (piped, in_one_query, in_block, in_a_rush, with_psycopg, with_pg8000)
THOROUGH = ("insert", "update", "function", "trigger", "cascade")


def ways(number: int, case: Case) -> list[Callable[[Caching, str], Awaitable[None]]]:
    """All of them for some cases, and for the others two that differ from case to case."""
    possible = [*ALONE, *(IN_BLOCK if case.block else ())]
    if case.name == "copy query":
        possible.remove(with_asyncpg)
        possible.remove(with_pg8000)
    if case.name in THOROUGH:
        return possible
    return [possible[number % 3], possible[-1 - number % (len(possible) - 3)]] if case.block else possible


PAIRS = [
    pytest.param(case, way, id=f"{case.name}-{way.__name__}")
    for number, case in enumerate(CASES)
    for way in ways(number, case)
]


@pytest.mark.parametrize(("case", "way"), PAIRS)
async def test_a_write_is_seen_at_once(
    caching: Caching, case: Case, way: Callable[[Caching, str], Awaitable[None]]
) -> None:
    async with caching.target.wire() as reader, caching.target.wire() as other:
        before = await caching.cached_rows(reader, case.read)
        await way(caching, case.write)
        after = await rows(other, case.read)
        assert after == caching.truth(case.read)
        assert after != before


EXECUTABLE = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH")


@pytest.mark.parametrize("way", [by_execute, by_execute_in_block])
@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.write.split()[0] in EXECUTABLE and c.name != "select into"],
    ids=lambda case: case.name,
)
async def test_what_execute_writes_is_seen_at_once(
    caching: Caching, case: Case, way: Callable[[Caching, str], Awaitable[None]]
) -> None:
    await test_a_write_is_seen_at_once(caching, case, way)


@pytest.mark.parametrize("text", ["EXECUTE p(write_plain())", "EXECUTE p(1 <+> 2)", "EXPLAIN ANALYZE EXECUTE u"])
async def test_what_the_arguments_of_execute_write_is_seen_at_once(caching: Caching, text: str) -> None:
    async def way(caching: Caching, write: str) -> None:
        async with caching.target.wire() as wire:
            for step in ("PREPARE p AS SELECT $1::int", "PREPARE u AS UPDATE plain SET v = v + 1", write):
                assert not frames.errors(await wire.ask(frames.query(step)))

    await test_a_write_is_seen_at_once(caching, Case("arguments", text, PLAIN), way)


async def test_an_execute_that_reads_leaves_the_cache_alone(caching: Caching) -> None:
    async with caching.target.wire() as reader, caching.target.wire() as other:
        await caching.cached_rows(reader, PLAIN)
        for text in ("PREPARE p AS SELECT v FROM plain WHERE id = $1", "EXECUTE p(1)", "EXECUTE p(2)", "DEALLOCATE p"):
            assert not frames.errors(await other.ask(frames.query(text)))
        before = caching.hits
        assert await rows(reader, PLAIN) == caching.truth(PLAIN)
        assert caching.hits == before + 1


PREPARABLE = tuple(case for case in CASES if case.name in ("insert", "update", "merge", "cascade", "root"))


@pytest.mark.parametrize("case", PREPARABLE, ids=lambda case: case.name)
async def test_a_prepared_transaction_counts_from_its_second_phase(caching: Caching, case: Case) -> None:
    async with caching.target.wire() as reader, caching.target.wire() as writer, caching.target.wire() as other:
        before = await caching.cached_rows(reader, case.read)
        for text in ("BEGIN", case.write, "PREPARE TRANSACTION 'gid'"):
            assert not frames.errors(await writer.ask(frames.query(text)))
        assert await rows(other, case.read) == before
        assert await caching.cached_rows(other, case.read) == before
        assert not frames.errors(await other.ask(frames.query("COMMIT PREPARED 'gid'")))
        assert await rows(reader, case.read) == caching.truth(case.read) != before


@pytest.mark.parametrize("case", CASES[:20], ids=lambda case: case.name)
async def test_what_is_rolled_back_is_not_seen(caching: Caching, case: Case) -> None:
    async with caching.target.wire() as reader, caching.target.wire() as writer:
        before = await caching.cached_rows(reader, case.read)
        for text in ("BEGIN", case.write):
            assert not frames.errors(await writer.ask(frames.query(text)))
        assert await rows(reader, case.read) == before
        assert not frames.errors(await writer.ask(frames.query("ROLLBACK")))
        assert await caching.cached_rows(reader, case.read) == before == caching.truth(case.read)


async def test_a_savepoint_keeps_one_half(caching: Caching) -> None:
    async with caching.target.wire() as reader, caching.target.wire() as writer:
        await caching.cached_rows(reader, PLAIN)
        logged = await caching.cached_rows(reader, LOG)
        for text in (
            "BEGIN",
            "UPDATE plain SET v = v + 1",
            "SAVEPOINT s",
            "INSERT INTO log (what) VALUES ('never')",
            "ROLLBACK TO s",
            "COMMIT",
        ):
            assert not frames.errors(await writer.ask(frames.query(text)))
        assert await rows(reader, PLAIN) == caching.truth(PLAIN)
        assert await rows(reader, LOG) == caching.truth(LOG) == logged


@pytest.mark.parametrize("cascade", ["truncated, dragged", "truncated CASCADE"])
async def test_truncate(caching: Caching, cascade: str) -> None:
    caching.behind("TRUNCATE truncated CASCADE", "INSERT INTO truncated VALUES (1)", "INSERT INTO dragged VALUES (1)")
    read = "SELECT count(*) FROM dragged"
    async with caching.target.wire() as reader, caching.target.wire() as writer:
        assert not frames.errors(await writer.ask(frames.query("UPDATE dragged SET id = id")))
        assert await caching.cached_rows(reader, read) == [("1",)]
        assert not frames.errors(await writer.ask(frames.query(f"TRUNCATE {cascade}")))
        assert await rows(reader, read) == [("0",)]


@pytest.mark.parametrize("extended_too", [False, True])
async def test_copy_in(caching: Caching, extended_too: bool) -> None:
    text = "COPY log (what) FROM STDIN"
    async with caching.target.wire() as reader, caching.target.wire() as writer:
        before = await caching.cached_rows(reader, LOG)
        writer.write(frames.extended(text) if extended_too else frames.query(text))
        await writer.until("G")
        assert await rows(reader, LOG) == before
        ending = frames.COPY_DONE + (frames.SYNC if extended_too else b"")
        assert not frames.errors(await writer.ask(frames.frame("d", b"copied\n"), ending))
        assert await rows(reader, LOG) == caching.truth(LOG) != before
