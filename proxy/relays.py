"""Replication connections: who gets one, to which server, and how they are found again.

A client has logged in like any other. Its server connection is opened for it alone, with its own startup parameters and
`replication` as it was asked for, so PostgreSQL decides who may replicate. It belongs to no pool and no mode of pooling
matters to it; the limits on all connections of a database or a user hold for it, with one difference: it is refused
when there is no room, as PostgreSQL would, and does not queue.

Physical replication is about a server, not a database, and its clients name `replication` or anything else. A name that
is configured decides all the same, `*` included; another is no mistake as long as there is one server only.
"""

from __future__ import annotations

import hmac
import logging
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pool.connect import ServerUnavailable, open_server, send_cancel
from protocol.errors import ProtocolError
from proxy.clients import KEY_BYTES, OLD_KEY_BYTES
from proxy.logs import event
from proxy.relay import Kind, Relay
from proxy.sections import CONSOLE_NAMES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from pool.connect import Target
    from pool.quota import Quotas
    from pool.tasks import Tasks
    from protocol.accept import ClientLogin
    from proxy.access import Access
    from proxy.clients import Clients
    from proxy.config import Config

logger = logging.getLogger("forebay.replication")


def kind_of(login: ClientLogin) -> Kind:
    """What a client that asks for replication wants."""
    return Kind.LOGICAL if (login.replication or "").lower() == "database" else Kind.PHYSICAL


def place_of(access: Access, login: ClientLogin) -> str:
    """The database whose entry says where to go. Raises ProtocolError: 3D000, or 0A000 for the console."""
    config, name = access.config, login.database
    if name in CONSOLE_NAMES:
        raise ProtocolError("the admin console has no replication", "0A000")
    if config.database(name) is not None:
        return name
    missing = f'database "{name}" does not exist'
    if kind_of(login) is Kind.LOGICAL:
        raise ProtocolError(missing, "3D000")
    urls = {entry: database.url for entry, database in config.databases.items()}
    if len({(url.host, url.port, url.others) for url in urls.values()}) > 1:
        raise ProtocolError(
            f"{missing}, and there are several servers to replicate from: configure [databases.{name}] for one of them",
            "3D000",
        )
    return next((entry for entry, url in urls.items() if url.user in (None, login.user)), next(iter(urls)))


def target_of(access: Access, login: ClientLogin, place: str) -> Target:
    """Where to connect, with what the client asked to set on top of what the url does."""
    target = access.target(place, login.user)
    parameters = {**target.parameters, **login.parameters, "replication": login.replication or ""}
    options = [found["options"] for found in (target.parameters, login.parameters) if found.get("options")]
    if options:
        parameters["options"] = " ".join(options)
    return replace(target, parameters=parameters)


@dataclass(frozen=True, slots=True)
class _Cancelling:
    """How a relay's cancel requests come and go: the client's key; seconds to deliver one."""

    key: bytes = field(repr=False)
    timeout: float


class Relays:
    """All of them. ``on_error`` is told the SQLSTATE of what a client was told."""

    def __init__(self, clients: Clients, quotas: Quotas, tasks: Tasks, on_error: Callable[[str], None]) -> None:
        self._clients = clients
        self._quotas = quotas
        self._tasks = tasks
        self._on_error = on_error
        self._relays: dict[Relay, _Cancelling] = {}

    def __iter__(self) -> Iterator[Relay]:
        return iter(list(self._relays))

    def let_in(self, login: ClientLogin, transport: asyncio.Transport, access: Access) -> asyncio.Protocol:
        """What takes over from the login. Raises ProtocolError for who cannot be served."""
        place = place_of(access, login)
        config = access.config
        self._clients.check(login.user, place, config.max_clients_of(place))
        access.keyring.keep(place, login.user, login.secret)
        target = target_of(access, login, place)
        own = config.pool_of(place)
        now = self._clients.clock()
        limits = (own.max_db_connections, own.max_user_connections)
        if not self._quotas.take(place, target.user, *limits, now):
            raise ProtocolError("too many server connections for one more to replicate", "53300")
        relay = Relay(
            transport,
            user=login.user,
            database=place,
            kind=kind_of(login),
            application=login.parameters.get("application_name", ""),
            target=target,
            now=now,
            ended=self._ended,
            cancel=self._spawn_cancel,
        )
        key = os.urandom(KEY_BYTES if login.protocol_minor >= 2 else OLD_KEY_BYTES)
        self._relays[relay] = _Cancelling(key, access.pool_limits(place).cancel_timeout)
        self._clients.enter(relay.user, relay.database)
        relay.opening = self._tasks.spawn(self._open(relay), f"replication {place}")
        return relay.client

    async def _open(self, relay: Relay) -> None:
        try:
            opened = await open_server(relay.target)
        except ServerUnavailable as error:
            logger.warning("no replication connection to %s as %s: %s", relay.database, relay.user, error.message)
            self._on_error(error.sqlstate)
            relay.refuse(error.sqlstate, error.message, error.detail)
            return
        if relay.over:
            opened.transport.abort()
            return
        number = opened.pid
        while not number or any(other.number == number for other in self._relays):
            number = self._clients.number()  # another server may have a process of the same number
        relay.begin(opened, number, self._relays[relay].key, self._clients.clock())
        event(logger, logging.INFO, "replication begins", **_shown(relay))

    def _ended(self, relay: Relay) -> None:
        del self._relays[relay]
        self._clients.leave(relay.user, relay.database)
        self._quotas.release(relay.database, relay.target.user, self._clients.clock())
        if relay.opened is not None:
            event(logger, logging.INFO, "replication ends", **_shown(relay))

    async def cancel(self, number: int, key: bytes) -> bool:
        """Deliver a cancel request; False if it means none of these."""
        for relay, own in self._relays.items():
            if number and relay.number == number and hmac.compare_digest(own.key, key):
                await self._cancel(relay, own.timeout)
                return True
        return False

    def _spawn_cancel(self, relay: Relay) -> None:
        self._tasks.spawn(self._cancel(relay, self._relays[relay].timeout), f"cancel {relay.number}")

    async def _cancel(self, relay: Relay, timeout: float) -> None:
        opened = relay.opened
        if opened is None:
            return
        try:
            await send_cancel(opened.target, opened.pid, opened.key, timeout, address=opened.address)
        except (ServerUnavailable, OSError) as error:
            logger.warning("a cancel request for server connection %d failed: %s", opened.pid, error)

    def reconfigure(self, config: Config) -> None:
        """A reload: a database that is gone has no connections."""
        for relay in self:
            if config.database(relay.database) is None:
                relay.dismiss()

    def end(self) -> None:
        """End all."""
        for relay in self:
            relay.dismiss()


def _shown(relay: Relay) -> dict[str, object]:
    return {"database": relay.database, "user": relay.user, "kind": relay.kind.value, "pid": relay.number}
