"""A pin ends when its reason has: the server connection is lent on while the session goes on."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.integration.target import behind
from tests.support import frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.target import Target
    from tests.support.postgres import Cluster
    from tests.support.wire import Wire


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["off", "auto"], ids=["no cache", "cache"])
async def narrow(request: pytest.FixtureRequest, postgres: Cluster) -> AsyncIterator[Target]:
    """One server connection for all: who waits longer than a second hears of it."""
    async with contextlib.AsyncExitStack() as stack:
        pool = {"size": 1, "queue_timeout": "1s"}
        yield await behind(stack, postgres, pool=pool, cache={"mode": request.param})


async def others_are_served(target: Target) -> bool:
    async with target.wire() as wire:
        wire.write(frames.query("SELECT 'other'"))
        first = await wire.message()
        if first.tag == "E":
            assert frames.fields(first.body)["C"] == "53300", frames.fields(first.body)
            return False
        assert frames.rows(await wire.until("Z")) == [("other",)]
        return True


@contextlib.asynccontextmanager
async def someone(target: Target) -> AsyncIterator[Wire]:
    async with target.wire() as wire:
        yield wire
        await wire.ask(frames.query("ROLLBACK"), frames.query("DISCARD ALL"))


async def do(wire: Wire, text: str) -> None:
    answer = await wire.ask(frames.query(text))
    assert not frames.errors(answer), frames.errors(answer)


ENDS = {
    "dropped": ["CREATE TEMP TABLE mine (a int)", "DROP TABLE mine"],
    "dropped on commit": ["BEGIN", "CREATE TEMP TABLE mine (a int) ON COMMIT DROP", "TABLE mine", "COMMIT"],
    "rolled back": ["BEGIN", "CREATE TEMP TABLE mine (a int)", "ROLLBACK"],
    "all at once": ["BEGIN; CREATE TEMP TABLE mine (a int) ON COMMIT DROP; TABLE mine; COMMIT"],
    "unlocked": ["SELECT pg_advisory_lock(7)", "SELECT pg_advisory_unlock(7)"],
    "never locked": ["SELECT pg_advisory_unlock(8)"],
    "closed": ["BEGIN", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "COMMIT", "CLOSE c"],
    "closed before": ["BEGIN", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c", "COMMIT"],
    "two reasons": [
        "SELECT pg_advisory_lock(7)",
        "CREATE TEMP TABLE mine ()",
        "DROP TABLE mine",
        "SELECT pg_advisory_unlock(7)",
    ],
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.asyncio(loop_scope="module")
async def test_the_connection_is_lent_on(narrow: Target, how: str) -> None:
    async with someone(narrow) as wire:
        for text in ENDS[how]:
            await do(wire, text)
        assert await others_are_served(narrow)
        assert await wire.value("SELECT 'mine'") == "mine"


REMAINS = {
    "another table": ("CREATE TEMP TABLE a (); CREATE TEMP TABLE b ()", "DROP TABLE a", "TABLE b"),
    "a function": (
        "CREATE TEMP TABLE a (); CREATE FUNCTION pg_temp.f() RETURNS int RETURN 1",
        "DROP TABLE a",
        "SELECT pg_temp.f()",
    ),
    "rows": ("CREATE TEMP TABLE a (x int)", "BEGIN; DROP TABLE a; ROLLBACK", "TABLE a"),
    "a path": ("SET search_path = pg_temp, public", "CREATE TABLE a (); DROP TABLE a", "CREATE TABLE a ()"),
    "locked twice": ("SELECT pg_advisory_lock(7), pg_advisory_lock(7)", "SELECT pg_advisory_unlock(7)", "SELECT 1"),
    "another cursor": (
        "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; DECLARE d CURSOR WITH HOLD FOR SELECT 1; COMMIT",
        "CLOSE c",
        "FETCH d",
    ),
    "the lock": ("SELECT pg_advisory_lock(7); CREATE TEMP TABLE a ()", "DROP TABLE a", "SELECT 1"),
}


@pytest.mark.parametrize("what", REMAINS)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_remains_keeps_it(narrow: Target, what: str) -> None:
    makes, ends, uses = REMAINS[what]
    async with someone(narrow) as wire:
        await do(wire, makes)
        await do(wire, ends)
        assert not await others_are_served(narrow)
        await do(wire, uses)


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_pinned_behind_the_question_stays(narrow: Target) -> None:
    """All in one packet: the question is sent between them, at the earliest."""
    async with someone(narrow) as wire:
        said = ["CREATE TEMP TABLE a ()", "DROP TABLE a", "CREATE TEMP TABLE b ()"]
        for _ in range(20):
            wire.write(*map(frames.query, said))
            for _ in said:
                assert not frames.errors(await wire.until("Z"))
            await do(wire, "TABLE b")
            await do(wire, "DROP TABLE b")
        assert await others_are_served(narrow)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_question_that_fails_is_nobodys_trouble(narrow: Target) -> None:
    async with someone(narrow) as wire:
        await do(wire, "CREATE TEMP TABLE mine (); SET statement_timeout = 1")
        for _ in range(50):  # on a busy machine each of them may be cancelled as well
            for text in ("CLOSE ALL", "CREATE TEMP TABLE other ()", "DROP TABLE other"):
                answer = await wire.ask(frames.query(text))
                assert set(frames.errors(answer)) <= {"57014", "42P07", "42P01"}
        await do(wire, "SET statement_timeout = 0")
        assert not await others_are_served(narrow)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_batch_of_the_extended_protocol(narrow: Target) -> None:
    """Its unnamed statement is there afterwards, although the question has taken its place."""
    async with someone(narrow) as wire:
        await do(wire, "CREATE TEMP TABLE mine ()")
        answer = await wire.ask(frames.extended("DROP TABLE mine"))
        assert not frames.errors(answer)
        assert await others_are_served(narrow)
        wire.write(frames.parse("SELECT 'unnamed'"), frames.SYNC)
        await wire.until("Z")
        await do(wire, "SELECT pg_advisory_lock(7)")
        answer = await wire.ask(frames.extended("SELECT pg_advisory_unlock(7)"))
        assert frames.rows(answer) == [("t",)]
        assert await others_are_served(narrow)
