"""BEGIN deferred: every message of every answer as PostgreSQL's own, and a server only for what needs one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.rotating import Both
from tests.support.forebay import forebay_before
from tests.support.frames import (
    FLUSH,
    SYNC,
    bind,
    close,
    describe,
    execute,
    extended,
    frame,
    parse,
    query,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.rotating import Step
    from tests.integration.target import Target
    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster

LEVEL = "SHOW transaction_isolation"


@pytest.fixture(scope="module", params=["off", "auto"])
def deferring(request: pytest.FixtureRequest, postgres: Cluster) -> Iterator[Forebay]:
    """With and without a cache; every transaction gets another server than the last."""
    pool = {"size": 3, "min_size": 3, "rotate": True, "defer_begin": True}
    with forebay_before(postgres, pool=pool, cache={"mode": request.param}) as proxy:
        yield proxy


@pytest.fixture
def both(postgres: Cluster, deferring: Forebay, shared_database: str) -> Both:
    postgres.execute("CREATE TABLE IF NOT EXISTS kept (v int)", database=shared_database)
    return Both(postgres, deferring, shared_database)


COPIED = frame("d", b"1\n2\n") + frame("c")
CONVERSATIONS: dict[str, list[bytes]] = {
    "nothing": [query("BEGIN"), query("COMMIT")],
    "nothing, rolled back": [query("start transaction"), query("ROLLBACK")],
    "other words": [query("begin work;"), query("END"), query("BEGIN TRANSACTION"), query("abort work")],
    "comments": [query("/* a */ -- b\n BEGIN /* c */; "), query("/* d */ COMMIT -- e")],
    "a read": [query("BEGIN"), query("SELECT 1"), query("COMMIT")],
    "an error": [query("BEGIN"), query("SELECT 1/0"), query("SELECT 1"), query("COMMIT"), query("SELECT 2")],
    "options": [
        query("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE"),
        query(LEVEL),
        query("SHOW transaction_read_only"),
        query("SHOW transaction_deferrable"),
        query("INSERT INTO kept VALUES (1)"),
        query("ROLLBACK"),
    ],
    "start with options": [query("START TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ"), query(LEVEL)],
    "set transaction": [query("BEGIN"), query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"), query(LEVEL)],
    "twice": [query("BEGIN"), query("BEGIN"), query("SELECT 1"), query("COMMIT"), query("COMMIT")],
    "commit without": [query("COMMIT"), query("ROLLBACK")],
    "set local": [query("BEGIN"), query("SET LOCAL work_mem = '7MB'"), query("SHOW work_mem"), query("COMMIT")],
    "set, taken back": [query("BEGIN"), query("SET work_mem = '7MB'"), query("ROLLBACK"), query("SHOW work_mem")],
    "set": [query("BEGIN"), query("SET work_mem = '6MB'"), query("COMMIT"), query("SHOW work_mem")],
    "reported": [query("BEGIN"), query("SET TimeZone = 'Asia/Tokyo'"), query("ROLLBACK"), query("SHOW TimeZone")],
    "savepoint": [query("BEGIN"), query("SAVEPOINT a"), query("SELECT 1/0"), query("ROLLBACK TO a"), query("COMMIT")],
    "chain": [
        query("BEGIN READ ONLY"),
        query("COMMIT AND CHAIN"),
        query("SHOW transaction_read_only"),
        query("COMMIT"),
    ],
    "chain back": [query("BEGIN"), query("ROLLBACK AND CHAIN"), query("SELECT 1"), query("ROLLBACK")],
    "no chain": [query("BEGIN"), query("COMMIT AND NO CHAIN"), query("SELECT 1")],
    "extended": [
        query("BEGIN"),
        extended("INSERT INTO kept VALUES ($1)", "5"),
        query("ROLLBACK"),
        extended("SELECT 1"),
    ],
    "extended, failed": [query("BEGIN"), extended("SELECT 1/0"), extended("SELECT 1"), query("ROLLBACK")],
    "extended commit": [query("BEGIN"), extended("COMMIT"), query("SELECT 1")],
    "extended begin": [extended("BEGIN"), query("SELECT 1"), extended("COMMIT")],
    "sync": [query("BEGIN"), SYNC, SYNC, query("COMMIT"), SYNC],
    "empty": [query("BEGIN"), query(""), query("COMMIT")],
    "copy in": [
        query("BEGIN"),
        query("COPY kept FROM STDIN") + COPIED,
        query("SELECT count(*) FROM kept"),
        query("COMMIT"),
    ],
    "copy out": [query("BEGIN"), query("COPY (SELECT 1) TO STDOUT"), query("COMMIT")],
    "copy, extended": [query("BEGIN"), parse("COPY kept FROM STDIN") + bind() + execute() + COPIED + SYNC],
    "several": [query("BEGIN"), query("SELECT 1; SELECT 2"), query("COMMIT")],
    "several, ending": [
        query("BEGIN"),
        query("INSERT INTO kept VALUES (3); COMMIT; SELECT 1"),
        query("SELECT v FROM kept"),
    ],
    "several, failing": [query("BEGIN"), query("SELECT 1; SELECT 1/0"), query("SELECT 1"), query("ROLLBACK")],
    "not alone": [query("BEGIN") + query("SELECT 1"), query("COMMIT")],
    "behind another": [query("SELECT 1") + query("BEGIN"), query("SELECT 1"), query("COMMIT")],
    "begin in several": [query("BEGIN; SELECT 1"), query("COMMIT")],
    "pipelined": [query("BEGIN"), query("SELECT 1") + extended("SELECT 2") + query("COMMIT"), query("SELECT 3")],
    "pipelined to the end": [query("BEGIN"), query("COMMIT") + query("SELECT 3"), query("SELECT 4")],
    "nonsense": [query("BEGIN"), query("nonsense"), query("COMMIT"), query("BEGIN nonsense"), query("SELECT 1")],
    "no such options": [query("BEGIN ISOLATION LEVEL SNAPSHOT"), query("SELECT 1")],
    "utility": [query("BEGIN"), query("VACUUM"), query("ROLLBACK")],
    "null in the text": [query("BEGIN\0"), query("BEGIN"), query("COMMIT\0 AND"), query("ROLLBACK")],
    "unnamed, lost": [parse("SELECT 1") + SYNC, query("BEGIN"), bind() + execute() + SYNC, query("ROLLBACK")],
    "unnamed, lost at the end": [query("BEGIN"), query("COMMIT"), bind() + execute() + SYNC],
    "nothing bound": [query("BEGIN"), execute() + SYNC, query("ROLLBACK")],
    "nothing to describe": [query("BEGIN"), describe("S") + SYNC, query("ROLLBACK"), query("BEGIN"), close("S") + SYNC],
    "named": [
        parse("SELECT $1::int", "s") + SYNC,
        query("BEGIN"),
        bind("4", statement="s") + execute() + SYNC,
        query("COMMIT"),
        query("BEGIN"),
        parse("SELECT 1", "s") + SYNC,
        query("COMMIT"),
        query("BEGIN"),
        describe("S", "s") + bind("5", statement="s") + execute() + SYNC,
        query("COMMIT"),
    ],
    "portals": [
        query("BEGIN"),
        parse("SELECT generate_series(1, 3)") + bind(portal="p") + execute("p", 2) + SYNC,
        execute("p", 2) + SYNC,
        query("COMMIT"),
    ],
    "prepared in SQL": [
        query("PREPARE q AS SELECT 7"),
        query("BEGIN"),
        query("EXECUTE q"),
        query("COMMIT"),
        query("BEGIN"),
        query("DEALLOCATE q"),
        query("ROLLBACK"),
        query("BEGIN"),
        query("PREPARE q AS SELECT 1/0"),
        query("ROLLBACK"),
    ],
    "cursor": [
        query("BEGIN"),
        query("DECLARE c CURSOR FOR SELECT 1"),
        query("FETCH c"),
        query("COMMIT"),
        query("FETCH c"),
    ],
    "function call": [query("BEGIN"), frame("F", b"\0\0\5\x58\0\0\0\0\0\0"), query("ROLLBACK")],
    "discard": [query("BEGIN"), query("DISCARD ALL"), query("ROLLBACK")],
    "two-phase": [query("BEGIN"), query("PREPARE TRANSACTION 'x'"), query("ROLLBACK PREPARED 'x'")],
    "stray": [query("BEGIN"), frame("d", b"x") + frame("c") + query("SELECT 1"), query("COMMIT")],
    "a read that may be kept": [
        query("SELECT v FROM kept"),
        query("SELECT v FROM kept"),
        query("BEGIN"),
        query("SELECT v FROM kept"),
        query("INSERT INTO kept VALUES (9)"),
        query("SELECT v FROM kept"),
        query("COMMIT"),
        query("SELECT v FROM kept"),
        query("TRUNCATE kept"),
    ],
}


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_conversations(both: Both, name: str) -> None:
    """Of one client, with another between its steps."""
    other = query("SELECT 'another'")
    said = [query("TRUNCATE kept"), *CONVERSATIONS[name]]
    await both.same([step for data in said for step in ((0, data), (1, other))])


SENT = [
    query("BEGIN"),
    query("START TRANSACTION READ ONLY"),
    query("COMMIT"),
    query("ROLLBACK"),
    query("COMMIT AND CHAIN"),
    query("SELECT 1"),
    query("SELECT 1/0"),
    query("SELECT v FROM kept ORDER BY v"),
    query("INSERT INTO kept VALUES (1)"),
    query("SET work_mem = '5MB'"),
    query("SET LOCAL work_mem = '6MB'"),
    query("SHOW work_mem"),
    query("SAVEPOINT s"),
    query("ROLLBACK TO s"),
    query("SELECT 1; COMMIT"),
    query("BEGIN; SELECT 1"),
    extended("SELECT v + $1 FROM kept", "1"),
    extended("INSERT INTO kept VALUES ($1::int)", "x"),
    extended("BEGIN"),
    extended("ROLLBACK"),
    parse("SELECT 3", "s") + SYNC,
    bind(statement="s") + execute() + SYNC,
    close("S", "s") + SYNC,
    SYNC,
    describe("S") + FLUSH + SYNC,
]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(SENT), min_size=1, max_size=2).map(b"".join), max_size=14))
def test_any_conversation(both: Both, said: list[bytes]) -> None:
    """Steps of one or two messages, sent without waiting for the first one's answer."""
    other = query("SELECT 'another'")
    begin = query("TRUNCATE kept")
    end = query("ROLLBACK")
    steps: list[Step] = [step for data in (begin, *said, end) for step in ((0, data), (1, other))]
    asyncio.run(both.same(steps))


