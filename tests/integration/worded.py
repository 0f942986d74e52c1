"""Conversations about prepared statements of SQL, held directly and through Forebay, word for word."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from tests.integration.rotating import answers
from tests.support.frames import bind, describe, execute, query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.rotating import Both, Step
    from tests.support.frames import Message
    from tests.support.wire import Wire

SCHEMA: Final = """
CREATE TABLE kept (id int PRIMARY KEY, word text);
CREATE TABLE loose (id int, word text);
CREATE TYPE mood AS ENUM ('sad', 'happy');
"""
_COLUMN = re.compile(rb"(\w+\0).{6}(?=.{12})", re.DOTALL)
"""A column's name, and its table's OID and number."""


def whole(message: Message) -> tuple[str, bytes]:
    """A message with all that it says, but for where in the source it comes from."""
    tag, body = message
    if tag == "T":
        return tag, _COLUMN.sub(rb"\1", body)
    if tag in "EN":
        kept = b"\0".join(part for part in body.split(b"\0") if part[:1] not in (b"F", b"L", b"R"))
        return tag, re.sub(rb'statement "[^"]*" requires', b"statement requires", kept)  # to a Bind of the protocol
    return tag, body


async def heard(wires: Sequence[Wire], steps: Sequence[Step]) -> list[list[tuple[str, bytes]]]:
    answer: list[list[tuple[str, bytes]]] = []
    for number, data in steps:
        wires[number].write(data)
        found: list[tuple[str, bytes]] = []
        for _ in range(answers(data)):
            found += [whole(message) for message in await wires[number].until("Z")]
        answer.append(found)
    return answer


def tolerant(found: tuple[str, bytes], wanted: tuple[str, bytes]) -> tuple[str, bytes]:
    """A failed transaction refuses the Parse that a server lacks before it sees what is wrong with the Bind."""
    return wanted if b"C25P02" in found[1] and b"C08P01" in wanted[1] else found


async def same(
    both: Both, *said: str | bytes | Step, clients: int = 2, pins: int | None = 0
) -> list[list[tuple[str, bytes]]]:
    """Say this directly and through Forebay: every byte of every answer is the same. Text is a Query of client 0."""
    steps = [step if isinstance(step, tuple) else (0, query(step) if isinstance(step, str) else step) for step in said]
    both.direct.cluster.execute("TRUNCATE kept, loose", database=both.direct.database)
    async with both.wires(both.direct, clients) as wires:
        wanted = await heard(wires, steps)
    both.direct.cluster.execute("TRUNCATE kept, loose", database=both.direct.database)
    assert both.through.forebay is not None
    before = await asyncio.to_thread(both.through.forebay.metric, "forebay_pins_total")
    async with both.wires(both.through, clients) as wires:
        found = await asyncio.wait_for(heard(wires, steps), 60)
    for number, step in enumerate(steps):
        pairs = zip(found[number], wanted[number], strict=False)
        told = [tolerant(*pair) for pair in pairs] if pins is None else found[number]
        assert (told, len(found[number])) == (wanted[number], len(wanted[number])), f"step {number}: {step[1]!r}"
    after = await asyncio.to_thread(both.through.forebay.metric, "forebay_pins_total")
    assert pins is None or after - before == pins
    return found


def use(name: str, *values: str) -> bytes:
    return bind(*values, statement=name) + describe("P") + execute()
