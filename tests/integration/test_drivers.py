"""What applications do all day with asyncpg, psycopg, pg8000 and SQLAlchemy, unchanged but for the port.

Each test takes several connections, so that statements meet server connections that do not know them yet.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import json
import uuid
from typing import TYPE_CHECKING, Final

import asyncpg
import pg8000.dbapi
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

if TYPE_CHECKING:
    from tests.integration.conftest import Connect
    from tests.integration.target import Target

pytestmark = pytest.mark.parametrize("target", ["direct", "forebay", "rotating"], indirect=True)

VALUES: Final = {
    "int4": 2_147_483_647,
    "int8": -9_223_372_036_854_775_808,
    "text": "Grüße, 世界 \\ ' \" $1 %s ;\n\t",
    "numeric": decimal.Decimal("-12345678901234567890.123456789"),
    "float8": 0.1,
    "bool": True,
    "bytea": bytes(range(256)),
    "timestamptz": dt.datetime(2026, 2, 28, 23, 59, 59, 999_999, dt.UTC),
    "date": dt.date(1, 1, 1),
    "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "int4[]": [1, 2, 3],
    "text[]": ["a", "b,c", '"d"'],
}


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize(("kind", "value"), VALUES.items(), ids=VALUES.keys())
async def test_psycopg_types(target: Target, kind: str, value: object, binary: bool) -> None:
    """Every value comes back as it went, NULL too, in both formats."""
    async with await psycopg.AsyncConnection.connect(target.dsn()) as connection:
        cursor = connection.cursor(binary=binary)
        await cursor.execute(f"SELECT %s::{kind}, NULL::{kind}, %s::{kind}".encode(), [value, value])
        assert await cursor.fetchall() == [(value, None, value)]


@pytest.mark.parametrize(("kind", "value"), VALUES.items(), ids=VALUES.keys())
async def test_asyncpg_types(connect: Connect, kind: str, value: object) -> None:
    """The same with asyncpg, which is always binary and always prepares."""
    connection = await connect()
    for _ in range(2):
        assert tuple(await connection.fetchrow(f"SELECT $1::{kind}, NULL::{kind}", value)) == (value, None)
    await connection.close()


async def test_psycopg_prepares_over_many_servers(target: Target) -> None:
    """Statements prepared by the client work wherever the next transaction runs."""

    async def work(number: int) -> None:
        async with await psycopg.AsyncConnection.connect(target.dsn(), prepare_threshold=1) as connection:
            for turn in range(15):
                async with connection.transaction():
                    cursor = await connection.execute("SELECT %s::int * 1000 + %s::int", [number, turn])
                    assert await cursor.fetchone() == (number * 1000 + turn,)
                await asyncio.sleep(0)

    await asyncio.gather(*(work(number) for number in range(20)))


async def test_asyncpg_prepares_over_many_servers(connect: Connect) -> None:
    """asyncpg names its statements alike in every connection."""

    async def work(number: int) -> None:
        connection = await connect()
        statement = await connection.prepare(f"SELECT $1::int + {number * 1000}")
        for turn in range(15):
            assert await statement.fetchval(turn) == number * 1000 + turn
            assert await connection.fetchval("SELECT $1::int + $2::int", number, turn) == number + turn
        await connection.close()

    await asyncio.gather(*(work(number) for number in range(20)))


async def test_asyncpg_transactions_and_savepoints(connect: Connect) -> None:
    """What was rolled back is gone, what was committed is there."""
    connection = await connect()
    await connection.execute("DROP TABLE IF EXISTS savepoints; CREATE TABLE savepoints (a int PRIMARY KEY)")
    async with connection.transaction():
        await connection.execute("INSERT INTO savepoints VALUES (1)")
        with pytest.raises(asyncpg.UniqueViolationError):
            async with connection.transaction():
                await connection.execute("INSERT INTO savepoints VALUES (2), (1)")
        await connection.execute("INSERT INTO savepoints VALUES (3)")
    undone = connection.transaction()
    await undone.start()
    await connection.execute("INSERT INTO savepoints VALUES (4)")
    await undone.rollback()
    rows = await connection.fetch("SELECT a FROM savepoints ORDER BY a")
    assert [row["a"] for row in rows] == [1, 3]
    await connection.close()


async def test_errors_keep_their_fields(target: Target) -> None:
    """SQLSTATE, detail, constraint, table and position arrive as PostgreSQL wrote them."""
    async with await psycopg.AsyncConnection.connect(target.dsn(), autocommit=True) as connection:
        await connection.execute("DROP TABLE IF EXISTS faulty")
        await connection.execute("CREATE TABLE faulty (a int CONSTRAINT small CHECK (a < 10), b int UNIQUE)")
        await connection.execute("INSERT INTO faulty VALUES (1, 1)")
        with pytest.raises(psycopg.errors.CheckViolation) as check:
            await connection.execute("INSERT INTO faulty VALUES (%s, 2)", [11])
        assert (check.value.diag.constraint_name, check.value.diag.table_name) == ("small", "faulty")
        with pytest.raises(psycopg.errors.UniqueViolation) as unique:
            await connection.execute("INSERT INTO faulty VALUES (2, 1)")
        assert unique.value.diag.message_detail == "Key (b)=(1) already exists."
        with pytest.raises(psycopg.errors.UndefinedColumn) as column:
            await connection.execute("SELECT a, nonsense FROM faulty")
        assert column.value.diag.statement_position == "11"
        cursor = await connection.execute("SELECT count(*) FROM faulty")
        assert await cursor.fetchone() == (1,)


async def test_executemany(target: Target, connect: Connect) -> None:
    """Thousands of rows by the fast way of each driver."""
    connection = await connect()
    await connection.execute("DROP TABLE IF EXISTS many; CREATE TABLE many (a int, b text)")
    await connection.executemany("INSERT INTO many VALUES ($1, $2)", [(n, f"row {n}") for n in range(3_000)])
    await connection.close()
    async with await psycopg.AsyncConnection.connect(target.dsn()) as other:
        cursor = other.cursor()
        await cursor.executemany("INSERT INTO many VALUES (%s, %s)", [(n, f"row {n}") for n in range(3_000)])
        await cursor.executemany("SELECT %s::int", [(n,) for n in range(200)], returning=True)
        found = []
        while True:
            found += await cursor.fetchall()
            if not cursor.nextset():
                break
        assert found == [(n,) for n in range(200)]
        await cursor.execute("SELECT count(*), count(DISTINCT a), max(b) FROM many")
        assert await cursor.fetchone() == (6_000, 3_000, "row 999")


async def _pipelined(connection: psycopg.AsyncConnection, *statements: str) -> None:
    async with connection.pipeline():
        for statement in statements:
            await connection.execute(statement.encode())


async def test_psycopg_pipeline(target: Target) -> None:
    """Many statements before the first answer; an error aborts its own part only."""
    async with await psycopg.AsyncConnection.connect(target.dsn(), autocommit=True) as connection:
        async with connection.pipeline() as pipeline:
            cursors = [await connection.execute("SELECT %s::int", [n]) for n in range(300)]
            await pipeline.sync()
            assert [await cursor.fetchone() for cursor in cursors] == [(n,) for n in range(300)]
        with pytest.raises(psycopg.errors.DivisionByZero):
            await _pipelined(connection, "SELECT 1", "SELECT 1/0", "SELECT 2")
        async with connection.pipeline(), connection.transaction():
            last = await connection.execute("SELECT 'after'")
            assert await last.fetchone() == ("after",)


async def test_pipeline_is_one_transaction_until_its_sync(target: Target) -> None:
    """The insert before the error is undone, too."""
    async with await psycopg.AsyncConnection.connect(target.dsn(), autocommit=True) as connection:
        await connection.execute("DROP TABLE IF EXISTS piped")
        await connection.execute("CREATE TABLE piped (a int PRIMARY KEY)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            await _pipelined(connection, *["INSERT INTO piped VALUES (1)"] * 2)
        cursor = await connection.execute("SELECT count(*) FROM piped")
        assert await cursor.fetchone() == (0,)


async def test_copy_of_the_drivers(target: Target, connect: Connect) -> None:
    """In and out, text and binary, with an error in between."""
    async with await psycopg.AsyncConnection.connect(target.dsn()) as connection:
        await connection.execute("DROP TABLE IF EXISTS lines")
        await connection.execute("CREATE TABLE lines (a int, b text)")
        cursor = connection.cursor()
        async with cursor.copy("COPY lines FROM STDIN") as copy:
            for number in range(5_000):
                await copy.write_row((number, f"line\t{number}\n"))
        async with cursor.copy("COPY lines TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            rows = [row async for row in copy.rows()]
        assert rows == [(number, f"line\t{number}\n") for number in range(5_000)]
        await connection.commit()
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            async with cursor.copy("COPY lines FROM STDIN") as copy:
                await copy.write("no number\tx\n")
        await connection.rollback()
    other = await connect()
    await other.copy_records_to_table("lines", records=[(n, None) for n in range(5_000)])
    assert await other.fetchval("SELECT count(*) FROM lines") == 10_000
    await other.close()


async def test_server_side_cursors(target: Target, connect: Connect) -> None:
    """A cursor lives as long as its transaction, whoever else works in between."""

    async def scroll(number: int) -> None:
        async with await psycopg.AsyncConnection.connect(target.dsn()) as connection:
            async with connection.cursor(name="scroll") as cursor:
                await cursor.execute("SELECT %s::int + a FROM generate_series(1, 100) a", [number])
                assert await cursor.fetchmany(10) == [(number + a,) for a in range(1, 11)]
                await asyncio.sleep(0.01)
                await cursor.scroll(20)
                assert await cursor.fetchone() == (number + 31,)
                assert len(await cursor.fetchall()) == 69
            await connection.commit()

    await asyncio.gather(*(scroll(number * 1_000) for number in range(8)))
    other = await connect()
    async with other.transaction():
        seen = [row[0] async for row in other.cursor("SELECT generate_series(1, 500)", prefetch=7)]
    assert seen == list(range(1, 501))
    await other.close()


async def test_notices_arrive_in_order_and_before_the_result(target: Target) -> None:
    """20,000 of them."""
    async with await psycopg.AsyncConnection.connect(target.dsn(), autocommit=True) as connection:
        notices: list[str] = []
        connection.add_notice_handler(lambda diag: notices.append(diag.message_primary or ""))
        await connection.execute("DO $$ BEGIN FOR i IN 1..20000 LOOP RAISE NOTICE 'notice %', i; END LOOP; END $$")
        assert notices == [f"notice {n}" for n in range(1, 20_001)]


def test_pg8000(target: Target) -> None:
    """The driver that is pure Python, with its own ideas of preparing."""
    connection = pg8000.dbapi.connect(
        user=target.user, password=target.password, host=target.host, port=target.port, database=target.database
    )
    cursor = connection.cursor()
    cursor.execute("CREATE TEMP TABLE pure (a int, b jsonb)")
    cursor.executemany("INSERT INTO pure VALUES (%s, %s)", [(n, json.dumps({"n": n})) for n in range(50)])
    connection.commit()
    cursor.execute("SELECT sum(a), count(*) FILTER (WHERE b->>'n' = '7') FROM pure")
    assert tuple(cursor.fetchone()) == (1225, 1)
    with pytest.raises(pg8000.dbapi.DatabaseError, match="42P01"):
        cursor.execute("SELECT * FROM not_there")
    connection.rollback()
    cursor.execute("SELECT %s", ("after",))
    assert cursor.fetchone()[0] == "after"
    connection.close()


def _alchemy_url(target: Target, driver: str) -> sa.URL:
    return sa.URL.create(
        f"postgresql+{driver}", target.user, target.password, target.host, target.port, target.database
    )


_METADATA: Final = sa.MetaData()
_ALCHEMY: Final = sa.Table(
    "alchemy",
    _METADATA,
    sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now()),
)


@pytest.mark.parametrize("driver", ["psycopg", "pg8000", "psycopg2"])
def test_sqlalchemy(target: Target, driver: str) -> None:
    """Create, insert with RETURNING, reflect, roll back, drop; over a pool of its own."""
    engine = sa.create_engine(_alchemy_url(target, driver), pool_size=5)
    try:
        _METADATA.drop_all(engine)
        _METADATA.create_all(engine)
        with engine.begin() as connection:
            names = [{"name": f"name {n}"} for n in range(500)]
            found = connection.execute(_ALCHEMY.insert().returning(_ALCHEMY.c.id), names)
            assert sorted(found.scalars()) == list(range(1, 501))
        with engine.connect() as connection:
            connection.execute(_ALCHEMY.delete())
            connection.rollback()
            count = connection.execute(sa.select(sa.func.count()).select_from(_ALCHEMY)).scalar()
            assert count == 500
        assert [column["name"] for column in sa.inspect(engine).get_columns("alchemy")] == ["id", "name", "at"]
        _METADATA.drop_all(engine)
    finally:
        engine.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_sqlalchemy_async(target: Target, driver: str) -> None:
    """Concurrent transactions through one engine, with streaming results."""
    engine = create_async_engine(_alchemy_url(target, driver), pool_size=5, max_overflow=5)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_METADATA.drop_all)
            await connection.run_sync(_METADATA.create_all)

        async def add(number: int) -> None:
            async with engine.begin() as connection:
                await connection.execute(_ALCHEMY.insert().values(name=f"name {number}"))

        await asyncio.gather(*(add(number) for number in range(60)))
        async with engine.connect() as connection:
            stream = await connection.stream(sa.select(_ALCHEMY.c.name).order_by(_ALCHEMY.c.id))
            assert len({name async for name in stream.scalars()}) == 60
    finally:
        await engine.dispose()
