"""The server connections of one (database, user), and the queue for them.

Clients wait first come, first served; the connection used last is lent first. A lease is granted inside ``acquire``
when a connection is free, without a task or a future: that is the ordinary case, and the fast one. Otherwise the
waiter is called back. Whether to open or close is decided in plan.py.

A database that cannot be reached fails nobody at once: clients wait until ``queue_timeout`` while it is tried again
with back-off. What waiting cannot cure (wrong password, no such database) is told to those who wait immediately.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol

from pool.connect import ServerUnavailable, Target, open_server, send_cancel
from pool.errors import PoolClosed, PoolError, QueueTimeout
from pool.outlet import Outlets
from pool.plan import PoolLimits, Situation, retry_delay, to_close, to_open
from pool.prepared import Registry
from pool.quota import Quota, admit, must_yield, share
from pool.server import Owner, Server
from pool.settings import Profile, Profiles
from pool.status import PoolCounters, PoolStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from pool.tasks import Tasks

logger = logging.getLogger("forebay.pool")


class Waiter(Protocol):
    """Who asks for a lease."""

    @property
    def owner(self) -> Owner:
        """Who becomes the connection's owner."""

    def lease_granted(self, server: Server) -> None:
        """The connection is yours until ``server.give_back()``."""

    def lease_failed(self, error: PoolError) -> None:
        """There is none to be had."""


