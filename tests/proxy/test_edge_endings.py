"""Clients stay silent, or vanish at every byte; the edge closes on them; nothing of them is left, nor told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import TYPE_CHECKING

import pytest

from protocol import build
from protocol.policy import Method
from tests.proxy.house import STARTUP, house, offered, sqlstate

if TYPE_CHECKING:
    from tests.support.certificates import Certificates

pytestmark = pytest.mark.every_loop


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
