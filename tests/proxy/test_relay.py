"""Both sides of a relay, brake by brake and end by end, over transports that only remember what was done to them."""

from __future__ import annotations

import asyncio
import socket

import pytest

from pool.connect import Opened, Target
from pool.stream import Stream
from proxy import relay as module
from proxy.relay import Kind, Relay
from tests.support import frames
from tests.support.frames import frame

TARGET = Target("h", 1, "app", "shop")


class Remembering(asyncio.Transport):
    """A connection that is open until it is closed; it loses its protocol when the loop comes round."""

    def __init__(self, *, half: bool = True) -> None:
        super().__init__()
        self.written = b""
        self.reading = True
        self.done: list[str] = []
        self.protocol: asyncio.BaseProtocol | None = None
        self._half = half

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert "eof" not in self.done
        self.written += data

    def can_write_eof(self) -> bool:
        return self._half

    def write_eof(self) -> None:
        self.done.append("eof")

    def is_closing(self) -> bool:
        return "closed" in self.done or "aborted" in self.done

    def close(self) -> None:
        self._end("closed")

    def abort(self) -> None:
        self._end("aborted")

    def _end(self, how: str) -> None:
        self.done.append(how)
        assert self.protocol is not None
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def get_write_buffer_size(self) -> int:
        return 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Pair:
    """A relay, its two connections, and what it said of itself."""

    def __init__(self, *, half: bool = True) -> None:
        self.told: list[str] = []
        self.over = asyncio.Event()
        self.client = Remembering()
        self.server = Remembering(half=half)
        self.relay = Relay(
            self.client,
            user="app",
            database="shop",
            kind=Kind.LOGICAL,
            application="",
            target=TARGET,
            now=1.0,
            ended=self._ended,
            cancel=lambda relay: self.told.append("cancel"),
        )
        self.client.set_protocol(self.relay.client)

    def _ended(self, relay: Relay) -> None:
        self.told.append("ended")
        self.over.set()

    def begin(self, leftover: bytes = b"") -> Pair:
        """The server is there."""
        stream = Stream()
        stream.connection_made(self.server)
        address = (int(socket.AF_INET), ("127.0.0.1", 1))
        opened = Opened(self.server, {"a": "b"}, 7, b"theirs", False, leftover, 0, address, stream, TARGET)
        self.relay.begin(opened, 7, b"ours", 2.0)
        self.client.written = self.client.written.partition(frame("Z", b"I"))[2]
        return self

    def from_client(self, data: bytes) -> None:
        self.relay.client.data_received(data)

    def from_server(self, data: bytes) -> None:
        assert isinstance(self.server.protocol, asyncio.Protocol)
        self.server.protocol.data_received(data)


async def round_of_the_loop() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_comes_early_is_kept_and_not_without_end() -> None:
    pair = Pair()
    read: list[bool] = []
    for data in (b"x" * 1000, b"y" * 65_000):
        pair.from_client(data)
        read.append(pair.client.reading)
    pair.begin()
    assert pair.server.written == b"x" * 1000 + b"y" * 65_000
    assert [*read, pair.client.reading] == [True, False, True]


async def test_what_the_server_has_said_behind_its_greeting_comes_behind_ours() -> None:
    notice = frame("N", b"\0")
    assert Pair().begin(notice).client.written == notice


async def test_each_side_brakes_the_other() -> None:
    pair = Pair().begin()
    sides = ((pair.client, pair.server), (pair.server, pair.client))
    for full, other in sides:
        assert full.protocol is not None
        full.protocol.pause_writing()
        assert (full.reading, other.reading) == (True, False)
        full.protocol.resume_writing()
        assert other.reading


async def test_a_client_that_was_full_before_there_was_a_server() -> None:
    pair = Pair()
    pair.relay.client.pause_writing()
    pair.begin()
    assert not pair.server.reading


@pytest.mark.parametrize(("passed", "told"), [(frame("d", b"whole"), ["57P01"]), (frame("d", b"part")[:-1], [])])
async def test_a_client_is_told_the_end_between_messages_only(passed: bytes, told: list[str]) -> None:
    pair = Pair().begin()
    pair.from_server(passed)
    pair.relay.dismiss()
    assert [code for code in ("57P01",) if code.encode() in pair.client.written[len(passed) :]] == told
    await round_of_the_loop()
    assert (pair.client.done, pair.server.done, pair.told) == (["closed"], ["closed"], ["ended"])


async def test_a_client_that_leaves_before_there_is_a_server() -> None:
    pair = Pair()
    pair.relay.opening = asyncio.create_task(asyncio.sleep(1000))
    pair.client.close()
    await round_of_the_loop()
    assert pair.relay.opening.cancelled()
    assert pair.told == ["ended"]


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "half closed"])
async def test_a_server_that_does_not_end_with_its_client(monkeypatch: pytest.MonkeyPatch, lost: bool) -> None:
    """It has been told that no more comes, and has had its time: its command is cancelled, then it is left."""
    monkeypatch.setattr(module, "LINGER", 0.0)
    pair = Pair().begin()
    pair.server.pause_reading()
    if lost:
        pair.client.abort()
        await round_of_the_loop()
    else:
        assert pair.relay.client.eof_received()
        pair.from_server(frames.data_row("the last answer"))
        assert pair.client.written == frames.data_row("the last answer")
    await asyncio.wait_for(pair.over.wait(), 30)
    assert pair.told == ["cancel", "ended"]
    assert pair.server.done == ["eof", "aborted"]
    assert pair.client.is_closing()


async def test_a_full_client_that_is_lost_does_not_keep_the_server_unread() -> None:
    pair = Pair().begin()
    pair.relay.client.pause_writing()
    pair.client.abort()
    await round_of_the_loop()
    assert pair.server.reading


async def test_a_server_that_takes_no_end_of_input_is_closed() -> None:
    """As TLS has it."""
    pair = Pair(half=False).begin()
    assert not pair.relay.client.eof_received()
    await round_of_the_loop()
    assert pair.server.done == ["closed"]
    assert pair.told == ["ended"]
