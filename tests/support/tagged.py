"""The load that finds crossed answers: every question carries its client's tag, and so must every answer.

A client speaks one dialect for a while, then another: simple, extended, named statements (the same name means
different texts for different clients), pipelines, transactions, COPY out. An answer with a foreign tag, a missing
one, or one in the wrong place raises CrossedError at once. Errors and lost connections are no crossings: they
are counted by SQLSTATE, and the client logs in again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support import frames
from tests.support.frames import SYNC, Message, query
from tests.support.wire import LoginRefusedError, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class CrossedError(AssertionError):
    """A client got an answer that was not his."""


@dataclass(slots=True)
class Tally:
    """What the load has seen so far."""

    answers: int = 0  # right ones
    lost: int = 0  # connections that ended
    sqlstates: Counter[str] = field(default_factory=Counter)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, answers: int) -> None:
        """Count right answers."""
        self.answers += answers
        self._more.set()

    async def advance(self, answers: int, patience: float = 60.0) -> None:
        """Wait until that many further answers were right; TimeoutError when the load has come to a halt."""
        goal = self.answers + answers
        async with asyncio.timeout(patience):
            while self.answers < goal:
                self._more.clear()
                await self._more.wait()


class _Client:
    """One of the crowd."""

    def __init__(self, number: int, seed: int, tally: Tally) -> None:
        self._number = number
        self._random = random.Random(seed * 1_000 + number)
        self._tally = tally
        self._count = 0
        self._prepared: set[str] = set()

    def _tag(self) -> str:
        self._count += 1
        return f"<{self._number}:{self._count}>"

    async def session(self, wire: Wire, stop: asyncio.Event) -> None:
        """Ask until told to stop."""
        self._prepared.clear()
        dialects = (self.simple, self.extended, self.named, self.pipeline, self.transaction, self.copy, self.wide)
        while not stop.is_set():
            await self._random.choice(dialects)(wire)
            await asyncio.sleep(0)

    def _right(self, messages: list[Message], *expected: str) -> bool:
        """Whether all went well; False after an error of the server, which ends the dialect."""
        failed = frames.errors(messages)
        self._tally.sqlstates.update(failed)
        found = [row[0] for row in frames.rows(messages)]
        if found[: len(expected)] != list(expected)[: len(found)] or (not failed and len(found) != len(expected)):
            raise CrossedError(f"client {self._number} expected {expected}, got {found}")
        self._tally.add(len(found))
        return not failed

    async def simple(self, wire: Wire) -> None:
        """One Query."""
        tag = self._tag()
        self._right(await wire.ask(query(f"SELECT '{tag}'")), tag)

    async def extended(self, wire: Wire) -> None:
        """The unnamed statement, alone or twice with the same text."""
        for _ in range(self._random.randint(1, 3)):
            tag = self._tag()
            self._right(await wire.ask(frames.extended("SELECT $1::text", tag)), tag)

    async def named(self, wire: Wire) -> None:
        """Prepared once, used again: the name is everyone's, the text is this client's own."""
        name = f"s{self._random.randint(1, 3)}"
        tag = self._tag()
        own = f"{self._number}/{name}"
        if name not in self._prepared:
            text = f"SELECT $1 || '{own}'"
            answer = await wire.ask(frames.parse(text, name), SYNC)
            if "1" in frames.tags(answer):  # it holds, even if the server died right behind it
                self._prepared.add(name)
            if not self._right(answer):
                return
        answer = await wire.ask(frames.bind(tag, statement=name), frames.execute(), SYNC)
        self._right(answer, tag + own)
        if self._random.random() < 0.1:
            answer = await wire.ask(frames.close("S", name), SYNC)
            self._right(answer)
            if "3" in frames.tags(answer):
                self._prepared.discard(name)

    async def pipeline(self, wire: Wire) -> None:
        """Several questions in one segment, with as many Syncs."""
        asked = [self._tag() for _ in range(self._random.randint(2, 8))]
        wire.write(*(self._random.choice((_simple, _extended))(tag) for tag in asked))
        for tag in asked:
            self._right(await wire.until("Z"), tag)

    async def transaction(self, wire: Wire) -> None:
        """A transaction remembers; the next one does not."""
        tag = self._tag()
        answer = await wire.ask(query("BEGIN"))
        if self._right(answer) and self._right(await wire.ask(query(f"SET LOCAL forebay_test.tag = '{tag}'"))):
            await asyncio.sleep(self._random.random() * 0.005)
            self._right(await wire.ask(frames.extended("SELECT current_setting('forebay_test.tag')")), tag)
        await wire.ask(query("COMMIT" if self._random.random() < 0.5 else "ROLLBACK"))

    async def copy(self, wire: Wire) -> None:
        """COPY out of a few lines."""
        tag = self._tag()
        answer = await wire.ask(query(f"COPY (SELECT '{tag}' FROM generate_series(1, 5)) TO STDOUT"))
        self._tally.sqlstates.update(frames.errors(answer))
        lines = [message.body for message in answer if message.tag == "d"]
        if set(lines) - {f"{tag}\n".encode()} or (not frames.errors(answer) and len(lines) != 5):
            raise CrossedError(f"client {self._number} expected five times {tag}, got {lines}")
        self._tally.add(1)

    async def wide(self, wire: Wire) -> None:
        """An answer of several segments, whose every byte is marked: the tag is in each row many times."""
        tag = self._tag()
        rows = self._random.randint(10, 300)
        text = f"SELECT repeat('{tag}', 20) FROM generate_series(1, {rows}) a, (SELECT pg_sleep(0)) b"
        answer = await wire.ask(query(text))
        self._tally.sqlstates.update(frames.errors(answer))
        if strange := {row[0] for row in frames.rows(answer)} - {tag * 20}:
            raise CrossedError(f"client {self._number} expected only {tag}, got {strange}")
        self._tally.add(1)


def _simple(tag: str) -> bytes:
    return query(f"SELECT '{tag}'")


def _extended(tag: str) -> bytes:
    return frames.extended("SELECT $1::text", tag)


@contextlib.asynccontextmanager
async def tagged(
    login: Callable[[], Awaitable[Wire]], clients: int = 60, seed: int = 1, *, suicidal: bool = False
) -> AsyncIterator[Tally]:
    """The load while the body runs; raises CrossedError at its end when any answer was not right.

    With `suicidal`, clients also die at random bytes of their questions.
    """
    tally = Tally()
    stop = asyncio.Event()

    async def live(number: int) -> None:
        client = _Client(number, seed, tally)
        fate = random.Random(-seed * 1_000 - number)
        while not stop.is_set():
            try:
                wire = await login()
            except LoginRefusedError as refusal:
                tally.sqlstates[refusal.sqlstate] += 1
                await asyncio.sleep(0.05)
                continue
            except (OSError, EOFError):
                tally.lost += 1
                await asyncio.sleep(0.05)
                continue
            try:
                if suicidal:
                    await _die(client, wire, stop, fate)
                else:
                    await client.session(wire, stop)
            except (OSError, EOFError):
                tally.lost += 1
            finally:
                await wire.close()

    crowd = [asyncio.create_task(live(number)) for number in range(clients)]
    try:
        yield tally
        stop.set()
        async with asyncio.timeout(90):
            await asyncio.gather(*crowd)
    finally:
        for task in crowd:
            task.cancel()
        ends = await asyncio.gather(*crowd, return_exceptions=True)
        if crossed := [end for end in ends if isinstance(end, AssertionError)]:
            raise crossed[0]


async def _die(client: _Client, wire: Wire, stop: asyncio.Event, fate: random.Random) -> None:
    """Live for a moment, then end in the middle of something."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(fate.random()):
            await client.session(wire, stop)
    if stop.is_set():
        return
    last_words = fate.choice((_simple, _extended))("<poison>") * fate.randint(1, 20)
    wire.write(last_words[: fate.randrange(len(last_words))])
    if fate.random() < 0.7:
        wire.reset()
