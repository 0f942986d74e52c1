"""COPY in every odd sequence, in both protocols."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support import frames
from tests.support.frames import COPY_DONE, SYNC, frame, query

if TYPE_CHECKING:
    from tests.integration.target import Target
    from tests.support.wire import Wire


@pytest.fixture(autouse=True)
def table(target: Target) -> None:
    """An empty table of one number."""
    target.settle()
    for statement in ("CREATE TABLE IF NOT EXISTS copied (a int)", "TRUNCATE copied"):
        target.cluster.execute(statement, database=target.database)


def copied(target: Target) -> int:
    """The rows that are there, seen directly."""
    return int(target.cluster.execute("SELECT count(*) FROM copied", database=target.database)[0][0])


async def begin_copy(wire: Wire, *, extended: bool) -> None:
    """COPY FROM STDIN, up to CopyInResponse."""
    text = "COPY copied FROM STDIN"
    if extended:
        wire.write(frames.parse(text), frames.bind(), frames.execute(), frames.FLUSH)
    else:
        wire.write(query(text))
    await wire.until("G")


def rows(first: int, last: int) -> bytes:
    """Some lines in one CopyData."""
    return frame("d", b"".join(b"%d\n" % number for number in range(first, last)))


both = pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])


@both
async def test_copy_in(target: Target, extended: bool) -> None:
    """Many CopyData, and the count."""
    async with target.undisturbed(), target.wire() as wire:
        await begin_copy(wire, extended=extended)
        wire.write(*(rows(n * 100, n * 100 + 100) for n in range(100)), COPY_DONE)
        answer = await wire.ask(SYNC if extended else b"")
        assert frames.tags(answer) == "CZ"
        assert answer[0].body == b"COPY 10000\0"
        assert copied(target) == 10_000
        assert await wire.value("SELECT 'alive'") == "alive"


@both
async def test_copy_out(target: Target, extended: bool) -> None:
    """Every row in its own CopyData, in order."""
    text = "COPY (SELECT generate_series(1, 10000)) TO STDOUT"
    async with target.undisturbed(), target.wire() as wire:
        answer = await wire.ask(frames.extended(text) if extended else query(text))
        data = [message.body for message in answer if message.tag == "d"]
        assert data == [b"%d\n" % number for number in range(1, 10_001)]
        assert frames.tags(answer).replace("d", "").endswith("HcCZ")
        assert await wire.value("SELECT 'alive'") == "alive"


@both
async def test_several_copies_and_a_query_in_one_go(target: Target, extended: bool) -> None:
    """The data may be sent before CopyInResponse is seen."""
    async with target.wire() as wire:
        for round_number in range(3):
            if extended:
                copy = frames.parse("COPY copied FROM STDIN") + frames.bind() + frames.execute()
                wire.write(copy, rows(0, 10), COPY_DONE, SYNC, query("SELECT count(*) FROM copied"))
            else:
                wire.write(query("COPY copied FROM STDIN"), rows(0, 10), COPY_DONE, query("TABLE pg_am LIMIT 1"))
            assert frames.tags(await wire.until("Z"))[-2:] == "CZ"
            assert frames.tags(await wire.until("Z")) == "TDCZ"
            assert copied(target) == 10 * (round_number + 1)


async def test_copy_messages_outside_copy_are_ignored(target: Target) -> None:
    """They are what is left over when a COPY failed early."""
    async with target.undisturbed(), target.wire() as wire:
        stray = rows(0, 10) + COPY_DONE + frame("f", b"never mind\0")
        answer = await wire.ask(stray, query("SELECT 1"), stray)
        assert frames.tags(answer) == "TDCZ"
        assert await wire.value("SELECT 'alive'") == "alive"
        await wire.ask(query("BEGIN"), stray)
        answer = await wire.ask(stray, frames.extended("SELECT 2"))
        assert frames.rows(answer) == [("2",)]
        assert answer[-1].body == b"T"


async def test_query_inside_copy_ends_the_session(target: Target) -> None:
    """08P01, and the copy is undone: from here on nobody knows where a message begins."""
    async with target.undisturbed(), target.wire() as wire:
        await begin_copy(wire, extended=False)
        wire.write(rows(0, 10), query("SELECT 1"))
        answer = await wire.rest()
        assert set(frames.errors(answer)) == {"08P01"}
        assert set(frames.tags(answer)) == {"E"}
        assert copied(target) == 0


@both
async def test_flush_and_sync_inside_copy_are_ignored(target: Target, extended: bool) -> None:
    """A driver may flush at any time; nothing answers until the copy ends."""
    async with target.wire() as wire:
        await begin_copy(wire, extended=extended)
        wire.write(rows(0, 10), frames.FLUSH, SYNC, rows(10, 20), SYNC, COPY_DONE)
        answer = await wire.ask(SYNC if extended else b"")
        assert frames.tags(answer) == "CZ"
        assert copied(target) == 20
        assert await wire.value("SELECT 'alive'") == "alive"


@both
async def test_copy_fail(target: Target, extended: bool) -> None:
    """57014 with the client's own words, and no rows."""
    async with target.wire() as wire:
        await begin_copy(wire, extended=extended)
        answer = await wire.ask(rows(0, 10), frame("f", b"changed my mind\0"), SYNC if extended else b"")
        assert frames.errors(answer) == ["57014"]
        assert "changed my mind" in frames.fields(answer[0].body)["M"]
        assert frames.tags(answer) == "EZ"
        assert copied(target) == 0
        assert await wire.value("SELECT 'alive'") == "alive"


