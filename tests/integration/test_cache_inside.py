"""Hits inside transactions that have only read; and none as soon as that could be seen."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import create_engine, text

from tests.integration.caching import Caching, rows
from tests.integration.target import Target
from tests.support import frames
from tests.support.forebay import forebay_before

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgres import Cluster
    from tests.support.wire import Wire

SCHEMA = """
CREATE TABLE canary (id int);
CREATE TABLE t (id int PRIMARY KEY, v int, at timestamptz); INSERT INTO t VALUES (1, 1, '2024-02-03 12:00+00');
CREATE TABLE other (id int);
CREATE FUNCTION write_t() RETURNS int LANGUAGE plpgsql AS $$BEGIN UPDATE t SET v = v + 1; RETURN 1; END$$;
CREATE SCHEMA hidden; CREATE TABLE hidden.t (id int, v int); INSERT INTO hidden.t VALUES (1, 999);
"""
SIZE = 3  # server connections
READ = "SELECT v FROM t WHERE id = 1"


@pytest.fixture(scope="module", params=[False, True], ids=["at once", "deferred"])
def inside(request: pytest.FixtureRequest, postgres: Cluster, shared_database: str) -> Iterator[Caching]:
    """With BEGIN sent at once, and with BEGIN deferred."""
    with forebay_before(postgres, pool={"defer_begin": request.param, "size": SIZE}) as started:
        yield Caching(Target(postgres, started, shared_database))


@pytest.fixture
def caching(inside: Caching) -> Caching:
    """Everything as it was at first."""
    with psycopg.connect(inside.dsn, autocommit=True) as connection:
        connection.execute(b"DROP SCHEMA IF EXISTS hidden CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        connection.execute(SCHEMA.encode())
    return inside


async def run(wire: Wire, *statements: str) -> None:
    for statement in statements:
        assert not frames.errors(await wire.ask(frames.query(statement)))


async def hit(caching: Caching, wire: Wire, request: bytes, status: bytes = b"T") -> list[tuple[str | None, ...]]:
    """An answer that has to come from the cache, in a transaction."""
    before = caching.hits
    answer = await wire.ask(request)
    assert caching.hits == before + 1
    assert answer[-1].body == status
    return list(frames.rows(answer))


@pytest.mark.parametrize("make", [frames.query, frames.extended], ids=["simple", "extended"])
@pytest.mark.parametrize("begin", ["BEGIN", "START TRANSACTION READ ONLY", "BEGIN ISOLATION LEVEL READ COMMITTED"])
async def test_reads_are_hits(caching: Caching, make: Callable[[str], bytes], begin: str) -> None:
    request = make(READ)
    async with caching.target.wire() as wire:
        await caching.cached(lambda: wire.ask(request))
        await run(wire, begin)
        for _ in range(3):
            assert await hit(caching, wire, request) == [("1",)]
        await run(wire, "COMMIT")
        assert await hit(caching, wire, request, b"I") == [("1",)]


@pytest.mark.parametrize("make", [frames.query, frames.extended], ids=["simple", "extended"])
async def test_what_is_read_inside_is_kept(caching: Caching, make: Callable[[str], bytes]) -> None:
    async with caching.target.wire() as wire, caching.target.wire() as another:
        await caching.catalog_known(wire)
        await run(wire, "BEGIN")
        answer = await caching.asked_afresh(lambda: wire.ask(make(READ)))
        assert frames.rows(answer) == [("1",)]
        assert await hit(caching, wire, make(READ)) == [("1",)]
        assert await hit(caching, another, make(READ), b"I") == [("1",)]
        await run(wire, "COMMIT")


@pytest.mark.parametrize("pipelined", [False, True])
async def test_what_the_transaction_has_written_it_reads(caching: Caching, pipelined: bool) -> None:
    write = "UPDATE t SET v = 7"
    async with caching.target.wire() as wire, caching.target.wire() as another:
        await caching.cached_rows(wire, READ)
        if pipelined:
            wire.write(frames.query("BEGIN"), frames.query(write))
            for _ in range(2):
                await wire.until("Z")
        else:
            await run(wire, "BEGIN")
            await hit(caching, wire, frames.query(READ))
            await run(wire, write)
        for _ in range(2):
            assert await caching.asked_afresh(lambda: rows(wire, READ)) == [("7",)]
        assert await rows(another, READ) == [("1",)]
        await run(wire, "ROLLBACK")
        assert await rows(wire, READ) == [("1",)]


async def test_what_others_commit_is_read(caching: Caching) -> None:
    """As at READ COMMITTED."""
    async with caching.target.wire() as wire, caching.target.wire() as another:
        await caching.cached_rows(wire, READ)
        await run(wire, "BEGIN")
        for value in ("2", "3"):
            await hit(caching, wire, frames.query(READ))
            await run(another, f"UPDATE t SET v = {value}")
            assert await rows(wire, READ) == [(value,)]
        await run(wire, "COMMIT")


ENDS = (
    "INSERT INTO other VALUES (1)",
    "SELECT write_t()",
    "SAVEPOINT s",
    "SET LOCAL TimeZone = 'Asia/Tokyo'",
    "SET LOCAL search_path = hidden",
    "SELECT set_config('search_path', 'hidden', true)",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "LOCK TABLE other",
    "SELECT * FROM other FOR UPDATE",
    "SELECT pg_advisory_xact_lock(1)",
    "CREATE TEMP TABLE t (id int, v int) ON COMMIT DROP",
    "DO $$BEGIN PERFORM 1; END$$",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "BEGIN; SELECT 1",
)


ONE_BY_ONE = tuple(statement for statement in ENDS if not statement.endswith("; SELECT 1"))


@pytest.mark.parametrize(
    ("make", "statement"),
    [*((frames.query, statement) for statement in ENDS), *((frames.extended, statement) for statement in ONE_BY_ONE)],
)
async def test_what_ends_the_hits(caching: Caching, make: Callable[[str], bytes], statement: str) -> None:
    async with caching.target.wire() as wire:
        await caching.cached_rows(wire, READ)
        await run(wire, "BEGIN")
        assert not frames.errors(await wire.ask(make(statement)))
        truth = {"999" if "hidden" in statement else "2" if "write_t" in statement else "1"}
        for _ in range(2):
            found = await caching.asked_afresh(lambda: rows(wire, READ))
            assert found == ([] if "TEMP" in statement else [(value,) for value in truth])
        await run(wire, "ROLLBACK")
        assert await caching.cached_rows(wire, READ) == [("1",)]


@pytest.mark.parametrize(
    ("before", "begin"),
    [
        ("", "BEGIN ISOLATION LEVEL REPEATABLE READ"),
        ("", "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE"),
        ("SET default_transaction_isolation = 'repeatable read'", "BEGIN"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ", "BEGIN"),
    ],
)
async def test_a_transaction_with_one_snapshot_keeps_it(caching: Caching, before: str, begin: str) -> None:
    async with caching.target.wire() as wire, caching.target.wire() as another:
        await caching.cached_rows(another, READ)
        await run(wire, *([before] if before else []), begin)
        assert await caching.asked_afresh(lambda: rows(wire, READ)) == [("1",)]
        await run(another, "UPDATE t SET v = 2")
        await caching.cached_rows(another, READ)
        assert await caching.asked_afresh(lambda: rows(wire, READ)) == [("1",)]
        await run(wire, "COMMIT")


async def test_a_failed_transaction_answers_nothing(caching: Caching) -> None:
    async with caching.target.wire() as wire:
        await caching.cached_rows(wire, READ)
        await run(wire, "BEGIN")
        await hit(caching, wire, frames.query(READ))
        assert frames.errors(await wire.ask(frames.query("SELECT 1 / 0"))) == ["22012"]
        assert frames.errors(await wire.ask(frames.query(READ))) == ["25P02"]
        await run(wire, "ROLLBACK")


async def test_in_the_next_transaction_everything_is_as_ever(caching: Caching) -> None:
    """What ended the hits of one says nothing of the next; COMMIT AND CHAIN begins none that is known."""
    async with caching.target.wire() as wire:
        await caching.cached_rows(wire, READ)
        await run(wire, "BEGIN", "INSERT INTO other VALUES (1)", "COMMIT", "BEGIN")
        assert await hit(caching, wire, frames.query(READ)) == [("1",)]
        await run(wire, "COMMIT AND CHAIN")
        await caching.asked_afresh(lambda: rows(wire, READ))
        await run(wire, "COMMIT")


async def test_several_hits_and_a_miss_in_one_piece(caching: Caching) -> None:
    async with caching.target.wire() as wire:
        await caching.cached_rows(wire, READ)
        await run(wire, "BEGIN")
        wire.write(frames.query(READ), frames.query("SELECT 'miss'"), frames.query(READ), frames.query("COMMIT"))
        found = [frames.rows(await wire.until("Z")) for _ in range(4)]
        assert found == [[("1",)], [("miss",)], [("1",)], []]


async def test_a_transaction_of_hits_alone(caching: Caching, request: pytest.FixtureRequest) -> None:
    """Takes no server if its BEGIN is deferred: all of them are taken by others."""
    async with contextlib.AsyncExitStack() as stack:
        wire = await stack.enter_async_context(caching.target.wire())
        await caching.cached_rows(wire, READ)
        others = [await stack.enter_async_context(caching.target.wire()) for _ in range(SIZE - 1)]
        for other in others:
            await run(other, "BEGIN", "SELECT 1")
        await run(wire, "BEGIN")
        await hit(caching, wire, frames.query(READ))
        if "deferred" in request.node.name:
            others.append(await stack.enter_async_context(caching.target.wire()))
            await run(others[-1], "BEGIN", "SELECT 1")
            await hit(caching, wire, frames.query(READ))
        await run(wire, "COMMIT")


async def test_sqlalchemy_reads_in_its_ordinary_style_are_hits(caching: Caching) -> None:
    """Which opens a transaction for every read."""
    engine = create_engine(caching.dsn.replace("postgresql://", "postgresql+psycopg://"))

    def read() -> int:
        with engine.connect() as connection:
            return int(connection.execute(text(READ)).scalar_one())

    try:
        async with caching.target.wire() as wire:
            await caching.catalog_known(wire)
        read()
        before = caching.hits
        assert [read() for _ in range(3)] == [1, 1, 1]
        assert caching.hits == before + 3
        with engine.begin() as connection:
            assert connection.execute(text(READ)).scalar() == 1
            connection.execute(text("UPDATE t SET v = v + 1"))
            assert connection.execute(text(READ)).scalar() == 2
        assert read() == 2
    finally:
        engine.dispose()
