"""All connections to the console, and who is let in.

Console clients count towards no limit and are in no table. They stay while the process drains, so that it can be
watched, and end with it. Who may come in and as what is decided by the configuration in force when a command runs.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
from typing import TYPE_CHECKING, Final

from protocol import build
from protocol.errors import ProtocolError
from proxy.clients import KEY_BYTES, OLD_KEY_BYTES
from proxy.console.control import Control
from proxy.console.execute import Executor, Shutdown
from proxy.console.live import LiveView, Rooms
from proxy.console.rights import Role
from proxy.console.traffic import PERIOD, Averages
from proxy.console.wire import ConsoleConnection
from proxy.logs import event
from proxy.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from pool.pool import Pool
    from protocol.accept import ClientLogin

logger = logging.getLogger("forebay.console")

_GREETING: Final = {
    "server_version": f"18.0 (Forebay {VERSION})",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
    "default_transaction_read_only": "off",
    "in_hot_standby": "off",
}


class Consoles:
    """The console of one process. ``reload`` returns what was wrong with the configuration, or nothing."""

    def __init__(self, rooms: Rooms, reload: Callable[[], str], shutdown: Callable[[Shutdown], None]) -> None:
        self._rooms = rooms
        self._control = Control(rooms.pools, rooms.clients, rooms.config, rooms.relays)
        self._averages = Averages(rooms.clients.clock())
        self._view = LiveView(rooms, self._control, self._averages)
        self._executor = Executor(self._view, self._control, rooms.cache, reload, shutdown)
        self._connections: dict[int, tuple[ConsoleConnection, bytes]] = {}

    def role(self, user: str) -> Role | None:
        """What a user is here."""
        access = self._rooms.access()
        if user in access.admins:
            return Role.ADMIN
        return Role.STATS if user in access.watchers else None

    def let_in(self, login: ClientLogin, transport: asyncio.Transport) -> ConsoleConnection:
        """Greet a client that has logged in. ProtocolError 42501 for who has no business here."""
        user = login.user
        role = self.role(user)
        if role is None:
            raise ProtocolError(f'permission denied for database "{login.database}"', "42501")
        number = self._number()
        key = os.urandom(KEY_BYTES if login.protocol_minor >= 2 else OLD_KEY_BYTES)

        def log(command: str) -> None:
            event(logger, logging.INFO, "console command", user=user, command=command)

        connection = ConsoleConnection(
            transport, self._executor, lambda: self.role(user), log, lambda: self._gone(number)
        )
        self._connections[number] = (connection, key)
        told = {
            **_GREETING,
            "application_name": login.parameters.get("application_name", ""),
            "is_superuser": "on" if role is Role.ADMIN else "off",
            "session_authorization": user,
        }
        parts = [build.parameter_status(name, value) for name, value in told.items()]
        parts += (build.backend_key_data(number, key), build.ready_for_query(b"I"))
        transport.write(b"".join(parts))
        event(logger, logging.INFO, "console opened", user=user, role=role.value)
        return connection

    def _number(self) -> int:
        while True:
            number = self._rooms.clients.number()
            if number not in self._connections:
                return number

    def _gone(self, number: int) -> None:
        self._connections.pop(number, None)

    def adopt(self, pool: Pool) -> None:
        """A pool has been made."""
        self._control.adopt(pool)

    def cancel(self, number: int, key: bytes) -> None:
        """A cancel request that may mean a console."""
        found = self._connections.get(number)
        if found is not None and hmac.compare_digest(found[1], key):
            found[0].cancel()

    async def run(self) -> None:
        """Keep the averages, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD)
            self._averages.roll(self._view.totals(), self._rooms.clients.clock())

    def close(self) -> None:
        """The process ends."""
        for connection, _ in list(self._connections.values()):
            connection.end()
