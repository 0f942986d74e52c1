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


ASKS = {
    "currval": frames.query("SELECT currval('drawn_id_seq')"),
    "lastval": frames.query("SELECT lastval()"),
    "the protocol": frames.extended("SELECT currval('drawn_id_seq') + $1::int", "0"),
    "named": frames.close("S", "asks")
    + frames.parse("SELECT lastval()", "asks")
    + frames.bind(statement="asks")
    + frames.execute()
    + frames.SYNC,
}


@pytest.mark.parametrize("sequences", ["share", "pin"])
@pytest.mark.parametrize("cache", ["off", "auto"])
async def test_nobody_is_told_what_others_drew(
    stack: AsyncExitStack, postgres: Cluster, cache: str, sequences: str
) -> None:
    """Who has drawn nothing hears so, wherever others have drawn; and is not kept there."""
    pool = {"size": 1, "min_size": 1, "sequences": sequences}
    target = await behind(stack, postgres, pool=pool, cache={"mode": cache})
    async with target.wire() as other:
        await other.ask(frames.query("DROP TABLE IF EXISTS drawn; CREATE TABLE drawn (id serial, word text)"))
    for name, ask in ASKS.items():
        async with target.wire() as other, target.wire() as wire:
            assert await other.value("SELECT nextval('drawn_id_seq')") is not None
            await other.ask(frames.query("DISCARD SEQUENCES") if sequences == "pin" else frames.query("SELECT 1"))
            for _ in range(2):
                assert frames.errors(await wire.ask(ask)) == ["55000"], name
            assert await other.value("SELECT 1") == "1", "the only server is free"


async def test_what_a_text_batch_or_transaction_has_drawn_itself_is_told(
    stack: AsyncExitStack, postgres: Cluster
) -> None:
    target = await behind(stack, postgres, pool={"min_size": 3, "rotate": True})
    draw = frames.query("INSERT INTO drawn DEFAULT VALUES")
    draw_in_batch = frames.parse("INSERT INTO drawn DEFAULT VALUES") + frames.bind() + frames.execute()
    ask = frames.parse("SELECT lastval()") + frames.bind() + frames.execute() + frames.SYNC
    async with target.wire() as other:
        await other.ask(frames.query("DROP TABLE IF EXISTS drawn; CREATE TABLE drawn (id serial, word text)"))
    for number, texts in enumerate(
        (
            [draw_in_batch + ask],
            [frames.query("INSERT INTO drawn DEFAULT VALUES; SELECT lastval()")],
            [frames.query("SELECT nextval('drawn_id_seq'), lastval()")],
            [frames.query("BEGIN"), draw, frames.query("SELECT lastval()"), frames.query("COMMIT")],
            [frames.query("BEGIN"), draw, ask, frames.query("SELECT lastval()"), frames.query("COMMIT")],
        ),
        start=1,
    ):
        async with target.wire() as wire:
            heard = [message for text in texts for message in await wire.ask(text)]
            assert not frames.errors(heard), number
            assert str(number) in frames.rows(heard)[-1], number
            assert await wire.value("SELECT lastval()") == str(number), "it keeps the server now"
