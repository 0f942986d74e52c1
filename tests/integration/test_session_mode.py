"""Session mode: a client has one server connection from its login to its end, and is told its real process id."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest

from tests.integration.rotating import Both
from tests.support.forebay import Forebay, forebay_before
from tests.support.frames import SYNC, bind, close, describe, execute, extended, parse, query
from tests.support.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgres import Cluster


@pytest.fixture(scope="module")
def proxy(postgres: Cluster) -> Iterator[Forebay]:
    with forebay_before(postgres, pool={"size": 3, "mode": "session", "queue_timeout": "1s"}) as started:
        yield started


@pytest.mark.parametrize("options", ["", "-c DateStyle=German -c work_mem=5MB"])
async def test_the_client_is_told_the_process_id_of_its_server(proxy: Forebay, options: str) -> None:
    """Also the second client with the same settings, who finds them known."""
    for name in ("first", "second"):
        dsn = proxy.dsn("postgres", application_name=name, options=options)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            cursor = await connection.execute(
                "SELECT pid, application_name, to_char(date '2001-02-03', 'YYYY'), current_setting('DateStyle')"
                " FROM pg_stat_activity WHERE pid = pg_backend_pid()"
            )
            style = "German, DMY" if options else "ISO, MDY"
            assert await cursor.fetchone() == (connection.info.backend_pid, name, "2001", style)


async def test_a_notification_names_its_sender(proxy: Forebay) -> None:
    async with await psycopg.AsyncConnection.connect(proxy.dsn("postgres"), autocommit=True) as connection:
        await connection.execute("LISTEN named")
        await connection.execute("NOTIFY named")
        heard = [notification.pid async for notification in connection.notifies(timeout=30, stop_after=1)]
        assert heard == [connection.info.backend_pid]


async def test_who_ends_that_process_ends_the_client(proxy: Forebay, postgres: Cluster) -> None:
    """Which has asked nothing yet, and hears why."""
    connection = await asyncpg.connect(proxy.dsn("postgres"))
    ended: list[asyncpg.Connection] = []
    connection.add_termination_listener(ended.append)
    assert postgres.execute("SELECT pg_terminate_backend(%s)", connection.get_server_pid()) == [(True,)]
    await eventually(lambda: bool(ended))
    assert connection.is_closed()


async def test_a_cancel_request_reaches_its_query_alone(proxy: Forebay) -> None:
    async with await psycopg.AsyncConnection.connect(proxy.dsn("postgres"), autocommit=True) as other:
        running = await asyncpg.connect(proxy.dsn("postgres"))
        with pytest.raises(TimeoutError):
            await running.fetchval("SELECT pg_sleep(60)", timeout=0.2)  # asyncpg cancels it then
        assert await running.fetchval("SELECT 1") == 1
        await running.close()
        assert await (await other.execute("SELECT 2")).fetchone() == (2,)


async def test_a_login_waits_for_a_server(proxy: Forebay) -> None:
    """And is refused when none comes; one that leaves makes room."""
    held = [await asyncpg.connect(proxy.dsn("postgres")) for _ in range(3)]
    try:
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await asyncpg.connect(proxy.dsn("postgres"))
        await held.pop().close()
        held.append(await asyncpg.connect(proxy.dsn("postgres")))
    finally:
        for connection in held:
            await connection.close()


async def test_clients_at_rest_do_not_keep_it_from_ending(postgres: Cluster, tmp_path: Path) -> None:
    proxy = Forebay.before(postgres, tmp_path, {"pool": {"mode": "session"}, "timeouts": {"drain": "10m"}})
    proxy.start()
    try:
        await proxy.ready()
        connection = await asyncpg.connect(proxy.dsn("postgres"))
        proxy.signal(signal.SIGTERM)
        await eventually(lambda: not proxy.alive)
        assert connection.is_closed()
    finally:
        await asyncio.to_thread(proxy.stop)
    proxy.verify_log()


_STATEMENTS = "SELECT name, statement, from_sql FROM pg_prepared_statements ORDER BY name"
NAMES = {
    "sql finds them": [
        parse("SELECT 1", "one") + SYNC,
        query("EXECUTE one"),
        query(_STATEMENTS),
        query("DEALLOCATE one"),
        bind(statement="one") + execute() + SYNC,
    ],
    "made by sql": [
        query("PREPARE one AS SELECT 1"),
        describe("S", "one") + bind(statement="one") + execute() + SYNC,
        close("S", "one") + SYNC,
        query("EXECUTE one"),
    ],
    "dropped by sql, and another": [
        parse("SELECT 1", "one") + SYNC,
        query("DEALLOCATE one"),
        parse("CREATE TEMP TABLE made AS SELECT 2 AS a", "one") + bind(statement="one") + execute() + SYNC,
        query("SELECT a + 1 FROM made"),
        parse("SELECT 3", "one") + SYNC,
        bind(statement="one") + execute() + SYNC,
    ],
    "closed": [
        parse("SELECT 1", "one") + parse("SELECT 2", "two") + parse("SELECT 1", "three") + SYNC,
        close("S", "one") + SYNC,
        query(_STATEMENTS),
        bind(statement="one") + SYNC + bind(statement="three") + describe("P") + execute() + SYNC,
        close("S", "none") + close("P", "none") + SYNC,
    ],
    "one batch": [
        parse("SELECT 1", "one")
        + bind(statement="one")
        + execute()
        + close("S", "one")
        + parse("SELECT 2", "one")
        + SYNC,
        parse("SELECT", "bad") + parse("SELECT 1 FROM", "bad") + SYNC,
        bind(statement="bad") + execute() + SYNC + bind(statement="one") + execute() + SYNC,
        extended("SELECT $1::int", "4"),
        bind("5") + describe("P") + execute() + SYNC,
        query("SELECT 6"),
        bind("7") + SYNC,
    ],
    "forebay's": [parse("SELECT 1", "forebay_1") + SYNC, query(_STATEMENTS), query("DISCARD ALL"), query(_STATEMENTS)],
}


@pytest.mark.parametrize("said", NAMES.values(), ids=NAMES)
async def test_prepared_statements_are_what_the_client_calls_them(
    proxy: Forebay, postgres: Cluster, said: list[bytes]
) -> None:
    both = Both(postgres, proxy, "postgres")
    await both.same([(0, data) for data in said], clients=1)
    await both.same([(0, b"".join(said))], clients=1)
