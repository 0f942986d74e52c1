"""Clients that vanish, in a transaction, in a result, in half a message: nobody inherits anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from tests.support import frames
from tests.support.frames import SYNC, query
from tests.support.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.integration.target import Target
    from tests.support.wire import Wire

MIB: Final = 1 << 20


@pytest.fixture(autouse=True)
def table(target: Target) -> None:
    """One row to lock."""
    for statement in (
        "CREATE TABLE IF NOT EXISTS prey (a int)",
        "TRUNCATE prey",
        "INSERT INTO prey VALUES (0)",
    ):
        target.cluster.execute(statement, database=target.database)


def unlocked(target: Target) -> bool:
    """Whether nobody holds a lock on the table."""
    text = "SELECT count(*) FROM pg_locks WHERE relation = 'prey'::regclass AND mode <> 'AccessShareLock'"
    return target.cluster.execute(text, database=target.database) == [(0,)]


def quiet(target: Target) -> bool:
    """Whether no statement runs and no transaction is open, but ours."""
    text = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND state <> 'idle'"
    )
    return target.cluster.execute(text, database=target.database) == [(0,)]


async def in_transaction(wire: Wire) -> None:
    """An open transaction with a change and a setting that nobody may ever see."""
    await wire.ask(query("BEGIN"))
    await wire.ask(query("UPDATE prey SET a = 666"))
    await wire.ask(query("SET LOCAL application_name = 'poison'"))


async def in_failed_transaction(wire: Wire) -> None:
    """The same, after an error."""
    await in_transaction(wire)
    await wire.ask(query("SELECT 1/0"))


async def in_running_query(wire: Wire) -> None:
    """A statement that would run for a minute and holds the lock."""
    wire.write(query("BEGIN; UPDATE prey SET a = 666; SELECT pg_sleep(60)"))
    await wire.drain()
    await asyncio.sleep(0.3)


async def in_result(wire: Wire) -> None:
    """A result of which one row was read."""
    wire.write(query("BEGIN; UPDATE prey SET a = 666; SELECT repeat('poison', 200) FROM generate_series(1, 200000)"))
    await wire.until("D")


async def in_pipeline(wire: Wire) -> None:
    """An implicit transaction without its Sync."""
    wire.write(frames.parse("UPDATE prey SET a = 666"), frames.bind(), frames.execute(), frames.FLUSH)
    await wire.until("C")


async def in_half_a_bind(wire: Wire) -> None:
    """A Parse, and the first bytes of a Bind."""
    bound = frames.bind("poison" * 2_000)
    wire.write(frames.parse("SELECT $1::text"), bound[:40])
    await wire.drain()


async def in_half_a_large_bind(wire: Wire) -> None:
    """3 of 6 MB: more than anyone would buffer."""
    bound = frames.bind("poison" * MIB)
    wire.write(frames.parse("SELECT length($1::text)"), bound[: 3 * MIB])
    await wire.drain()


async def in_half_a_header(wire: Wire) -> None:
    """Three bytes of a query."""
    wire.write(query("SELECT 'poison'")[:3])
    await wire.drain()


PLACES = [
    in_transaction,
    in_failed_transaction,
    in_running_query,
    in_result,
    in_pipeline,
    in_half_a_bind,
    in_half_a_large_bind,
    in_half_a_header,
]


@pytest.mark.parametrize("end", ["RST", "close", "Terminate"])
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
async def test_client_vanishes(target: Target, place: Callable[[Wire], Awaitable[None]], end: str) -> None:
    """Its work is undone and its locks are free soon; nobody sees what it left."""
    # PostgreSQL alone would notice a vanished client only when it writes to him
    option = ("options", "-c client_connection_check_interval=200ms")
    async with target.undisturbed():
        wire = await target.login(*([] if target.forebay else [option]))
        await place(wire)
        if end == "Terminate" and "half" not in place.__name__:
            wire.write(frames.TERMINATE)
            await wire.drain()
        elif end == "RST":
            wire.reset()
        await wire.close()
        await eventually(lambda: unlocked(target))
        assert target.cluster.execute("SELECT a FROM prey", database=target.database) == [(0,)]
        await _nobody_is_poisoned(target)
    await eventually(lambda: quiet(target))


async def _nobody_is_poisoned(target: Target) -> None:
    """Twelve newcomers at once, more than there are server connections."""

    async def newcomer(number: int) -> None:
        async with target.wire() as wire:
            assert await wire.value("SHOW application_name") == ""
            answer = await wire.ask(frames.parse(f"SELECT {number}"), frames.bind(), frames.execute(), SYNC)
            assert frames.rows(answer) == [(str(number),)]
            assert answer[-1].body == b"I"

    await asyncio.gather(*(newcomer(number) for number in range(12)))


async def test_many_vanish_at_once(target: Target) -> None:
    """Fifty clients die in their transactions; the next fifty are served."""
    async with target.undisturbed():
        for _ in range(5):
            wires = await asyncio.gather(*(target.login() for _ in range(10)))
            for wire in wires:
                wire.write(query("BEGIN; CREATE TEMP TABLE poison (a int); SELECT 1"))
                await wire.drain()
            for wire in wires:
                wire.reset()
                await wire.close()
        await eventually(lambda: quiet(target))
        async with target.wire() as wire:
            assert frames.errors(await wire.ask(query("SELECT * FROM poison"))) == ["42P01"]


async def test_half_closed_client_still_gets_its_answer(target: Target) -> None:
    """Shutting down one's sending side after a query is no way to vanish, nor to hang."""
    async with target.undisturbed(), target.wire() as wire:
        wire.write(query("SELECT 'half closed'"))
        await wire.drain()
        wire.end_of_input()
        messages = await wire.rest()
        assert frames.rows(messages) in ([("half closed",)], [])


async def test_slow_reader_holds_up_nobody(target: Target) -> None:
    """200 MB for someone who does not read: the others go on, and the answer waits in the server."""
    async with target.undisturbed(), target.wire() as wire:
        before = target.forebay.process.memory_info().rss if target.forebay else 0
        wire.write(query("SELECT repeat('x', 1000000) FROM generate_series(1, 200)"))
        await wire.until("D")
        for _ in range(20):
            await target.check()
            await asyncio.sleep(0.05)
        if target.forebay:
            assert target.forebay.process.memory_info().rss - before < 48 * MIB
        rest = await wire.until("Z")
        assert frames.tags(rest).count("D") == 199


async def test_goodbye_in_the_same_packet_as_a_write(target: Target) -> None:
    """What was said before it is carried out."""
    async with target.undisturbed(), target.wire() as wire, target.wire() as other:
        await other.ask(query("CREATE TABLE IF NOT EXISTS goodbyes (a int); TRUNCATE goodbyes"))
        wire.write(query("INSERT INTO goodbyes VALUES (1)") + frames.TERMINATE)
        assert not frames.errors(await wire.rest())
        assert await other.value("SELECT count(*) FROM goodbyes") == "1"
