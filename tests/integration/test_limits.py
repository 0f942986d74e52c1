"""Limits and timeouts: who is refused or closed is told why, and everyone else stays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.integration.target import behind
from tests.support import frames
from tests.support.frames import query
from tests.support.patience import retried
from tests.support.wire import LoginRefusedError, opened

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from tests.support.postgres import Cluster


@pytest.mark.parametrize("limit", ["clients", "clients_per_user", "clients_per_database"])
async def test_too_many_clients(stack: AsyncExitStack, postgres: Cluster, limit: str) -> None:
    """The next one gets 53300; when one leaves there is room again."""
    target = await behind(stack, postgres, limits={limit: 5})
    wires = [await stack.enter_async_context(target.wire()) for _ in range(5)]
    for _ in range(20):
        with pytest.raises(LoginRefusedError) as refusal:
            await target.login()
        assert refusal.value.sqlstate == "53300"
    for wire in wires:
        assert await wire.value("SELECT 'in'") == "in"
    wires[0].write(frames.TERMINATE)
    await wires[0].close()
    await retried(target.check, LoginRefusedError)


async def test_query_timeout(stack: AsyncExitStack, postgres: Cluster) -> None:
    """57014, as from statement_timeout; the session goes on, and so do others."""
    target = await behind(stack, postgres, timeouts={"query": "1s"})
    async with target.undisturbed(), target.wire() as wire:
        assert frames.errors(await wire.ask(query("SELECT pg_sleep(60)"))) == ["57014"]
        assert await wire.value("SELECT 'alive'") == "alive"
        await wire.ask(query("BEGIN"))
        answer = await wire.ask(frames.extended("SELECT pg_sleep(60)"))
        assert (frames.errors(answer), answer[-1].body) == (["57014"], b"E")


async def test_idle_in_transaction_timeout(stack: AsyncExitStack, postgres: Cluster) -> None:
    """25P03 and the end; its locks are free. An idle client without a transaction stays."""
    postgres.execute("CREATE TABLE IF NOT EXISTS dozing (a int)")
    target = await behind(stack, postgres, timeouts={"idle_in_transaction": "1s"})
    quiet = await stack.enter_async_context(target.wire())
    async with target.undisturbed(), target.wire() as wire:
        await wire.ask(query("BEGIN; LOCK TABLE dozing"))
        assert frames.errors(await wire.rest()) == ["25P03"]
        async with target.wire() as other:
            assert not frames.errors(await other.ask(query("BEGIN; LOCK TABLE dozing; COMMIT")))
    assert await quiet.value("SELECT 'still here'") == "still here"


async def test_client_idle_timeout(stack: AsyncExitStack, postgres: Cluster) -> None:
    """57P05 and the end."""
    target = await behind(stack, postgres, timeouts={"client_idle": "1s"})
    async with target.undisturbed(), target.wire() as wire:
        assert frames.errors(await wire.rest()) == ["57P05"]


async def test_login_timeout(stack: AsyncExitStack, postgres: Cluster) -> None:
    """Half a startup packet, half a login, or nothing at all: closed when the time is over."""
    target = await behind(stack, postgres, timeouts={"login": "2s"})
    packet = frames.startup(("user", target.user), ("database", target.database))
    async with target.undisturbed():
        for start in (b"", packet[:10], packet, frames.SSL_REQUEST):
            async with opened(target.host, target.port) as wire:
                wire.write(start)
                await wire.raw_rest()


async def test_message_limit(stack: AsyncExitStack, postgres: Cluster) -> None:
    """A longer message ends its session, before it has been read."""
    target = await behind(stack, postgres, limits={"message": "1MiB"})
    async with target.undisturbed(), target.wire() as wire:
        assert await wire.value("SELECT length('" + "x" * 500_000 + "')") == "500000"
        wire.write(frames.lying_frame(b"Q", 2 << 20, b"SELECT"))
        answer = await wire.rest()
        assert frames.errors(answer)[0] in {"08P01", "54000"}


async def test_no_file_descriptors_left(stack: AsyncExitStack, postgres: Cluster) -> None:
    """Clients beyond the process's limit wait or are refused; those inside work, and it recovers without a spin."""
    target = await behind(stack, postgres, pool={"size": 3})
    assert target.forebay is not None
    wires = [await stack.enter_async_context(target.wire()) for _ in range(5)]
    for wire in wires:
        await wire.value("SELECT 'warm'")
    process = target.forebay.process
    process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 10, 4096))
    crowd = [await target.open() for _ in range(60)]
    for wire in wires:
        assert await wire.value("SELECT 'served'") == "served"
    before = sum(process.cpu_times()[:2])
    await asyncio.sleep(1)
    assert sum(process.cpu_times()[:2]) - before < 0.8
    for wire in crowd:
        await wire.close()
    process.rlimit(psutil.RLIMIT_NOFILE, (1024, 4096))
    await retried(target.check, LoginRefusedError, EOFError, ConnectionError)
    for wire in wires:
        assert await wire.value("SELECT 'served'") == "served"


async def test_many_idle_clients(stack: AsyncExitStack, postgres: Cluster) -> None:
    """Five hundred on three server connections cost little memory, and all are served."""
    target = await behind(stack, postgres, pool={"size": 3})
    assert target.forebay is not None
    await target.check()
    before = target.forebay.process.memory_info().rss
    wires = []
    for _ in range(10):
        wires += await asyncio.gather(*(stack.enter_async_context(target.wire()) for _ in range(50)))
    assert target.forebay.process.memory_info().rss - before < 500 * 60_000
    for number, wire in enumerate(wires):
        wire.write(query(f"SELECT {number}"))
    for number, wire in enumerate(wires):
        assert frames.rows(await wire.until("Z")) == [(str(number),)]
