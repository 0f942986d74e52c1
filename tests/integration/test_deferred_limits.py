"""Transactions that no server knows of yet: what they hold, how they end, and what happens when BEGIN fails."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.rotating import Both
from tests.integration.target import Target, behind
from tests.support import frames
from tests.support.forebay import Forebay, forebay_before
from tests.support.frames import SYNC, bind, execute, extended, parse, query
from tests.support.patience import eventually, retried
from tests.support.postgres import cluster
from tests.support.wire import opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AsyncExitStack

    from tests.support.postgres import Cluster
    from tests.support.wire import Wire

SERIALIZABLE = query("BEGIN ISOLATION LEVEL SERIALIZABLE")
"""Which a standby refuses."""


@pytest.fixture(scope="module")
def narrow(postgres: Cluster) -> Iterator[Forebay]:
    """One server connection."""
    with forebay_before(postgres, pool={"size": 1, "defer_begin": True, "queue_timeout": "20s"}) as proxy:
        yield proxy


@pytest.fixture
def target(postgres: Cluster, narrow: Forebay, shared_database: str) -> Target:
    postgres.execute("DROP TABLE IF EXISTS held; CREATE TABLE held (v int)", database=shared_database)
    return Target(postgres, narrow, shared_database)


async def begun(target: Target, stack: AsyncExitStack, text: bytes = query("BEGIN")) -> Wire:
    """A client in a deferred transaction."""
    wire = await stack.enter_async_context(target.wire())
    answer = await wire.ask(text)
    assert (frames.tags(answer), answer[-1].body) == ("CZ", b"T")
    return wire


async def cancelled(target: Target, wire: Wire) -> None:
    async with opened(target.host, target.port) as sender:
        sender.write(frames.cancel_request(wire.pid, wire.key))
        await sender.raw_rest()


def waiting(target: Target) -> float:
    assert target.forebay is not None
    return target.forebay.metric("forebay_clients", state="waiting")


# -- servers ----------------------------------------------------------------------------------------------------------


async def test_clients_in_a_fresh_transaction_do_not_hold_each_other_up(stack: AsyncExitStack, target: Target) -> None:
    """With one server connection for all of them; it is taken by what needs it, and then kept to the end."""
    idle = [await begun(target, stack) for _ in range(3)]
    async with target.wire() as other:
        assert await other.value("SELECT 1") == "1"
    assert await idle[0].value("SELECT 1") == "1"
    idle[1].write(query("SELECT 2"))
    await eventually(lambda: waiting(target) == 1)
    for wire in (idle[2], idle[0]):
        assert (await wire.ask(query("COMMIT")))[-1].body == b"I"
    assert frames.rows(await idle[1].until("Z")) == [("2",)]
    assert (await idle[1].ask(query("COMMIT")))[-1].body == b"I"


async def test_local_answers_are_counted_as_such(stack: AsyncExitStack, target: Target, narrow: Forebay) -> None:
    """And a client in a deferred transaction has no server."""
    before = narrow.metric("forebay_queries_total", outcome="local")
    wire = await begun(target, stack)
    assert narrow.metric("forebay_clients", state="idle") >= 1
    await wire.ask(query("ROLLBACK"))
    assert narrow.metric("forebay_queries_total", outcome="local") == before + 2


async def test_what_it_sees_is_of_the_first_statement(stack: AsyncExitStack, target: Target) -> None:
    """So is now()."""
    wire = await begun(target, stack, query("BEGIN ISOLATION LEVEL REPEATABLE READ"))
    async with target.wire() as other:
        await other.ask(query("INSERT INTO held VALUES (1)"))
        written = await other.value("SELECT now()::text")
    assert await wire.value("SELECT count(*) FROM held") == "1"
    assert await wire.value(f"SELECT now() > '{written}'") == "t"


async def test_another_ones_unnamed_statement(stack: AsyncExitStack, target: Target) -> None:
    """BEGIN takes its place on the server."""
    wire = await stack.enter_async_context(target.wire())
    await wire.ask(parse("SELECT 'mine'"), SYNC)
    other = await begun(target, stack)
    await other.ask(bind(statement="none") + execute() + SYNC)
    await other.ask(query("ROLLBACK"))
    await wire.ask(bind(), SYNC)
    assert frames.rows(await wire.ask(bind() + execute() + SYNC)) == [("mine",)]


async def test_a_message_in_pieces(stack: AsyncExitStack, target: Target) -> None:
    """COMMIT, a query and a batch."""
    for text in (query("COMMIT"), query("SELECT 5"), extended("SELECT 5")):
        wire = await begun(target, stack)
        for at in range(len(text)):
            wire.write(text[at : at + 1])
            await wire.drain()
        answer = await wire.until("Z")
        assert not frames.errors(answer)
        assert answer[-1].body == (b"I" if text == query("COMMIT") else b"T")
        await wire.close()


async def test_who_leaves_leaves_nothing(stack: AsyncExitStack, target: Target) -> None:
    """With a word, without, and with a statement that is not answered."""
    for said in (b"", frames.TERMINATE, query("INSERT INTO held VALUES (1)") + frames.TERMINATE):
        wire = await begun(target, stack)
        wire.write(said)
        await wire.drain()
        await wire.close()
    await target.check()
    async with target.wire() as wire:
        assert await wire.value("SELECT count(*) FROM held") == "0"


async def test_what_commits_is_carried_out_whoever_has_left(stack: AsyncExitStack, target: Target) -> None:
    """A Terminate behind it is read after it."""
    wire = await begun(target, stack)
    wire.write(query("INSERT INTO held SELECT 1 FROM pg_sleep(0.3); COMMIT"), frames.TERMINATE)
    await wire.drain()
    await wire.close()
    async with target.wire() as other:
        assert await other.value("SELECT count(*) FROM held") == "1"


# -- ends -------------------------------------------------------------------------------------------------------------


async def test_idle_for_too_long(stack: AsyncExitStack, postgres: Cluster) -> None:
    """As any idle transaction."""
    target = await behind(
        stack, postgres, pool={"defer_begin": True}, timeouts={"idle_in_transaction": "1s", "client_idle": "10m"}
    )
    wire = await begun(target, stack)
    assert frames.errors(await wire.rest()) == ["25P03"]


async def test_cancel(stack: AsyncExitStack, target: Target) -> None:
    """Nothing runs while it is deferred; in the queue the statement fails, and with it the transaction."""
    wire = await begun(target, stack)
    await cancelled(target, wire)
    assert await wire.value("SELECT 1") == "1"
    late = await begun(target, stack)
    late.write(query("INSERT INTO held VALUES (1)"))
    await eventually(lambda: waiting(target) == 1)
    await cancelled(target, late)
    answer = await late.until("Z")
    assert (frames.errors(answer), answer[-1].body) == (["57014"], b"I")
    piped = await begun(target, stack)
    piped.write(query("INSERT INTO held VALUES (2)"), query("INSERT INTO held VALUES (3)"))
    await eventually(lambda: waiting(target) == 1)
    await cancelled(target, piped)
    assert frames.errors(await piped.rest()) == ["57014"]
    await wire.ask(query("COMMIT"))
    answer = await late.ask(query("SELECT count(*) FROM held"))
    assert (frames.rows(answer), answer[-1].body) == ([("0",)], b"I")


async def test_the_server_is_down(stack: AsyncExitStack, own_postgres: Cluster) -> None:
    """The client is told with its first statement, and may still end what has not begun."""
    target = await behind(stack, own_postgres, pool={"size": 1, "defer_begin": True, "queue_timeout": "1s"})
    wire, other = await begun(target, stack), await begun(target, stack)
    own_postgres.shutdown("fast")
    try:
        wire.write(query("SELECT 1"))
        assert frames.errors(await wire.rest())
        assert (await other.ask(query("COMMIT")))[-1].body == b"I"
    finally:
        own_postgres.start()
    await retried(target.check, Exception)


async def test_drain(stack: AsyncExitStack, postgres: Cluster, tmp_path: Any) -> None:
    """It may be carried out, or ended, before the process leaves."""
    proxy = Forebay.before(postgres, tmp_path, {"pool": {"defer_begin": True}, "timeouts": {"drain": "20s"}})
    proxy.start()
    try:
        await proxy.ready()
        target = Target(postgres, proxy, "postgres")
        ending, working = await begun(target, stack), await begun(target, stack)
        idle = await stack.enter_async_context(target.wire())
        proxy.signal(signal.SIGTERM)
        assert frames.errors(await idle.rest()) == ["57P01"]
        assert await working.value("SELECT 1") == "1"
        assert frames.tags(await ending.ask(query("COMMIT"))) == "CZ"
        assert frames.errors(await ending.rest()) == ["57P01"]
        assert frames.tags(await working.ask(query("COMMIT"))) == "CZ"
        assert await asyncio.to_thread(proxy.wait, 15.0) == 0
    finally:
        proxy.stop()
    proxy.verify_log()


async def test_notifications_wait_for_its_end(postgres: Cluster, narrow: Forebay, shared_database: str) -> None:
    """As PostgreSQL has it: before the ReadyForQuery that ends it."""
    both = Both(postgres, narrow, shared_database)
    notify = query("NOTIFY news, 'one'")
    heard = await both.same(
        [
            (0, query("LISTEN news")),
            (0, query("BEGIN")),
            (1, notify),
            (0, SYNC),
            (1, query("SELECT 1")),
            (0, query("SET LOCAL extra_float_digits = 1")),
            (0, query("UNLISTEN *")),
            (0, query("COMMIT")),
            (0, query("BEGIN")),
            (0, query("ROLLBACK")),
        ]
    )
    assert not [message for answer in heard[:7] for message in answer if message[0] == "A"]


async def test_a_notification_comes_with_the_local_end(stack: AsyncExitStack, target: Target) -> None:
    wire = await stack.enter_async_context(target.wire())
    await wire.ask(query("LISTEN news"))
    for end in ("COMMIT", "ROLLBACK"):
        await wire.ask(query("BEGIN"))
        async with target.wire() as other:
            await other.ask(query("LISTEN news; NOTIFY news, 'one'"))  # who hears it, too: then it has come
        assert frames.tags(await wire.ask(query(end))) == "CAZ"


# -- a BEGIN that fails -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def standby() -> Iterator[Cluster]:
    """A server in recovery."""
    with cluster() as made:
        made.shutdown()
        (made.data / "standby.signal").touch()
        made.start()
        yield made


@pytest.fixture(scope="module")
def refusing(standby: Cluster) -> Iterator[Target]:
    with forebay_before(standby, pool={"size": 2, "defer_begin": True}) as proxy:
        yield Target(standby, proxy, "postgres")


PREPARED = bind(statement="s") + execute() + SYNC
STATEMENTS = {
    "query": query("SELECT pg_advisory_lock(1)"),
    "several": query("SELECT 1; SELECT pg_advisory_lock(1)"),
    "extended": extended("SELECT pg_advisory_lock(1)"),
    "named": parse("SELECT 1", "t") + bind(statement="t") + execute() + SYNC,
    "prepared": PREPARED,
    "begin": query("BEGIN"),
    "commit": extended("COMMIT"),
    "copy": query("COPY (SELECT 1) TO STDOUT"),
    "prepare": query("PREPARE q AS SELECT 1"),
    "execute": query("EXECUTE s"),
    "set": query("SET work_mem = '7MB'"),
    "listen": query("LISTEN x"),
    "sync behind a flush": parse("SELECT 1") + frames.FLUSH + bind() + execute() + SYNC,
    "function call": frames.frame("F", b"\0\0\5\x58\0\0\0\0\0\0"),
}


@pytest.mark.parametrize("name", STATEMENTS)
async def test_begin_fails(stack: AsyncExitStack, refusing: Target, name: str) -> None:
    """The error is the answer to the statement, which has not run, and nothing is open."""
    wire = await stack.enter_async_context(refusing.wire())
    await wire.ask(parse("SELECT 1", "s"), SYNC)
    await wire.ask(SERIALIZABLE)
    answer = await asyncio.wait_for(wire.ask(STATEMENTS[name]), 30)
    assert (frames.tags(answer), frames.errors(answer), answer[-1].body) == ("EZ", ["0A000"], b"I")
    assert await wire.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"
    assert await wire.value("SHOW work_mem") != "7MB"
    assert frames.rows(await wire.ask(PREPARED)) == [("1",)]
    assert frames.errors(await wire.ask(bind(statement="t") + execute() + SYNC)) == ["26000"]
    await wire.ask(query("BEGIN"))
    assert await wire.value("SELECT 1") == "1"
    assert (await wire.ask(query("COMMIT")))[-1].body == b"I"
    await refusing.check()


@pytest.mark.parametrize("first", STATEMENTS)
async def test_begin_fails_with_more_behind(stack: AsyncExitStack, refusing: Target, first: str) -> None:
    """What was meant for its transaction never runs."""
    wire = await stack.enter_async_context(refusing.wire())
    await wire.ask(parse("SELECT 1", "s"), SYNC)
    await wire.ask(SERIALIZABLE)
    wire.write(STATEMENTS[first], query("SELECT pg_advisory_lock(2)"), extended("SELECT pg_advisory_lock(3)"))
    assert frames.errors(await wire.rest()) == ["0A000"]
    async with refusing.wire() as other:
        assert await other.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"


async def test_begin_fails_before_the_batch_ends(stack: AsyncExitStack, refusing: Target) -> None:
    """Its error comes with a Flush, and the rest of the batch is skipped."""
    wire = await stack.enter_async_context(refusing.wire())
    await wire.ask(SERIALIZABLE)
    wire.write(parse("SELECT 1"), frames.FLUSH)
    assert (await wire.message()).tag == "E"
    answer = await wire.ask(bind() + execute() + SYNC)
    assert (frames.tags(answer), answer[-1].body) == ("Z", b"I")
    assert await wire.value("SELECT 1") == "1"


async def test_what_a_standby_takes(stack: AsyncExitStack, refusing: Target) -> None:
    wire = await begun(refusing, stack, query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    assert await wire.value("SHOW transaction_isolation") == "repeatable read"
