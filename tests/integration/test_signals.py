"""How Forebay ends, and how it takes a new configuration, while clients are in the middle of something."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.target import Target
from tests.support import frames
from tests.support.forebay import Forebay, forebay_before
from tests.support.frames import query
from tests.support.patience import eventually
from tests.support.wire import LoginRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AsyncExitStack

    from tests.support.postgres import Cluster

STOP = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture
def leaving(postgres: Cluster, tmp_path: Any) -> Iterator[Forebay]:
    """A Forebay that the test ends itself."""
    proxy = Forebay.before(postgres, tmp_path, {"pool": {"size": 3}, "timeouts": {"drain": "5s"}})
    proxy.start_from_nothing()
    try:
        proxy.wait_ready()
        yield proxy
    finally:
        proxy.stop()
    proxy.verify_log()


async def ended(proxy: Forebay, patience: float = 30.0) -> int:
    """Its exit status."""
    return await asyncio.to_thread(proxy.wait, patience)


@pytest.mark.parametrize("number", STOP)
async def test_drain(stack: AsyncExitStack, postgres: Cluster, leaving: Forebay, number: signal.Signals) -> None:
    """The idle are told to go, transactions and running queries may end, nobody new comes in, status 0."""
    postgres.execute("DROP TABLE IF EXISTS drained")
    postgres.execute("CREATE TABLE drained (a int)")
    target = Target(postgres, leaving, "postgres")
    idle, busy, running = [await stack.enter_async_context(target.wire()) for _ in range(3)]
    await busy.ask(query("BEGIN"))
    await busy.ask(query("INSERT INTO drained VALUES (1)"))
    running.write(query("SELECT pg_sleep(1.5), 'finished'"))
    await running.drain()
    await asyncio.sleep(0.3)
    leaving.signal(number)
    assert frames.errors(await idle.rest()) == ["57P01"]
    assert frames.rows(await running.until("C")) == [("", "finished")]
    with pytest.raises((OSError, EOFError, LoginRefusedError)):
        await target.login()
    assert frames.tags(await busy.ask(query("INSERT INTO drained VALUES (2)"))) == "CZ"
    assert (await busy.ask(query("COMMIT")))[0].body == b"COMMIT\0"
    assert await ended(leaving) == 0
    assert postgres.execute("SELECT count(*) FROM drained") == [(2,)]


async def test_drain_has_an_end(stack: AsyncExitStack, postgres: Cluster, tmp_path: Any) -> None:
    """A transaction that never ends is rolled back after timeouts.drain."""
    proxy = Forebay.before(postgres, tmp_path, {"timeouts": {"drain": "1s"}})
    proxy.start_from_nothing()
    try:
        await proxy.ready()
        target = Target(postgres, proxy, "postgres")
        busy = await stack.enter_async_context(target.wire())
        await busy.ask(query("BEGIN"))
        await busy.ask(query("CREATE TABLE never_committed ()"))
        proxy.signal(signal.SIGTERM)
        assert frames.errors(await busy.rest()) == ["57P01"]
        assert await ended(proxy) == 0
    finally:
        await asyncio.to_thread(proxy.stop)
    assert postgres.execute("SELECT to_regclass('never_committed')") == [(None,)]
    proxy.verify_log()


async def test_second_signal_means_now(stack: AsyncExitStack, postgres: Cluster, leaving: Forebay) -> None:
    """Whatever is open is closed, and the status is still 0."""
    target = Target(postgres, leaving, "postgres")
    busy, running = [await stack.enter_async_context(target.wire()) for _ in range(2)]
    await busy.ask(query("BEGIN; SELECT 1"))
    running.write(query("SELECT pg_sleep(60)"))
    await running.drain()
    leaving.signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    leaving.signal(signal.SIGTERM)
    assert await ended(leaving, 4.5) == 0
    assert set(frames.errors([*(await busy.rest()), *(await running.rest())])) <= {"57P01"}


async def test_kill_9_leaves_nothing_behind(stack: AsyncExitStack, postgres: Cluster, tmp_path: Any) -> None:
    """The server sees its connections end and rolls back."""
    postgres.execute("DROP TABLE IF EXISTS killed")
    postgres.execute("CREATE TABLE killed (a int)")
    proxy = Forebay.before(postgres, tmp_path, {})
    proxy.start_from_nothing()
    try:
        await proxy.ready()
        target = Target(postgres, proxy, "postgres")
        busy = await stack.enter_async_context(target.wire())
        await busy.ask(query("BEGIN"))
        await busy.ask(query("INSERT INTO killed VALUES (1)"))
        proxy.signal(signal.SIGKILL)
        await busy.rest()
    finally:
        await asyncio.to_thread(proxy.stop)
    async with Target(postgres, None, "postgres").wire() as wire:
        assert not frames.errors(await wire.ask(query("LOCK TABLE killed; SELECT 1")))
        assert await wire.value("SELECT count(*) FROM killed") == "0"


async def logged(proxy: Forebay, word: str) -> None:
    """Until its log has that word."""
    await eventually(lambda: word in proxy.log())


BROKEN = {
    "no TOML": "this = is = no TOML",
    "cut off": '[databases]\n"*" = { url = "postgresql:',
    "unknown key": "nonsense = 1\n",
    "bad value": '[pool]\nsize = "many"\n',
    "empty": "",
    "bytes": "\x00\x01\x02",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
async def test_reload_of_a_broken_file_changes_nothing(postgres: Cluster, text: str) -> None:
    """It is said in the log, clients do not notice, and a good file is taken afterwards."""
    with forebay_before(postgres, pool={"size": 2}) as proxy:
        target = Target(postgres, proxy, "postgres")
        async with target.wire() as wire, target.undisturbed():
            await wire.ask(query("BEGIN"))
            proxy.config.write_text(text)
            proxy.signal(signal.SIGHUP)
            await logged(proxy, "reload failed")
            assert frames.tags(await wire.ask(query("SELECT 1"))) == "TDCZ"
            await wire.ask(query("COMMIT"))
            proxy.configure({"pool": {"size": 3}})
            proxy.signal(signal.SIGHUP)
            await logged(proxy, "reloaded")


async def test_reload_of_a_missing_file_changes_nothing(postgres: Cluster) -> None:
    """A file that was moved away is no reason to stop."""
    with forebay_before(postgres) as proxy:
        target = Target(postgres, proxy, "postgres")
        async with target.undisturbed():
            proxy.config.unlink()
            proxy.signal(signal.SIGHUP)
            await logged(proxy, "reload failed")


async def test_reload_reaches_the_pools(postgres: Cluster) -> None:
    """A larger pool serves who was waiting; the open transaction goes on."""
    with forebay_before(postgres, pool={"size": 1}) as proxy:
        target = Target(postgres, proxy, "postgres")
        async with target.wire() as holder, target.wire() as waiter:
            await holder.ask(query("BEGIN"))
            await holder.ask(query("SELECT pg_current_xact_id()"))
            waiter.write(query("SELECT 'at last'"))
            await waiter.drain()
            await asyncio.sleep(0.3)
            proxy.configure({"pool": {"size": 2}})
            proxy.signal(signal.SIGHUP)
            assert frames.rows(await waiter.until("Z")) == [("at last",)]
            assert frames.tags(await holder.ask(query("COMMIT"))) == "CZ"


async def test_reload_takes_a_database_away(postgres: Cluster) -> None:
    """Newcomers get 3D000; the others stay."""
    login = f"{postgres.superuser}:{postgres.password}@{postgres.host}:{postgres.port}"
    gone = {"gone": {"url": f"postgresql://{login}/postgres"}}
    with forebay_before(postgres, databases=gone) as proxy:
        target = Target(postgres, proxy, "postgres")
        async with target.undisturbed():
            await Target(postgres, proxy, "gone").check()
            text = proxy.config.read_text()
            start = text.index('["databases"."gone"]')
            end = text.find("\n[", start + 1)
            proxy.config.write_text(text[:start] + (text[end + 1 :] if end >= 0 else ""))
            proxy.signal(signal.SIGHUP)
            await logged(proxy, "reloaded")
            with pytest.raises(LoginRefusedError) as refusal:
                await Target(postgres, proxy, "gone").login()
            assert refusal.value.sqlstate == "3D000"


async def test_reload_under_load(postgres: Cluster) -> None:
    """Fifty reloads, no error."""
    with forebay_before(postgres, pool={"size": 3}) as proxy:
        target = Target(postgres, proxy, "postgres")
        async with target.undisturbed():
            for number in range(50):
                proxy.configure({"pool": {"size": 2 + number % 5}, "stats": {"slow": f"{100 + number}ms"}})
                proxy.signal(signal.SIGHUP)
                await asyncio.sleep(0.02)
