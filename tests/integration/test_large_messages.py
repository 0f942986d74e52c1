"""Messages of extreme size: many parameters, many columns, large texts, parameters and values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support import frames

if TYPE_CHECKING:
    from tests.integration.target import Target

MIB: Final = 1 << 20


async def test_most_parameters_that_a_bind_can_have(target: Target) -> None:
    """65535, counted as unsigned."""
    many = 65_535
    text = "SELECT cardinality(ARRAY[" + ",".join(f"${n}" for n in range(1, many + 1)) + "]::text[])"
    async with target.wire() as wire:
        assert frames.rows(await wire.ask(frames.extended(text, *["x"] * many))) == [(str(many),)]
        assert await wire.value("SELECT 'alive'") == "alive"


async def test_most_columns_that_a_row_can_have(target: Target) -> None:
    """1600 and more in one target list."""
    text = "SELECT " + ",".join(f"{n} AS column_{n}" for n in range(1_600))
    async with target.wire() as wire:
        expected = [tuple(str(n) for n in range(1_600))]
        assert frames.rows(await wire.ask(frames.query(text))) == expected
        assert frames.rows(await wire.ask(frames.extended(text))) == expected


async def test_large_parameter(target: Target) -> None:
    """50 MB in one Bind, while another client works."""
    async with target.undisturbed(), target.wire() as wire:
        answer = await wire.ask(frames.extended("SELECT length($1::text)", b"x" * (50 * MIB)))
        assert frames.rows(answer) == [(str(50 * MIB),)]
        assert await wire.value("SELECT 'alive'") == "alive"


async def test_large_query_text(target: Target) -> None:
    """50 MB of text in a Query and in a Parse."""
    text = b"SELECT length('" + b"x" * (50 * MIB) + b"')"
    async with target.undisturbed(), target.wire() as wire:
        assert frames.rows(await wire.ask(frames.query(text))) == [(str(50 * MIB),)]
        assert frames.rows(await wire.ask(frames.extended(text))) == [(str(50 * MIB),)]
        assert await wire.value("SELECT 'alive'") == "alive"


async def test_large_value(target: Target) -> None:
    """100 MB in one DataRow pass through and are not kept."""
    async with target.undisturbed(), target.wire() as wire:
        before = target.forebay.process.memory_info().rss if target.forebay else 0
        answer = await wire.ask(frames.query("SELECT repeat('x', 100000000)"))
        assert [len(message.body) for message in answer if message.tag == "D"] == [100_000_006]
        if target.forebay:
            assert target.forebay.process.memory_info().rss - before < 60 * MIB
        assert await wire.value("SELECT 'alive'") == "alive"
