"""Clients that die at a random byte of whatever they were saying: nothing leaks, nothing stays, nobody else notices.

FOREBAY_TEST_DEATHS sets how many; each batch of them has a seed, which its failure names.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.target import Target
from tests.support import frames
from tests.support.forebay import forebay_before
from tests.support.frames import COPY_DONE, FLUSH, SYNC, TERMINATE, frame, query
from tests.support.patience import eventually
from tests.support.tagged import tagged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import Cluster

DEATHS: Final = int(os.environ.get("FOREBAY_TEST_DEATHS", "400"))
BATCH: Final = 200
AT_ONCE: Final = 16
SIZE: Final = 4  # server connections

pytestmark = pytest.mark.timeout(60 + DEATHS)

_PAY: Final = "UPDATE purse SET v = v {} 1 WHERE id = {}"


def _scripts() -> list[bytes]:
    """What clients say after their login; money that is moved is never made or lost."""
    execute = frames.execute()
    pay, get = _PAY.format("-", 1), _PAY.format("+", 2)
    copied = b"".join(frame("d", b"%d\t0\n" % number) for number in range(10, 40))
    large = (
        frames.parse("SELECT $1::text", "big") + frames.bind("x" * 200_000, statement="big") + frames.execute() + SYNC
    )
    return [
        query(f"BEGIN; {pay}") + query(get) + query("COMMIT"),
        query("BEGIN") + query(pay) + query("SAVEPOINT s") + query("SELECT 1/0") + query("ROLLBACK TO s") + query(get),
        frames.extended(f"WITH w AS ({pay}) {get}") * 3,
        frames.parse(pay)
        + frames.bind()
        + frames.execute()
        + frames.parse(get)
        + frames.bind()
        + frames.execute()
        + SYNC,
        frames.parse(pay) + frames.bind() + execute + FLUSH + frames.parse(get) + frames.bind() + execute + SYNC * 2,
        query("COPY purse FROM STDIN") + copied + COPY_DONE + query("DELETE FROM purse WHERE id > 9"),
        query("BEGIN") + query("COPY purse FROM STDIN") + copied + frame("f", b"no\0") + query("ROLLBACK"),
        query("COPY (SELECT repeat('poison', 50) FROM generate_series(1, 20000)) TO STDOUT") + query("SELECT 1"),
        query("SELECT repeat('poison', 50) FROM generate_series(1, 20000)") * 2,
        query("SET work_mem = '77kB'; SET application_name = 'poison'")
        + query("SELECT 1")
        + query("SET TimeZone = 'Japan'"),
        query("BEGIN") + query("SET LOCAL statement_timeout = 12345") + query("LOCK TABLE purse IN SHARE MODE"),
        query("CREATE TEMP TABLE purse (poison int)") + query("INSERT INTO purse VALUES (666)") + query("SELECT 1"),
        query("SELECT pg_advisory_lock(4711)") + query("SELECT pg_advisory_unlock(4711)") * 2,
        query("LISTEN poison") + query("NOTIFY poison, 'x'") + query("UNLISTEN *"),
        query("DECLARE poison CURSOR WITH HOLD FOR SELECT 1") + query("FETCH poison") + query("CLOSE poison"),
        query("PREPARE poison AS SELECT 666") + query("EXECUTE poison") * 3 + query("DEALLOCATE poison"),
        frames.parse("SELECT $1::int", "s1")
        + SYNC
        + frames.bind("1", statement="s1")
        + frames.execute()
        + SYNC
        + TERMINATE,
        query("SELECT pg_sleep(0.05)") + query(f"BEGIN; {pay}; {get}; COMMIT"),
        query(f"{pay}; SELECT pg_sleep(0.02); {get}"),
        large + query("BEGIN") + large,
    ]


@pytest.fixture(scope="module")
def mortal(postgres: Cluster, shared_database: str) -> Iterator[Target]:
    """Few server connections, and logging in is quick."""
    postgres.execute(
        "CREATE TABLE purse (id int PRIMARY KEY, v int); INSERT INTO purse VALUES (1, 0), (2, 0)",
        database=shared_database,
    )
    with forebay_before(postgres, auth={"method": "trust"}, pool={"size": SIZE}) as started:
        yield Target(postgres, started, shared_database)


async def _dies(target: Target, rng: random.Random) -> None:
    script = rng.choice(_scripts())
    cut = rng.randrange(len(script) + 1)
    wire = await target.login()
    wire.write(script[:cut])
    end = rng.random()
    if end < 0.6:
        await wire.drain()
    if end < 0.3:
        await asyncio.sleep(0.02 * rng.random())
    if end < 0.7:
        wire.reset()
    elif end < 0.8:
        wire.end_of_input()
    await wire.close()


@pytest.mark.parametrize("seed", range(max(1, DEATHS // BATCH)))
async def test_nothing_is_left_of_clients_that_die(mortal: Target, seed: int) -> None:
    rng = random.Random(seed)
    seeds = [rng.random() for _ in range(BATCH)]

    async def some(mine: list[float]) -> None:
        for own in mine:
            await _dies(mortal, random.Random(own))

    async with tagged(mortal.login, 6, seed) as tally:
        await asyncio.gather(*(some(seeds[start::AT_ONCE]) for start in range(AT_ONCE)))
        await tally.advance(200)
    assert not tally.sqlstates
    assert not tally.lost
    await eventually(lambda: _nothing_runs(mortal))
    assert mortal.cluster.execute("SELECT sum(v), count(*) FROM purse", database=mortal.database) in _WHOLE
    await _servers_are_clean(mortal)


_WHOLE: Final = ([(0, 2)], [(0, 32)])  # without and with what a COPY has brought and nobody deleted


def _nothing_runs(target: Target) -> bool:
    """No statement, no transaction, no lock, no temporary table; and no more connections than there may be."""
    (found,) = target.cluster.execute(
        "SELECT count(*) FILTER (WHERE state <> 'idle'), count(*) FILTER (WHERE application_name <> 'forebay catalog')"
        " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        database=target.database,
    )
    (left,) = target.cluster.execute(
        "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),"
        " (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'),"
        " (SELECT count(*) FROM pg_locks WHERE mode = 'ShareLock' AND relation = 'purse'::regclass)",
        database=target.database,
    )
    return found[0] == 0 and found[1] <= SIZE + 1 and not any(left)  # and one that listens


async def _servers_are_clean(target: Target) -> None:
    """All of them at once, each looked at by a newcomer."""
    arrived = asyncio.Barrier(SIZE)

    async def look() -> None:
        async with target.wire() as wire:
            assert not frames.errors(await wire.ask(query("BEGIN")))
            async with arrived:
                answer = await wire.ask(
                    query(
                        "SELECT name || '=' || setting FROM pg_settings WHERE source = 'session' AND name IN"
                        " ('work_mem', 'application_name', 'TimeZone', 'statement_timeout')"
                        " UNION ALL SELECT 'cursor ' || name FROM pg_cursors"
                        " UNION ALL SELECT 'listens ' || c FROM pg_listening_channels() AS c"
                        " UNION ALL SELECT 'prepared ' || name FROM pg_prepared_statements"
                        " UNION ALL SELECT 'temp ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()"
                    )
                )
                assert not frames.errors(answer)
                assert [row for row in frames.rows(answer) if row[0] != "application_name="] == []
            assert not frames.errors(await wire.ask(query("COMMIT")))

    await asyncio.wait_for(asyncio.gather(*(look() for _ in range(SIZE))), 60)
