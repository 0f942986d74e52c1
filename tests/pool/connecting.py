"""Where to connect to, who answers there, and who takes the connection over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from typing import TYPE_CHECKING

import psutil

from pool.connect import Opened, Target
from pool.tls import NO_TLS, ServerTls
from protocol import build, frontend, scram
from protocol.accept import Accept, Terms, Verdict
from protocol.policy import Method, Policy
from protocol.secrets import Plain, Secret, Verifiers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.certificates import Certificates
    from tests.support.listener import Serve
    from tests.support.postgres import Cluster

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
