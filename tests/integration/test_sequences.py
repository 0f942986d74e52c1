"""currval and lastval in the next transaction, where `pool.sequences` says that they are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.target import behind
from tests.support import frames

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from tests.support.postgres import Cluster

DRAWS = {
    "nextval": (frames.query("SELECT nextval('drawn_id_seq')"), "1"),
    "setval": (frames.query("SELECT setval('drawn_id_seq', 7)"), "7"),
    "insert": (frames.query("INSERT INTO drawn DEFAULT VALUES"), "1"),
    "insert, prepared": (frames.extended("INSERT INTO drawn (word) VALUES ($1)", "x"), "1"),
    "insert, one of two": (frames.query("SELECT 1; INSERT INTO drawn DEFAULT VALUES"), "1"),
    "a block": (frames.query("DO 'BEGIN INSERT INTO drawn DEFAULT VALUES; END'"), "1"),
}


@pytest.mark.parametrize("cache", ["off", "auto"])
async def test_a_session_that_drew_from_a_sequence_can_look_at_it(
    stack: AsyncExitStack, postgres: Cluster, cache: str
) -> None:
    """With others at work, on a server connection that would otherwise be another one each time."""
    pool = {"min_size": 3, "rotate": True, "sequences": "pin"}
    target = await behind(stack, postgres, pool=pool, cache={"mode": cache})
    async with target.wire() as other:
        for name, (draw, value) in DRAWS.items():
            await other.ask(frames.query("DROP TABLE IF EXISTS drawn; CREATE TABLE drawn (id serial, word text)"))
            async with target.wire() as wire:
                assert not frames.errors(await wire.ask(draw)), name
                for _ in range(3):
                    assert await other.value("SELECT 1") == "1"
                if name != "setval":
                    assert await wire.value("SELECT lastval()") == value, name
                assert await wire.value("SELECT currval('drawn_id_seq')") == value, name


async def test_only_what_may_draw_keeps_the_server(stack: AsyncExitStack, postgres: Cluster) -> None:
    """Reading does not, and DISCARD SEQUENCES ends it."""
    pool = {"min_size": 3, "rotate": True, "sequences": "pin"}
    target = await behind(stack, postgres, pool=pool)

    async with target.wire() as wire:

        async def servers() -> int:
            return len({await wire.value("SELECT pg_backend_pid()") for _ in range(6)})

        await wire.ask(frames.query("CREATE SEQUENCE looked_at"))
        assert await servers() > 1
        await wire.value("SELECT nextval('looked_at')")
        assert await servers() == 1
        await wire.ask(frames.query("DISCARD SEQUENCES"))
        assert await servers() > 1
        await wire.ask(frames.query("DROP SEQUENCE looked_at"))
