"""Clients come in by real drivers and by hand; stuff bytes where none belong."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from typing import TYPE_CHECKING
from unittest.mock import Mock

import psycopg
import pytest

from protocol import build, scram
from protocol.errors import ProtocolError
from protocol.policy import Method
from proxy.listen import unix_listener
from tests.proxy.house import ANSWER, GREETING, STARTUP, house, offered, sqlstate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.certificates import Certificates

pytestmark = pytest.mark.every_loop


# libpq


@pytest.mark.parametrize("method", [Method.TRUST, Method.PASSWORD, Method.MD5, Method.SCRAM])
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
