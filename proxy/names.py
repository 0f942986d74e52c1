"""Names of servers lead elsewhere in time: looked up again and again, beside everything else.

Each new connection looks its host's name up by itself. Here those that stand are held against what the name means
now: one whose address has been missing twice in a row (a name server may tell only some of its addresses at a time) is
closed if it is idle, else when it comes back. What listens for a pool, and what watches a catalog, goes to the new
place, too. An answer that does not come changes nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from pool.connect import Address
    from pool.server import Server
    from proxy.database import Database
    from proxy.dsn import ServerUrl
    from proxy.notify.hub import Hub

logger = logging.getLogger("forebay.names")

Place = tuple[str, int]
_OFF = 5.0  # seconds until it is asked again whether to look


class Names:
    """``databases`` and ``url_of`` are asked anew each time, as is the period in seconds (0 = do not look)."""

    def __init__(
        self,
        databases: Callable[[], Iterable[Database]],
        url_of: Callable[[str], ServerUrl | None],
        period: Callable[[], float],
        resolve: Callable[[str, int], Awaitable[list[Address]]],
    ) -> None:
        self._databases = databases
        self._url_of = url_of
        self._period = period
        self._resolve = resolve
        self._known: dict[Place, frozenset[Address]] = {}
        self._missing: WeakSet[Server | Hub] = WeakSet()  # whose addresses were missing last time

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            period = self._period()
            await asyncio.sleep(period or _OFF)
            if period:
                await self.look()

    async def look(self) -> None:
        """Once, at all names."""
        wanted = {place for database in self._databases() for place in self._places(database)}
        found = {place: addresses for place in wanted if (addresses := await self._look_up(place))}
        moved = {place for place, now in found.items() if self._known.get(place, now) != now}
        self._known = {place: found.get(place, self._known.get(place, frozenset())) for place in wanted}
        for database in list(self._databases()):
            if moved.intersection(self._places(database)) and database.on_moved is not None:
                database.on_moved()
            for pool in list(database.pools.values()):
                for server in pool.servers:
                    if self._astray(server, (server.target.host, server.target.port), server.address, found):
                        _retire(server)
            for hub in list(database.hubs.values()):
                where = hub.where
                if where is not None and self._astray(hub, (where[0].host, where[0].port), where[1], found):
                    hub.reconnect()

    def _places(self, database: Database) -> list[Place]:
        url = self._url_of(database.name)
        return [place for place in url.hosts if _is_name(place[0])] if url is not None else []

    async def _look_up(self, place: Place) -> frozenset[Address]:
        try:
            return frozenset(await self._resolve(*place))
        except OSError as error:
            logger.info("the name %s cannot be looked up: %s", place[0], error)
            return frozenset()

    def _astray(
        self, who: Server | Hub, place: Place, address: Address, found: dict[Place, frozenset[Address]]
    ) -> bool:
        if place not in found or address in found[place]:
            self._missing.discard(who)
            return False
        if who in self._missing:
            self._missing.discard(who)
            return True
        self._missing.add(who)
        return False


def _is_name(host: str) -> bool:
    if host.startswith(("/", "@")):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _retire(server: Server) -> None:
    logger.info("server connection %d stays behind at %s", server.pid, server.address[1])
    server.broken = True
    if server.owner is None and not server.settling:
        server.close("its host's name leads elsewhere")
