"""Getting into real servers, and getting out of what hostile ones try."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import Mock

import psutil
import pytest

from pool.connect import Opened, ServerUnavailable, Target, open_server, send_cancel
from pool.tls import NO_TLS, ServerTls, server_tls
from protocol import build, frontend, scram
from protocol.accept import Accept, Method, Policy, Terms, Verdict
from protocol.secrets import Plain, Secret, Verifiers
from tests.support.certificates import Certificates, make_certificates
from tests.support.listener import Serve, listening
from tests.support.tls_front import tls_front

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.postgres import Cluster

pytestmark = pytest.mark.every_loop

GREETING = (
    build.parameter_status("server_version", "18.0") + build.backend_key_data(7, b"key!") + build.ready_for_query(b"I")
)


class Collector(asyncio.Protocol):
    """Takes a connection over and waits for what comes."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = False
        self.news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.news.set()

    async def until(self, part: bytes) -> None:
        while part not in self.data:
            assert not self.lost, self.data
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 30)

    async def until_lost(self) -> None:
        while not self.lost:
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 30)


def target(postgres: Cluster, **changes: object) -> Target:
    fields: dict[str, object] = {
        "host": postgres.host,
        "port": postgres.port,
        "user": postgres.superuser,
        "database": "postgres",
        "secret": Plain(postgres.password),
    }
    return Target(**{**fields, **changes})  # type: ignore[arg-type]  # fields by name


def scripted(port: int, tls: ServerTls = NO_TLS, *, secret: Secret | None = None, timeout: float = 30) -> Target:
    return Target("localhost", port, "app", "shop", secret, tls, connect_timeout=timeout)


async def query(opened: Opened, text: str) -> bytes:
    collector = Collector()
    opened.adopt(collector)
    opened.transport.write(build.query(text))
    await collector.until(build.ready_for_query(b"I"))
    return collector.data


async def sockets_closed() -> None:
    """The connections of this process end; a server may need a moment to see it."""
    process = psutil.Process()
    for _ in range(500):
        if not [c for c in process.net_connections("tcp") if c.status == psutil.CONN_ESTABLISHED]:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(process.net_connections("tcp"))


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


@pytest.fixture
def authority(certificates: Certificates) -> str:
    return str(certificates.authority)