# -- drivers ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["direct", "forebay"])
def either(request: pytest.FixtureRequest, both: Both) -> Target:
    return both.direct if request.param == "direct" else both.through


def test_psycopg(either: Target) -> None:
    """It sends BEGIN alone before the first statement, when autocommit is off."""
    with psycopg.connect(either.dsn(), autocommit=False) as connection:
        connection.execute("TRUNCATE kept")
        connection.commit()
        connection.execute("INSERT INTO kept VALUES (%s)", (1,))
        connection.commit()
        connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        assert connection.execute(LEVEL).fetchone() == ("serializable",)
        connection.rollback()
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        connection.rollback()
        with connection.transaction(), contextlib.suppress(ZeroDivisionError), connection.transaction():
            connection.execute("INSERT INTO kept VALUES (2)")
            raise ZeroDivisionError
        with connection.transaction():
            pass
        with connection.pipeline():
            connection.execute("INSERT INTO kept VALUES (3)")
            answer = connection.execute("SELECT array_agg(v ORDER BY v) FROM kept")
        assert answer.fetchone() == ([1, 3],)


async def test_asyncpg(either: Target) -> None:
    """Transactions, nested ones, cursors, and what fails."""
    connection = await asyncpg.connect(either.dsn())
    try:
        await connection.execute("TRUNCATE kept")
        async with connection.transaction():
            pass
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            assert await connection.fetchval(LEVEL) == "repeatable read"
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await connection.execute("INSERT INTO kept VALUES (1)")
        failing = connection.transaction()
        await failing.start()
        await connection.execute("INSERT INTO kept VALUES (1)")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetchval("SELECT 1/$1::int", 0)
        await failing.rollback()
        async with connection.transaction():
            await connection.executemany("INSERT INTO kept VALUES ($1)", [(1,), (2,)])
            async with connection.transaction():
                await connection.copy_records_to_table("kept", records=[(3,), (4,)])
            assert [row["v"] async for row in connection.cursor("SELECT v FROM kept")] == [1, 2, 3, 4]
        assert await connection.fetchval("SELECT sum(v) FROM kept") == 10
    finally:
        await connection.close()
