"""Servers that break the rules: the link is closed, its client is told or closed, nobody else ever sees a byte of it.

A scripted server stands behind the database `odd`; every other database is the real one, and undisturbed. After its
one odd connection the scripted server behaves, and newcomers are served from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.integration.target import Target
from tests.support import frames
from tests.support.forebay import forebay
from tests.support.frames import data_row, frame, lying_frame, query, row_description
from tests.support.patience import retried
from tests.support.scripted_server import (
    AUTHENTICATION_OK,
    READY,
    Peer,
    Script,
    ScriptedServer,
    answer,
    fine,
    parameter_status,
    scripted_server,
)
from tests.support.wire import LoginRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Cluster

MIB: Final = 1 << 20
QUESTION: Final = "SELECT 'odd question'"
DONE: Final = frame("C", b"SELECT 1\0")
GOOD: Final = row_description("a") + data_row("fine") + DONE


def says(*words: bytes, hang_up: bool = False) -> Script:
    """Answer the odd question with these bytes; then behave, or end the connection."""

    async def script(peer: Peer) -> None:
        while (message := await peer.receive()).tag != "X":
            if b"odd question" in message.body:
                await peer.send(*words)
                if hang_up:
                    await peer.hang_up()
                    return
            else:
                await answer(peer, message)

    return script


def mutters(*words: bytes) -> Script:
    """Answer the odd question well, and say something more while the link is idle."""

    async def script(peer: Peer) -> None:
        while (message := await peer.receive()).tag != "X":
            await answer(peer, message)
            if b"odd question" in message.body:
                await asyncio.sleep(0.3)
                await peer.send(*words)

    return script


@asynccontextmanager
async def odd(
    cluster: Cluster, *scripts: Script, before_login: Script | None = None, **settings: Any
) -> AsyncIterator[tuple[Target, ScriptedServer]]:
    """Forebay before a scripted server and a real one; the real one is used all the time."""
    real = f"postgresql://{cluster.superuser}:{cluster.password}@{cluster.host}:{cluster.port}"
    async with scripted_server(*scripts, fine, before_login=before_login) as server:
        strange = f"postgresql://{cluster.superuser}:{cluster.password}@127.0.0.1:{server.port}/odd"
        every = {
            "databases": {"*": {"url": real}, "odd": {"url": strange}},
            "cache": {"mode": "off"},
            "pool": {"size": 1, "queue_timeout": "20s", "connect_timeout": "2s", "retry_max": "500ms"},
            **settings,
        }
        async with (
            forebay(every, cluster.superuser, cluster.password, ready="/healthz") as proxy,
            Target(cluster, proxy, "postgres").undisturbed(),
        ):
            yield Target(cluster, proxy, "odd"), server


async def served(target: Target) -> None:
    """Newcomers get good answers, all of them, soon."""

    async def attempt() -> None:
        async with target.wire() as wire:
            for _ in range(5):
                messages = await wire.ask(query("SELECT 'plain question'"))
                assert frames.tags(messages) == "TDCZ"
                assert frames.rows(messages) == [("fine",)]

    await retried(attempt, LoginRefusedError, EOFError, ConnectionError)


ODD_ANSWERS: Final = {
    "unknown type": says(frame("~", b"what")),
    "NUL type": says(frame("\0", b"")),
    "a client's message": says(query("SELECT 1")),
    "negative length": says(lying_frame(b"D", -1, b"x" * 100)),
    "length 3": says(lying_frame(b"D", 3, b"x" * 100)),
    "row of 1 GiB that never comes": says(lying_frame(b"D", (1 << 30) - 1, b"x" * 100), hang_up=True),
    "row of 2 GiB": says(lying_frame(b"D", 0x7FFFFFFF, b"x" * 100), hang_up=True),
    "cut in a row": says(row_description("a"), data_row("cut off")[:9], hang_up=True),
    "cut in a header": says(row_description("a"), b"D\0\0", hang_up=True),
    "cut after a row": says(row_description("a"), data_row("half"), hang_up=True),
    "cut before anything": says(hang_up=True),
    "status that does not exist": says(GOOD, frame("Z", b"X")),
    "ReadyForQuery without status": says(GOOD, frame("Z")),
    "ReadyForQuery too long": says(GOOD, frame("Z", b"IIII")),
    "authentication in the middle": says(AUTHENTICATION_OK, GOOD, READY),
    "ParseComplete for a Query": says(frame("1"), GOOD, READY),
    "ParameterStatus without end": says(frame("S", b"TimeZone"), GOOD, READY),
    "CopyBothResponse": says(frame("W", b"\0\0\0"), hang_up=True),
    "FATAL and the end": says(frames.error_response("57P01", "going", "FATAL"), hang_up=True),
    "PANIC and the end": says(frames.error_response("XX000", "gone", "PANIC"), hang_up=True),
}


@pytest.mark.parametrize("script", ODD_ANSWERS.values(), ids=ODD_ANSWERS.keys())
async def test_odd_answer(postgres: Cluster, script: Script) -> None:
    """The client gets a good frame, an error or the end; never part of a frame and then something else."""
    async with odd(postgres, script) as (target, _):
        async with target.wire() as wire:
            wire.write(query(QUESTION))
            messages: list[frames.Message] = []
            try:
                while not messages or messages[-1].tag != "Z":
                    messages.append(await wire.message())
            except (EOFError, ConnectionError):
                pass
            assert frames.rows(messages) in ([], [("fine",)], [("half",)])
        await served(target)


ERRORS: Final = {
    "without SQLSTATE": b"SERROR\0VERROR\0Mno state\0\0",
    "without any field": b"\0",
    "empty": b"",
    "without end": b"SERROR\0C42601\0Mcut",
    "unknown fields": b"SERROR\0VERROR\0C42601\0Mm\0%odd\0\xe9odd\0\0",
    "invalid UTF-8": b"SERROR\0VERROR\0C42601\0M\xff\xfe\xfd\0\0",
    "control characters": b"SERROR\0VERROR\0C42601\0Mred \x1b[31m\r\nforged line\0\0",
    "1 MB of message": b"SERROR\0VERROR\0C42601\0M" + b"x" * MIB + b"\0\0",
}


@pytest.mark.parametrize("body", ERRORS.values(), ids=ERRORS.keys())
async def test_odd_error(postgres: Cluster, body: bytes) -> None:
    """Errors that a parser could trip over pass, or close the link; the log stays one line a record."""
    async with odd(postgres, says(frame("E", body), READY)) as (target, _):
        async with target.wire() as wire:
            wire.write(query(QUESTION))
            try:
                messages = await wire.until("Z")
            except (EOFError, ConnectionError):
                messages = []
            assert frames.tags(messages) in {"EZ", ""}
        await served(target)
        assert target.forebay is not None
        assert "\x1b" not in target.forebay.log()
        assert "\nforged" not in target.forebay.log()


MUTTERINGS: Final = {
    "a row": data_row("stray"),
    "a second ReadyForQuery": READY,
    "a whole answer": GOOD + READY,
    "CommandComplete": DONE,
    "an error": frames.error_response("XX000", "stray"),
    "FATAL": frames.error_response("57P01", "stray", "FATAL"),
    "unknown type": frame("~", b"stray"),
    "half a frame": data_row("stray")[:7],
    "BackendKeyData": frame("K", struct.pack("!ii", 1, 1)),
    "a notice": frame("N", b"SNOTICE\0C00000\0Mstray\0\0"),
    "a notification": frame("A", struct.pack("!i", 1) + b"stray\0\0"),
    "a parameter": parameter_status("TimeZone", "Mars/Olympus"),
    "10 MB of parameter": parameter_status("application_name", "x" * 10 * MIB),
}


@pytest.mark.parametrize("words", MUTTERINGS.values(), ids=MUTTERINGS.keys())
async def test_server_that_speaks_while_idle(postgres: Cluster, words: bytes) -> None:
    """What it says belongs to nobody: the next client gets his own answer, first try."""
    async with odd(postgres, mutters(words)) as (target, _):
        async with target.wire() as first, target.wire() as second:
            messages = await first.ask(query(QUESTION))
            assert frames.rows(messages) == [("fine",)]
            await asyncio.sleep(0.6)
            for wire in (second, first):
                messages = await wire.ask(query("SELECT 'plain question'"))
                assert "stray" not in repr(messages)
                assert frames.rows(messages) == [("fine",)]
                assert frames.tags(messages).replace("S", "") == "TDCZ"
        await served(target)


def before(*words: bytes, hang_up: bool = False) -> Script:
    """Say this instead of a login."""

    async def script(peer: Peer) -> None:
        await peer.send(*words)
        if hang_up:
            await peer.hang_up()
        await asyncio.sleep(30)

    return script


ODD_LOGINS: Final = {
    "unknown authentication": before(frame("R", struct.pack("!i", 99))),
    "GSS": before(frame("R", struct.pack("!i", 7))),
    "no code": before(frame("R")),
    "no SASL mechanism that exists": before(frame("R", struct.pack("!i", 10) + b"OAUTHBEARER\0\0")),
    "SASL list without end": before(frame("R", struct.pack("!i", 10) + b"SCRAM-SHA-256")),
    "SASL final first": before(frame("R", struct.pack("!i", 12) + b"v=AAAA")),
    "1 GiB of authentication": before(lying_frame(b"R", 1 << 30, b"\0\0\0\0")),
    "negative length": before(lying_frame(b"R", -1, b"")),
    "HTTP": before(b"HTTP/1.1 400 Bad Request\r\n\r\n", hang_up=True),
    "silence": before(),
    "the end": before(hang_up=True),
    "a row": before(data_row("early")),
    "ReadyForQuery first": before(READY),
    "error without fields": before(frame("E", b"\0"), hang_up=True),
    "Ok and silence": before(AUTHENTICATION_OK),
    "parameters without end": before(AUTHENTICATION_OK, *[parameter_status("a", "x" * 60_000)] * 400),
}


@pytest.mark.parametrize("script", ODD_LOGINS.values(), ids=ODD_LOGINS.keys())
async def test_odd_login(postgres: Cluster, script: Script) -> None:
    """The first attempt fails within connect_timeout; the client waits for the next, or is told an error."""
    async with odd(postgres, script, before_login=script) as (target, _):
        assert target.forebay is not None
        begun = target.forebay.process.memory_info().rss
        with contextlib.suppress(LoginRefusedError):
            async with target.wire() as wire:
                assert frames.rows(await wire.ask(query("SELECT 'plain question'"))) == [("fine",)]
        await served(target)
        assert target.forebay.process.memory_info().rss - begun < 40 * MIB


@pytest.mark.parametrize("sqlstate", ["57P03", "53300", "28P01", "28000", "3D000", "42501"])
async def test_refusal_keeps_its_sqlstate_and_is_no_storm(postgres: Cluster, sqlstate: str) -> None:
    """The reason reaches the client at the latest when his patience ends; attempts are spaced out."""
    refuse = before(frames.error_response(sqlstate, "not today", "FATAL"), hang_up=True)
    pool = {"size": 5, "queue_timeout": "2s", "retry_delay": "100ms", "retry_max": "500ms"}
    async with scripted_server(refuse, before_login=refuse) as server:
        real = f"postgresql://{postgres.superuser}:{postgres.password}@{postgres.host}:{postgres.port}"
        strange = f"postgresql://{postgres.superuser}:{postgres.password}@127.0.0.1:{server.port}/odd"
        settings = {"databases": {"*": {"url": real}, "odd": {"url": strange}}, "pool": pool}
        async with forebay(settings, postgres.superuser, postgres.password, ready="/healthz") as proxy:
            target = Target(postgres, proxy, "odd")
            async with Target(postgres, proxy, "postgres").undisturbed():
                attempts = await asyncio.gather(*(target.login() for _ in range(20)), return_exceptions=True)
            states = {attempt.sqlstate for attempt in attempts if isinstance(attempt, LoginRefusedError)}
            assert states == {sqlstate}
            assert len([attempt for attempt in attempts if isinstance(attempt, LoginRefusedError)]) == 20
            assert server.connections < 60
