"""The composition: the one place that knows every room, and the life of the process.

Start: configuration -> logins and TLS -> databases -> sockets. Then signals decide: SIGHUP reads the configuration
again (a bad one changes nothing), SIGTERM and SIGINT drain (no new clients, idle ones are told, open transactions may
end until ``timeouts.drain``), a second one ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import time
from typing import TYPE_CHECKING

from cache.cache import Cache
from cache.coherence import Coherence
from cache.memory import MemoryStore
from pool.connect import look_up
from pool.pool import Pool
from pool.quota import Quotas
from pool.tasks import Tasks
from protocol.errors import ProtocolError
from proxy import loop
from proxy.access import CONSOLE, UNUSABLE, Access
from proxy.catalogs import CatalogKeeper
from proxy.clients import Clients
from proxy.config import ConfigError, diff
from proxy.console.consoles import Consoles
from proxy.console.execute import Shutdown
from proxy.console.live import Rooms
from proxy.database import Database, Identities
from proxy.edge import Edge
from proxy.greeting import Greeter
from proxy.http import HttpServer, Told
from proxy.knowledge import Known
from proxy.listen import tcp_listeners, unix_listener
from proxy.logs import event, set_level
from proxy.names import Names
from proxy.questions import Questions
from proxy.reading import Reader
from proxy.relays import Relays
from proxy.statements import Statements
from proxy.status import Status
from proxy.sweep import Sweep
from stats.export import Exporter
from stats.stats import Stats

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from protocol.accept import ClientLogin
    from proxy.config import Config
    from proxy.dsn import ServerUrl
    from proxy.sections import Database as Section
    from stats.slowlog import SlowRecord

logger = logging.getLogger("forebay")

OK = 0
FAILED = 1


def run(config: Config, reload: Callable[[], Config]) -> int:
    """Serve until told to stop; the exit status."""
    try:
        access = Access(config)
    except UNUSABLE as error:
        logger.error("cannot start: %s", error)
        return 2
    gc.freeze()  # what has been imported stays: the collector need not look at it again and again
    return loop.run(App(config, access, reload).serve())


class App:
    """One process."""

    def __init__(self, config: Config, access: Access, reload: Callable[[], Config]) -> None:
        self.config = config
        self._access = access
        self._reload = reload
        self._tasks = Tasks()
        self._stats = Stats(
            config.stats.slow,
            config.stats.digests,
            log_parameters=config.stats.log_parameters,
            sink=_log_slow,
        )
        self._cache = Cache(Coherence(), MemoryStore(config.cache.memory, config.cache.max_entry), config.cache.ttl)
        function = Statements(self._stats.digest).get(b"DO ''")
        self._clients = Clients(
            access.client_limits(),
            Reader(self._cache, time.monotonic),
            time.monotonic,
            Known(function.facts, function.digest),
        )
        self._identities = Identities()
        self._quotas = Quotas()
        self._relays = Relays(self._clients, self._quotas, self._tasks, self._stats.error)
        self._databases: dict[str, Database] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._status = Status(self._stats, self._clients, self._relays, self._cache, config.cache.memory)
        self._exporter = Exporter(self._stats, self._status.gauges)
        self._asker = Questions(self._tasks, time.monotonic, access)
        self._edge = Edge(access.edge(self._asker), self._on_client, self._on_cancel, self._on_refused)
        self._http = HttpServer(Told(self._metrics, self._ready, self._status.page))
        rooms = Rooms(
            lambda: self.config,
            lambda: self._access,
            self._clients,
            self._relays,
            self._status.pools,
            self._stats,
            self._cache,
            self._edge,
        )
        self._consoles = Consoles(rooms, self._on_reload, self._shutdown)
        self._stop = asyncio.Event()
        self._now = asyncio.Event()
        self._patient = False  # clients may stay as long as they like
        self._draining = False

    # -- life -------------------------------------------------------------------------------------------------------

    async def serve(self) -> int:
        """Open the doors, wait for the end, close them."""
        running = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            running.add_signal_handler(number, self._on_stop)
        running.add_signal_handler(signal.SIGHUP, self._on_reload)
        try:
            listeners = await self._listeners()
            if self.config.http is not None:
                await self._http.start(self.config.http)
        except OSError as error:
            logger.error("cannot start: %s", error)
            return FAILED
        for listener in listeners:
            self._edge.listen(listener)
        self._tasks.spawn(Sweep(self._clients, self._status.pools, self._stats.loop_lag.observe).run(), "sweep")
        self._tasks.spawn(self._consoles.run(), "console")
        names = Names(self._databases.values, self._url, lambda: self.config.pool.dns_ttl, look_up)
        self._tasks.spawn(names.run(), "names")
        for name in self.config.databases:
            if name != "*":
                self._warm(name)
        event(
            logger,
            logging.INFO,
            "serving",
            listen=", ".join(_where(listener) for listener in listeners),
            http=str(self.config.http) if self.config.http is not None else "off",
            databases=", ".join(self.config.databases),
            cache=self.config.cache.mode,
        )
        try:
            await self._stop.wait()
            await self._drain()
        finally:
            await self._close()
        return OK

    async def _listeners(self) -> list[socket.socket]:
        found: list[socket.socket] = []
        for address in self.config.listen:
            if address.is_unix:
                found.append(unix_listener(address.socket_path))
            else:
                found.extend(await tcp_listeners(address.host, address.port))
        return found

    def _on_stop(self) -> None:
        if self._stop.is_set():
            self._now.set()
        self._stop.set()

    def _shutdown(self, how: Shutdown) -> None:
        if how is Shutdown.NOW:
            self._now.set()
        if not self._stop.is_set():
            self._patient = how is Shutdown.CLIENTS
            self._stop.set()

    async def _drain(self) -> None:
        self._draining = True
        self._edge.stop_listening()
        deadline = 0.0 if self._patient else self.config.timeouts.drain
        event(logger, logging.INFO, "draining", clients=len(self._clients), seconds=deadline)
        self._clients.on_empty = self._now.set
        if not self._patient:
            for session in self._clients:
                session.drain()
        if len(self._clients):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline or None):
                    await self._now.wait()
        for session in self._clients:
            session.refuse("57P01", "terminating connection due to administrator command")
        self._relays.end()

    async def _close(self) -> None:
        await self._edge.close()
        for pool in self._status.pools:
            pool.close()
        for database in self._databases.values():
            for hub in database.hubs.values():
                hub.close()
        self._consoles.close()
        await self._http.stop()
        await self._tasks.cancel()
        await asyncio.sleep(0)  # transports flush their last words
        event(logger, logging.INFO, "stopped")

    # -- configuration ------------------------------------------------------------------------------------------------

    def _on_reload(self) -> str:
        """Read the configuration again; what was wrong with it, or nothing."""
        try:
            config = self._reload()
            access = Access(config, self._access)
        except (ConfigError, *UNUSABLE) as error:
            self._status.reloads["failed"] += 1
            for line in str(error).splitlines():
                logger.error("reload failed, the old configuration stays: %s", line)
            return str(error)
        live, restart = diff(self.config, config)
        before, self.config, self._access = self.config, config, access
        self._asker.reconfigure(access)
        self._edge.settings = access.edge(self._asker)
        self._clients.limits = access.client_limits()
        self._stats.configure(config.stats.slow, config.stats.log_parameters)
        set_level(config.log.level)
        for database in list(self._databases.values()):
            self._reconfigure(database, before.database(database.name), config.database(database.name))
        self._relays.reconfigure(config)
        self._status.reloads["ok"] += 1
        event(
            logger,
            logging.INFO,
            "reloaded",
            changed=", ".join(live) or "nothing",
            needs_restart=", ".join(restart),
        )
        return ""

    def _reconfigure(self, database: Database, old: Section | None, new: Section | None) -> None:
        """A reload, for one database: it may be gone, lead elsewhere, or log in as somebody else."""
        name = database.name
        url = new.url if new is not None else None
        moved = url is None or old is None or url != old.url
        if moved:
            keeper = self._keepers.pop(name, None)
            if keeper is not None:
                keeper.cancel()
            database.moved()
        for user, pool in list(database.pools.items()):
            if url is None or (url.user or user) != user:
                del database.pools[user]
                self._status.forget(pool)
                self._quotas.dismiss(pool)
                pool.pause()
                hub = database.hubs.pop(pool, None)
                if hub is not None:
                    hub.close()
                for session in self._clients:
                    if session.pool is pool:
                        session.drain()
            else:
                self._limit(pool)
                pool.reconfigure(self._access.target(name, user), self._access.pool_limits(name))
                if moved:
                    self._keep_catalog(database, user)
                    if pool in database.hubs:
                        database.hubs[pool].reconnect()
        if url is None:
            del self._databases[name]
            self._identities.databases.remove(database)

    # -- clients ----------------------------------------------------------------------------------------------------

    def _on_client(self, login: ClientLogin, transport: asyncio.Transport, leftover: bytes) -> asyncio.Protocol | None:
        if self._draining:
            raise ProtocolError("the database system is shutting down", "57P03")
        if login.replication is not None:
            return self._relays.let_in(login, transport, self._access)
        if login.database in CONSOLE:
            return self._consoles.let_in(login, transport)
        if self.config.database(login.database) is None:
            raise ProtocolError(f'database "{login.database}" does not exist', "3D000")
        self._clients.check(login.user, login.database, self.config.max_clients_of(login.database))
        database = self._database(login.database)
        self._access.keyring.keep(login.database, login.user, login.secret)
        return Greeter(login, transport, database, self._pool(database, login.user), self._clients).start()

    def _database(self, name: str) -> Database:
        database = self._databases.get(name)
        if database is None:
            database = self._databases[name] = Database(
                name,
                self._stats,
                self._cache,
                self._identities,
                mode=self.config.cache.mode,
                session_pooling=self.config.pool_of(name).mode,
                sequences=self.config.pool_of(name).sequences,
                defers=self.config.pool_of(name).defer_begin,
                options=self._access.options(name),
            )
        return database

    def _pool(self, database: Database, user: str) -> Pool:
        target = self._access.target(database.name, user)
        pool = database.pools.get(target.user)
        if pool is None:
            limits = self._access.pool_limits(database.name)
            pool = database.pools[target.user] = Pool(database.name, target, limits, time.monotonic, self._tasks)
            pool.on_opened = database.server_opened
            self._limit(pool)
            self._status.pools.append(pool)
            self._consoles.adopt(pool)
            self._keep_catalog(database, user)
        elif pool.target.secret != target.secret:
            pool.target = target  # the client has shown something newer
        return pool

    def _url(self, name: str) -> ServerUrl | None:
        entry = self.config.database(name)
        return entry.url if entry is not None else None

    def _limit(self, pool: Pool) -> None:
        own = self.config.pool_of(pool.database)
        self._quotas.enrol(pool, own.max_db_connections, own.max_user_connections)

    def _warm(self, name: str) -> None:
        """Open the pool of a url with a user of its own before anybody asks."""
        entry = self.config.database(name)
        if entry is not None and entry.url.user is not None:
            self._pool(self._database(name), entry.url.user).replan(time.monotonic())

    def _keep_catalog(self, database: Database, user: str) -> None:
        if database.mode == "off" or database.name in self._keepers:
            return
        entry = self.config.database(database.name)
        target = self._access.target(database.name, user)
        if entry is None:
            return
        keeper = CatalogKeeper(
            database,
            entry.url,
            *self._access.own_login(database.name, user),
            target.database,
            probe=self.config.cache.probe,
            timeout=target.connect_timeout,
        )
        self._keepers[database.name] = self._tasks.spawn(keeper.run(), f"catalog {database.name}")

    async def _on_cancel(self, pid: int, key: bytes) -> None:
        """Until the server has been told: for the client, the end of its connection means that."""
        session = self._clients.find(pid, key)
        if session is not None:
            if (telling := session.cancel()) is not None:
                await asyncio.shield(telling)
        elif not await self._relays.cancel(pid, key):
            self._consoles.cancel(pid, key)

    def _on_refused(self, error: ProtocolError) -> None:
        self._status.login_failures[error.sqlstate] += 1
        self._stats.error(error.sqlstate)

    # -- what others ask --------------------------------------------------------------------------------

    def _metrics(self) -> tuple[bytes, str]:
        return self._exporter.render(), self._exporter.content_type

    def _ready(self) -> tuple[bool, dict[str, object]]:
        ok, detail = self._status.ready()
        return ok and not self._draining, {**detail, "draining": self._draining}


def _log_slow(record: SlowRecord) -> None:
    event(logging.getLogger("forebay.slow"), logging.WARNING, "slow query", **_shown(record))


def _shown(record: SlowRecord) -> dict[str, object]:
    fields = {name: getattr(record, name) for name in record.__slots__ if name != "time"}
    return {name: value for name, value in fields.items() if value is not None}


def _where(listener: socket.socket) -> str:
    name = listener.getsockname()
    return name if isinstance(name, str) else f"{name[0]}:{name[1]}"
