"""Keeps each database's catalog true: loaded once, proved again whenever it may have changed.

One connection of our own for each database (asyncpg, the user of the url). A probe (sql/catalog_sql.py) tells
cheaply whether any definition changed since the snapshot was loaded. It runs once in every ``probe`` seconds for
changes made past Forebay, and at once when a statement that may have changed definitions has been through us: until
its answer is there the database counts as unknown, which costs hits and never the truth. A doubt that comes up
while a probe is running is not settled by that probe.

The same connection does the janitor's work. A mark whose outcome nobody can learn (the connection was lost, the client
was gone) stays until its server process has ended; after that nothing of it can become visible any more. Transactions
that are already writing when we start may be those of a Forebay that died: until they end, the database is in doubt.
Those of our own clients are followed anyway, also when they came by another name for the same database.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import asyncpg

from cache.tags import write_tags
from proxy.database import Database, split_path
from sql.catalog import Catalog
from sql.catalog_sql import PROBE, QUERIES
from sql.views import CAREFULLY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.dsn import ServerUrl

logger = logging.getLogger("forebay.catalog")

_FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_JANITOR_PERIOD = 0.2
_RETRY = 1.0
_GONE_MAX = 30.0  # between attempts to reach a database that does not exist (any more)
_AWAY = 6.0  # PostgreSQL waits five for others to leave a database that somebody wants for himself
_ABOUT = """
SELECT current_setting('search_path') AS path,
       current_setting('default_transaction_isolation') NOT IN ('read committed', 'read uncommitted')
       OR EXISTS (SELECT 1 FROM pg_catalog.pg_db_role_setting s, unnest(s.setconfig) AS c
                  WHERE c ILIKE 'default_transaction_isolation=%' OR c ILIKE 'role=%')
       OR pg_catalog.pg_is_in_recovery() AS unfit,
       pg_catalog.md5(pg_catalog.concat(
         (SELECT pg_catalog.string_agg(concat(name, '=', setting), ' ' ORDER BY name)
            FROM pg_catalog.pg_settings WHERE context IN ('user', 'superuser')),
         (SELECT pg_catalog.string_agg(s::text, ' ' ORDER BY s::text) FROM pg_catalog.pg_db_role_setting s)
       )) AS defaults,
       inet_server_addr()::text AS address, inet_server_port() AS port, current_database() AS name
"""

_WHERE = "SELECT pg_catalog.concat_ws(':', inet_server_addr(), inet_server_port())"

_WRITING = """
SELECT DISTINCT pid, virtualtransaction AS transaction FROM pg_catalog.pg_locks
 WHERE locktype = 'relation' AND pid <> pg_catalog.pg_backend_pid()
   AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
   AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""
_ALIVE = """
SELECT pid, NULL AS transaction FROM pg_catalog.pg_stat_activity
 UNION ALL SELECT pid, virtualtransaction FROM pg_catalog.pg_locks
"""
"""Server processes by pid, and the transactions that hold any lock, as each does at least on itself."""


async def connect_own(
    url: ServerUrl,
    user: str,
    password: str | None,
    database: str,
    application: str,
    timeout: float,
    settings: Mapping[str, str] | None = None,
) -> Any:
    """A connection for our own questions; ``settings`` count above all others. Raises what asyncpg raises."""
    options = {
        "host": ",".join(host for host, _ in url.hosts),
        "port": ",".join(str(port) for _, port in url.hosts),
        "target_session_attrs": url.target_session_attrs,
        "user": user,
        "database": database,
        "sslmode": url.sslmode,
        "sslrootcert": url.sslrootcert,
        "sslcert": url.sslcert,
        "sslkey": url.sslkey,
        "application_name": application,
        "options": url.options,
    }
    dsn = "postgresql://?" + urlencode({k: v for k, v in options.items() if v is not None}, quote_via=quote)
    return await asyncpg.connect(
        dsn,
        password=password,
        server_settings=dict(settings or {}),
        direct_tls=url.sslnegotiation == "direct",
        timeout=timeout,
        statement_cache_size=0,
        command_timeout=60.0,
    )