@contextlib.asynccontextmanager
async def serving(serve: Serve, host: str, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """As `listening`, on another address, or with TLS from the first byte."""
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, EOFError):
                await serve(reader, writer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(one(reader, writer)))

    server = await asyncio.start_server(accept, host, 0, ssl=context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await asyncio.gather(*tasks)


# PostgreSQL


async def test_scram_and_protocol_3_2(postgres: Cluster) -> None:
    opened = await open_server(target(postgres, parameters={"application_name": "forebay test"}))
    assert (opened.tls, opened.minor, len(opened.key), opened.leftover) == (False, 2, 32, b"")
    assert opened.parameters["application_name"] == "forebay test"
    assert str(opened.pid).encode() in await query(opened, "SELECT pg_backend_pid()")
    opened.transport.close()
    await sockets_closed()


async def test_what_the_server_says_is_kept(postgres: Cluster) -> None:
    for changes, sqlstate in (
        ({"secret": Plain("guess")}, "28P01"),
        ({"user": "nobody"}, "28P01"),
        ({"database": "nowhere"}, "3D000"),
        ({"secret": None}, "28000"),
        ({"parameters": {"no_such_setting": "1"}}, "42704"),
    ):
        with pytest.raises(ServerUnavailable) as caught:
            await open_server(target(postgres, **changes))
        assert (caught.value.sqlstate, caught.value.transient) == (sqlstate, False)
        assert caught.value.message
    await sockets_closed()


async def test_too_many_connections_may_pass(postgres: Cluster) -> None:
    postgres.create_role("lonely", "secret", "LOGIN CONNECTION LIMIT 1")
    lonely = target(postgres, user="lonely", secret=Plain("secret"))
    first = await open_server(lonely)
    with pytest.raises(ServerUnavailable) as caught:
        await open_server(lonely)
    assert (caught.value.sqlstate, caught.value.transient) == ("53300", True)
    first.transport.abort()


async def test_cancel(postgres: Cluster) -> None:
    where = target(postgres)
    opened = await open_server(where)
    collector = Collector()
    opened.adopt(collector)
    opened.transport.write(build.query("SELECT pg_sleep(600)"))
    await send_cancel(where, opened.pid, opened.key, 30, lambda: False)
    await send_cancel(where, opened.pid, b"x" * 32, 30)
    assert collector.data == b""
    # The signal may come before the sleep, and is then without effect: ask until it was heard.
    while b"57014" not in collector.data:
        await send_cancel(where, opened.pid, opened.key, 30, address=opened.address)
        await asyncio.sleep(0.01)
    opened.transport.abort()


async def test_tls(postgres: Cluster, tmp_path: Path) -> None:
    async with tls_front(postgres.port, tmp_path) as front:
        for mode in ("prefer", "require", "verify-ca", "verify-full"):
            root = str(front.certificates.authority) if mode.startswith("verify") else None
            tls = server_tls(mode, root=root)
            opened = await open_server(target(postgres, host="localhost", port=front.port, tls=tls))
            assert opened.tls
            assert b"fine" in await query(opened, "SELECT 'fine'")
            await send_cancel(target(postgres, port=front.port, tls=tls), opened.pid, opened.key, 30)
            opened.transport.abort()
        assert front.handshakes == 8
        await sockets_closed()


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_strangers_certificate_is_refused(certificates: Certificates, tmp_path: Path, mode: str) -> None:
    (tmp_path / "other").mkdir()
    stranger = make_certificates(tmp_path / "other")
    server = BindingServer(certificates)
    async with listening(server.serve) as port:
        with pytest.raises(ServerUnavailable) as caught:
            await open_server(scripted(port, server_tls(mode, root=str(stranger.authority))))
        assert (caught.value.sqlstate, caught.value.transient) == ("08001", False)
        await sockets_closed()


async def test_only_verify_full_looks_at_the_name(certificates: Certificates, authority: str) -> None:
    server = BindingServer(certificates)
    async with serving(server.serve, "127.0.0.2") as port:
        for mode, name_matters in (("verify-ca", False), ("verify-full", True)):
            where = replace(scripted(port, server_tls(mode, root=authority), secret=Plain("secret")), host="127.0.0.2")
            if name_matters:
                with pytest.raises(ServerUnavailable, match="TLS handshake"):
                    await open_server(where)
            else:
                (await open_server(where)).transport.abort()


async def test_a_server_without_tls(postgres: Cluster, authority: str) -> None:
    for mode in ("disable", "allow", "prefer"):
        opened = await open_server(target(postgres, tls=server_tls(mode)))
        assert not opened.tls
        opened.transport.abort()
    for mode in ("require", "verify-ca", "verify-full"):
        root = authority if mode != "require" else None
        with pytest.raises(ServerUnavailable, match="has no TLS"):
            await open_server(target(postgres, tls=server_tls(mode, root=root)))
    await sockets_closed()


# Scripted servers


async def test_nobody_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for address in (Target("127.0.0.1", unused.getsockname()[1], "a", "b"), Target("/nonexistent", 1, "a", "b")):
            with pytest.raises(ServerUnavailable) as caught:
                await open_server(address)
            assert (caught.value.sqlstate, caught.value.transient) == ("08001", True)
            with pytest.raises(ServerUnavailable):
                await send_cancel(address, 1, b"1234", 5)


async def test_unknown_host_names() -> None:
    with pytest.raises(ServerUnavailable) as caught:
        await open_server(Target("no-such-host.invalid", 5432, "a", "b"))
    assert caught.value.transient


@pytest.mark.parametrize("tls", [False, True])
async def test_silence_ends_with_the_timeout(tls: bool) -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as port:
        with pytest.raises(ServerUnavailable, match="timeout") as caught:
            await open_server(scripted(port, server_tls("prefer") if tls else NO_TLS, timeout=0.05))
        assert caught.value.transient
        await sockets_closed()


async def test_silence_in_the_handshake_ends_with_the_timeout() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"S")
        await reader.read()

    async with listening(silent) as port:
        with pytest.raises(ServerUnavailable, match="timeout"):
            await open_server(scripted(port, server_tls("require"), timeout=0.05))
        await sockets_closed()


