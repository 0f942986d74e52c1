"""Getting into real servers, and getting out of what hostile ones try."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from pool.connect import ServerUnavailable, Target, open_server, send_cancel
from pool.tls import NO_TLS, server_tls
from protocol import build, scram
from protocol.secrets import Plain
from tests.pool.connecting import GREETING, Collector, query, scripted, sockets_closed, target
from tests.support.listener import listening

if TYPE_CHECKING:
    from tests.support.postgres import Cluster

pytestmark = pytest.mark.every_loop


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


async def test_keys_are_derived_once_for_a_target(postgres: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    derive = Mock(wraps=scram.derive)
    monkeypatch.setattr(scram, "derive", derive)
    where = target(postgres)
    for _ in range(3):
        (await open_server(where)).transport.abort()
    assert derive.call_count == 1


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
