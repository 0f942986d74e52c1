"""Who gets which connection, and when: the queue, the idle list, failures and their cure, age, control."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pool.connect import Target
from pool.errors import PoolClosed, PoolError, QueueTimeout
from tests.pool.customer import Clock, Customer, make_pool, reached
from tests.support.frames import error_response
from tests.support.listener import listening
from tests.support.ports import free_port
from tests.support.scripted_server import ScriptedServer, answer, fine, scripted_server

if TYPE_CHECKING:
    from pool.pool import Pool
    from tests.support.scripted_server import Peer


def target(port: int) -> Target:
    return Target("127.0.0.1", port, "scripted", "db")


async def opened(pool: Pool, count: int) -> list[Customer]:
    """As many customers, each with a connection."""
    customers = [Customer(pool).ask() for _ in range(count)]
    for customer in customers:
        await customer.server()
    return customers


async def test_first_come_first_served() -> None:
    async with scripted_server() as peer:
        pool = make_pool(target(peer.port), size=1)
        (first,) = await opened(pool, 1)
        line = [Customer(pool).ask() for _ in range(3)]
        assert pool.status().waiting == 3
        server = await first.server()
        for customer in line:
            assert not customer.served()
            server.give_back()
            assert customer.served(), "granted at once"
            assert await customer.server() is server
        server.give_back()
        assert (pool.status().idle, pool.counters.leases, pool.counters.waits) == (1, 4, 4)
        assert peer.connections == 1
        pool.close()


async def test_the_last_used_is_lent_first_or_the_first_when_rotating() -> None:
    async with scripted_server() as peer:
        for rotate in (False, True):
            pool = make_pool(target(peer.port), size=3, rotate=rotate)
            customers = await opened(pool, 3)
            servers = [await customer.server() for customer in customers]
            for server in servers:
                server.give_back()
            again = await Customer(pool).ask().server()
            assert again is servers[0 if rotate else 2]
            pool.close()


async def test_who_leaves_the_queue_is_not_served() -> None:
    async with scripted_server() as peer:
        pool = make_pool(target(peer.port), size=1)
        (first,) = await opened(pool, 1)
        gone, stays = Customer(pool).ask(), Customer(pool).ask()
        assert pool.withdraw(gone)
        assert not pool.withdraw(gone)
        (await first.server()).give_back()
        assert (gone.served(), stays.served()) == (False, True)
        pool.close()


async def test_who_waits_too_long_is_told() -> None:
    async with scripted_server() as peer:
        clock = Clock()
        pool = make_pool(target(peer.port), clock, size=1, queue_timeout=0.01)
        await opened(pool, 1)
        late = Customer(pool).ask()
        clock.now += 1
        later = Customer(pool).ask()
        with pytest.raises(QueueTimeout) as failure:
            await late.server()
        assert (failure.value.sqlstate, pool.counters.queue_timeouts) == ("53300", 1)
        assert later.outcome is None
        clock.now += 1
        with pytest.raises(QueueTimeout):
            await later.server()
        pool.close()


async def test_a_server_that_is_down_is_waited_for() -> None:
    port = free_port()
    pool = make_pool(target(port), size=5)
    customers = [Customer(pool).ask() for _ in range(3)]
    await reached(lambda: pool.counters.open_failures >= 3)
    assert pool.status().failing
    assert not any(customer.outcome for customer in customers), "nobody fails because of that"
    async with listening(ScriptedServer().serve, port=port):
        for customer in customers:
            await customer.server()
        assert not pool.status().failing
        pool.close()


async def test_many_attempts_that_fail_together_are_one_failure() -> None:
    clock = Clock()
    pool = make_pool(target(free_port()), clock, size=20, retry_delay=10.0, retry_max=1000.0)
    for _ in range(20):
        Customer(pool).ask()
    await reached(lambda: pool.counters.open_failures >= 20)
    assert pool._retry_at - clock.now <= 10.0
    pool.close()


async def test_what_waiting_cannot_cure_is_told_at_once() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.send(error_response("28P01", "password authentication failed", "FATAL"))

    async def unreached(peer: Peer) -> None:
        raise AssertionError

    async with scripted_server(unreached, before_login=refuse) as peer:
        pool = make_pool(target(peer.port), size=5)
        customers = [Customer(pool).ask() for _ in range(3)]
        for customer in customers:
            with pytest.raises(PoolError) as failure:
                await customer.server()
            assert failure.value.sqlstate == "28P01"
        assert pool.counters.failures["28P01"] >= 1
        pool.close()


async def test_a_refusal_that_passes_is_waited_for() -> None:
    refusals = 0

    async def refuse(peer: Peer) -> None:
        nonlocal refusals
        refusals += 1
        await peer.send(error_response("57P03", "the database system is starting up", "FATAL"))

    async def unreached(peer: Peer) -> None:
        raise AssertionError

    async with scripted_server(unreached, unreached, fine, before_login=refuse) as peer:
        pool = make_pool(target(peer.port), size=1)
        await opened(pool, 1)
        assert refusals >= 2
        assert not pool.status().failing
        pool.close()


async def test_one_that_was_idle_for_long_is_tried_first() -> None:
    async with scripted_server() as peer:
        clock = Clock()
        pool = make_pool(target(peer.port), clock, size=3, check_after_idle=30)
        (first,) = await opened(pool, 1)
        server = await first.server()
        server.give_back()
        clock.now += 31
        second = Customer(pool).ask()
        assert not second.served()
        assert await second.server() is server
        assert peer.connections == 1, "the check was enough: no other was opened"
        pool.close()


async def test_every_idle_connection_is_tried_when_many_come() -> None:
    async with scripted_server() as peer:
        clock = Clock()
        pool = make_pool(target(peer.port), clock, size=3, check_after_idle=30)
        for customer in await opened(pool, 3):
            (await customer.server()).give_back()
        clock.now += 31
        again = await opened(pool, 3)
        assert len({await customer.server() for customer in again}) == 3
        assert peer.connections == 3
        pool.close()


async def test_a_check_that_fails_makes_room_for_another() -> None:
    async def dies(peer: Peer) -> None:
        await peer.receive()

    async with scripted_server(dies, fine) as peer:
        clock = Clock()
        pool = make_pool(target(peer.port), clock, size=1, check_after_idle=0)
        (await (await opened(pool, 1))[0].server()).give_back()
        await opened(pool, 1)
        assert peer.connections == 2
        pool.close()


async def test_age() -> None:
    async with scripted_server() as peer:
        clock = Clock()
        pool = make_pool(target(peer.port), clock, size=3, lifetime=100, lifetime_jitter=0, idle_timeout=50, min_size=1)
        for customer in await opened(pool, 2):
            (await customer.server()).give_back()
        clock.now += 49
        pool.tick(clock.now)
        assert pool.status().idle == 2
        clock.now += 1
        pool.tick(clock.now)
        assert pool.status().idle == 1, "the other is needed: min_size"
        keeper = Customer(pool)
        pool.limits = pool.limits.__class__(size=1, check_after_idle=1000)
        server = await keeper.ask().server()
        clock.now += 50
        pool.tick(clock.now)
        lent = server.closed
        server.give_back()
        assert (lent, server.closed) == (False, True), "closed, but not while it was lent"
        pool.close()


async def test_a_connection_of_an_older_generation_is_not_lent_again() -> None:
    async with scripted_server() as peer:
        pool = make_pool(target(peer.port), size=2)
        idle, busy = [await customer.server() for customer in await opened(pool, 2)]
        idle.give_back()
        pool.reconnect()
        assert (idle.closed, busy.closed) == (True, False)
        busy.give_back()
        assert {busy.closed} == {True}
        await opened(pool, 1)
        assert peer.connections == 3
        pool.close()


async def test_a_new_target_is_a_new_generation_and_new_limits_count_at_once() -> None:
    async with scripted_server() as old, scripted_server() as new:
        pool = make_pool(target(old.port), size=1)
        (first,) = await opened(pool, 1)
        waits = Customer(pool).ask()
        pool.reconfigure(target(new.port), pool.limits.__class__(size=2))
        await waits.server()
        assert (old.connections, new.connections) == (1, 1)
        server = await first.server()
        server.give_back()
        assert server.closed
        pool.close()


async def test_a_closed_pool_fails_everybody_and_lends_nothing() -> None:
    async with scripted_server() as peer:
        pool = make_pool(target(peer.port), size=1)
        (first,) = await opened(pool, 1)
        waits = Customer(pool).ask()
        pool.close()
        assert await first.lost == "shutdown"
        with pytest.raises(PoolClosed):
            await waits.server()
        with pytest.raises(PoolClosed):
            await Customer(pool).ask().server()
        assert pool.servers == frozenset()


async def test_a_connection_that_dies_idle_is_replaced_when_needed() -> None:
    gone = asyncio.Event()

    async def leaves(peer: Peer) -> None:
        await answer(peer, await peer.receive())
        await gone.wait()
        await peer.send(error_response("57P01", "terminating connection", "FATAL"))

    async with scripted_server(leaves, fine) as peer:
        pool = make_pool(target(peer.port), size=1)
        (first,) = await opened(pool, 1)
        await first.query("SELECT 1")
        (await first.server()).give_back()
        gone.set()
        await reached(lambda: not pool.status().idle)
        (again,) = await opened(pool, 1)
        assert b"fine" in await again.query("SELECT 1")
        assert peer.connections == 2
        pool.close()
