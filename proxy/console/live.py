"""The `View` of this process: looks at sessions, pools and counters when it is asked, and keeps nothing."""

from __future__ import annotations

import ssl
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.console.view import ClientState, Period, PoolState, ServerState, Socket, Traffic
from proxy.status import session_state
from proxy.version import VERSION
from stats.records import Outcome
from stats.snapshot import take

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Sequence

    from cache.cache import Cache
    from cache.counters import Counters
    from pool.connect import Opened
    from pool.pool import Pool
    from pool.server import Server
    from proxy.access import Access
    from proxy.clients import Clients
    from proxy.config import Config
    from proxy.console.control import Control
    from proxy.console.traffic import Averages
    from proxy.edge import Edge
    from proxy.relay import Relay
    from proxy.relays import Relays
    from proxy.session import Session
    from stats.slowlog import SlowRecord
    from stats.snapshot import Snapshot
    from stats.stats import Stats


@dataclass(frozen=True, slots=True)
class Rooms:
    """What there is to look at. What a reload replaces is asked for anew each time."""

    config: Callable[[], Config]
    access: Callable[[], Access]
    clients: Clients
    relays: Relays
    pools: Sequence[Pool]
    stats: Stats
    cache: Cache
    edge: Edge


class LiveView:
    """Implements `View`."""

    def __init__(self, rooms: Rooms, control: Control, averages: Averages) -> None:
        self._rooms = rooms
        self._control = control
        self._averages = averages

    @property
    def version(self) -> str:
        return VERSION

    @property
    def config(self) -> Config:
        return self._rooms.config()

    def databases(self) -> Sequence[str]:
        names = dict.fromkeys(name for name in self.config.databases if name != "*")
        names.update(dict.fromkeys(pool.database for pool in self._rooms.pools))
        return list(names)

    def paused(self, database: str | None) -> bool:
        return self._control.paused(database)

    def users(self) -> Sequence[str]:
        names = {*self._rooms.access().users, *(pool.user for pool in self._rooms.pools)}
        names.update(relay.user for relay in self._rooms.relays)
        return sorted(names.union(session.user for session in self._rooms.clients))

    def pools(self) -> list[PoolState]:
        now = self._rooms.clients.clock()
        clients = Counter(session.pool for session in self._rooms.clients if not session.waiting)
        return [self._pool(pool, clients[pool], now) for pool in self._rooms.pools]

    def _pool(self, pool: Pool, clients: int, now: float) -> PoolState:
        status = pool.status()
        servers = pool.servers
        states = Counter(_server_state(pool, server, now) for server in servers)
        return PoolState(
            database=pool.database,
            user=pool.user,
            mode=self.config.pool_of(pool.database).mode,
            clients=clients,
            waiting=status.waiting,
            cancels=sum(server.guards for server in servers),
            active=states["active"],
            being_canceled=states["being_canceled"],
            idle=states["idle"],
            used=states["used"],
            tested=states["tested"],
            opening=status.opening,
            longest_wait=status.longest_wait,
        )

    def clients(self) -> Iterator[ClientState]:
        now = self._rooms.clients.clock()
        wall = time.time() - now
        for session in self._rooms.clients:
            server = session.down.server
            turn = session.turn
            yield ClientState(
                id=session.number,
                user=session.user,
                database=session.database.name,
                application=session.application,
                state=session_state(session),
                socket=_socket(session.transport),
                connected=wall + session.connected_at,
                requested=wall + session.active_at,
                waited=max(0.0, now - turn.started) if session.waiting and turn is not None else 0.0,
                ptr=_ptr(session),
                link="" if server is None else _ptr(server),
                statements=len(session.uplink.statements),
                server_pid=0 if server is None else server.pid,
                pins=tuple(sorted(pin.value for pin in session.ledger.pins)),
            )
        for relay in self._rooms.relays:
            yield _relay_client(relay, wall, now)

    def servers(self) -> Iterator[ServerState]:
        now = self._rooms.clients.clock()
        wall = time.time() - now
        owners: dict[Server, Session] = {}
        for session in self._rooms.clients:
            if session.down.server is not None:
                owners[session.down.server] = session
        for pool in self._rooms.pools:
            for server in sorted(pool.servers, key=lambda server: server.opened_at):
                owner = owners.get(server)
                yield ServerState(
                    user=pool.user,
                    database=pool.database,
                    application="" if owner is None else owner.application,
                    state=_server_state(pool, server, now),
                    socket=_socket(server.transport),
                    connected=wall + server.opened_at,
                    requested=wall + (server.leased_at if owner is None else owner.active_at),
                    outdated=pool.outdated(server),
                    ptr=_ptr(server),
                    link="" if owner is None else _ptr(owner),
                    pid=server.pid,
                    statements=len(server.statements),
                )
        for relay in self._rooms.relays:
            if relay.opened is not None:
                yield _relay_server(relay, relay.opened, wall)

    def logging_in(self) -> int:
        return self._rooms.edge.pending

    def totals(self) -> dict[str, Traffic]:
        leases: Counter[str] = Counter()
        for pool in self._rooms.pools:
            leases[pool.database] += pool.counters.leases
        found: dict[str, Traffic] = {}
        for database in self._rooms.stats.databases.values():
            answered = database.outcomes[Outcome.HIT] + database.outcomes[Outcome.LOCAL]
            served = int(database.server.sum * 1_000_000)
            found[database.name] = Traffic(
                assignments=leases[database.name],
                transactions=leases[database.name] + answered,
                queries=database.calls,
                transaction_time=served,
                query_time=served,
                wait_time=int(database.queue.sum * 1_000_000),
            )
        return found

    def period(self) -> Period:
        return self._averages.period(self.totals(), self._rooms.clients.clock())

    def cache(self) -> Counters:
        return self._rooms.cache.counters()

    def snapshot(self, top: int) -> Snapshot:
        return take(self._rooms.stats, top)

    def slow(self) -> Sequence[SlowRecord]:
        return self._rooms.stats.slowlog.records()