class CatalogKeeper:
    """One database's. ``run`` goes on until it is cancelled."""

    def __init__(
        self,
        database: Database,
        url: ServerUrl,
        user: str,
        password: str | None,
        name: str,
        *,
        probe: float,
        timeout: float,
    ) -> None:
        self._database = database
        self._url = url
        self._login = (user, password, name)
        self._probe = probe
        self._timeout = timeout
        self._connection: Any = None
        self._catalog: Catalog | None = None
        self._identity: tuple[str, int] | None = None
        self._defaults: str | None = None  # what connections begin with: settings of the server, of databases, of roles

        self._doubts = 1
        self._wake = asyncio.Event()
        self._where: str | None = None  # the server's own address
        self._failing = False
        self._missing = 0  # how often in a row the server said that there is no such database
        self._moving = False
        self._unwanted = False
        database.on_vacate = self.vacate
        database.on_suspect = self.suspect
        database.on_moved = self.move

    def suspect(self) -> None:
        """Definitions may have changed, or there are marks to settle: look at once."""
        self._doubts += 1
        self._wake.set()

    def move(self) -> None:
        """The host's name leads elsewhere: look from there."""
        self._moving = True
        self.suspect()

    def vacate(self, name: str) -> None:
        """Somebody wants to be alone in that database: be away for a while, if it is this one."""
        if name == self._login[2]:
            self._unwanted = True
            self._wake.set()

    async def run(self) -> None:
        try:
            while True:
                self._wake.clear()
                try:
                    await self._look()
                    self._failing = False
                    self._missing = 0
                except _FAILURES as error:
                    self._failed(error)
                await self._pause()
        finally:
            self._hang_up()

    async def _pause(self) -> None:
        if self._unwanted:
            self._unwanted = False
            self._hang_up()
            self._database.outdated()
            await asyncio.sleep(_AWAY)
            return
        if self._failing:
            await asyncio.sleep(min(_RETRY * 2.0**self._missing, _GONE_MAX))
            return
        period = min(self._probe, _JANITOR_PERIOD) if self._database.orphans else self._probe
        try:
            async with asyncio.timeout(period):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _failed(self, error: BaseException) -> None:
        self._hang_up()
        self._database.catalog = None  # what cannot be looked at may have changed
        if not self._failing:
            logger.warning("the catalog of %s cannot be read: %s", self._database.name, error)
        self._failing = True
        gone = isinstance(error, asyncpg.InvalidCatalogNameError)
        self._missing = min(self._missing + 1, 10) if gone else 0

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _look(self) -> None:
        doubts = self._doubts
        if self._moving:
            self._moving = False
            self._hang_up()
        if self._connection is None or self._connection.is_closed():
            user, password, name = self._login
            self._connection = await connect_own(self._url, user, password, name, "forebay catalog", self._timeout)
            await self._arrive(self._connection)
        connection = self._connection
        await self._settle(connection)
        epoch = str(await connection.fetchval(PROBE))
        if self._catalog is None or epoch != self._catalog.epoch:
            self._database.outdated()
            await self._load(connection)
        if self._catalog is not None and self._identity is not None and doubts == self._doubts:
            self._database.learnt(self._catalog, self._identity)

    async def _arrive(self, connection: Any) -> None:
        """With several hosts, or a name that leads elsewhere now, another server may not have all that the last had."""
        where = str(await connection.fetchval(_WHERE))
        if self._where not in (None, where):
            logger.warning("%s is at %s now; its cached answers are forgotten", self._database.name, where)
            self._catalog = None
            self._database.outdated()
            self._database.cache.purge()
        self._where = where

    async def _load(self, connection: Any) -> None:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            about = await connection.fetchrow(_ABOUT)
            await connection.execute(CAREFULLY)
            epoch = str(await connection.fetchval(PROBE))
            rows = {name: await connection.fetch(text) for name, text in QUERIES.items()}
        if about["defaults"] != self._defaults:
            renewed, self._defaults = self._defaults is not None, about["defaults"]
            if renewed:  # open connections have the old ones, ours too
                self._database.defaults_changed()
                self._hang_up()
                self.suspect()
                return
        strangers = await connection.fetch(_WRITING) if self._identity is None else []
        self._catalog = await asyncio.to_thread(Catalog.from_rows, rows, epoch)
        self._identity = (await self._cluster(connection, about), self._catalog.database)
        self._doubt(strangers)
        self._database.unfit = about["unfit"] or not self._url.one_history
        self._database.paths.setdefault(self._login[0], split_path(about["path"]))
        logger.info("catalog of %s loaded: %d relations", self._database.name, len(self._catalog.relations))

    async def _cluster(self, connection: Any, about: Any) -> str:
        """What tells this cluster from others; its address if the login may not ask for more."""
        try:
            return str(await connection.fetchval("SELECT system_identifier FROM pg_catalog.pg_control_system()"))
        except asyncpg.InsufficientPrivilegeError:
            return f"{about['address'] or self._url.host}:{about['port'] or self._url.port}"

    def _doubt(self, strangers: list[Any]) -> None:
        """Transactions of others that are writing now."""
        ours = self._database.backends(self._identity)
        cache = self._database.cache
        for row in strangers:
            if row["pid"] not in ours:
                mark = cache.mark(write_tags(self._identity, None), self._database)
                cache.abandon(mark)
                self._database.orphans[mark] = row["transaction"]

    async def _settle(self, connection: Any) -> None:
        orphans = self._database.orphans
        if not orphans:
            return
        rows = await connection.fetch(_ALIVE)
        alive: set[int | str] = {row["pid"] for row in rows} | {row["transaction"] for row in rows}
        for mark, who in list(orphans.items()):
            if who not in alive:
                self._database.settle(mark)
                logger.info("transaction %s has ended; its outcome no longer matters", who)
