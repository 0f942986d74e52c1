"""Servers that go away, queues, cancel requests: who is hit, who only waits, and who never notices."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.integration.target import Target, behind
from tests.support import frames
from tests.support.frames import query
from tests.support.patience import eventually, retried
from tests.support.wire import LoginRefusedError, Wire, opened

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from tests.support.postgres import Cluster

LOST: Final = {"57P01", "57P02", "08006"}
pytestmark = pytest.mark.timeout(180)


async def in_transaction(stack: AsyncExitStack, target: Target) -> Wire:
    """A client with an open transaction, and a server connection."""
    wire = await stack.enter_async_context(target.wire())
    await wire.ask(query("BEGIN"))
    await wire.ask(query("SELECT pg_current_xact_id()"))
    return wire


async def waiting(target: Target, count: float) -> None:
    """Until that many clients wait for a server connection."""
    assert target.forebay is not None
    ask = partial(target.forebay.metric, "forebay_clients", state="waiting")
    await eventually(lambda: ask() >= count)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_restart_hits_transactions_only(stack: AsyncExitStack, own_postgres: Cluster, mode: Any) -> None:
    """Each open transaction gets one error; who was idle or queued gets his answer, later."""
    target = await behind(stack, own_postgres, pool={"size": 4})
    busy = [await in_transaction(stack, target) for _ in range(4)]
    idle = [await stack.enter_async_context(target.wire()) for _ in range(10)]
    queued = [await stack.enter_async_context(target.wire()) for _ in range(6)]
    for number, wire in enumerate(queued):
        wire.write(query(f"SELECT 'queued {number}'"))
    await waiting(target, 6)
    own_postgres.restart(mode)
    for wire in busy:
        wire.write(query("SELECT 'lost'"))
        answer = await _last_words(wire)
        assert len(frames.errors(answer)) == 1, answer
        assert set(frames.errors(answer)) <= LOST
        assert not frames.rows(answer)
    for number, wire in enumerate(queued):
        assert frames.rows(await wire.until("Z")) == [(f"queued {number}",)]
    for number, wire in enumerate(idle):
        assert await wire.value(f"SELECT 'idle {number}'") == f"idle {number}"


async def _last_words(wire: Wire) -> list[frames.Message]:
    """Up to ReadyForQuery or to the end, whichever comes."""
    messages: list[frames.Message] = []
    try:
        while not messages or messages[-1].tag != "Z":
            messages.append(await wire.message())
    except (EOFError, ConnectionError):
        pass
    return messages


async def test_server_that_is_down_is_waited_for(stack: AsyncExitStack, own_postgres: Cluster) -> None:
    """Sessions outlive a server that is away for a while, and the log does not fill up."""
    target = await behind(stack, own_postgres, pool={"size": 4, "queue_timeout": "60s", "retry_max": "500ms"})
    wires = [await stack.enter_async_context(target.wire()) for _ in range(10)]
    own_postgres.shutdown("fast")
    for wire in wires:
        wire.write(query("SELECT 'patience'"))
    await asyncio.sleep(3)
    own_postgres.start()
    for wire in wires:
        assert frames.rows(await wire.until("Z")) == [("patience",)]
    assert target.forebay is not None
    assert target.forebay.log().count("\n") < 100


async def test_server_that_stays_down_is_an_error_with_a_reason(stack: AsyncExitStack, own_postgres: Cluster) -> None:
    """After queue_timeout the client is told; later it works again."""
    target = await behind(stack, own_postgres, pool={"size": 4, "queue_timeout": "1s", "retry_max": "500ms"})
    wire = await stack.enter_async_context(target.wire())
    assert await wire.value("SELECT 'before'") == "before"
    own_postgres.shutdown("fast")
    try:
        wire.write(query("SELECT 'never'"))
        answer = await _last_words(wire)
        assert frames.errors(answer)[0][:2] in {"08", "57", "53"}, answer
    finally:
        own_postgres.start()
    await retried(target.check, LoginRefusedError, EOFError, ConnectionError)


async def test_queue_timeout(stack: AsyncExitStack, own_postgres: Cluster) -> None:
    """One error, soon; the transaction that holds the server goes on."""
    target = await behind(stack, own_postgres, pool={"size": 1, "queue_timeout": "1s"})
    holder = await in_transaction(stack, target)
    late = await stack.enter_async_context(target.wire())
    late.write(query("SELECT 'too late'"))
    answer = await _last_words(late)
    assert len(frames.errors(answer)) == 1
    assert frames.errors(answer)[0] in {"53300", "57014", "57P05", "08P01"}
    assert not frames.rows(answer)
    assert frames.tags(await holder.ask(query("COMMIT"))) == "CZ"
    await target.check()


async def test_pool_size_is_never_exceeded(stack: AsyncExitStack, own_postgres: Cluster) -> None:
    """Forty clients on three server connections, all at once."""
    target = await behind(stack, own_postgres, pool={"size": 3})
    text = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    wires = [await stack.enter_async_context(target.wire()) for _ in range(40)]
    for _ in range(5):
        for wire in wires:
            wire.write(query("SELECT pg_sleep(0.01)"))
        assert own_postgres.execute(text)[0][0] <= 3
        for wire in wires:
            assert not frames.errors(await wire.until("Z"))


async def test_late_cancel_does_not_hit_the_next_user_of_the_server(
    stack: AsyncExitStack, own_postgres: Cluster
) -> None:
    """One server connection; the first client cancels again and again after his query is done."""
    target = await behind(stack, own_postgres, pool={"size": 1})
    first, second = [await stack.enter_async_context(target.wire()) for _ in range(2)]
    for _ in range(15):
        assert await first.value("SELECT 'done'") == "done"
        second.write(query("SELECT pg_sleep(0.1), 'mine'"))
        for _ in range(5):
            async with opened(target.host, target.port) as sender:
                sender.write(frames.cancel_request(first.pid, first.key))
                await sender.raw_rest()
        assert frames.rows(await second.until("Z")) == [("", "mine")]


async def test_cancel_in_the_race_with_its_own_answer(stack: AsyncExitStack, own_postgres: Cluster) -> None:
    """A cancel that arrives while the answer does: the next client of that server connection is safe."""
    target = await behind(stack, own_postgres, pool={"size": 1})
    first, second = [await stack.enter_async_context(target.wire()) for _ in range(2)]
    for number in range(40):
        first.write(query(f"SELECT pg_sleep({number % 8 * 0.002}), 'first'"))
        second.write(query("SELECT pg_sleep(0.03), 'second'"))
        async with opened(target.host, target.port) as sender:
            sender.write(frames.cancel_request(first.pid, first.key))
            await sender.raw_rest()
        answer = await first.until("Z")
        assert frames.errors(answer) == ["57014"] or frames.rows(answer) == [("", "first")]
        answer = await second.until("Z")
        assert frames.rows(answer) == [("", "second")], answer


async def test_cancel_of_a_queued_query(stack: AsyncExitStack, own_postgres: Cluster) -> None:
    """It never runs, and its client may ask again."""
    own_postgres.execute("DROP TABLE IF EXISTS queued")
    own_postgres.execute("CREATE TABLE queued (a int)")
    target = await behind(stack, own_postgres, pool={"size": 1})
    holder = await in_transaction(stack, target)
    late = await stack.enter_async_context(target.wire())
    late.write(query("INSERT INTO queued VALUES (1)"))
    await waiting(target, 1)
    async with opened(target.host, target.port) as sender:
        sender.write(frames.cancel_request(late.pid, late.key))
        await sender.raw_rest()
    answer = await late.until("Z")
    assert frames.errors(answer) == ["57014"]
    await holder.ask(query("COMMIT"))
    assert await late.value("SELECT count(*) FROM queued") == "0"


async def test_client_that_leaves_the_queue_runs_nothing(stack: AsyncExitStack, own_postgres: Cluster) -> None:
    """Its place is free, its query is forgotten."""
    own_postgres.execute("DROP TABLE IF EXISTS left_behind")
    own_postgres.execute("CREATE TABLE left_behind (a int)")
    target = await behind(stack, own_postgres, pool={"size": 1})
    holder = await in_transaction(stack, target)
    for _ in range(5):
        quitter = await target.login()
        quitter.write(query("INSERT INTO left_behind VALUES (1)"))
        await quitter.drain()
        await waiting(target, 1)
        quitter.reset()
        await quitter.close()
    next_one = await stack.enter_async_context(target.wire())
    next_one.write(query("SELECT count(*) FROM left_behind"))
    await holder.ask(query("COMMIT"))
    assert frames.rows(await next_one.until("Z")) == [("0",)]


async def test_queue_is_fair(stack: AsyncExitStack, own_postgres: Cluster) -> None:
    """First come, first served."""
    own_postgres.execute("DROP TABLE IF EXISTS arrivals")
    own_postgres.execute("CREATE TABLE arrivals (id serial, who int)")
    target = await behind(stack, own_postgres, pool={"size": 1})
    holder = await in_transaction(stack, target)
    wires = [await stack.enter_async_context(target.wire()) for _ in range(20)]
    for number, wire in enumerate(wires):
        wire.write(query(f"INSERT INTO arrivals (who) VALUES ({number})"))
        await waiting(target, number + 1)
    await holder.ask(query("COMMIT"))
    for wire in wires:
        assert not frames.errors(await wire.until("Z"))
    assert own_postgres.execute("SELECT who FROM arrivals ORDER BY id") == [(number,) for number in range(20)]


async def test_terminated_backend_tells_its_client(target: Target) -> None:
    """57P01 from one's own pg_terminate_backend, then the end; not a bare EOF."""
    async with target.undisturbed(), target.wire() as wire:
        wire.write(query("SELECT pg_terminate_backend(pg_backend_pid())"))
        answer = await _last_words(wire)
        assert frames.errors(answer) == ["57P01"]