class Pool:
    """One pool. ``clock`` is monotonic, in seconds."""

    def __init__(
        self, database: str, target: Target, limits: PoolLimits, clock: Callable[[], float], tasks: Tasks
    ) -> None:
        self.database = database
        self.user = target.user
        self.target = target
        self.limits = limits
        self.profiles = Profiles()
        self.registry = Registry(limit=50_000)
        self.counters = PoolCounters()
        self.greetings: dict[frozenset[tuple[str, str]], tuple[dict[str, str], Profile]] = {}
        self.generation = 0  # connections of an older one are not lent again (RECONNECT, a changed url)
        self.paused = False  # lends nothing and opens nothing
        self.on_opened: Callable[[Pool, Server], None] | None = None
        self.on_released: Callable[[], None] | None = None  # told when it is paused and has no connection any more
        self.quotas: tuple[Quota, ...] = ()  # limits that it shares with other pools
        self.base: dict[str, str] = {}  # what the newest connection reported at login
        self._clock = clock
        self._tasks = tasks
        self.outlets = Outlets()
        self._idle: deque[Server] = deque()
        self._servers: set[Server] = set()
        self._waiters: dict[Waiter, float] = {}
        self._opening = 0
        self._failures = 0
        self._last_error: ServerUnavailable | None = None
        self._retry_at = 0.0
        self._queue_timer: asyncio.TimerHandle | None = None
        self._retry_timer: asyncio.TimerHandle | None = None
        self._closed = False

    # -- leases -----------------------------------------------------------------------------------------------------

    def acquire(self, waiter: Waiter, now: float) -> Server | None:
        """A connection now, or None: then ``lease_granted`` or ``lease_failed`` will be called, once."""
        server = self.lend(waiter.owner, now)
        if server is not None:
            return server
        checking = False
        if self._idle:
            server = self._idle.popleft() if self.limits.rotate else self._idle.pop()
            server.check()  # if it is alive it serves the queue, else another is opened
            checking = True
        if self._closed:
            asyncio.get_running_loop().call_soon(waiter.lease_failed, _closed())
            return None
        self._waiters[waiter] = now
        self.counters.waits += 1
        self._arm_queue_timer(now)
        if not checking:
            self.replan(now)
        return None

    def lend(self, owner: Owner, now: float) -> Server | None:
        """A connection that is free and surely alive, if nobody waits for one."""
        idle = self._idle
        if not idle or self._waiters:
            return None
        server = idle[0] if self.limits.rotate else idle[-1]
        if now - server.idle_since >= self.limits.check_after_idle:
            return None
        idle.remove(server) if self.limits.rotate else idle.pop()
        server.take(owner, now)
        self.counters.leases += 1
        return server

    def withdraw(self, waiter: Waiter) -> bool:
        """Leave the queue; False if the waiter is not in it."""
        return self._waiters.pop(waiter, None) is not None

    def available(self, server: Server) -> None:
        """A clean connection is free: give it to the first in the queue, or keep it."""
        now = self._clock()
        unwanted = self._closed or self.paused or server.generation != self.generation
        if unwanted or server.spots or (server.expires and now >= server.expires):
            server.close("its time is over")
            return
        if self.quotas and must_yield(self, now):
            server.close("somebody else has waited longer")
            return
        if self._waiters:
            waiter = next(iter(self._waiters))
            del self._waiters[waiter]
            server.take(waiter.owner, now)
            self.counters.leases += 1
            waiter.lease_granted(server)
            return
        server.idle_since = now
        self._idle.append(server)

    def abandoned(self, server: Server) -> None:
        """Its owner left while a request was running: cancel that request."""
        if server.pipeline.queue:
            self.cancel(server, lambda: server.owner is None and bool(server.pipeline.queue))

    def cancel(self, server: Server, wanted: Callable[[], bool]) -> asyncio.Task[None]:
        """Send a cancel request, if it is still ``wanted`` when its own connection stands; the task ends with it.

        Until it has been delivered the connection does not change hands, so that it can reach nobody else's query.
        """
        server.guard()
        self.counters.cancels += 1
        return self._tasks.spawn(self._cancel(server, wanted), f"cancel {server.pid}")

    async def _cancel(self, server: Server, wanted: Callable[[], bool]) -> None:
        try:
            await send_cancel(server.target, server.pid, server.key, self.limits.cancel_timeout, wanted, server.address)
        except (ServerUnavailable, OSError) as error:
            logger.warning("a cancel request for server connection %d failed: %s", server.pid, error)
        finally:
            server.guard_released()

    def role_changed(self, server: Server) -> None:
        """Its host is not what is wanted any more: no idle connection to it is lent again."""
        for other in list(self._idle):
            if other.address == server.address:
                other.close("its host has another role")

    def gone(self, server: Server, reason: str) -> None:
        """A connection has been closed, by whichever side."""
        if server not in self._servers:
            return
        self._servers.discard(server)
        self.counters.closed += 1
        if server in self._idle:
            self._idle.remove(server)
        logger.debug("server connection %d to %s closed: %s", server.pid, self.database, reason)
        (share if self.quotas else Pool.replan)(self, self._clock())

    # -- opening ----------------------------------------------------------------------------------------------------

    def replan(self, now: float) -> None:
        """Open what is missing."""
        if self._closed or self.paused:
            if self.released and self.on_released is not None:
                self.on_released()
            return
        if self.taken >= self.limits.size and not self.limits.reserve_size:
            return  # to_open would say so at ten times the cost
        for _ in range(to_open(self._situation(now), self.limits)):
            if self.quotas and not admit(self, now):
                break
            self._opening += 1
            self._tasks.spawn(self._open(), f"open {self.database}")

    def _situation(self, now: float) -> Situation:
        return Situation(
            idle=len(self._idle),
            busy=len(self._servers) - len(self._idle),
            opening=self._opening,
            waiting=len(self._waiters),
            longest_wait=self.longest_wait(now),
            failing=self._failures > 0,
            held_back=now < self._retry_at,
        )

    def longest_wait(self, now: float) -> float:
        """Seconds that the first in the queue has waited."""
        return now - next(iter(self._waiters.values())) if self._waiters else 0.0

    async def _open(self) -> None:
        generation = self.generation
        target = self.target
        failures = self._failures
        try:
            opened = await open_server(target)
        except ServerUnavailable as error:
            self._opening -= 1
            self._open_failed(error, failures)
            return
        except BaseException:
            self._opening -= 1
            raise
        self._opening -= 1
        self._failures = 0
        self._retry_at = 0.0
        self._last_error = None
        self.counters.opened += 1
        now = self._clock()
        limits = self.limits
        life = limits.lifetime * (1.0 - limits.lifetime_jitter * random.random()) if limits.lifetime else 0.0
        server = Server(self, opened, opened.target, now, now + life if life else 0.0)
        server.generation = generation
        server.transport = self.outlets.outlet(opened.transport)
        self._servers.add(server)
        if self.base != server.base:
            self.base = server.base
            self.greetings.clear()
        if self.on_opened is not None:
            self.on_opened(self, server)
        opened.adopt(server)
        if not server.closed:
            self.available(server)
        self.replan(now)

    def _open_failed(self, error: ServerUnavailable, failures_before: int) -> None:
        self.counters.open_failures += 1
        failures = self.counters.failures
        failures[error.sqlstate] = failures.get(error.sqlstate, 0) + 1
        self._failures = max(self._failures, min(self._failures, failures_before) + 1)  # together they count as one
        self._last_error = error
        delay = retry_delay(self._failures, self.limits, random.random())
        now = self._clock()
        self._retry_at = now + delay
        log = logger.warning if self._failures == 1 else logger.info
        what = (self.database, self.user, error.message, delay)
        log("cannot connect to %s as %s: %s (next try in %.1f s)", *what)
        if not error.transient:
            failure = PoolError(error.sqlstate, error.message)
            for waiter in list(self._waiters):
                del self._waiters[waiter]
                waiter.lease_failed(failure)
        if self._retry_timer is None and not self._closed:
            self._retry_timer = asyncio.get_running_loop().call_later(delay, self._retry)

    def _retry(self) -> None:
        self._retry_timer = None
        self._retry_at = 0.0
        self.replan(self._clock())

    # -- time -------------------------------------------------------------------------------------------------------

    def _arm_queue_timer(self, now: float) -> None:
        if self._queue_timer is not None or not self.limits.queue_timeout or not self._waiters:
            return
        delay = self.limits.queue_timeout - self.longest_wait(now)
        self._queue_timer = asyncio.get_running_loop().call_later(max(0.0, delay), self._expire_waiters)

    def _expire_waiters(self) -> None:
        self._queue_timer = None
        now = self._clock()
        while self._waiters and self.longest_wait(now) >= self.limits.queue_timeout:
            waiter = next(iter(self._waiters))
            del self._waiters[waiter]
            self.counters.queue_timeouts += 1
            waiter.lease_failed(self._timeout_error())
        self._arm_queue_timer(now)

    def _timeout_error(self) -> QueueTimeout:
        waited = f"waited {self.limits.queue_timeout:g} s for a server connection (queue_timeout)"
        if self._last_error is not None:
            return QueueTimeout(self._last_error.sqlstate, self._last_error.message, waited)
        return QueueTimeout("53300", f"no server connection became free: {waited}")

    def tick(self, now: float) -> None:
        """Once a second or so: close what has become old, open what is missing."""
        idle = list(self._idle)
        old = to_close([s.idle_since for s in idle], [s.expires for s in idle], len(self._servers), now, self.limits)
        for index in old:
            idle[index].close("idle or old")
        self.replan(now)

    # -- control ----------------------------------------------------------------------------------------------------

    def reconfigure(self, target: Target, limits: PoolLimits) -> None:
        """New limits at once; a new target for new connections, and old connections end after their lease."""
        self.limits = limits
        if target != self.target:
            self.target = target
            self.reconnect()
        self.replan(self._clock())

    def reconnect(self) -> None:
        """Close idle connections now and the others when they come back."""
        self.generation += 1
        self.greetings.clear()
        for server in list(self._idle):
            server.close("reconnect")

    def outdated(self, server: Server) -> bool:
        """Whether a connection will be closed when it comes back, since newer ones go elsewhere."""
        return server.generation != self.generation

    def pause(self) -> None:
        """Lend and open nothing until ``resume``; idle connections close now, the others when they come back."""
        self.paused = True
        for server in list(self._idle):
            server.close("paused")

    def resume(self) -> None:
        """Serve the queue again."""
        self.paused = False
        self.replan(self._clock())

    @property
    def released(self) -> bool:
        """Whether no connection stands or is being opened."""
        return not self._servers and not self._opening

    def close(self, error: PoolError | None = None) -> None:
        """Fail those who wait, close all connections."""
        self._closed = True
        for timer in (self._queue_timer, self._retry_timer):
            if timer is not None:
                timer.cancel()
        failure = error or _closed()
        for waiter in list(self._waiters):
            del self._waiters[waiter]
            waiter.lease_failed(failure)
        for server in list(self._servers):
            server.close("shutdown")

    @property
    def taken(self) -> int:
        """Connections that stand or are being opened."""
        return len(self._servers) + self._opening

    @property
    def idle(self) -> list[Server]:
        """Connections that nobody uses."""
        return list(self._idle)

    def wants(self, now: float) -> bool:
        """Whether it would open one more for somebody who waits."""
        return bool(self._waiters) and not self.paused and to_open(self._situation(now), self.limits) > 0

    def overdue(self, now: float, delay: float) -> list[Waiter]:
        """Who has waited that long, first come first."""
        return list(takewhile(lambda waiter: now - self._waiters[waiter] >= delay, self._waiters))

    @property
    def servers(self) -> frozenset[Server]:
        """All open connections."""
        return frozenset(self._servers)

    def status(self) -> PoolStatus:
        """For people and metrics."""
        settling = sum(1 for server in self._servers if server.settling)
        return PoolStatus(
            database=self.database,
            user=self.user,
            idle=len(self._idle),
            active=len(self._servers) - len(self._idle) - settling,
            settling=settling,
            opening=self._opening,
            waiting=len(self._waiters),
            longest_wait=self.longest_wait(self._clock()),
            failing=self._last_error.message if self._last_error is not None else "",
        )


def _closed() -> PoolClosed:
    return PoolClosed("57P01", "the proxy is shutting down")