@both
async def test_copy_that_fails_while_the_client_still_sends(target: Target, extended: bool) -> None:
    """2 MB follow the bad line; they are swallowed, nothing hangs, and exactly one ReadyForQuery comes."""
    async with target.undisturbed(), target.wire() as wire:
        await begin_copy(wire, extended=extended)
        wire.write(frame("d", b"this is no number\n"), *(rows(0, 1_000) for _ in range(500)), COPY_DONE)
        answer = await wire.ask(SYNC if extended else b"")
        assert frames.errors(answer) == ["22P02"]
        assert frames.tags(answer) == "EZ"
        assert copied(target) == 0
        assert await wire.value("SELECT 'alive'") == "alive"


async def test_copy_error_in_a_transaction(target: Target) -> None:
    """The transaction is broken until its ROLLBACK."""
    async with target.wire() as wire:
        await wire.ask(query("BEGIN; INSERT INTO copied VALUES (1)"))
        await begin_copy(wire, extended=False)
        answer = await wire.ask(frame("d", b"no number\n"), COPY_DONE)
        assert (frames.errors(answer), answer[-1].body) == (["22P02"], b"E")
        assert (await wire.ask(query("ROLLBACK")))[-1].body == b"I"
        assert copied(target) == 0


@both
@pytest.mark.parametrize("end", ["Terminate", "RST", "close"])
async def test_client_leaves_in_the_middle_of_copy(target: Target, extended: bool, end: str) -> None:
    """No row stays, and the server connection is not reused as it was left."""
    async with target.undisturbed():
        wire = await target.login()
        await begin_copy(wire, extended=extended)
        wire.write(rows(0, 1_000))
        if end == "Terminate":
            wire.write(frames.TERMINATE)
        await wire.drain()
        if end == "RST":
            wire.reset()
        await wire.close()
        for _ in range(5):
            await target.check()
        await _no_copy_running(target)
        assert copied(target) == 0


async def _no_copy_running(target: Target) -> None:
    text = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY copied%' AND state <> 'idle'"
    for _ in range(400):
        if target.cluster.execute(text, database=target.database) == [(0,)]:
            return
        await asyncio.sleep(0.05)
    pytest.fail("the abandoned COPY still runs")


async def test_client_leaves_in_the_middle_of_copy_out(target: Target) -> None:
    """A large COPY TO whose reader is gone ends."""
    async with target.undisturbed():
        wire = await target.login()
        wire.write(query("COPY (SELECT a, repeat('x', 1000) FROM generate_series(1, 200000) a) TO STDOUT"))
        await wire.until("d")
        wire.reset()
        await wire.close()
        text = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT a%' AND state <> 'idle'"
        for _ in range(400):
            if target.cluster.execute(text, database=target.database) == [(0,)]:
                return
            await asyncio.sleep(0.05)
        pytest.fail("the abandoned COPY still runs")


