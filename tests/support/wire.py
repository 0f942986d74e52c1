"""A client that speaks the protocol byte by byte, and never more cleverly than its test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final

from scramp import ScramClient

from tests.support import frames
from tests.support.frames import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENCE: Final = 30.0  # seconds for any one message: generous, for machines under load
_LIMIT: Final = 1 << 30
_CHUNK: Final = 1 << 20
_TAGS: Final = b"RSKZTDC12nt3EINAGHWdcsvV"


class LoginRefusedError(Exception):
    """The server answered a login with an error: its fields by letter."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(fields.get("M", ""))
        self.fields = fields
        self.sqlstate = fields.get("C", "")


class Wire:
    """One connection; `parameters`, `pid` and `key` are filled in by login()."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.parameters: dict[str, str] = {}
        self.pid = 0
        self.key = b""
        self._buffer = bytearray()
        self._start = 0  # of what was not taken from the buffer yet

    @classmethod
    async def open(cls, host: str, port: int) -> Wire:
        """Connect, and say nothing yet."""
        return cls(*await asyncio.wait_for(asyncio.open_connection(host, port, limit=_CHUNK), PATIENCE))

    async def login(
        self,
        user: str,
        database: str,
        password: str,
        *options: tuple[str, str],
        version: int = frames.PROTOCOL_3_0,
    ) -> list[Message]:
        """Get in by whatever the server asks for; the messages from AuthenticationOk to ReadyForQuery.

        Raises LoginRefusedError; EOFError when the connection just ends.
        """
        self.write(frames.startup(("user", user), ("database", database), *options, version=version))
        scram = ScramClient(["SCRAM-SHA-256"], user, password)
        greeting: list[Message] = []
        while True:
            message = await self.message()
            if message.tag == "E":
                raise LoginRefusedError(frames.fields(message.body))
            if message.tag == "R":
                (code,) = struct.unpack_from("!i", message.body)
                self._authenticate(code, message.body[4:], scram, password)
            elif message.tag == "S":
                name, value = message.body.split(b"\0")[:2]
                self.parameters[name.decode()] = value.decode()
            elif message.tag == "K":
                self.pid, self.key = struct.unpack_from("!i", message.body)[0], message.body[4:]
            greeting.append(message)
            if message.tag == "Z":
                return greeting

    def _authenticate(self, code: int, data: bytes, scram: ScramClient, password: str) -> None:
        if code == 3:
            self.write(frames.frame("p", password.encode() + b"\0"))
        elif code == 10:
            first = scram.get_client_first().encode()
            self.write(frames.frame("p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first))
        elif code == 11:
            scram.set_server_first(data.decode())
            self.write(frames.frame("p", scram.get_client_final().encode()))
        elif code == 12:
            scram.set_server_final(data.decode())
        elif code != 0:
            raise AssertionError(f"authentication request {code} was not expected")

    def write(self, *data: bytes) -> None:
        """Queue bytes; they leave as the connection takes them."""
        self.writer.write(b"".join(data))

    async def drain(self) -> None:
        """Wait until the kernel took what was written."""
        await asyncio.wait_for(self.writer.drain(), PATIENCE)

    async def message(self, patience: float = PATIENCE) -> Message:
        """The next message; IncompleteReadError (an EOFError) when the connection ended."""
        while (found := self._take()) is None:
            data = await asyncio.wait_for(self.reader.read(_CHUNK), patience)
            if not data:
                raise asyncio.IncompleteReadError(bytes(self._buffer[self._start :]), None)
            del self._buffer[: self._start]
            self._start = 0
            self._buffer += data
        return found

    def _take(self) -> Message | None:
        """The first message of the buffer, when it is all there."""
        have = len(self._buffer) - self._start
        if have < 5:
            return None
        tag, length = struct.unpack_from("!Bi", self._buffer, self._start)
        if tag not in _TAGS or not 4 <= length < _LIMIT:
            raise AssertionError(f"no frame begins with {bytes(self._buffer[self._start : self._start + 5])!r}")
        if have < length + 1:
            return None
        body = bytes(self._buffer[self._start + 5 : self._start + 1 + length])
        self._start += length + 1
        return Message(chr(tag), body)

    async def until(self, tag: str) -> list[Message]:
        """All messages up to the first one with that tag."""
        messages = [await self.message()]
        while messages[-1].tag != tag:
            messages.append(await self.message())
        return messages

    async def ask(self, *data: bytes) -> list[Message]:
        """Send, and read up to ReadyForQuery."""
        self.write(*data)
        return await self.until("Z")

    async def value(self, text: str) -> str | None:
        """The one value of a simple query; an error fails the test."""
        messages = await self.ask(frames.query(text))
        assert not frames.errors(messages), messages
        return frames.rows(messages)[0][0]

    async def rest(self, patience: float = PATIENCE) -> list[Message]:
        """What still comes until the peer closes; TimeoutError when it does not.

        A frame that is cut off fails the test.
        """
        messages: list[Message] = []
        try:
            while True:
                messages.append(await self.message(patience))
        except asyncio.IncompleteReadError as end:
            if end.partial:
                raise AssertionError(f"the connection ended within a frame: {end.partial[:80]!r}") from None
        except ConnectionError:
            pass
        return messages

    async def raw_rest(self, patience: float = PATIENCE) -> bytes:
        """The bytes that still come until the peer closes, framed or not."""
        try:
            rest = await asyncio.wait_for(self.reader.read(), patience)
        except ConnectionError:
            rest = b""
        return bytes(self._buffer[self._start :]) + rest

    def reset(self) -> None:
        """Close with RST: what a killed client or a firewall does."""
        connection = self.writer.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def end_of_input(self) -> None:
        """Close our direction only."""
        self.writer.write_eof()

    async def close(self) -> None:
        """Close without a Terminate."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def opened(host: str, port: int) -> AsyncIterator[Wire]:
    """A connection without login, closed at the end."""
    wire = await Wire.open(host, port)
    try:
        yield wire
    finally:
        await wire.close()
