"""What commands do to pools and clients.

Pausing. A paused pool lends nothing: its idle connections are closed at once, the others when their leases end, and
clients wait in its queue. PAUSE is answered when the last of them is closed, so that the server can be restarted or the
database renamed. Everything can be paused, or databases one by one; RESUME without a name ends all of it. Replication
connections are in no pool: a pause neither waits for them nor keeps them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.console.command import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pool.pool import Pool
    from proxy.clients import Clients
    from proxy.config import Config
    from proxy.relay import Relay


@dataclass(slots=True)
class _Waiting:
    """A PAUSE that has not been answered. ``done`` is told whether the servers were released."""

    database: str | None
    done: Callable[[bool], None]


class Control:
    """The pauses, and a hand on pools and clients. ``pools`` is read anew each time."""

    def __init__(
        self,
        pools: Iterable[Pool],
        clients: Clients,
        config: Callable[[], Config],
        relays: Iterable[Relay] = (),
    ) -> None:
        self._pools = pools
        self._clients = clients
        self._relays = relays
        self._config = config
        self._everything = False
        self._paused: set[str] = set()
        self._waiting: list[_Waiting] = []

    def paused(self, database: str | None) -> bool:
        """Whether a database is paused; with None, whether everything is."""
        return self._everything or database in self._paused

    def adopt(self, pool: Pool) -> None:
        """A pool has been made: it begins as its database is."""
        pool.on_released = self._released
        if self.paused(pool.database):
            pool.pause()

    def pause(self, database: str | None, done: Callable[[bool], None]) -> bool:
        """Lend no more connections. True when none is open; else ``done`` is called, unless ``forget`` comes before."""
        self._known(database)
        if self._everything or database in self._paused:
            raise CommandError("55000", "already suspended/paused")
        if database is None:
            self._everything = True
        else:
            self._paused.add(database)
        waiting = _Waiting(database, done)
        for pool in self._scope(database):
            pool.pause()
        if self._quiet(database):
            return True
        self._waiting.append(waiting)
        return False

    def forget(self, done: Callable[[bool], None]) -> None:
        """Whoever waited for a PAUSE does so no longer; the pause stays."""
        self._waiting = [waiting for waiting in self._waiting if waiting.done != done]

    def resume(self, database: str | None) -> None:
        """Lend connections again."""
        self._known(database)
        if database is None:
            if not self._everything and not self._paused:
                raise CommandError("55000", "pooler is not paused/suspended")
            self._everything = False
            self._paused.clear()
        elif database in self._paused:
            self._paused.remove(database)
        else:
            hint = "Everything is paused: RESUME without a name." if self._everything else None
            raise CommandError("55000", f"database {database} is not paused", hint)
        for pool in self._scope(database):
            if not self.paused(pool.database):
                pool.resume()
        self._answer(lambda waiting: not self.paused(waiting.database), released=False)

    def reconnect(self, database: str | None) -> None:
        """Close every server connection that stands, at the end of its lease."""
        self._known(database)
        for pool in self._scope(database):
            pool.reconnect()

    def kill(self, database: str) -> None:
        """Close all clients and servers of a database now; whoever comes waits until RESUME."""
        if not self.paused(database):
            self.pause(database, lambda released: None)
        for session in self._clients:
            if session.database.name == database:
                session.refuse("57P01", "terminating connection due to administrator command")
        for relay in self._relays:
            if relay.database == database:
                relay.dismiss()
        for pool in self._scope(database):
            for server in pool.servers:
                server.close("KILL")

    def kill_client(self, number: str) -> None:
        """Close one client; what it has running is cancelled."""
        if not (number.isascii() and number.isdigit()):
            raise CommandError("22023", f'"{number[:80]}" is no client id')
        for session in self._clients:
            if session.number == int(number[:12]):
                session.refuse("57P01", "terminating connection due to administrator command")
                return
        for relay in self._relays:
            if relay.number == int(number[:12]) != 0:
                relay.dismiss()
                return
        raise CommandError("42704", "client not found")

    def _known(self, database: str | None) -> None:
        if database is not None and self._config().database(database) is None:
            raise CommandError("3D000", f"no such database: {database}")

    def _scope(self, database: str | None) -> list[Pool]:
        return [pool for pool in self._pools if database in (None, pool.database)]

    def _quiet(self, database: str | None) -> bool:
        return all(pool.released for pool in self._scope(database))

    def _released(self) -> None:
        self._answer(lambda waiting: self._quiet(waiting.database), released=True)

    def _answer(self, which: Callable[[_Waiting], bool], *, released: bool) -> None:
        ready = [waiting for waiting in self._waiting if which(waiting)]
        self._waiting = [waiting for waiting in self._waiting if waiting not in ready]
        for waiting in ready:
            waiting.done(released)
