"""Frames that lie, and the ways in which right bytes may be cut up: everyone else is served on."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.target import Target, refused
from tests.support import frames
from tests.support.frames import SYNC, lying_frame, query

if TYPE_CHECKING:
    from tests.support.wire import Wire

GIB: Final = 1 << 30
MIB: Final = 1 << 20

BROKEN_FRAMES: Final = {
    "length 0": lying_frame(b"Q", 0, b"SELECT 1\0"),
    "length 3": lying_frame(b"Q", 3, b"SELECT 1\0"),
    "negative length": lying_frame(b"Q", -5, b"SELECT 1\0"),
    "more than 1 GiB": lying_frame(b"Q", GIB + 5, b"SELECT 1\0"),
    "2 GiB": lying_frame(b"B", 0x7FFFFFFF, b"\0\0"),
    "Sync of 10 MB": lying_frame(b"S", 10_000_000),
    "Terminate of 1 GiB": lying_frame(b"X", GIB),
    "unknown type": frames.frame("~", b"what"),
    "NUL type": frames.frame("\0", b"what"),
    "type of a server's message": frames.frame("Z", b"I"),
    "type 255": lying_frame(b"\xff", 8, b"what"),
    "a password out of turn": frames.frame("p", b"secret\0"),
}


@pytest.mark.parametrize("broken", BROKEN_FRAMES.values(), ids=BROKEN_FRAMES.keys())
async def test_broken_frame_ends_the_session(target: Target, broken: bytes) -> None:
    """FATAL 08P01 or nothing, and the end; what its transaction did is undone."""
    target.cluster.execute("CREATE TABLE IF NOT EXISTS broken (a int)", database=target.database)
    async with target.undisturbed(), target.wire() as wire:
        assert not frames.errors(await wire.ask(query("BEGIN")))
        assert not frames.errors(await wire.ask(query("INSERT INTO broken VALUES (1)")))
        wire.write(broken)
        await refused(wire, "08P01")
    async with target.wire() as wire:
        assert await wire.value("SELECT count(*) FROM broken") == "0"


@pytest.mark.parametrize("broken", BROKEN_FRAMES.values(), ids=BROKEN_FRAMES.keys())
async def test_broken_frame_of_an_idle_session(target: Target, broken: bytes) -> None:
    """The same where no server connection is held."""
    async with target.undisturbed(), target.wire() as wire:
        wire.write(broken)
        await refused(wire, "08P01")


@pytest.mark.parametrize("tag", [b"Q", b"P", b"B"])
@pytest.mark.parametrize("end", ["RST", "close"])
async def test_memory_does_not_follow_a_claim(target: Target, tag: bytes, end: str) -> None:
    """900 MB are announced, 100 bytes come, then silence."""
    before = target.forebay.process.memory_info().rss if target.forebay else 0
    async with target.undisturbed():
        liars = [await target.login() for _ in range(5)]
        for wire in liars:
            wire.write(lying_frame(tag, 900_000_000, b"x" * 100))
            await wire.drain()
        await target.check()
        if target.forebay:
            assert target.forebay.process.memory_info().rss - before < 60 * MIB
        for wire in liars:
            if end == "RST":
                wire.reset()
            await wire.close()


async def _drip(wire: Wire, data: bytes) -> None:
    for byte in data:
        wire.write(bytes([byte]))
        await wire.drain()
        await asyncio.sleep(0)


async def test_one_byte_at_a_time(target: Target) -> None:
    """The same answers as in one piece, in the same order."""
    async with target.undisturbed(), target.wire() as wire:
        conversation = query("SELECT 'simple'") + frames.extended("SELECT $1::text", "extended") + query("")
        whole = [*(await wire.ask(conversation)), *(await wire.until("Z")), *(await wire.until("Z"))]
        await _drip(wire, conversation)
        dripped = [*(await wire.until("Z")), *(await wire.until("Z")), *(await wire.until("Z"))]
        assert dripped == whole
        assert frames.rows(whole) == [("simple",), ("extended",)]


@pytest.mark.parametrize("cut", range(1, 8))
async def test_split_within_and_after_the_header(target: Target, cut: int) -> None:
    """The rest comes later."""
    async with target.wire() as wire:
        question = query("SELECT 'split'")
        wire.write(question[:cut])
        await wire.drain()
        await asyncio.sleep(0.01)
        assert frames.rows(await wire.ask(question[cut:])) == [("split",)]


async def test_thousand_queries_in_one_segment(target: Target) -> None:
    """A thousand answers, in order, simple and extended in turn."""
    async with target.undisturbed(), target.wire() as wire:
        kinds = (lambda n: query(f"SELECT {n}"), lambda n: frames.extended("SELECT $1::text", str(n)))
        wire.write(*(kinds[n % 2](n) for n in range(1_000)))
        for number in range(1_000):
            assert frames.rows(await wire.until("Z")) == [(str(number),)]


BAD_TEXTS: Final = {
    "no NUL": (frames.frame("Q", b"SELECT 1"), "08P01"),
    "inner NUL": (frames.frame("Q", b"SELECT\x001\0"), "08P01"),
    "bytes behind the NUL": (frames.frame("Q", b"SELECT 1\0\0\0"), "08P01"),
    "invalid UTF-8": (query(b"SELECT '\xff\xfe'"), "22021"),
    "cut UTF-8": (query(b"SELECT '\xe2\x82"), "22021"),
    "unterminated string": (query("SELECT 'abc"), "42601"),
    "unterminated comment": (query("SELECT 1 /* "), "42601"),
    "no SQL": (query("Grüße \x01\x02 %s $1 {} \\"), "42601"),
    "deeply nested": (query("SELECT " + "(" * 60_000 + "1" + ")" * 60_000), "42601"),
}


@pytest.mark.parametrize(("packet", "sqlstate"), BAD_TEXTS.values(), ids=BAD_TEXTS.keys())
async def test_bad_query_text_is_an_error_and_no_more(target: Target, packet: bytes, sqlstate: str) -> None:
    """One error, one ReadyForQuery, and the session lives."""
    async with target.undisturbed(), target.wire() as wire:
        answer = await wire.ask(packet)
        assert frames.tags(answer).replace("N", "") == "EZ"
        assert frames.errors(answer) == [sqlstate]
        assert await wire.value("SELECT 'alive'") == "alive"


@pytest.mark.parametrize("text", ["", " ", ";", ";;", "-- only a comment", "/* only a comment */", "\n\t\r\f"])
async def test_empty_query_has_its_own_answer(target: Target, text: str) -> None:
    """EmptyQueryResponse in both protocols."""
    async with target.wire() as wire:
        assert frames.tags(await wire.ask(query(text))) == "IZ"
        assert frames.tags(await wire.ask(frames.extended(text))) == "12nIZ"
        assert await wire.value("SELECT 'alive'") == "alive"


def _parse_body(body: bytes) -> bytes:
    return frames.frame("P", body)


def _bind_body(body: bytes) -> bytes:
    return frames.parse("SELECT $1::text") + frames.frame("B", body)


BAD_EXTENDED: Final = {
    "Bind of an unknown statement": (frames.bind(statement="nowhere"), "26000"),
    "Describe of an unknown statement": (frames.describe("S", "nowhere"), "26000"),
    "Describe of an unknown portal": (frames.describe("P", "nowhere"), "34000"),
    "Execute of an unknown portal": (frames.execute("nowhere"), "34000"),
    "Describe of what": (frames.describe("X", "a"), "08P01"),
    "Close of what": (frames.close("X", "a"), "08P01"),
    "Parse without text": (_parse_body(b"name\0"), "08P01"),
    "Parse without types": (_parse_body(b"\0SELECT 1\0"), "08P01"),
    "Parse with fewer types than it says": (_parse_body(b"\0SELECT 1\0\0\2\0\0\0\0"), "08P01"),
    "Parse with bytes behind": (_parse_body(b"\0SELECT 1\0\0\0more"), "08P01"),
    "Parse without NUL": (_parse_body(b"name"), "08P01"),
    "Bind without parameters": (_bind_body(b"\0\0"), "08P01"),
    "Bind with too few parameters": (_bind_body(b"\0\0\0\0\0\0\0\0"), "08P01"),
    "Bind with a length beyond the message": (_bind_body(b"\0\0\0\0\0\1\0\0\1\0abc\0\0"), "08P01"),
    "Bind with length -2": (_bind_body(b"\0\0\0\0\0\1" + struct.pack("!i", -2) + b"\0\0"), "08P01"),
    "Bind with 2 formats for 1 parameter": (_bind_body(b"\0\0\0\2\0\0\0\0\0\1\0\0\0\1a\0\0"), "08P01"),
    "Execute without row count": (
        frames.parse("SELECT 1") + frames.bind() + frames.frame("E", b"\0"),
        "08P01",
    ),
    "syntax error": (frames.parse("SELEKT 1"), "42601"),
    "two statements": (frames.parse("SELECT 1; SELECT 2"), "42601"),
    "name taken twice": (frames.parse("SELECT 1", "twice") * 2, "42P05"),
    "empty Describe": (frames.frame("D"), "08P01"),
}


@pytest.mark.parametrize("transaction", [False, True], ids=["alone", "in a transaction"])
@pytest.mark.parametrize(("packet", "sqlstate"), BAD_EXTENDED.values(), ids=BAD_EXTENDED.keys())
async def test_bad_extended_message(target: Target, packet: bytes, sqlstate: str, transaction: bool) -> None:
    """One error, everything up to Sync is skipped, and the session goes on in the right state."""
    async with target.wire() as wire:
        if transaction:
            await wire.ask(query("BEGIN"))
        answer = await wire.ask(packet, frames.parse("SELECT 'skipped'"), frames.bind(), frames.execute(), SYNC)
        assert frames.errors(answer) == [sqlstate], answer
        assert "D" not in frames.tags(answer)
        assert answer[-1].body == (b"E" if transaction else b"I")
        if transaction:
            assert frames.errors(await wire.ask(query("SELECT 1"))) == ["25P02"]
            await wire.ask(query("ROLLBACK"))
        assert await wire.value("SELECT 'alive'") == "alive"


async def test_error_then_150_messages_before_sync(target: Target) -> None:
    """All of them are skipped; those after Sync are not."""
    async with target.undisturbed(), target.wire() as wire:
        skipped = (frames.parse("SELECT 1") + frames.bind() + frames.execute()) * 50
        answer = await wire.ask(frames.parse("SELECT 1/0") + frames.bind() + frames.execute(), skipped, SYNC)
        assert frames.tags(answer) == "1EZ"
        assert frames.errors(answer) == ["22012"]
        assert frames.rows(await wire.ask(frames.extended("SELECT 'after'"))) == [("after",)]


async def test_sync_storm(target: Target) -> None:
    """Exactly one ReadyForQuery for each Sync, though nobody reads while they are sent."""
    async with target.undisturbed(), target.wire() as wire:
        wire.write(SYNC * 20_000)
        await asyncio.sleep(0.2)
        for _ in range(20_000):
            assert await wire.message() == ("Z", b"I")
        assert await wire.value("SELECT 'alive'") == "alive"


async def test_flush_storm(target: Target) -> None:
    """Flushes are no answers."""
    async with target.undisturbed(), target.wire() as wire:
        answer = await wire.ask(frames.FLUSH * 20_000, frames.extended("SELECT 'flushed'"))
        assert frames.rows(answer) == [("flushed",)]


async def test_flush_shows_what_there_is_before_sync(target: Target) -> None:
    """An interactive client reads its description, then decides."""
    async with target.wire() as wire:
        wire.write(frames.parse("SELECT $1::int + 1 AS a", "s"), frames.describe("S", "s"), frames.FLUSH)
        assert frames.tags(await wire.until("T")) == "1tT"
        wire.write(frames.bind("41", statement="s"), frames.execute(), frames.FLUSH)
        assert frames.rows(await wire.until("C")) == [("42",)]
        assert frames.tags(await wire.ask(SYNC)) == "Z"


async def test_function_call(target: Target) -> None:
    """The oldest way to call a function still works, and fails as it should."""
    async with target.wire() as wire:
        oid = int(await wire.value("SELECT 'int4pl'::regproc::oid") or 0)
        number = struct.pack("!ii", 4, 21)
        head = struct.pack("!I", oid) + b"\0\1\0\1\0\2"
        answer = await wire.ask(frames.frame("F", head + number + number + b"\0\1"))
        assert frames.tags(answer) == "VZ"
        assert answer[0].body == struct.pack("!ii", 4, 42)
        answer = await wire.ask(frames.frame("F", struct.pack("!I", 4_000_000_000) + b"\0\0\0\0\0\0"))
        assert frames.errors(answer) == ["42883"]
        assert await wire.value("SELECT 'alive'") == "alive"
