"""Getting into servers by TLS: what each sslmode asks for, and what somebody in between may try."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pool.connect import ServerUnavailable, open_server, send_cancel
from pool.tls import server_tls
from protocol import build, scram
from protocol.secrets import Plain
from tests.pool.connecting import GREETING, BindingServer, query, scripted, serving, sockets_closed, target
from tests.support.certificates import Certificates, make_certificates
from tests.support.listener import listening
from tests.support.tls_front import tls_front

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from tests.support.postgres import Cluster

pytestmark = pytest.mark.every_loop


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


async def test_silence_in_the_handshake_ends_with_the_timeout() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"S")
        await reader.read()

    async with listening(silent) as port:
        with pytest.raises(ServerUnavailable, match="timeout"):
            await open_server(scripted(port, server_tls("require"), timeout=0.05))
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


# Channel binding: a scripted server, because the embedded PostgreSQL has no TLS


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
