"""Between a client's login and its first query: what the server would tell it.

A client that has logged in is told the server's parameters and a cancel key. Which parameters depends on what the
client asked for in its startup message, and only PostgreSQL knows how it spells them, or whether it refuses them.
So the first client with a given set of startup parameters takes a server for a moment and sets them there; what the
server reports is kept with the pool, and later clients with the same set are greeted without a server. Only
application_name, which differs from client to client and is passed through unchanged, is left out of that.

The settings become the session's startup profile: what it begins with, and what RESET leads back to.

In session mode every client takes a server here and keeps it: it is told that server's process id, which others
then see of it, in pg_stat_activity as in notifications, and may give to pg_terminate_backend.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pool.settings import Profile, literal
from protocol import build
from protocol.hot import error_fields
from protocol.replies import QUERY, SWALLOW
from protocol.startup import split_options
from proxy.deferred import DeferringSession
from proxy.session import Session

if TYPE_CHECKING:
    from pool.errors import PoolError
    from pool.pool import Pool
    from pool.server import Owner, Server
    from protocol.accept import ClientLogin
    from proxy.clients import Clients
    from proxy.database import Database

APPLICATION = "application_name"
_MAX_APPLICATION = 63
_MAX_KEPT = 1000
_MAX_EARLY = 1 << 20  # bytes that a client sends without having been greeted


def startup_settings(parameters: dict[str, str]) -> dict[str, str]:
    """What a startup message asks to set: its parameters, and those in ``options``.

    Raises RemoteProtocolError (42601) for an option that is not a setting.
    """
    settings: dict[str, str] = {}
    if parameters.get("options"):
        settings.update((name.lower(), value) for name, value in split_options(parameters["options"]).items())
    settings.update((name.lower(), value) for name, value in parameters.items() if name != "options")
    return settings


class _Answered:
    """The query that sets the settings has been answered."""

    __slots__ = ("_greeter",)

    def __init__(self, greeter: Greeter) -> None:
        self._greeter = greeter

    def proved(self) -> None:
        self._greeter.answered = True

    def dropped(self) -> None:
        """The server connection was lost: ``server_lost`` follows."""


class Greeter(asyncio.Protocol):
    """A client's protocol until it has been greeted; then a Session takes over."""

    def __init__(
        self,
        login: ClientLogin,
        transport: asyncio.Transport,
        database: Database,
        pool: Pool,
        clients: Clients,
    ) -> None:
        self._login = login
        self._transport = transport
        self._database = database
        self._pool = pool
        self._clients = clients
        self.answered = False
        self.owner: Owner = self
        self._server: Server | None = None
        self._session: Session | None = None
        self._waiting = False
        self._early: list[bytes] = []
        self._full = False
        self._over = False
        self._keeps = database.pool_mode == "session"
        self.settings = startup_settings(login.parameters)
        application = self.settings.get(APPLICATION, "")
        self._plain_name = len(application) <= _MAX_APPLICATION and application.isascii() and application.isprintable()
        learn = {n: v for n, v in self.settings.items() if not (n == APPLICATION and self._plain_name)}
        self._key = frozenset(learn.items())

    def start(self) -> asyncio.Protocol:
        """Greet at once if that is possible; the protocol that takes over now."""
        known = self._pool.greetings.get(self._key)
        if known is not None and not self._keeps:
            return self._greet(*known)
        server = self._pool.acquire(self, self._clients.clock())
        if server is None:
            self._waiting = True
        else:
            self.lease_granted(server)
        return self._session or self

    # -- the server's side

    def lease_granted(self, server: Server) -> None:
        self._waiting = False
        self._server = server
        known = self._pool.greetings.get(self._key)
        if known is not None:
            self._welcome(server, *known)
            return
        learn = dict(self._key)
        if not learn:
            self._remember(server, self._pool.profiles.empty)
            return
        if server.profile is not self._pool.profiles.empty:
            server.transport.write(server.switch(self._pool.profiles.empty))
        if not server.closed:
            calls = ", ".join(
                f"pg_catalog.set_config({literal(n)}, {literal(v)}, false)" for n, v in sorted(learn.items())
            )
            server.pipeline.add(QUERY, _Answered(self), SWALLOW)
            server.transport.write(build.query(f"SELECT {calls}".encode("utf-8", "surrogateescape")))

    def server_answered(self, out: bytes, rows: int) -> None:
        """Never: what is asked here is not passed on, so it is no plain turn."""

    def server_data(self, out: bytes) -> None:
        server = self._server
        if server is None or not self.answered:
            return
        server.pipeline.parameters.clear()
        refused = server.pipeline.swallowed_errors
        if refused:
            fields = error_fields(refused[0], 0, len(refused[0]))
            refused.clear()
            self._server = None
            server.tainted = True
            server.give_back()
            self._refuse(fields.get("C", "22023"), fields.get("M", "a startup parameter was refused"))
            return
        values: dict[str, str] = {}
        reported = {name.lower(): (value, server.base.get(name)) for name, value in server.reported.items()}
        for name, value in self._key:
            now, base = reported.get(name, (value, None))
            if now != base:
                values[name] = now
        server.profile = self._pool.profiles.of(values)
        self._remember(server, server.profile)

    def _remember(self, server: Server, profile: Profile) -> None:
        greetings = self._pool.greetings
        if len(greetings) >= _MAX_KEPT:
            greetings.clear()
        told = dict(server.base)
        told.update((name, value) for name, value in server.reported.items() if name.lower() in dict(self._key))
        greetings[self._key] = (told, profile)
        self._welcome(server, told, profile)

    def _welcome(self, server: Server, told: dict[str, str], profile: Profile) -> None:
        self._server = None
        keeps = self._keeps and not self._over
        if not keeps:
            server.give_back()
        if self._over:
            return
        self._session = self._greet(told, profile, server.pid if keeps else 0)
        if keeps:
            server.owner = self._session.owner
            self._session.take(server)
        self._transport.set_protocol(self._session)
        if self._full:
            self._transport.resume_reading()
        if self._early:
            self._session.data_received(b"".join(self._early))

    def server_lost(self, reason: str) -> None:
        self._server = None
        self._refuse("08006", reason)

    def server_congested(self, congested: bool) -> None:
        """We write one short query."""

    def lease_failed(self, error: PoolError) -> None:
        self._waiting = False
        self._refuse(error.sqlstate, error.message, error.detail)

    # -- the client's side

    def _greet(self, reported: dict[str, str], profile: Profile, process: int = 0) -> Session:
        application = self.settings.get(APPLICATION, reported.get(APPLICATION, ""))
        if self._plain_name and application != self._pool.base.get(APPLICATION, ""):
            profile = self._pool.profiles.changed(profile, APPLICATION, application)
        number = self._clients.number(process)
        session = (DeferringSession if self._database.defers else Session)(
            self._pool.outlets.outlet(self._transport),
            self._database,
            self._pool,
            self._clients,
            user=self._login.user,
            profile=profile,
            application=application,
            number=number,
        )
        key = self._clients.add(session, long_key=self._login.protocol_minor >= 2)
        told = dict(reported)
        if self._plain_name:
            told[APPLICATION] = application
        if "session_authorization" in told:
            told["session_authorization"] = self._pool.user
        parts = [build.parameter_status(name, value) for name, value in told.items()]
        parts.append(build.backend_key_data(number, key))
        parts.append(build.ready_for_query(b"I"))
        self._transport.write(b"".join(parts))
        return session

    def data_received(self, data: bytes) -> None:
        self._early.append(data)
        if not self._full and sum(map(len, self._early)) > _MAX_EARLY:
            self._full = True
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        if self._waiting:
            self._waiting = False
            self._pool.withdraw(self)

    def _refuse(self, sqlstate: str, message: str, detail: str | None = None) -> None:
        self._database.stats.error(sqlstate)
        if not self._over:
            self._over = True
            self._transport.write(build.error_response(sqlstate, message, severity="FATAL", detail=detail))
            self._transport.close()
