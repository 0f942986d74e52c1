"""A name server that says what the test wants, and connections that are real."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cache.cache import Cache
from cache.coherence import Coherence
from cache.memory import MemoryStore
from pool.connect import Target, look_up
from pool.plan import PoolLimits
from pool.pool import Pool
from pool.tasks import Tasks
from protocol.secrets import Plain
from proxy.database import Database, Identities
from proxy.dsn import ServerUrl, parse_dsn
from proxy.names import Names
from stats.stats import Stats
from tests.pool.customer import Clock, Customer
from tests.support.patience import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pool.connect import Address
    from tests.support.postgres import Cluster

ELSEWHERE: list[Address] = [(socket.AF_INET, ("192.0.2.1", 5432))]


class World:
    """A database with one pool, and the names of its host."""

    def __init__(self, cluster: Cluster) -> None:
        cache = Cache(Coherence(), MemoryStore(1 << 20, 1 << 16), 60.0)
        self.database = Database("d", Stats(10.0), cache, Identities(), mode="off", session_pooling="transaction")
        self.tasks = Tasks()
        target = Target("localhost", cluster.port, cluster.superuser, "postgres", Plain(cluster.password))
        self.pool = Pool("d", target, PoolLimits(), Clock(), self.tasks)
        self.database.pools[cluster.superuser] = self.pool
        self.url: ServerUrl | None = parse_dsn(f"postgresql://localhost:{cluster.port}/postgres")
        self.told: list[Address] | None = None  # None: the truth
        self.moves = 0
        self.database.on_moved = self.moved
        self.names = Names(lambda: [self.database], lambda _: self.url, lambda: 0.001, self.resolve)

    def moved(self) -> None:
        self.moves += 1

    async def resolve(self, host: str, port: int) -> list[Address]:
        return await look_up(host, port) if self.told is None else self.told


@pytest.fixture
async def world(postgres: Cluster) -> AsyncIterator[World]:
    made = World(postgres)
    yield made
    made.pool.close()
    for hub in made.database.hubs.values():
        hub.close()
    await made.tasks.cancel()


async def test_what_is_where_its_name_says_stays(world: World) -> None:
    server = await Customer(world.pool).ask().server()
    server.give_back()
    for _ in range(3):
        await world.names.look()
    assert world.pool.servers == {server}
    assert world.moves == 0


async def test_an_address_that_is_missing_twice_is_left(world: World) -> None:
    """Idle connections at once, those in use when they come back; once is not enough."""
    busy, idle = await Customer(world.pool).ask().server(), await Customer(world.pool).ask().server()
    idle.give_back()
    await world.names.look()
    world.told = ELSEWHERE
    await world.names.look()
    assert world.moves == 1
    world.told = None
    await world.names.look()
    world.told = ELSEWHERE
    await world.names.look()
    assert world.pool.servers == {busy, idle}
    await world.names.look()
    assert world.pool.servers == {busy}
    busy.give_back()
    assert not world.pool.servers


async def test_no_answer_changes_nothing(world: World) -> None:
    server = await Customer(world.pool).ask().server()
    server.give_back()
    await world.names.look()
    world.told = []
    for _ in range(3):
        await world.names.look()
    assert world.pool.servers == {server}
    assert world.moves == 0


async def test_an_address_is_no_name(world: World, postgres: Cluster) -> None:
    world.pool.target = replace(world.pool.target, host="127.0.0.1")
    world.url = parse_dsn(f"postgresql://127.0.0.1:{postgres.port}/postgres")
    server = await Customer(world.pool).ask().server()
    world.told = ELSEWHERE
    for _ in range(3):
        await world.names.look()
    assert not server.broken


async def test_who_listens_goes_along(world: World) -> None:
    """To wherever the name leads: here, to the same place anew."""
    hub = world.database.hub(world.pool)
    loop = asyncio.get_running_loop()

    class Ears:
        def __init__(self) -> None:
            self.back: asyncio.Future[None] = loop.create_future()

        def hear(self, channel: str, message: bytes) -> None:
            raise AssertionError((channel, message))

        def interrupted(self) -> None:
            self.back.set_result(None)

    ears = Ears()
    told: asyncio.Future[str | None] = loop.create_future()
    hub.listen(ears, ["c"], told.set_result)
    assert await asyncio.wait_for(told, 30) is None
    world.told = ELSEWHERE
    await world.names.look()
    assert not ears.back.done()
    await world.names.look()
    await asyncio.wait_for(ears.back, 30)


async def test_runs_by_itself(world: World) -> None:
    server = await Customer(world.pool).ask().server()
    server.give_back()
    world.told = ELSEWHERE
    running = asyncio.create_task(world.names.run())
    await eventually(lambda: not world.pool.servers)
    running.cancel()