async def test_cancelled_backend_goes_on(target: Target) -> None:
    """57014 from one's own pg_cancel_backend is an error like any other."""
    async with target.undisturbed(), target.wire() as wire:
        answer = await wire.ask(query("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(1)"))
        assert frames.errors(answer) == ["57014"]
        assert await wire.value("SELECT 'alive'") == "alive"


async def test_parameter_changes_are_told(target: Target) -> None:
    """ParameterStatus comes with SET, in the middle of a batch, and with the ROLLBACK that takes it back."""
    async with target.wire() as wire:
        answer = await wire.ask(query("SELECT 1; SET application_name = 'told'; SELECT 2"))
        assert [message.body for message in answer if message.tag == "S"] == [b"application_name\0told\0"]
        await wire.ask(query("BEGIN"))
        answer = await wire.ask(query("SET TimeZone = 'Asia/Tokyo'"))
        assert [message.body for message in answer if message.tag == "S"] == [b"TimeZone\0Asia/Tokyo\0"]
        answer = await wire.ask(query("ROLLBACK"))
        assert [message.body[:9] for message in answer if message.tag == "S"] == [b"TimeZone\0"]
        assert await wire.value("SHOW TimeZone") != "Asia/Tokyo"
        assert await wire.value("SHOW application_name") == "told"


async def test_notifications_of_an_idle_listener(target: Target) -> None:
    """They come without being asked for, in order; the next query's answer follows them."""
    async with target.wire() as listener, target.wire() as speaker:
        await listener.ask(query("LISTEN idle_ears"))
        for number in range(50):
            await speaker.ask(query(f"NOTIFY idle_ears, 'word {number}'"))
        heard = [await listener.message() for _ in range(50)]
        assert frames.tags(heard) == "A" * 50
        payloads = [message.body[4:].split(b"\0")[1] for message in heard]
        assert payloads == [b"word %d" % number for number in range(50)]
        assert await listener.value("SELECT 'alive'") == "alive"
        await listener.ask(query("UNLISTEN *"))
        await speaker.ask(query("NOTIFY idle_ears, 'nobody'"))
        assert frames.tags(await listener.ask(query("SELECT 1"))) == "TDCZ"
