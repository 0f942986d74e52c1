"""Nothing is read unasked, and nothing read is lost when another protocol takes over."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from pool.stream import Stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.every_loop


class Next(asyncio.Protocol):
    """The protocol that takes over; may pause reading as soon as it gets something."""

    def __init__(self, pausing: asyncio.Transport | None = None) -> None:
        self.calls: list[bytes | None] = []
        self.pausing = pausing
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.calls.append(data)
        if self.pausing is not None:
            self.pausing.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(None)
        self.lost.set_result(None)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Stream, socket.socket]]:
    near, far = socket.socketpair()
    stream = Stream()
    await asyncio.get_running_loop().create_unix_connection(lambda: stream, sock=near)
    yield stream, far
    stream.transport.abort()
    far.close()


async def test_reading_on_demand(pair: tuple[Stream, socket.socket]) -> None:
    stream, far = pair
    far.sendall(b"one")
    assert await stream.read() == b"one"
    far.sendall(b"two")
    assert await stream.read() == b"two"
    far.close()
    assert await stream.read() == b""
    assert await stream.read() == b""


async def test_everything_read_is_handed_on(pair: tuple[Stream, socket.socket]) -> None:
    stream, far = pair
    far.sendall(b"one")
    assert await stream.read() == b"one"
    far.sendall(b"three")
    stream.data_received(b"two")
    new = Next()
    stream.hand_over(new, b"left,")
    assert new.calls == [b"left,two"]
    far.close()
    await asyncio.wait_for(new.lost, 30)
    assert new.calls == [b"left,two", b"three", None]


async def test_who_pauses_at_once_stays_paused(pair: tuple[Stream, socket.socket]) -> None:
    stream, far = pair
    far.sendall(b"one")
    await stream.read()
    new = Next(stream.transport)
    far.sendall(b"two")
    stream.hand_over(new, b"left")
    for _ in range(20):
        await asyncio.sleep(0)
    assert new.calls == [b"left"]
    new.pausing = None
    stream.transport.resume_reading()
    far.close()
    await asyncio.wait_for(new.lost, 30)
    assert new.calls == [b"left", b"two", None]


async def test_a_connection_that_ended_before(pair: tuple[Stream, socket.socket]) -> None:
    stream, far = pair
    far.close()
    assert await stream.read() == b""
    new = Next()
    stream.hand_over(new, b"left")
    assert new.calls == [None]
