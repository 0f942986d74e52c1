"""All sessions of this process, and what they share.

Clients are told a secret of ours, never a server's: a cancel request names a session, and is passed on only while that
session has something running. The process id is ours too, except in session mode: there it is the server's.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.knowledge import Known
    from proxy.reading import Reader
    from proxy.session import Session

KEY_BYTES = 32
OLD_KEY_BYTES = 4
"""Protocol 3.0 has room for four bytes, 3.2 for up to 256."""


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Counts, 0 = no limit; ``message`` and ``notifications`` in bytes; times in seconds, 0 = none."""

    clients: int = 10_000
    clients_per_user: int = 0
    clients_per_database: int = 0
    message: int = 2**30
    notifications: int = 16 * 2**20
    query: float = 0.0
    idle_in_transaction: float = 0.0
    client_idle: float = 0.0
    queue_notice: float = 0.0


class TooManyClients(ProtocolError):
    """One of the limits on clients has been reached."""


class Clients:
    """Who is there. ``function`` stands for a FunctionCall, of which nothing is known."""

    def __init__(self, limits: ClientLimits, reader: Reader, clock: Callable[[], float], function: Known) -> None:
        self.limits = limits
        self.reader = reader
        self.clock = clock
        self.function = function
        self.on_empty: Callable[[], None] | None = None
        self._sessions: dict[int, tuple[Session, bytes]] = {}
        self._inside = 0
        self._users: dict[str, int] = {}
        self._databases: dict[str, int] = {}

    def __len__(self) -> int:
        return self._inside

    def __iter__(self) -> Iterator[Session]:
        return iter([session for session, _ in self._sessions.values()])

    def check(self, user: str, database: str, database_limit: int | None) -> None:
        """May one more come in? Raises TooManyClients (53300)."""
        limits = self.limits
        if self._inside >= limits.clients:
            raise TooManyClients("sorry, too many clients already", "53300")
        if limits.clients_per_user and self._users.get(user, 0) >= limits.clients_per_user:
            raise TooManyClients(f'too many connections for user "{user}"', "53300")
        most = limits.clients_per_database if database_limit is None else database_limit
        if most and self._databases.get(database, 0) >= most:
            raise TooManyClients(f'too many connections for database "{database}"', "53300")

    def number(self, wanted: int = 0) -> int:
        """A process id that no session has: the one that is ``wanted``, unless it is 0 or taken."""
        number = wanted
        while not number or number in self._sessions:  # two servers may have processes of the same number
            number = int.from_bytes(os.urandom(4), "big") & 0x7FFFFFFF
        return number

    def add(self, session: Session, *, long_key: bool) -> bytes:
        """A session begins; returns its cancel key."""
        key = os.urandom(KEY_BYTES if long_key else OLD_KEY_BYTES)
        self._sessions[session.number] = (session, key)
        self.enter(session.user, session.database.name)
        return key

    def gone(self, session: Session) -> None:
        """A session has ended."""
        if self._sessions.pop(session.number, None) is None:
            return
        self.leave(session.user, session.database.name)

    def enter(self, user: str, database: str) -> None:
        """A client counts from now on, whether it has a session or not."""
        self._inside += 1
        self._users[user] = self._users.get(user, 0) + 1
        self._databases[database] = self._databases.get(database, 0) + 1

    def leave(self, user: str, database: str) -> None:
        """It does no longer."""
        self._inside -= 1
        _decrease(self._users, user)
        _decrease(self._databases, database)
        if not self._inside and self.on_empty is not None:
            self.on_empty()

    def find(self, number: int, key: bytes) -> Session | None:
        """The session that a cancel request means; None unless number and key both fit."""
        found = self._sessions.get(number)
        if found is None or not hmac.compare_digest(found[1], key):
            return None
        return found[0]


def _decrease(counts: dict[str, int], name: str) -> None:
    left = counts.get(name, 0) - 1
    if left > 0:
        counts[name] = left
    else:
        counts.pop(name, None)
