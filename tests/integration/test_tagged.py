"""Sixty clients whose questions are all different: nobody ever gets an answer that is not his, whatever breaks."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.integration.target import Target
from tests.support.forebay import forebay
from tests.support.scripted_server import scripted_server
from tests.support.tagged import CrossedError, Tally, tagged
from tests.support.toxic import Toxic, toxic
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.postgres import Cluster

CLIENTS: Final = int(os.environ.get("FOREBAY_TEST_CLIENTS", "60"))
STEP: Final = 300  # answers between two faults

pytestmark = pytest.mark.timeout(300)


def settings(cluster: Cluster, port: int | None = None, **more: Any) -> dict[str, Any]:
    """Ten server connections for everyone; `port` is that of a relay."""
    url = f"postgresql://{cluster.superuser}:{cluster.password}@{cluster.host}:{port or cluster.port}"
    return {"databases": {"*": {"url": url}}, "pool": {"size": 10}, **more}


async def test_every_answer_carries_its_tag(target: Target) -> None:
    """Mixed protocols, no faults, no errors."""
    async with tagged(target.login, CLIENTS) as tally:
        await tally.advance(20 * STEP, 120)
    assert not tally.sqlstates
    assert not tally.lost


async def test_one_server_connection_for_all(own_postgres: Cluster) -> None:
    """The narrowest pool: every switch is a switch between clients."""
    one = settings(own_postgres)
    one["pool"]["size"] = 1
    async with forebay(one, own_postgres.superuser, own_postgres.password) as proxy:
        target = Target(own_postgres, proxy, "postgres")
        async with tagged(target.login, 20) as tally:
            await tally.advance(4 * STEP, 120)
    assert not tally.sqlstates
    assert not tally.lost


async def test_clients_that_die_at_random_bytes(target: Target) -> None:
    """Half of the crowd keeps dying; the other half gets right answers and no errors."""
    async with (
        tagged(target.login, CLIENTS // 2, 2, suicidal=True),
        tagged(target.login, CLIENTS // 2, 3) as tally,
    ):
        await tally.advance(10 * STEP, 120)
    assert not tally.sqlstates
    assert not tally.lost


async def slices(relay: Toxic, tally: Tally) -> None:
    """Everything in pieces of one to seven bytes."""
    relay.slices = (1, 7)
    await tally.advance(STEP, 120)


async def latency(relay: Toxic, tally: Tally) -> None:
    """50 ms each way."""
    relay.latency = 0.05
    await tally.advance(STEP, 120)


async def rate(relay: Toxic, tally: Tally) -> None:
    """200 kB/s a connection."""
    relay.rate = 200_000
    await tally.advance(STEP, 120)


async def blackhole(relay: Toxic, tally: Tally) -> None:
    """Two seconds of nothing, twice."""
    for _ in range(2):
        relay.blackhole(True)
        await asyncio.sleep(2)
        relay.blackhole(False)
        await tally.advance(STEP)


async def resets(relay: Toxic, tally: Tally) -> None:
    """All connections at once, again and again."""
    for _ in range(5):
        relay.reset_all()
        await tally.advance(STEP)


async def cuts(relay: Toxic, tally: Tally) -> None:
    """Each connection breaks after some bytes, mostly within a message."""
    for cut in (1_000, 5_003, 20_011):
        relay.cut_after = cut
        relay.reset_all()
        await asyncio.sleep(1.5)
        relay.cut_after = None
        relay.reset_all()
        await tally.advance(STEP)


async def refusals(relay: Toxic, tally: Tally) -> None:
    """The server cannot be reached for a second."""
    relay.refuse = True
    relay.reset_all()
    await asyncio.sleep(1)
    relay.refuse = False
    await tally.advance(STEP)


HARMLESS: Final = [slices, latency, rate, blackhole]
HARMFUL: Final = [resets, cuts, refusals]
CONNECTION_ERRORS: Final = {"57P01", "57P02", "57P03", "57P05", "08006", "08000", "08001", "08003", "08P01", "25P02"}


@pytest.mark.parametrize("fault", HARMLESS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("side", ["clients", "servers"])
async def test_bad_network(own_postgres: Cluster, fault: Callable[[Toxic, Tally], Awaitable[None]], side: str) -> None:
    """Slow is not wrong: no error reaches anyone."""
    async with toxic(own_postgres.port) as relay:
        port = relay.port if side == "servers" else None
        async with (
            forebay(settings(own_postgres, port), own_postgres.superuser, own_postgres.password) as proxy,
            toxic(proxy.port) as near,
        ):
            target = Target(own_postgres, proxy, "postgres")

            async def through_relay() -> Wire:
                wire = await Wire.open("127.0.0.1", near.port)
                await wire.login(target.user, target.database, target.password)
                return wire

            async with tagged(through_relay if side == "clients" else target.login, CLIENTS) as tally:
                await tally.advance(STEP)
                await fault(near if side == "clients" else relay, tally)
                relay.latency = near.latency = 0
                relay.rate = near.rate = 0
                relay.slices = near.slices = None
    assert not tally.sqlstates
    assert not tally.lost


@pytest.mark.parametrize("fault", HARMFUL, ids=lambda fault: fault.__name__)
async def test_broken_server_links(own_postgres: Cluster, fault: Callable[[Toxic, Tally], Awaitable[None]]) -> None:
    """Clients get errors of class 08 or 57, or lose their connection; all is well afterwards."""
    async with toxic(own_postgres.port) as relay:
        upstream = settings(own_postgres, relay.port)
        async with forebay(upstream, own_postgres.superuser, own_postgres.password) as proxy:
            target = Target(own_postgres, proxy, "postgres")
            async with tagged(target.login, CLIENTS) as tally:
                await tally.advance(STEP)
                await fault(relay, tally)
            assert set(tally.sqlstates) <= CONNECTION_ERRORS, tally.sqlstates
            async with tagged(target.login, 20, 9) as healed:
                await healed.advance(STEP)
            assert not healed.sqlstates
            assert not healed.lost


def terminate_all(cluster: Cluster) -> None:
    """An administrator ends all sessions."""
    cluster.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )


def restart_fast(cluster: Cluster) -> None:
    """A restart that rolls back."""
    cluster.restart("fast")


def restart_immediate(cluster: Cluster) -> None:
    """A restart that recovers."""
    cluster.restart("immediate")


def kill_a_backend(cluster: Cluster) -> None:
    """SIGKILL for one backend: the postmaster ends all others and recovers."""
    victims = cluster.execute(
        "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    os.kill(random.choice(victims)[0], signal.SIGKILL)


def kill_the_postmaster(cluster: Cluster) -> None:
    """SIGKILL for the postmaster, and a new one."""
    cluster.kill_9()
    cluster.start()


SERVER_FAULTS: Final = [terminate_all, restart_fast, restart_immediate, kill_a_backend, kill_the_postmaster]


@pytest.mark.parametrize("fault", SERVER_FAULTS, ids=lambda fault: fault.__name__)
async def test_server_dies_under_load(own_postgres: Cluster, fault: Callable[[Cluster], None]) -> None:
    """Three times; in between everyone works again."""
    async with forebay(settings(own_postgres), own_postgres.superuser, own_postgres.password) as proxy:
        target = Target(own_postgres, proxy, "postgres")
        async with tagged(target.login, CLIENTS) as tally:
            for _ in range(3):
                await tally.advance(STEP)
                fault(own_postgres)
            await tally.advance(STEP)
        assert set(tally.sqlstates) <= CONNECTION_ERRORS, tally.sqlstates
        async with tagged(target.login, 20, 9) as healed:
            await healed.advance(STEP)
        assert not healed.sqlstates
        assert not healed.lost


async def test_server_stands_still(own_postgres: Cluster) -> None:
    """SIGSTOP for two seconds is a delay and nothing else."""
    async with forebay(settings(own_postgres), own_postgres.superuser, own_postgres.password) as proxy:
        target = Target(own_postgres, proxy, "postgres")
        async with tagged(target.login, CLIENTS) as tally:
            await tally.advance(STEP)
            with own_postgres.paused():
                await asyncio.sleep(2)
            await tally.advance(STEP)
        assert not tally.sqlstates
        assert not tally.lost


async def test_load_finds_a_crossing() -> None:
    """The load itself is tried: a peer that answers everyone with the same tag is caught."""
    async with scripted_server() as server:

        async def login() -> Wire:
            wire = await Wire.open("127.0.0.1", server.port)
            await wire.login("anyone", "any", "")
            return wire

        with pytest.raises(CrossedError):
            async with tagged(login, 2):
                await asyncio.sleep(0.5)
