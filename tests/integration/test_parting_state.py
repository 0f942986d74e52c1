"""What a session leaves in its server's process, where DISCARD ALL cannot take it away, reaches nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.target import Target, behind
from tests.support import frames

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from tests.support.frames import Message
    from tests.support.postgres import Cluster
    from tests.support.wire import Wire

DEEDS = {
    "a temporary schema": ("CREATE TEMP TABLE mine ()", "SELECT pg_my_temp_schema() = 0, current_schemas(true)"),
    "a library": ("LOAD 'plpgsql'", "SET plpgsql.any_name = 1"),
}


@pytest.mark.parametrize("deed", DEEDS)
async def test_a_newcomer_finds_a_server_connection_as_new(stack: AsyncExitStack, postgres: Cluster, deed: str) -> None:
    """The pool has one connection, which both had."""
    target = await behind(stack, postgres, pool={"size": 1})
    does, asks = DEEDS[deed]

    async def newcomer() -> list[Message]:
        async with target.wire() as wire:
            return await wire.ask(frames.query(asks))

    before = await newcomer()
    assert not frames.errors(before)
    async with target.wire() as wire:
        assert not frames.errors(await wire.ask(frames.query(does)))
    assert await newcomer() == before


async def test_a_newcomer_finds_it_as_new_when_the_last_one_left_in_the_middle(
    stack: AsyncExitStack, postgres: Cluster
) -> None:
    """Whether the statement worked is not known to anybody."""
    target = await behind(stack, postgres, pool={"size": 1})
    async with target.wire() as wire, Target(postgres, None, "postgres").wire() as other:
        wire.write(frames.query("BEGIN; CREATE TEMP TABLE mine (); COMMIT; SELECT pg_sleep(30)"))
        await _asleep(other)
    async with target.wire() as wire:
        assert await wire.value("SELECT pg_my_temp_schema() = 0") == "t"


async def _asleep(other: Wire) -> None:
    """Somebody with a relation of his own sleeps."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%mine%'"
    while True:
        if await other.value(query) == "1":
            return