EARLY = frames.parse("COPY copied FROM STDIN") + frames.bind() + frames.execute() + SYNC
"""As libpq sends it: it cannot know yet that its Sync will be ignored."""


@pytest.mark.parametrize("waits", [False, True], ids=["hasty", "waits"])
async def test_a_sync_before_the_copy_begins_gets_no_answer(target: Target, waits: bool) -> None:
    async with target.wire() as wire:
        wire.write(EARLY)
        if waits:
            assert frames.tags(await wire.until("G")) == "12G"
        answer = await wire.ask(rows(0, 10), COPY_DONE, SYNC)
        assert frames.tags(answer) == "CZ" if waits else "12GCZ"
        assert copied(target) == 10
        assert await wire.value("SELECT 'alive'") == "alive"


async def test_a_sync_before_a_copy_that_fails_on_its_data(target: Target) -> None:
    async with target.wire() as wire:
        wire.write(EARLY)
        await wire.until("G")
        answer = await wire.ask(frame("d", b"no number\n"), rows(0, 10), COPY_DONE, SYNC)
        assert frames.tags(answer) == "EZ"
        assert await wire.value("SELECT 'alive'") == "alive"


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("COPY nowhere FROM STDIN", "12EZ"),
        ("COPY copied FROM STDIN (FREEZE, FREEZE)", "12EZ"),
        ("COPY copied FROM PROGRAM 'echo 1'", "12CZ"),
    ],
)
async def test_a_sync_before_a_copy_that_never_begins_is_answered(target: Target, text: str, tags: str) -> None:
    async with target.wire() as wire:
        answer = await wire.ask(frames.parse(text), frames.bind(), frames.execute(), SYNC)
        assert frames.tags(answer) == tags
        assert await wire.value("SELECT 'alive'") == "alive"


async def test_a_sync_before_a_copy_that_fails_at_once(target: Target) -> None:
    """PostgreSQL says that the copy begins, fails before it has read anything, and then answers the early Sync, too:
    one ReadyForQuery more than there should be, with which libpq would end its next query."""
    for statement in (
        "CREATE OR REPLACE FUNCTION no_rows() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'",
        "CREATE OR REPLACE TRIGGER no_rows BEFORE INSERT ON copied EXECUTE FUNCTION no_rows()",
    ):
        target.cluster.execute(statement, database=target.database)
    try:
        async with target.wire() as wire, target.wire() as other:
            for _ in range(20):
                wire.write(EARLY)
                await wire.until("G")
                wire.write(rows(0, 10), COPY_DONE, SYNC)
                if target.forebay is None:
                    assert frames.tags(await wire.until("Z")) == "EZ"
                    assert frames.tags(await wire.until("Z")) == "Z"
                else:
                    assert frames.tags(await wire.until("Z")) == "EZ"
                assert await other.value("SELECT 'other'") == "other"
                assert await wire.value("SELECT 'alive'") == "alive"
    finally:
        target.cluster.execute("DROP TRIGGER no_rows ON copied", database=target.database)


async def test_a_query_behind_a_copy_and_its_sync(target: Target) -> None:
    """What is asked next waits for the end of the copy, or for its failure."""
    async with target.wire() as wire:
        wire.write(EARLY, rows(0, 10), COPY_DONE, SYNC, frames.extended("SELECT 'next'"))
        assert frames.tags(await wire.until("Z")) == "12GCZ"
        assert frames.rows(await wire.until("Z")) == [("next",)]
        missing = frames.parse("COPY nowhere FROM STDIN") + frames.bind() + frames.execute() + SYNC
        wire.write(missing, frames.extended("SELECT 'next'"))
        assert frames.tags(await wire.until("Z")) == "12EZ"
        assert frames.rows(await wire.until("Z")) == [("next",)]
