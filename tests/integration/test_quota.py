"""Server connections that the pools of several users share, and clients that wait for one."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support import frames
from tests.support.forebay import forebay_before
from tests.support.frames import query
from tests.support.patience import eventually
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster

USERS = ("quota_a", "quota_b")


@pytest.fixture(scope="module")
def limited(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forebay]:
    """Two connections for a database, three for a user, and whoever waits is told at once."""
    users = tmp_path_factory.mktemp("quota") / "userlist.txt"
    for user in USERS:
        postgres.create_role(user, user)
    users.write_text("".join(f'"{user}" "{user}"\n' for user in USERS))
    place = f"{postgres.host}:{postgres.port}"
    with forebay_before(
        postgres,
        databases={"*": {"url": f"postgresql://{place}"}, "template1": {"url": f"postgresql://{place}"}},
        auth={"users_file": str(users)},
        pool={"max_db_connections": 2, "max_user_connections": 3, "queue_notice": "100ms"},
        cache={"mode": "off"},
    ) as started:
        yield started


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


async def client(stack: AsyncExitStack, proxy: Forebay, user: str, database: str = "postgres") -> Wire:
    wire = await Wire.open(proxy.host, proxy.port)
    stack.push_async_callback(wire.close)
    await wire.login(user, database, user)
    return wire


async def test_an_idle_connection_makes_room(stack: AsyncExitStack, limited: Forebay, postgres: Cluster) -> None:
    """Of the pool of another user; there are never more than the limit."""
    first = [await client(stack, limited, "quota_a") for _ in range(2)]
    for wire in first:
        await wire.ask(query("BEGIN"))
    for wire in first:
        await wire.ask(query("COMMIT"))
    other = await client(stack, limited, "quota_b")
    assert await other.value("SELECT current_user") == "quota_b"
    for _ in range(5):
        for wire in (*first, other):
            assert await wire.value("SELECT 1") == "1"
        count = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'quota_%' AND datname = 'postgres'"
        assert postgres.execute(count)[0][0] <= 2


async def test_who_waits_longest_gets_the_next(stack: AsyncExitStack, limited: Forebay, postgres: Cluster) -> None:
    """Although another pool's clients never stop asking."""
    greedy = [await client(stack, limited, "quota_a") for _ in range(24)]
    modest = await client(stack, limited, "quota_b")
    stop = asyncio.Event()
    lent = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'quota_b'"

    async def ask(wire: Wire) -> int:
        count = 0
        while not stop.is_set():
            assert await wire.value("SELECT pg_sleep(0.01)") == ""
            count += 1
        return count

    tasks = [asyncio.create_task(ask(wire)) for wire in greedy]
    for _ in range(3):
        await eventually(lambda: postgres.execute(lent)[0][0] == 0)  # the room is all taken
        assert await asyncio.wait_for(modest.value("SELECT current_user"), 20) == "quota_b"
    stop.set()
    assert all(count > 0 for count in await asyncio.gather(*tasks))


async def test_a_user_is_limited_over_all_databases(stack: AsyncExitStack, limited: Forebay) -> None:
    """Two in each database would be four; who waits is told so, once, and served when somebody leaves."""
    wires = [await client(stack, limited, "quota_a", "postgres") for _ in range(2)]
    wires += [await client(stack, limited, "quota_a", "template1")]
    for wire in wires:
        await wire.ask(query("BEGIN"))
    last = await Wire.open(limited.host, limited.port)
    stack.push_async_callback(last.close)
    await last.login("quota_a", "template1", "quota_a")
    last.write(query("SELECT 'at last'"))
    notice = await last.message()
    assert (notice.tag, frames.fields(notice.body)["S"]) == ("N", "NOTICE")
    await wires[0].ask(query("ROLLBACK"))
    answer = await last.until("Z")
    assert frames.tags(answer) == "TDCZ"
    for wire in wires[1:]:
        await wire.ask(query("ROLLBACK"))
