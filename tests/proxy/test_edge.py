"""Clients come in by real drivers and by hand; vanish at every byte; stay silent; stuff bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import TYPE_CHECKING
from unittest.mock import Mock

import psutil
import psycopg
import pytest

from protocol import backend, build, scram
from protocol.accept import ClientLogin, Method, Policy
from protocol.errors import ProtocolError
from protocol.secrets import Plain, Secret, Verifiers
from proxy.edge import Edge, EdgeSettings
from proxy.listen import tcp_listeners, unix_listener
from proxy.tls import NO_TLS, ClientTls, client_tls
from tests.support.certificates import Certificates, make_certificates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.every_loop

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


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path, client="app")


def offered(certificates: Certificates, mode: str = "prefer") -> ClientTls:
    ca = str(certificates.authority) if mode.startswith("verify") else None
    return client_tls(mode, str(certificates.certificate), str(certificates.key), ca)


def sqlstate(data: bytes) -> str:
    assert data[:1] == b"E", data
    fields = backend.parse(data[0], data[5:]).fields
    return str({chr(code): bytes(value).decode() for code, value in fields}["C"])


# libpq


@pytest.mark.parametrize("method", [m for m in Method if m is not Method.CERT])
async def test_libpq_logs_in(method: Method) -> None:
    async with house(method) as home:
        assert await home.select() == "forebay"
        assert await home.select(max_protocol_version="3.2", sslmode="prefer", gssencmode="prefer") == "forebay"
        assert [login.protocol_minor for login in home.logins] == [0, 2]
        if method is not Method.TRUST:
            for wrong in ({"password": "guess"}, {"user": "nobody"}, {"dbname": "nowhere"}):
                with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                    await home.select(**wrong)
            assert home.refusals == ["28P01"] * 3


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-full"])
async def test_libpq_with_tls(certificates: Certificates, mode: str) -> None:
    own = {"sslcert": str(certificates.client_certificate), "sslkey": str(certificates.client_key)}
    root = {"sslrootcert": str(certificates.authority)}
    async with house(tls=offered(certificates, mode)) as home:
        assert await home.select(sslmode="verify-full", **root, **own) == "forebay"
        assert await home.select(sslmode="require", sslnegotiation="direct", **own) == "forebay"
        assert await home.select(sslmode="require", channel_binding="require", **own) == "forebay"
        assert all(login.tls for login in home.logins)
        if mode == "prefer":
            assert await home.select() == "forebay"
        else:
            with pytest.raises(psycopg.OperationalError, match="no encryption"):
                await home.select()
        if mode == "verify-full":
            with pytest.raises(psycopg.OperationalError):
                await home.select(sslmode="require")


async def test_libpq_without_tls_here() -> None:
    async with house() as home:
        for options in ({"sslmode": "require"}, {"sslmode": "require", "sslnegotiation": "direct"}):
            with pytest.raises(psycopg.OperationalError):
                await home.select(**options)


async def test_unix_sockets_need_no_tls(certificates: Certificates, tmp_path: Path) -> None:
    async with house(tls=offered(certificates, "require")) as home:
        path = tmp_path / ".s.PGSQL.6432"
        home.edge.listen(unix_listener(str(path)))
        assert await home.select(host=str(tmp_path), port="6432") == "forebay"
        assert await home.select(host=str(tmp_path), port="6432", sslmode="prefer") == "forebay"
        assert not home.logins[0].tls
    assert not path.exists()


async def test_the_verifier_is_derived_once(monkeypatch: pytest.MonkeyPatch) -> None:
    derive = Mock(wraps=scram.derive)
    monkeypatch.setattr(scram, "derive", derive)
    async with house() as home:
        for _ in range(3):
            await home.select()
    assert derive.call_count == 1


# By hand


async def test_bytes_behind_the_login_reach_the_session() -> None:
    async with house(Method.TRUST) as home:
        reader, writer = await home.connect()
        writer.write(STARTUP + build.query("SELECT 1"))
        expected = build.authentication_ok() + GREETING + ANSWER
        assert await reader.readexactly(len(expected)) == expected
        writer.write(build.query("SELECT 2"))
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        assert home.leftovers == [build.query("SELECT 1")]
        assert home.sessions[0].received == build.query("SELECT 1") + build.query("SELECT 2")
        writer.close()


async def test_one_byte_at_a_time() -> None:
    async with house(Method.PASSWORD) as home:
        reader, writer = await home.connect()
        for byte in build.ssl_request():
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        assert await reader.readexactly(1) == b"N"
        for byte in STARTUP + build.password("secret"):
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        expected = build.authentication_cleartext() + build.authentication_ok() + GREETING
        assert await reader.readexactly(len(expected)) == expected
        writer.close()


async def test_nothing_runs_before_the_proof() -> None:
    async with house(Method.SCRAM) as home:
        assert sqlstate(await home.say(STARTUP + build.query("SELECT 1"))) == "08P01"
        assert home.logins == []


@pytest.mark.parametrize(
    ("parts", "state"),
    [
        ((b"GET / HTTP/1.1\r\n\r\n",), ""),
        ((b"\0\0\0\0",), ""),
        ((b"\0\0\0\7",), ""),
        ((b"\0\0\x27\x11",), ""),
        ((b"\x7f\xff\xff\xff",), ""),
        ((b"\xff\xff\xff\xff",), ""),
        ((b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",), ""),
        ((struct.pack("!IHH", 8, 2, 0),), "0A000"),
        ((struct.pack("!IHHB", 9, 4, 0, 0),), "0A000"),
        ((build.startup((3, 0), {"database": "x"}),), "28000"),
        ((struct.pack("!II", 16, 3 << 16) + b"user\0app",), "08P01"),
        ((build.startup((3, 0), {"user": b"\xff\xfe"}),), "08P01"),
        ((build.ssl_request() + STARTUP,), "08P01"),
        ((build.gssenc_request() + STARTUP,), "08P01"),
    ],
)
async def test_what_is_refused_at_once(parts: tuple[bytes, ...], state: str) -> None:
    async with house() as home:
        answer = await home.say(*parts)
        assert (sqlstate(answer) if answer else "") == state
        assert home.logins == []
        await home.settled()


async def test_a_second_tls_request_is_refused() -> None:
    async with house() as home:
        reader, writer = await home.connect()
        writer.write(build.gssenc_request())
        assert await reader.readexactly(1) == b"N"
        writer.write(build.ssl_request())
        assert await reader.readexactly(1) == b"N"
        writer.write(build.ssl_request())
        assert sqlstate(await reader.read()) == "08P01"
        writer.close()


async def test_plain_bytes_behind_the_tls_request(certificates: Certificates) -> None:
    """Together with it, and after the answer: neither is read as if it had been encrypted."""
    async with house(Method.TRUST, offered(certificates)) as home:
        assert sqlstate(await home.say(build.ssl_request() + STARTUP)) == "08P01"
        reader, writer = await home.connect()
        writer.write(build.ssl_request())
        assert await reader.readexactly(1) == b"S"
        writer.write(STARTUP)
        assert build.authentication_ok() not in await reader.read()
        assert home.logins == []
        writer.close()


async def test_a_tls_request_inside_tls(certificates: Certificates) -> None:
    async with house(Method.TRUST, offered(certificates)) as home:
        context = ssl.create_default_context(cafile=certificates.authority)
        context.set_alpn_protocols(["postgresql"])
        reader, writer = await asyncio.open_connection("127.0.0.1", home.port, ssl=context, server_hostname="localhost")
        writer.write(build.ssl_request())
        assert sqlstate(await reader.read()) == "08P01"
        writer.close()


async def test_direct_tls_needs_alpn(certificates: Certificates) -> None:
    async with house(Method.TRUST, offered(certificates)) as home:
        context = ssl.create_default_context(cafile=certificates.authority)
        reader, writer = await asyncio.open_connection("127.0.0.1", home.port, ssl=context, server_hostname="localhost")
        writer.write(STARTUP)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        assert home.logins == []
        writer.close()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_cancel_requests(certificates: Certificates, encrypted: bool) -> None:
    async with house(tls=offered(certificates)) as home:
        request = build.cancel_request(7, b"k" * 32)
        if encrypted:
            context = ssl.create_default_context(cafile=certificates.authority)
            context.set_alpn_protocols(["postgresql"])
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", home.port, ssl=context, server_hostname="localhost"
            )
            writer.write(request)
            assert await reader.read() == b""
            writer.close()
        else:
            assert await home.say(request) == b""
        assert home.cancels == [(7, b"k" * 32)]


async def test_who_takes_over_may_refuse() -> None:
    async with house(Method.TRUST) as home:

        def refuse() -> None:
            raise ProtocolError("sorry, too many clients already", "53300")

        home.verdict = refuse
        answer = await home.say(STARTUP)
        assert answer.startswith(build.authentication_ok())
        assert sqlstate(answer[9:]) == "53300"
        assert home.refusals == ["53300"]


# Silence and sudden ends


async def test_the_login_timeout_covers_everything(certificates: Certificates) -> None:
    async with house(Method.PASSWORD, offered(certificates), login_timeout=0.05) as home:
        for opening in (b"", b"\0", STARTUP[:-1], build.ssl_request()):
            assert await home.say(opening) in (b"", b"S")
        answer = await home.say(STARTUP)
        assert sqlstate(answer.removeprefix(build.authentication_cleartext())) == "57014"
        assert set(home.refusals) == {"57014"}


async def test_a_timeout_of_zero_is_none() -> None:
    async with house(Method.TRUST, login_timeout=0) as home:
        assert await home.select() == "forebay"


async def test_those_who_never_finish_keep_nobody_out() -> None:
    async with house(Method.TRUST, pending=5) as home:
        idle = [await home.connect() for _ in range(20)]
        assert await home.select() == "forebay"
        assert home.edge.pending <= 5
        for reader, _ in idle[:15]:
            assert await asyncio.wait_for(reader.read(), 30) == b""
        for _, writer in idle:
            writer.close()
        await home.settled()


async def test_a_client_may_vanish_at_every_byte(certificates: Certificates) -> None:
    script = STARTUP + build.password("secret")
    async with house(Method.PASSWORD, offered(certificates)) as home:
        for size in range(len(script)):
            for abrupt in (False, True):
                vanishing = socket.create_connection(("127.0.0.1", home.port))
                vanishing.sendall(script[:size])
                if size % 3 == 0:
                    await asyncio.sleep(0)
                if abrupt:
                    vanishing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                vanishing.close()
        await home.settled()
        assert home.logins == []
        assert await home.select() == "forebay"


async def test_a_client_may_vanish_in_the_handshake(certificates: Certificates) -> None:
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=certificates.authority)
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    async with house(Method.TRUST, offered(certificates)) as home:
        for size in (0, 1, 5, 50, len(hello) - 1, len(hello)):
            for direct in (False, True):
                reader, writer = await home.connect()
                if not direct:
                    writer.write(build.ssl_request())
                    assert await reader.readexactly(1) == b"S"
                writer.write(hello[:size])
                await writer.drain()
                writer.transport.abort()
        await home.settled()
        assert await home.select(sslmode="require") == "forebay"


async def test_closing_ends_whoever_is_on_his_way(certificates: Certificates) -> None:
    async with house(Method.PASSWORD, offered(certificates)) as home:
        waiting = []
        for opening in (b"", b"\0\0", STARTUP, build.ssl_request()):
            reader, writer = await home.connect()
            writer.write(opening)
            waiting.append((reader, writer))
        _, staying = await home.connect()
        staying.write(STARTUP + build.password("secret"))
        await asyncio.wait_for(home.arrived.wait(), 30)
        await home.edge.close()
        for reader, writer in waiting:
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 30)
            writer.close()
        assert not home.sessions[0].lost
        staying.close()
        with pytest.raises(OSError):
            await home.connect()


async def test_a_bug_in_the_taker_closes_the_client(caplog: pytest.LogCaptureFixture) -> None:
    async with house(Method.TRUST) as home:

        def fail() -> None:
            raise RuntimeError("a bug")

        home.verdict = fail
        assert (await home.say(STARTUP)).startswith(build.authentication_ok())
        await home.settled()
    assert "letting in a client failed" in caplog.text


async def test_passwords_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "forebay.edge")
    async with house(Method.PASSWORD) as home:
        await home.say(STARTUP + build.password("hidden"))
    assert "password authentication failed" in caplog.text
    assert "hidden" not in caplog.text
