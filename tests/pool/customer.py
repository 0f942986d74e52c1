"""Who asks a pool for a connection, and talks to the server with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pool.plan import PoolLimits
from pool.pool import Pool
from pool.server import Server
from pool.tasks import Tasks
from protocol.replies import QUERY, SYNC
from tests.support import frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from pool.connect import Target
    from pool.errors import PoolError
    from pool.server import Owner

PATIENCE = 30.0  # seconds


class Clock:
    """A clock that a test winds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Customer:
    """One waiter and owner."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.owner: Owner = self
        self.outcome: Server | PoolError | None = None
        self.shown = b""
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.brakes: list[bool] = []
        self._more = asyncio.Event()
        self._decided = asyncio.Event()

    def ask(self) -> Customer:
        """Get in line, or be served at once."""
        server = self.pool.acquire(self, self.pool._clock())
        if server is not None:
            self.lease_granted(server)
        return self

    async def server(self) -> Server:
        """The lease; raises the error."""
        await asyncio.wait_for(self._decided.wait(), PATIENCE)
        return self.lease

    @property
    def lease(self) -> Server:
        """The connection that has been granted; raises the error."""
        if isinstance(self.outcome, Server):
            return self.outcome
        assert self.outcome is not None
        raise self.outcome

    def served(self) -> bool:
        """Has it a connection?"""
        return isinstance(self.outcome, Server)

    def lease_granted(self, server: Server) -> None:
        assert self.outcome is None
        self.outcome = server
        self._decided.set()

    def lease_failed(self, error: PoolError) -> None:
        assert self.outcome is None
        self.outcome = error
        self._decided.set()

    def server_data(self, out: bytes) -> None:
        self.lease.pipeline.finished.clear()
        self.shown += out
        self._more.set()

    def server_answered(self, out: bytes, rows: int) -> None:
        self.shown += out
        self._more.set()

    def server_lost(self, reason: str) -> None:
        self.lost.set_result(reason)

    def server_congested(self, congested: bool) -> None:
        self.brakes.append(congested)

    def send(self, text: str) -> None:
        """A simple query, without waiting."""
        server = self.lease
        server.pipeline.add(QUERY, None)
        server.transport.write(frames.query(text))

    def send_extended(self, *messages: tuple[int, bytes], sync: bool = True) -> None:
        """Messages of the extended protocol, without waiting."""
        server = self.lease
        for kind, data in (*messages, *([(SYNC, frames.SYNC)] if sync else [])):
            server.pipeline.add(kind, None)
            server.transport.write(data)

    async def until(self, ending: bytes) -> bytes:
        """What the server answers, up to this."""
        while not self.shown.endswith(ending):
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), PATIENCE)
        shown, self.shown = self.shown, b""
        return shown

    async def query(self, text: str, status: str = "I") -> bytes:
        """A simple query and its answer."""
        self.send(text)
        return await self.until(frames.frame("Z", status.encode()))

    async def value(self, text: str, status: str = "I") -> str | None:
        """The one value of a simple query."""
        data = await self.query(text, status)
        messages = []
        while data:
            length = int.from_bytes(data[1:5], "big")
            messages.append(frames.Message(chr(data[0]), data[5 : 1 + length]))
            data = data[1 + length :]
        return frames.rows(messages)[0][0]


def make_pool(target: Target, clock: Clock | None = None, **limits: Any) -> Pool:
    """A pool with tasks of its own; the test closes it."""
    wanted = PoolLimits(**{"retry_delay": 0.01, "retry_max": 0.01, **limits})
    return Pool("db", target, wanted, clock or Clock(), Tasks())


async def reached(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if condition():
                return
            await asyncio.sleep(0.002)
