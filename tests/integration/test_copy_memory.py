"""A large COPY passes through; it is never in memory. FOREBAY_TEST_COPY_MB sets its size."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.support import frames
from tests.support.frames import COPY_DONE, frame, query

if TYPE_CHECKING:
    from tests.integration.target import Target

MIB: Final = 1 << 20
SIZE: Final = int(os.environ.get("FOREBAY_TEST_COPY_MB", "200"))
ALLOWED: Final = 24 * MIB  # of growth
LINE: Final = b"x" * 1023 + b"\n"

pytestmark = pytest.mark.timeout(600)


class Highest:
    """The proxy's memory beyond what it was, looked at now and then."""

    def __init__(self, target: Target) -> None:
        assert target.forebay is not None
        self._process = target.forebay.process
        self._before = self._process.memory_info().rss
        self._looked = 0.0
        self.growth = 0

    def look(self) -> None:
        """At most fifty times a second."""
        now = time.monotonic()
        if now - self._looked > 0.02:
            self._looked = now
            self.growth = max(self.growth, self._process.memory_info().rss - self._before)


@pytest.mark.parametrize("piece", [1, 64, 4096], ids=lambda piece: f"{piece} KiB a message")
async def test_copy_in(through: Target, piece: int) -> None:
    """However it is cut into messages."""
    through.cluster.execute("CREATE UNLOGGED TABLE IF NOT EXISTS sink (a text)", database=through.database)
    size = max(SIZE // 4, 20) if piece == 1 else SIZE
    async with through.wire() as wire:
        memory = Highest(through)
        wire.write(query("COPY sink FROM STDIN"))
        await wire.until("G")
        message = frame("d", LINE * piece)
        for _ in range(size * 1024 // piece):
            wire.write(message)
            await wire.drain()
            memory.look()
        answer = await wire.ask(COPY_DONE)
        assert answer[0].body == f"COPY {size * 1024 // piece * piece}".encode() + b"\0"
    through.cluster.execute("TRUNCATE sink", database=through.database)
    assert memory.growth < ALLOWED


async def test_copy_out(through: Target) -> None:
    """Read steadily."""
    async with through.wire() as wire:
        memory = Highest(through)
        wire.write(query(f"COPY (SELECT repeat('x', 1023) FROM generate_series(1, {SIZE * 1024})) TO STDOUT"))
        lines = 0
        while (message := await wire.message()).tag != "Z":
            lines += message.tag == "d"
            memory.look()
        assert lines == SIZE * 1024
    assert memory.growth < ALLOWED


async def test_large_result(through: Target) -> None:
    """The same as rows, in both protocols: what is too large for the cache is not collected for it."""
    text = f"SELECT repeat('x', 1000) FROM generate_series(1, {max(SIZE // 2, 20) * 1024})"
    async with through.wire() as wire:
        for question in (query(text), frames.extended(text)):
            memory = Highest(through)
            wire.write(question)
            rows = 0
            while (message := await wire.message()).tag != "Z":
                rows += message.tag == "D"
                memory.look()
            assert rows == max(SIZE // 2, 20) * 1024
            assert memory.growth < ALLOWED
