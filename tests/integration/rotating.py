"""A Forebay that hands every transaction another server than the last, and conversations held both ways."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

from tests.integration.target import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.support.forebay import Forebay
    from tests.support.frames import Message
    from tests.support.postgres import Cluster
    from tests.support.wire import Wire

Heard = list[tuple[str, bytes]]
Step = tuple[int, bytes]
"""Which client says what; bytes that end with Sync or a Query are answered before the next step."""


def plain(message: Message) -> tuple[str, bytes]:
    """A message without what may differ between two servers of the same kind: OIDs of tables, lines of source."""
    tag, body = message
    if tag == "E":
        kept = b"\0".join(part for part in body.split(b"\0") if part[:1] in (b"C", b"M", b"S", b"D"))
        return tag, re.sub(rb'statement "[^"]*" requires', b"statement requires", kept)
    return tag, body


async def held(wires: Sequence[Wire], steps: Sequence[Step]) -> list[Heard]:
    """What is heard at each step."""
    heard: list[Heard] = []
    for number, data in steps:
        wires[number].write(data)
        answer: Heard = []
        for _ in range(answers(data)):
            answer += [plain(message) for message in await wires[number].until("Z")]
        heard.append(answer)
    return heard


def answers(data: bytes) -> int:
    """How many ReadyForQuery a client may wait for."""
    count = position = 0
    while position < len(data):
        count += data[position : position + 1] in (b"S", b"Q")
        position += 1 + int.from_bytes(data[position + 1 : position + 5], "big")
    return count


class Both:
    """The same database directly and through a rotating Forebay."""

    def __init__(self, cluster: Cluster, proxy: Forebay, database: str) -> None:
        self.direct = Target(cluster, None, database)
        self.through = Target(cluster, proxy, database)

    @contextlib.asynccontextmanager
    async def wires(self, target: Target, count: int, *options: tuple[str, str]) -> AsyncIterator[list[Wire]]:
        """Clients of one target."""
        async with contextlib.AsyncExitStack() as stack:
            yield [await stack.enter_async_context(target.wire(*options)) for _ in range(count)]

    async def same(self, steps: Sequence[Step], clients: int = 2) -> list[Heard]:
        """Hold a conversation both ways; they must not differ. What was heard at each step."""
        async with self.wires(self.direct, clients) as wires:
            wanted = await held(wires, steps)
        async with self.wires(self.through, clients) as wires:
            found = await asyncio.wait_for(held(wires, steps), 60)
        for number, step in enumerate(steps):
            told = f"step {number}: client {step[0]} said {step[1]!r}, heard {found[number]}, not {wanted[number]}"
            assert found[number] == wanted[number], told
        return found
