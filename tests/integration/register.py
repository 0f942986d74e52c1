"""Counters under load, and a judge who remembers what everybody was told.

Each row of ``reg`` is a counter that every writer raises by one, so its values come in the order of their commits. All
clients live in this process: what one was told before another asked is known exactly. A read must not be lower
than the highest value of its row that anybody had been told, by a write or by a read, when it was sent. For
counters that is all that linearizability asks for.

Writers whose outcome is unknown (killed, terminated) raise the bar only when somebody has seen what they wrote.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import TYPE_CHECKING, Final

import psycopg

from tests.support import frames

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.integration.target import Target
    from tests.support.frames import Message
    from tests.support.wire import Wire

    Shape = Callable[[Wire, int], Awaitable[int | None]]

ROWS: Final = 4
SCHEMA: Final = f"""
CREATE TABLE canary (id int);
CREATE TABLE reg (id int PRIMARY KEY, v bigint NOT NULL);
INSERT INTO reg SELECT i, 0 FROM generate_series(1, {ROWS}) i;
CREATE VIEW seen AS SELECT id, v FROM reg;
CREATE TABLE bell (id int);
CREATE TABLE unique_later (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
INSERT INTO unique_later VALUES (1);
CREATE FUNCTION raise_reg(int) RETURNS bigint LANGUAGE sql AS 'UPDATE reg SET v = v + 1 WHERE id = $1 RETURNING v';
CREATE FUNCTION rung() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN UPDATE reg SET v = v + 1 WHERE id = NEW.id; RETURN NULL; END$$;
CREATE TRIGGER ring AFTER INSERT ON bell FOR EACH ROW EXECUTE FUNCTION rung();
"""
_SLOW: Final = "(SELECT count(*) FROM generate_series(1, 20000)) > 0"
_READS: Final = (
    "SELECT id, v FROM reg",
    "SELECT id, v FROM seen ORDER BY id",
    f"SELECT id, v FROM reg WHERE {_SLOW}",
    f"SELECT id, v FROM reg WHERE v >= 0 AND {_SLOW}",
)
_ONE: Final = "SELECT id, v FROM reg WHERE id = "


class Judge:
    """Who was told what."""

    def __init__(self) -> None:
        self.told = dict.fromkeys(range(1, ROWS + 1), 0)
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()

    def read(self, what: str, known: dict[int, int], row: int, value: int) -> None:
        """A read that was sent when ``known`` was ``told`` has been answered."""
        self.counts["read"] += 1
        if value < known[row]:
            self.violations.append(f"{what}: row {row} was {value}, though {known[row]} had been told")
        self.told[row] = max(self.told[row], value)

    def written(self, row: int, value: int) -> None:
        """A write has been acknowledged."""
        self.counts["write"] += 1
        self.told[row] = max(self.told[row], value)


class Load:
    """Readers, writers and misfortunes until time is up, or until a violation was seen."""

    def __init__(self, target: Target, seed: int) -> None:
        self.judge = Judge()
        self._target = target
        self._random = random.Random(seed)
        self._stop = asyncio.Event()

    async def run(self, seconds: float, *, readers: int = 5, writers: int = 3, disasters: bool = True) -> None:
        """All of them at once; raises what one of them raised."""
        shapes = (_simple, _extended, _executed, _block, _looking, _rush, _cte, _failing, _aborted)
        rare = (_function, _trigger, _two_phase)
        jobs = [self._again(self._reader(number), 0.0) for number in range(readers)]
        jobs += [self._again(self._writer(shapes, 20), 0.01) for _ in range(writers)]
        jobs.append(self._again(self._writer(rare, 1), 0.5))
        if disasters:
            jobs += [self._again(self._killed, 0.1), self._again(self._terminate, 0.7)]
        tasks = [asyncio.create_task(job) for job in jobs]
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        self._stop.set()
        _, late = await asyncio.wait(tasks, timeout=5.0)
        self.sweep()
        for task in late:  # its statement waits for a lock of somebody who is gone
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError | _Enough):
                raise AssertionError("a client has given up") from result

    async def _again(self, act: Callable[[], Awaitable[None]], pause: float) -> None:
        while not self._stop.is_set():
            try:
                await act()
            except (OSError, EOFError) as error:  # its server was terminated: the client is told, and comes again
                self.judge.counts[type(error).__name__] += 1
            if self.judge.violations:
                raise _Enough
            await asyncio.sleep(pause * self._random.random())

    def _reader(self, number: int) -> Callable[[], Awaitable[None]]:
        async def read() -> None:
            async with self._target.wire() as wire:
                for _ in range(200):
                    if self._random.random() < 0.3:
                        await self._read_in_block(wire, number)
                    else:
                        await self._read(wire, number)
                    if self._stop.is_set():
                        break

        return read

    async def _read_in_block(self, wire: Wire, number: int) -> None:
        """At READ COMMITTED every statement of it is a read like any other."""
        for text in ("BEGIN", "", "", "", "COMMIT"):
            if not text:
                await self._read(wire, number)
            elif errors := frames.errors(await wire.ask(frames.query(text))):
                raise ConnectionResetError(errors[0])
            self.judge.counts["block"] += not text

    async def _read(self, wire: Wire, number: int) -> None:
        row = self._random.randint(1, ROWS)
        slow = number == 0 or self._random.random() < 0.05
        text = self._random.choice(_READS[2:] if slow else (*_READS[:2], _ONE, _ONE))
        known = dict(self.judge.told)
        if text is not _ONE:
            messages = await wire.ask(frames.query(text))
        elif self._random.random() < 0.5:
            messages = await wire.ask(frames.query(f"{_ONE}{row}"))
        else:
            messages = await wire.ask(frames.extended(f"{_ONE}$1", str(row)))
        if frames.errors(messages):
            raise ConnectionResetError(frames.errors(messages)[0])
        for found, value in frames.rows(messages):
            self.judge.read(text, known, int(found or 0), int(value or 0))
        if self.judge.violations:
            raise _Enough
        await asyncio.sleep(0)

    def _writer(self, shapes: tuple[Shape, ...], times: int) -> Callable[[], Awaitable[None]]:
        async def write() -> None:
            async with self._target.wire() as wire:
                for _ in range(times):
                    row = self._random.randint(1, ROWS)
                    value = await self._random.choice(shapes)(wire, row)
                    if value is not None:
                        self.judge.written(row, value)
                    if self._stop.is_set():
                        break
                    await asyncio.sleep(0.06 * self._random.random())

        return write

    async def _killed(self) -> None:
        """A client that vanishes at some moment of a write."""
        row = self._random.randint(1, ROWS)
        wire = await self._target.login()
        update = frames.query(_update(row))
        fates: tuple[bytes, ...] = (
            update,
            frames.query("BEGIN") + update + frames.query("COMMIT"),
            frames.query("BEGIN") + update,
            frames.extended(_update(row)),
            frames.extended(_update(row))[:-5] + frames.FLUSH,
        )
        wire.write(self._random.choice(fates))
        await wire.drain()
        if self._random.random() < 0.5:
            await asyncio.sleep(0.01 * self._random.random())
        wire.reset()
        self.judge.counts["killed"] += 1

    async def _terminate(self) -> None:
        """A server process is terminated while it works for somebody."""
        await asyncio.to_thread(
            self._target.cluster.execute,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name <> 'forebay catalog'"
            " AND datname = current_database() AND pid <> pg_backend_pid() AND query !~ 'PREPARE'"
            " ORDER BY random() LIMIT 2",
            database=self._target.database,
        )
        self.judge.counts["terminated"] += 1
        await asyncio.to_thread(self.sweep, "1 s")

    def sweep(self, age: str = "0") -> None:
        """End prepared transactions whose second phase got lost: their rows are locked."""
        cluster, name = self._target.cluster, self._target.database
        lost = f"SELECT gid FROM pg_prepared_xacts WHERE prepared <= now() - interval '{age}' AND database = '{name}'"
        for (gid,) in cluster.execute(lost):
            with contextlib.suppress(psycopg.errors.UndefinedObject):  # its owner was just slow
                cluster.execute(f"ROLLBACK PREPARED '{gid}'", database=name)


class _Enough(Exception):
    """A violation was seen."""


def _update(row: int) -> str:
    return f"UPDATE reg SET v = v + 1 WHERE id = {row} RETURNING v"


def _value(messages: list[Message]) -> int:
    """The value that was written and acknowledged; the connection is of no use after an error."""
    if frames.errors(messages):
        raise ConnectionResetError(frames.errors(messages)[0])
    return next(int(row[0] or 0) for row in frames.rows(messages))


async def _simple(wire: Wire, row: int) -> int:
    return _value(await wire.ask(frames.query(_update(row))))


async def _extended(wire: Wire, row: int) -> int:
    return _value(await wire.ask(frames.extended("UPDATE reg SET v = v + 1 WHERE id = $1 RETURNING v", str(row))))


async def _cte(wire: Wire, row: int) -> int:
    return _value(await wire.ask(frames.query(f"WITH w AS ({_update(row)}) SELECT v FROM w")))


async def _function(wire: Wire, row: int) -> int:
    return _value(await wire.ask(frames.query(f"SELECT raise_reg({row})")))


async def _executed(wire: Wire, row: int) -> int:
    text = "PREPARE raise (int) AS UPDATE reg SET v = v + 1 WHERE id = $1 RETURNING v"
    if frames.errors(await wire.ask(frames.query(text))) not in ([], ["42P05"]):  # it had done so before
        raise ConnectionResetError
    return _value(await wire.ask(frames.query(f"EXECUTE raise({row})")))


async def _block(wire: Wire, row: int) -> int:
    messages = await wire.ask(frames.query("BEGIN"))
    messages += await wire.ask(frames.query(_update(row)))
    await asyncio.sleep(0.005)
    messages += await wire.ask(frames.query("COMMIT"))
    return _value(messages)


async def _looking(wire: Wire, row: int) -> int:
    """Reads before it writes, and sees what it has written."""
    look = frames.query(f"SELECT v FROM reg WHERE id = {row}")
    await wire.ask(frames.query("BEGIN"))
    before = _value(await wire.ask(look))
    value = _value(await wire.ask(frames.query(_update(row))))
    if not before < value == (found := _value(await wire.ask(look))):
        raise AssertionError(f"it read {before}, wrote {value} and read {found}")
    _value([*await wire.ask(frames.query("COMMIT")), *await wire.ask(frames.query("SELECT 0"))])
    return value


async def _rush(wire: Wire, row: int) -> int:
    wire.write(frames.query("BEGIN"), frames.query(_update(row)), frames.query("COMMIT"))
    return _value([message for _ in range(3) for message in await wire.until("Z")])


async def _aborted(wire: Wire, row: int) -> None:
    await wire.ask(frames.query("BEGIN"))
    await wire.ask(frames.query(_update(row)))
    _value(await wire.ask(frames.query("ROLLBACK; SELECT 0")))


async def _failing(wire: Wire, row: int) -> None:
    """Its COMMIT is refused."""
    texts = ("BEGIN", _update(row), "INSERT INTO unique_later VALUES (1)", "COMMIT")
    messages = [message for text in texts for message in await wire.ask(frames.query(text))]
    if frames.errors(messages) != ["23505"]:
        raise ConnectionResetError


async def _trigger(wire: Wire, row: int) -> None:
    """The value is not told; whoever sees it will tell."""
    if frames.errors(await wire.ask(frames.query(f"INSERT INTO bell VALUES ({row})"))):
        raise ConnectionResetError


async def _two_phase(wire: Wire, row: int) -> int:
    texts = ("BEGIN", _update(row), f"PREPARE TRANSACTION 'r{row}'", f"COMMIT PREPARED 'r{row}'")
    return _value([message for text in texts for message in await wire.ask(frames.query(text))])
