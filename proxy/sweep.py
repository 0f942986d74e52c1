"""Limits that only time can break: looked at twice a second, for all sessions and pools.

A query over its time is cancelled, as by the client itself; if that does not end it within ``cancel_timeout``, the
client and the server connection are closed. A client idle in a transaction, or idle at all, for too long is told so
and closed, with PostgreSQL's own words and SQLSTATEs for the same limits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pool.server import IDLE_IN_BLOCK
from protocol import build
from proxy.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pool.pool import Pool
    from proxy.clients import ClientLimits, Clients

_QUEUED = build.notice_response("00000", "no server connection is free yet; the client waits in the queue")
PERIOD = 0.5
"""Seconds; limits are kept to that precision."""


class Sweep:
    """``pools`` is read anew each time; ``loop_lag`` is told how many seconds late each look was."""

    def __init__(self, clients: Clients, pools: Iterable[Pool], loop_lag: Callable[[float], None]) -> None:
        self._clients = clients
        self._pools = pools
        self._loop_lag = loop_lag
        self._told: WeakKeyDictionary[Session, object] = WeakKeyDictionary()  # the turn that was told that it waits
        self._cancelled: WeakKeyDictionary[Session, object] = WeakKeyDictionary()  # the turn that was cancelled

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            due = self._clients.clock() + PERIOD
            await asyncio.sleep(PERIOD)
            now = self._clients.clock()
            self._loop_lag(max(0.0, now - due))
            for pool in self._pools:
                pool.tick(now)
                if self._clients.limits.queue_notice:
                    self._tell(pool, now)
            limits = self._clients.limits
            if limits.query or limits.idle_in_transaction or limits.client_idle:
                for session in self._clients:
                    self._look(session, now, limits)

    def _tell(self, pool: Pool, now: float) -> None:
        """Once a wait, that it is one."""
        for waiter in pool.overdue(now, self._clients.limits.queue_notice):
            if isinstance(waiter, Session) and self._told.get(waiter) is not waiter.turn and waiter.turn is not None:
                self._told[waiter] = waiter.turn
                waiter.transport.write(_QUEUED)

    def _look(self, session: Session, now: float, limits: ClientLimits) -> None:
        turns = session.down.turns
        stalled = session.uplink.stalled
        turn = turns[0] if turns else session.turn if stalled else None
        if turn is not None:
            over = now - (turn.sent or turn.started) - limits.query if limits.query else -1.0
            if over < 0:
                return
            if self._cancelled.get(session) is not turn:
                self._cancelled[session] = turn
                session.cancel()
            elif 0 < session.pool.limits.cancel_timeout < over:
                session.refuse("57014", "canceling statement due to query timeout")
            return
        self._cancelled.pop(session, None)
        if session.waiting or stalled or session.turn is not None:
            return
        idle = now - session.active_at
        server = session.down.server
        begun = server is not None and server.pipeline.status != IDLE_IN_BLOCK
        if begun or session.ledger.deferred is not None:
            if limits.idle_in_transaction and idle >= limits.idle_in_transaction:
                session.refuse("25P03", "terminating connection due to idle-in-transaction timeout")
        elif limits.client_idle and idle >= limits.client_idle:
            session.refuse("57P05", "terminating connection due to idle-session timeout")
