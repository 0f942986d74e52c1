"""What a stranger may say before he is known: nonsense, floods, and the sequences that once hurt poolers."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.target import Target, refused
from tests.support import frames
from tests.support.wire import LoginRefusedError, Wire, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

GIB: Final = 1 << 30


def _length(value: int) -> bytes:
    return struct.pack("!i", value)


NOT_STARTUPS: Final = {
    "length 0": _length(0),
    "length 4": _length(4),
    "length 7": _length(7) + b"\0\3\0",
    "negative length": _length(-1),
    "10005 bytes": _length(10_005) + _length(frames.PROTOCOL_3_0) + b"x" * 9_997,
    "2 GiB": _length(0x7FFFFFFF) + _length(frames.PROTOCOL_3_0),
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "ClientHello": bytes.fromhex("1603010200010001fc0303") + bytes(506),
}


@pytest.mark.parametrize("first", NOT_STARTUPS.values(), ids=NOT_STARTUPS.keys())
async def test_packet_that_is_no_startup_is_closed_at_once(target: Target, first: bytes) -> None:
    """Neither memory nor patience is spent on it."""
    async with target.undisturbed(), opened(target.host, target.port) as wire:
        wire.write(first)
        await refused(wire, "08P01", "0A000")


@pytest.mark.parametrize("version", [4 << 16, (9 << 16) + 9])
async def test_foreign_protocol_version_is_refused(target: Target, version: int) -> None:
    """0A000, and the connection ends."""
    async with target.undisturbed(), opened(target.host, target.port) as wire:
        wire.write(frames.startup(("user", target.user), version=version))
        messages = await wire.rest()
        assert frames.tags(messages) == "E"
        assert frames.errors(messages) == ["0A000"]


async def test_protocol_2_is_refused(target: Target) -> None:
    """An old client may get the error in its own protocol, or in ours."""
    async with target.undisturbed(), opened(target.host, target.port) as wire:
        wire.write(frames.startup(("user", target.user), version=2 << 16))
        assert (await wire.raw_rest())[:1] in {b"", b"E"}


@pytest.mark.parametrize(
    ("minor", "options", "unknown"),
    [(99, (), 0), (0, (("_pq_.later", "1"),), 1), (99, (("_pq_.a", "1"), ("_pq_.b", "2")), 2)],
)
async def test_newer_protocol_is_negotiated(
    target: Target, minor: int, options: Sequence[tuple[str, str]], unknown: int
) -> None:
    """NegotiateProtocolVersion names what is spoken and what is not known, and the session goes on."""
    async with opened(target.host, target.port) as wire:
        version = frames.PROTOCOL_3_0 + minor
        greeting = await wire.login(target.user, target.database, target.password, *options, version=version)
        negotiated = [message.body for message in greeting if message.tag == "v"]
        assert len(negotiated) == 1
        spoken, count = struct.unpack_from("!ii", negotiated[0])
        assert spoken & 0xFFFF == min(minor, 2)
        assert count == unknown
        assert [name.encode() for name, _ in options] == negotiated[0][8:].split(b"\0")[:-1]
        assert await wire.value("SELECT 'on'") == "on"


def _body(body: bytes) -> bytes:
    return _length(len(body) + 8) + _length(frames.PROTOCOL_3_0) + body


BROKEN_STARTUPS: Final = {
    "no user": (_body(b"database\0postgres\0\0"), ("28000",)),
    "nothing": (_body(b"\0"), ("28000",)),
    "no terminator": (_body(b"user\0postgres\0database\0postgres"), ("08P01",)),
    "name without value": (_body(b"user\0postgres\0database\0"), ("08P01",)),
    "bytes behind the terminator": (_body(b"user\0postgres\0\0more"), ("08P01",)),
    "no body": (_body(b""), ("08P01", "28000")),
}


@pytest.mark.parametrize(("packet", "sqlstates"), BROKEN_STARTUPS.values(), ids=BROKEN_STARTUPS.keys())
async def test_broken_startup_is_refused(target: Target, packet: bytes, sqlstates: tuple[str, ...]) -> None:
    """The error says why, before anything is asked for."""
    async with target.undisturbed(), opened(target.host, target.port) as wire:
        wire.write(packet)
        messages = await wire.rest()
        assert frames.tags(messages) == "E"
        assert frames.errors(messages)[0] in sqlstates


@pytest.mark.parametrize(
    "user", [b"nobody\xff\xfe", b"x" * 8_000, b"'; DROP TABLE a; --", b'" OR 1=1', b"\x01\x1b[31m\n"]
)
async def test_odd_user_names_get_no_further_than_the_password(target: Target, user: bytes) -> None:
    """They look like any unknown user: asked for a password, and then refused."""
    async with target.undisturbed(), opened(target.host, target.port) as wire:
        wire.write(_body(b"user\0" + user + b"\0database\0postgres\0\0"))
        first = await wire.message()
        assert first.tag in "RE"
        if first.tag == "R":
            assert first.body[:4] != bytes(4)
            wire.write(frames.frame("p", b"SCRAM-SHA-256\0" + _length(20) + b"n,,n=,r=abcdefghijkl"))
            answer = await wire.message()
            assert answer.tag == "R" or frames.errors([answer])[0] in {"28P01", "08P01"}


async def test_ssl_request_is_not_asked_twice(target: Target) -> None:
    """After the answer only a startup packet is expected."""
    async with target.undisturbed(), opened(target.host, target.port) as wire:
        wire.write(frames.SSL_REQUEST)
        assert await wire.reader.readexactly(1) == b"N"
        wire.write(frames.SSL_REQUEST)
        await refused(wire, "0A000", "08P01")


async def test_gss_and_tls_are_declined_in_turn(target: Target) -> None:
    """A client that tries everything gets in at last."""
    async with opened(target.host, target.port) as wire:
        wire.write(frames.GSSENC_REQUEST)
        assert await wire.reader.readexactly(1) == b"N"
        wire.write(frames.SSL_REQUEST)
        assert await wire.reader.readexactly(1) == b"N"
        await wire.login(target.user, target.database, target.password)
        assert await wire.value("SELECT 'in'") == "in"


async def _say(target: Target, *packets: bytes) -> None:
    async with opened(target.host, target.port) as wire:
        wire.write(*packets)
        await wire.raw_rest()


CANCELS: Final = {
    "unknown pid and key": frames.cancel_request(2, b"\1\2\3\4"),
    "negative pid": frames.cancel_request(-1, b"\0\0\0\0"),
    "short": _length(8) + _length(80877102),
    "no key": _length(12) + _length(80877102) + _length(1),
    "256 bytes of key": frames.cancel_request(3, b"k" * 256),
    "257 bytes of key": frames.cancel_request(3, b"k" * 257),
}


@pytest.mark.parametrize("packet", CANCELS.values(), ids=CANCELS.keys())
async def test_cancel_of_nobody_touches_nobody(target: Target, packet: bytes) -> None:
    """It is closed without an answer, and a running query runs on."""
    async with target.undisturbed(), target.wire() as wire:
        wire.write(frames.query("SELECT pg_sleep(0.3), 'slept'"))
        await _say(target, packet)
        assert frames.rows(await wire.until("Z")) == [("", "slept")]


async def test_cancel_with_the_right_pid_and_a_wrong_key_is_ignored(target: Target) -> None:
    """The key is compared, all of it."""
    async with target.undisturbed(), target.wire() as wire:
        wire.write(frames.query("SELECT pg_sleep(0.5), 'slept'"))
        wrong = bytes([wire.key[0] ^ 1]) + wire.key[1:]
        for key in (wrong, wire.key[:-1], wire.key + b"\0", b""):
            await _say(target, frames.cancel_request(wire.pid, key))
        assert frames.rows(await wire.until("Z")) == [("", "slept")]


async def test_cancel_storm_hits_its_own_query_only(target: Target) -> None:
    """Its sender closes at once; the query ends with 57014 and what follows is not cancelled for ever."""
    async with target.undisturbed(), target.wire() as wire:
        wire.write(frames.query("SELECT pg_sleep(30)"))
        await asyncio.sleep(0.2)
        for _ in range(40):
            async with opened(target.host, target.port) as sender:
                sender.write(frames.cancel_request(wire.pid, wire.key))
                await sender.drain()
        assert frames.errors(await wire.until("Z")) == ["57014"]
        for _ in range(200):
            if frames.rows(await wire.ask(frames.query("SELECT 'again'"))) == [("again",)]:
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the session never recovered from its own cancel requests")


async def test_key_of_a_session_that_is_gone_cancels_nothing(target: Target) -> None:
    """Whoever uses its server connection next is not hit by it."""
    gone = await target.login()
    pid, key = gone.pid, gone.key
    gone.write(frames.TERMINATE)
    await gone.close()
    async with target.undisturbed(), target.wire() as wire:
        wire.write(frames.query("SELECT pg_sleep(0.5), 'slept'"))
        for _ in range(20):
            await _say(target, frames.cancel_request(pid, key))
        assert frames.rows(await wire.until("Z")) == [("", "slept")]


async def test_half_startups_do_not_keep_others_out(target: Target) -> None:
    """Fifty who never finish their first packet."""
    packet = frames.startup(("user", target.user), ("database", target.database))
    async with target.undisturbed():
        slow = [await target.open() for _ in range(50)]
        for number, wire in enumerate(slow):
            wire.write(packet[: 1 + number % (len(packet) - 1)])
        await target.check()
        for wire in slow:
            await wire.close()


@pytest.mark.parametrize("reset", [False, True], ids=["close", "RST in the startup packet"])
async def test_connections_that_end_at_once(target: Target, reset: bool) -> None:
    """Two hundred of them, and as many again in the middle of the packet."""
    packet = frames.startup(("user", target.user), ("database", target.database))
    async with target.undisturbed():
        for _ in range(200):
            wire = await target.open()
            if reset:
                wire.write(packet[:-3])
                await wire.drain()
                wire.reset()
            await wire.close()


async def test_wrong_password_keeps_its_sqlstate(target: Target) -> None:
    """28P01, and the same for a user that does not exist."""
    async with target.undisturbed():
        for user in (target.user, "no_such_user"):
            async with opened(target.host, target.port) as wire:
                with pytest.raises(LoginRefusedError) as refusal:
                    await wire.login(user, target.database, "wrong")
                assert refusal.value.sqlstate == "28P01"
                assert refusal.value.fields["S"] == "FATAL"


async def test_missing_database_keeps_its_sqlstate(target: Target) -> None:
    """3D000, each time and at once: nobody waits for a connection that cannot come."""
    async with target.undisturbed():
        for _ in range(3):
            async with opened(target.host, target.port) as wire:
                with pytest.raises(LoginRefusedError) as refusal:
                    await wire.login(target.user, "no_such_database", target.password)
                assert refusal.value.sqlstate == "3D000"


async def test_flood_of_logins_that_leave_after_the_challenge(target: Target) -> None:
    """A hundred who make the server compute and vanish."""
    first = b"n,,n=,r=abcdefghijklmnop"
    challenge = frames.frame("p", b"SCRAM-SHA-256\0" + _length(len(first)) + first)

    async def vanish() -> None:
        wire = await target.open()
        wire.write(frames.startup(("user", target.user), ("database", target.database)), challenge)
        assert [(await wire.message()).tag, (await wire.message()).tag] == ["R", "R"]
        wire.reset()
        await wire.close()

    async with target.undisturbed():
        for _ in range(5):
            await asyncio.gather(*(vanish() for _ in range(20)))


def _sasl(mechanism: bytes, declared: int, data: bytes) -> bytes:
    return frames.frame("p", mechanism + b"\0" + _length(declared) + data)


BAD_ANSWERS: Final = {
    "a Query": frames.query("SELECT 1"),
    "length 0": frames.lying_frame(b"p", 0),
    "1 GiB": frames.lying_frame(b"p", GIB, b"SCRAM-SHA-256\0"),
    "70 kB": frames.frame("p", b"SCRAM-SHA-256\0" + b"x" * 70_000),
    "unknown mechanism": _sasl(b"PLAIN", 4, b"\0a\0b"),
    "empty": frames.frame("p"),
    "no NUL": frames.frame("p", b"SCRAM-SHA-256"),
    "length beyond the message": _sasl(b"SCRAM-SHA-256", 100_000, b"n,,n=,r=abc"),
    "length -2": _sasl(b"SCRAM-SHA-256", -2, b"n,,n=,r=abc"),
    "no nonce": _sasl(b"SCRAM-SHA-256", 3, b"n,,"),
    "binary rubbish": _sasl(b"SCRAM-SHA-256", 6, b"\xff\0\xfe\0\xfd\0"),
    "channel binding that was not offered": _sasl(b"SCRAM-SHA-256-PLUS", 11, b"p=x,,n=,r=a"),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_bad_answer_to_the_challenge_is_refused(target: Target, answer: bytes) -> None:
    """08P01 (or a failed password) and the end; never a crash, never a login."""
    async with target.undisturbed(), opened(target.host, target.port) as wire:
        wire.write(frames.startup(("user", target.user), ("database", target.database)))
        assert (await wire.message()).tag == "R"
        wire.write(answer)
        await refused(wire, "08P01", "28P01", "28000")


async def test_nothing_runs_before_the_login(target: Target) -> None:
    """A query sent along with the startup packet is not executed, and ends the connection."""
    async with target.undisturbed(), opened(target.host, target.port) as wire:
        wire.write(frames.startup(("user", target.user), ("database", target.database)))
        wire.write(frames.query("CREATE TABLE IF NOT EXISTS before_login ()"))
        messages = await wire.rest()
        assert frames.tags(messages) in {"R", "RE", "E"}
        assert frames.errors(messages) in ([], ["08P01"])
    assert target.cluster.execute("SELECT to_regclass('before_login')", database=target.database) == [(None,)]


async def test_login_byte_by_byte(target: Target) -> None:
    """A packet may arrive in as many pieces as it has bytes."""
    wire: Wire = await target.open()
    for byte in frames.startup(("user", target.user), ("database", target.database)):
        wire.write(bytes([byte]))
        await wire.drain()
        await asyncio.sleep(0)
    assert (await wire.message()).tag == "R"
    await wire.close()