@pytest.mark.parametrize(
    "answer", [b"", b"N", b"R\0\0\0\x08\0\0\0\0", build.authentication_ok() + GREETING[:-1], b"E\0\0\0\5\0"]
)
async def test_a_server_that_hangs_up_or_talks_nonsense(answer: bytes) -> None:
    async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)

    async with listening(short) as port:
        with pytest.raises(ServerUnavailable):
            await open_server(scripted(port))
        await sockets_closed()


async def test_plain_bytes_behind_the_s_are_refused() -> None:
    seen = b""

    async def stuffing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        await reader.readexactly(8)
        writer.write(b"S" + build.authentication_ok() + GREETING)
        seen = await reader.read()

    async with listening(stuffing) as port:
        for mode in ("prefer", "require"):
            with pytest.raises(ServerUnavailable) as caught:
                await open_server(scripted(port, server_tls(mode)))
            assert caught.value.sqlstate == "08P01"
            assert seen == b""


@pytest.mark.parametrize("answer", [b"E", b"X", b""])
async def test_other_answers_to_the_tls_request(answer: bytes) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(answer)

    async with listening(odd) as port:
        with pytest.raises(ServerUnavailable):
            await open_server(scripted(port, server_tls("prefer")))
        await sockets_closed()


async def test_the_other_way_is_tried_when_host_rules_refuse_the_first() -> None:
    ways: list[str] = []

    async def rules(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packet = await reader.readexactly(8)
        ways.append("tls" if packet == build.ssl_request() else "plain")
        writer.write(b"N" if ways[-1] == "tls" else build.error_response("28000", "no entry for this host"))
        if ways[-1] == "tls":
            await reader.readexactly(8)
            writer.write(build.error_response("28000", "no entry for this host"))

    async with listening(rules) as port:
        with pytest.raises(ServerUnavailable, match="no entry"):
            await open_server(scripted(port, server_tls("prefer")))
        assert ways == ["tls", "plain"]
        ways.clear()
        with pytest.raises(ServerUnavailable, match="has no TLS"):
            await open_server(scripted(port, server_tls("allow")))
        assert ways == ["plain", "tls"]


async def test_a_failed_handshake_is_followed_by_plain_only_if_the_mode_allows() -> None:
    async def broken_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(8) == build.ssl_request():
            writer.write(b"S")
            await reader.read(1)
            writer.write(b"this is no TLS record")
            return
        writer.write(build.authentication_ok() + GREETING)
        await reader.read()

    async with listening(broken_tls) as port:
        opened = await open_server(scripted(port, server_tls("prefer")))
        assert not opened.tls
        opened.transport.abort()
        with pytest.raises(ServerUnavailable, match="TLS handshake"):
            await open_server(scripted(port, server_tls("require")))
        await sockets_closed()


async def test_a_server_that_only_knows_3_0_is_asked_again() -> None:
    minors: list[int] = []

    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packet = await reader.readexactly(8)
        minors.append(packet[7])
        if packet[7]:
            writer.write(build.error_response("0A000", "unsupported frontend protocol 3.2"))
            return
        writer.write(build.authentication_ok() + GREETING)
        await reader.read()

    async with listening(old) as port:
        opened = await open_server(scripted(port))
        assert (opened.minor, minors) == (0, [2, 0])
        opened.transport.abort()


async def test_nothing_is_lost_between_login_and_adoption() -> None:
    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(build.authentication_ok() + GREETING + build.parameter_status("a", "1"))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(build.parameter_status("b", "2"))

    async with listening(talkative) as port:
        opened = await open_server(scripted(port))
        assert opened.leftover == build.parameter_status("a", "1")
        await asyncio.sleep(0.15)
        collector = Collector()
        opened.adopt(collector)
        assert collector.data == build.parameter_status("a", "1")
        await collector.until_lost()
        assert collector.data == build.parameter_status("a", "1") + build.parameter_status("b", "2")


async def test_keys_are_derived_once_for_a_target(postgres: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    derive = Mock(wraps=scram.derive)
    monkeypatch.setattr(scram, "derive", derive)
    where = target(postgres)
    for _ in range(3):
        (await open_server(where)).transport.abort()
    assert derive.call_count == 1


# TLS with channel binding: a scripted server, because the embedded PostgreSQL has no TLS


class BindingServer:
    """Logs clients in by SCRAM over TLS, with our own machine for clients; remembers their choices."""

    def __init__(self, certificates: Certificates, *, direct: bool = False, alpn: bool = True) -> None:
        self.mechanisms: list[str] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificates.certificate, certificates.key)
        if alpn:
            self.context.set_alpn_protocols(["postgresql"])
        pem = certificates.certificate.read_text()
        self.endpoint = scram.endpoint_hash(ssl.PEM_cert_to_DER_cert(pem))
        self.direct = direct

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.direct:
            await reader.readexactly(8)
            writer.write(b"S")
            await writer.start_tls(self.context)
        policy = Policy(Method.SCRAM, lambda *_: Plain("secret"), Verifiers(b"key"))
        machine = Accept(policy, Terms(tls_offered=True, endpoint=self.endpoint), os.urandom)
        machine.encrypted()
        verdict = Verdict.READ
        while verdict is Verdict.READ:
            data = await reader.read(4096)
            if data[:1] == b"p" and b"SCRAM" in data:
                self.mechanisms.append(
                    bytes(frontend.MESSAGES["SASLInitialResponse"].parse(data[5:]).mechanism).decode()
                )
            answer, verdict = machine.receive(data)
            writer.write(answer)
        if verdict is Verdict.ADMITTED:
            writer.write(GREETING)
            await reader.read()


@pytest.fixture
async def binding_server(certificates: Certificates) -> AsyncIterator[tuple[BindingServer, int]]:
    server = BindingServer(certificates)
    async with listening(server.serve) as port:
        yield server, port


async def test_channel_binding(binding_server: tuple[BindingServer, int]) -> None:
    server, port = binding_server
    opened = await open_server(scripted(port, server_tls("require"), secret=Plain("secret")))
    assert (opened.tls, server.mechanisms) == (True, [scram.SCRAM_PLUS])
    opened.transport.abort()


async def test_somebody_in_between_is_noticed(binding_server: tuple[BindingServer, int]) -> None:
    server, port = binding_server
    server.endpoint = b"of another certificate, with which the real server was reached"
    with pytest.raises(ServerUnavailable, match="channel binding"):
        await open_server(scripted(port, server_tls("require"), secret=Plain("secret")))


@pytest.mark.parametrize("alpn", [True, False])
async def test_direct_tls(certificates: Certificates, alpn: bool) -> None:
    server = BindingServer(certificates, direct=True, alpn=alpn)
    where = server_tls("require", negotiation="direct")
    async with serving(server.serve, "127.0.0.1", server.context) as port:
        if alpn:
            opened = await open_server(scripted(port, where, secret=Plain("secret")))
            assert opened.tls
            opened.transport.abort()
        else:
            with pytest.raises(ServerUnavailable, match="ALPN"):
                await open_server(scripted(port, where, secret=Plain("secret")))
