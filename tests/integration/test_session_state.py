"""What belongs to a session stays with it, and reaches nobody else, however the server connections change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Connect
    from tests.integration.target import Target

pytestmark = pytest.mark.parametrize("target", ["direct", "forebay", "rotating"], indirect=True)


async def test_with_hold_cursor_survives_its_transaction(target: Target) -> None:
    """While others use the pool."""
    async with await psycopg.AsyncConnection.connect(target.dsn()) as connection:
        async with connection.cursor(name="held", withhold=True) as cursor:
            await cursor.execute("SELECT generate_series(1, 100)")
            await connection.commit()
            await _crowd(target)
            assert await cursor.fetchmany(3) == [(1,), (2,), (3,)]
        await connection.commit()


async def _crowd(target: Target) -> None:
    """Thirty others, enough to use every server connection of the pool."""

    async def one(number: int) -> None:
        async with target.wire() as wire:
            assert await wire.value(f"SELECT {number}") == str(number)

    await asyncio.gather(*(one(number) for number in range(30)))


async def test_listen_and_notify(target: Target, connect: Connect) -> None:
    """A notification comes to who listens, with its payload, while he is idle; not to others."""
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    listener, other, speaker = [await connect() for _ in range(3)]
    await listener.add_listener("drivers", lambda _c, _p, channel, payload: heard.put_nowait((channel, payload)))
    await other.fetchval("SELECT 1")
    await _crowd(target)
    for number in range(20):
        await speaker.execute("SELECT pg_notify('drivers', $1)", f"message {number}")
    await speaker.execute("NOTIFY elsewhere, 'not for us'")
    async with asyncio.timeout(30):
        assert [await heard.get() for _ in range(20)] == [("drivers", f"message {n}") for n in range(20)]
    assert await listener.fetchval("SELECT 'still useful'") == "still useful"
    await listener.remove_listener("drivers", lambda *_: None)
    for connection in (listener, other, speaker):
        await connection.close()


async def test_settings_are_each_sessions_own(target: Target) -> None:
    """SET, RESET, SET LOCAL and startup options stay with their session and reach nobody else."""

    async def work(number: int) -> None:
        options = f"-c statement_timeout={number + 100}000 -c search_path=own_{number},public"
        dsn = target.dsn(options=options, application_name=f"app {number}")
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:

            async def show(name: str) -> str:
                row = await (await connection.execute(f"SHOW {name}".encode())).fetchone()
                assert row is not None
                return str(row[0])

            zone = ("Asia/Tokyo", "America/Lima", "UTC")[number % 3]
            await connection.execute(f"SET TimeZone = '{zone}'".encode())
            for _ in range(5):
                await asyncio.sleep(0.001)
                assert await show("TimeZone") == zone
                assert await show("statement_timeout") in {f"{number + 100}s", f"{(number + 100) // 60}min"}
                assert await show("search_path") == f"own_{number},public"
                assert await show("application_name") == f"app {number}"
                async with connection.transaction():
                    await connection.execute("SET LOCAL work_mem = '1MB'")
                    assert await show("work_mem") == "1MB"
                assert await show("work_mem") != "1MB"
            await connection.execute("SET search_path = elsewhere")
            await connection.execute("RESET search_path")
            assert await show("search_path") == f"own_{number},public"
            assert connection.info.parameter_status("TimeZone") == zone

    await asyncio.gather(*(work(number) for number in range(24)))


async def test_temporary_tables_and_advisory_locks_stay_with_their_session(target: Target, connect: Connect) -> None:
    """Two sessions, the same names, different contents, many others in between."""
    first, second = await connect(), await connect()
    for number, connection in enumerate((first, second)):
        await connection.execute("CREATE TEMP TABLE own (a int)")
        await connection.execute("INSERT INTO own VALUES ($1)", number)
        assert await connection.fetchval("SELECT pg_try_advisory_lock(42, $1)", number)
    await _crowd(target)
    for number, connection in enumerate((first, second)):
        assert [row[0] for row in await connection.fetch("SELECT a FROM own")] == [number]
        assert not await connection.fetchval("SELECT pg_try_advisory_lock(42, $1)", 1 - number)
    await second.close()
    await asyncio.sleep(0.5)
    third = await connect()
    assert await third.fetchval("SELECT to_regclass('pg_temp.own')") is None
    assert await third.fetchval("SELECT pg_try_advisory_lock(42, 1)")
    assert not await third.fetchval("SELECT pg_try_advisory_lock(42, 0)")
    for connection in (first, third):
        await connection.close()


async def test_sql_level_prepare(target: Target) -> None:
    """PREPARE and EXECUTE, the same name in several sessions."""

    async def work(number: int) -> None:
        async with await psycopg.AsyncConnection.connect(target.dsn(), autocommit=True) as connection:
            await connection.execute(f"PREPARE same AS SELECT $1::int + {number}".encode())
            for turn in range(5):
                cursor = await connection.execute(f"EXECUTE same({turn})".encode())
                assert await cursor.fetchone() == (turn + number,)
                await asyncio.sleep(0.001)
            await connection.execute("DEALLOCATE same")
            with pytest.raises(psycopg.errors.InvalidSqlStatementName):
                await connection.execute("EXECUTE same(1)")

    await asyncio.gather(*(work(number * 100) for number in range(15)))


async def test_schema_change_under_prepared_statements(connect: Connect) -> None:
    """A statement whose table has changed is prepared anew, not lost."""
    first, second = await connect(), await connect()
    await first.execute("DROP TABLE IF EXISTS changing; CREATE TABLE changing (a int)")
    await first.execute("INSERT INTO changing VALUES (1)")
    for connection in (first, second):
        assert [tuple(row) for row in await connection.fetch("SELECT * FROM changing")] == [(1,)]
    await first.execute("ALTER TABLE changing ADD COLUMN b text DEFAULT 'new'")
    for connection in (first, second):
        assert [tuple(row) for row in await connection.fetch("SELECT * FROM changing")] == [(1, "new")]
    await first.close()
    await second.close()
