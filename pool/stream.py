"""The protocol of a connection while it logs in: bytes are read only when somebody waits for them.

So nothing can arrive between the last message of the login and the moment when another protocol takes over,
except what came in the same read; that is handed on."""

from __future__ import annotations

import asyncio
from typing import cast


class Stream(asyncio.Protocol):
    """Reads on demand; one reader."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._lost = False
        self._reason: Exception | None = None

    @property
    def transport(self) -> asyncio.Transport:
        """The connection's transport, once it is made."""
        if self._transport is None:
            raise ConnectionError("the connection has not been made")
        return self._transport

    async def read(self) -> bytes:
        """Wait for bytes and take all there are; empty at the end, however the connection ended."""
        if not self._buffer and not self._lost:
            if not self.transport.is_closing():
                self.transport.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def hand_over(self, protocol: asyncio.BaseProtocol, leftover: bytes) -> None:
        """Let another protocol have the connection, ``leftover`` and what else was read and not taken.

        Its ``connection_made`` is not called. If the connection has ended meanwhile, ``connection_lost`` is.
        """
        transport = self.transport
        data = leftover + bytes(self._buffer)
        self._buffer.clear()
        transport.set_protocol(protocol)
        if self._lost:
            protocol.connection_lost(self._reason)
            return
        if not transport.is_closing():
            # Reading begins in the next turn of the loop at the earliest, so what is fed now comes first,
            # and a protocol that pauses meanwhile stays paused.
            transport.resume_reading()
        if data and isinstance(protocol, asyncio.Protocol):
            protocol.data_received(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; reading is on until the first bytes are there."""
        # uvloop's transports have the methods of asyncio.Transport, not the type.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep the bytes and read no further."""
        self._buffer += data
        if not self.transport.is_closing():
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Nobody logs in through half a connection."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake the reader."""
        self._lost = True
        self._reason = exc
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