def _relay_client(relay: Relay, wall: float, now: float) -> ClientState:
    opened = relay.opened
    return ClientState(
        id=relay.number,
        user=relay.user,
        database=relay.database,
        application=relay.application,
        state=relay.state,
        socket=_socket(relay.transport),
        connected=wall + relay.connected_at,
        requested=wall + relay.opened_at,
        waited=0.0 if opened is not None else max(0.0, now - relay.connected_at),
        ptr=_ptr(relay),
        link="" if opened is None else _ptr(opened),
        statements=0,
        server_pid=0 if opened is None else opened.pid,
        pins=(),
        replication=relay.kind.value,
    )


def _relay_server(relay: Relay, opened: Opened, wall: float) -> ServerState:
    return ServerState(
        user=relay.target.user,
        database=relay.database,
        application=relay.application,
        state="active",
        socket=_socket(opened.transport),
        connected=wall + relay.opened_at,
        requested=wall + relay.opened_at,
        outdated=False,
        ptr=_ptr(opened),
        link=_ptr(relay),
        pid=opened.pid,
        statements=0,
        replication=relay.kind.value,
    )


def _server_state(pool: Pool, server: Server, now: float) -> str:
    if server.owner is not None:
        return "active"
    if server.settling:
        return "being_canceled" if server.guards else "tested"
    return "used" if now - server.idle_since >= pool.limits.check_after_idle else "idle"


def _socket(transport: asyncio.BaseTransport) -> Socket:
    address, port = _end(transport.get_extra_info("peername"))
    local_address, local_port = _end(transport.get_extra_info("sockname"))
    return Socket(address, port, local_address, local_port, _tls(transport.get_extra_info("ssl_object")))


def _end(name: object) -> tuple[str, int]:
    if isinstance(name, tuple) and len(name) >= 2:
        return str(name[0]), int(name[1])
    return "unix", 0


def _tls(connection: object) -> str:
    if not isinstance(connection, ssl.SSLObject | ssl.SSLSocket):
        return ""
    cipher = connection.cipher()
    return f"{connection.version()}/{cipher[0] if cipher else ''}"


def _ptr(thing: object) -> str:
    return f"{id(thing):#x}"
