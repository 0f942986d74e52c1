"""An edge that listens, with what it was told by those who came."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import psutil
import psycopg

from protocol import backend, build
from protocol.policy import Method, Policy
from protocol.secrets import Plain, Secret, Verifiers
from proxy.edge import Edge, EdgeSettings
from proxy.listen import tcp_listeners
from proxy.tls import NO_TLS, ClientTls, client_tls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from protocol.accept import ClientLogin
    from tests.support.certificates import Certificates

GREETING = (
    build.parameter_status("server_version", "18.0")
    + build.parameter_status("client_encoding", "UTF8")
    + build.backend_key_data(1, b"key!")
    + build.ready_for_query(b"I")
)
ANSWER = (
    build.row_description([build.Column("who")])
    + build.data_row(["forebay"])
    + build.command_complete("SELECT 1")
    + build.ready_for_query(b"I")
)
STARTUP = build.startup((3, 0), {"user": "app", "database": "shop"})


class Session(asyncio.Protocol):
    """What takes a client over: greets, and answers every message with one row."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.received = b""
        self.lost = False
        transport.write(GREETING)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if data[:1] == b"X":
            self.transport.close()
        else:
            self.transport.write(ANSWER)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


class House:
    """An edge with what it was told."""

    def __init__(self, method: Method = Method.SCRAM, tls: ClientTls = NO_TLS, **settings: float) -> None:
        policy = Policy(method, self.lookup, Verifiers(b"key"))
        self.logins: list[ClientLogin] = []
        self.sessions: list[Session] = []
        self.leftovers: list[bytes] = []
        self.cancels: list[tuple[int, bytes]] = []
        self.refusals: list[str] = []
        self.verdict: Callable[[], None] = lambda: None
        self.arrived = asyncio.Event()
        self.port = 0
        self.edge = Edge(
            EdgeSettings(policy, tls, **settings),  # type: ignore[arg-type]  # fields by name
            self.on_client,
            self.on_cancel,
            lambda error: self.refusals.append(error.sqlstate),
        )

    def lookup(self, user: str, database: str) -> Secret | None:
        return Plain("secret") if (user, database) == ("app", "shop") else None

    def on_client(self, login: ClientLogin, transport: asyncio.Transport, leftover: bytes) -> asyncio.Protocol:
        self.verdict()
        self.logins.append(login)
        self.leftovers.append(leftover)
        self.sessions.append(Session(transport))
        self.arrived.set()
        return self.sessions[-1]

    async def on_cancel(self, pid: int, key: bytes) -> None:
        await asyncio.sleep(0)
        self.cancels.append((pid, key))

    async def settled(self) -> None:
        """Nobody is on his way in any more."""
        for _ in range(1500):
            if not self.edge.pending:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("somebody never finished")

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, *parts: bytes) -> bytes:
        """Send the parts one after the other; all that comes until the edge closes."""
        reader, writer = await self.connect()
        with contextlib.closing(writer):
            for part in parts:
                writer.write(part)
                await writer.drain()
            with contextlib.suppress(ConnectionError):
                return await asyncio.wait_for(reader.read(), 30)
            return b""

    async def select(self, **options: str) -> str:
        """Log in through libpq and ask one question."""
        fields = {"host": "localhost", "hostaddr": "127.0.0.1", "port": str(self.port), "user": "app"}
        fields |= {"dbname": "shop", "password": "secret", "sslmode": "disable", "gssencmode": "disable"} | options
        if fields["host"].startswith("/"):
            del fields["hostaddr"]

        def ask() -> str:
            with psycopg.connect(" ".join(f"{k}={v}" for k, v in fields.items()), autocommit=True) as connection:
                row = connection.execute("SELECT who").fetchone()
                return str(row[0]) if row else ""

        return await asyncio.to_thread(ask)


@contextlib.asynccontextmanager
async def house(method: Method = Method.SCRAM, tls: ClientTls = NO_TLS, **settings: float) -> AsyncIterator[House]:
    """An edge that listens; at the end nothing of it may be left."""
    tasks, sockets = asyncio.all_tasks(), len(psutil.Process().net_connections())
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    new = House(method, tls, **settings)
    for listener in await tcp_listeners("127.0.0.1", 0):
        new.edge.listen(listener)
        new.port = listener.getsockname()[1]
    try:
        yield new
    finally:
        await new.edge.close()
        for session in new.sessions:
            session.transport.abort()
    for _ in range(500):
        if len(psutil.Process().net_connections()) <= sockets:
            break
        await asyncio.sleep(0.02)
    assert len(psutil.Process().net_connections()) <= sockets
    assert asyncio.all_tasks() <= tasks
    assert not errors


def offered(certificates: Certificates, mode: str = "prefer") -> ClientTls:
    ca = str(certificates.authority) if mode.startswith("verify") else None
    return client_tls(mode, str(certificates.certificate), str(certificates.key), ca)


def sqlstate(data: bytes) -> str:
    assert data[:1] == b"E", data
    fields = backend.parse(data[0], data[5:]).fields
    return str({chr(code): bytes(value).decode() for code, value in fields}["C"])
