"""A TCP relay that makes networks bad on demand.

Its faults are attributes that may be changed at any time and hold for bytes that pass afterwards; `blackhole`
and `reset_all` act at once on what is connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from typing import TYPE_CHECKING, Final

from tests.support.listener import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CHUNK: Final = 65_536
_RST_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Toxic:
    """The relay to one upstream port."""

    def __init__(self, upstream_port: int, seed: int = 0) -> None:
        self.port = 0
        self.latency = 0.0  # seconds before each chunk, each way
        self.slices: tuple[int, int] | None = None  # the smallest and largest piece that chunks are cut to
        self.rate = 0  # bytes a second and direction; 0 = unlimited
        self.refuse = False  # new connections are reset at once
        self.cut_after: int | None = None  # bytes towards the client, after which each connection is reset
        self.connections = 0  # accepted so far
        self._open = asyncio.Event()
        self._open.set()
        self._upstream_port = upstream_port
        self._random = random.Random(seed)
        self._writers: set[asyncio.StreamWriter] = set()

    def blackhole(self, on: bool) -> None:
        """Swallow time: nothing passes while on, everything does afterwards."""
        if on:
            self._open.clear()
        else:
            self._open.set()

    def reset_all(self) -> None:
        """RST every connection, towards both sides."""
        for writer in tuple(self._writers):
            _reset(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        self.connections += 1
        if self.refuse:
            _reset(writer)
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        pair = {writer, far_writer}
        self._writers |= pair
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, limited=False), self._pump(far_reader, writer, limited=True)
            )
        finally:
            self._writers -= pair
            far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, limited: bool) -> None:
        passed = 0
        try:
            while data := await reader.read(_CHUNK):
                for piece in self._pieces(data):
                    await self._wait(len(piece))
                    if limited and self.cut_after is not None and passed + len(piece) > self.cut_after:
                        writer.write(piece[: self.cut_after - passed])
                        await writer.drain()
                        self.reset_all()
                        return
                    writer.write(piece)
                    passed += len(piece)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def _wait(self, size: int) -> None:
        await self._open.wait()
        pause = self.latency + (size / self.rate if self.rate else 0.0)
        if pause:
            await asyncio.sleep(pause)
            await self._open.wait()

    def _pieces(self, data: bytes) -> list[bytes]:
        if self.slices is None:
            return [data]
        pieces = []
        while data:
            size = self._random.randint(*self.slices)
            pieces.append(data[:size])
            data = data[size:]
        return pieces


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and not writer.transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
    writer.transport.abort()


@contextlib.asynccontextmanager
async def toxic(upstream_port: int, seed: int = 0) -> AsyncIterator[Toxic]:
    """A healthy relay to that loopback port, to be poisoned."""
    relay = Toxic(upstream_port, seed)
    async with listening(relay.serve) as relay.port:
        yield relay
