"""A PostgreSQL that says what its script says: for what no real server does.

A script is a coroutine function that gets the connection after the login. `fine` is the script of a server
that answers every question with one row, `fine`.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from tests.support import frames
from tests.support.frames import Message, frame
from tests.support.listener import listening

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

READY: Final = frame("Z", b"I")
AUTHENTICATION_OK: Final = frame("R", struct.pack("!i", 0))
PARAMETERS: Final = {
    "server_version": "18.1",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "TimeZone": "UTC",
    "IntervalStyle": "postgres",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
    "in_hot_standby": "off",
    "default_transaction_read_only": "off",
    "is_superuser": "off",
    "application_name": "",
    "scram_iterations": "4096",
    "search_path": '"$user", public',
    "session_authorization": "scripted",
}


def parameter_status(name: str, value: str) -> bytes:
    """A ParameterStatus."""
    return frame("S", f"{name}\0{value}\0".encode())


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number  # of this connection: 1, 2, ...
        self.startup: dict[str, str] = {}
        self._reader = reader
        self._writer = writer

    async def send(self, *data: bytes) -> None:
        """Write and flush."""
        self._writer.write(b"".join(data))
        await self._writer.drain()

    async def receive(self) -> Message:
        """The next message of the client; EOFError at its end."""
        head = await self._reader.readexactly(5)
        (length,) = struct.unpack_from("!i", head, 1)
        return Message(chr(head[0]), await self._reader.readexactly(length - 4))

    async def expect(self, tag: str) -> Message:
        """Skip to the next message with that tag."""
        while (message := await self.receive()).tag != tag:
            pass
        return message

    async def first_packet(self) -> tuple[int, bytes]:
        """The code and the rest of a packet without tag."""
        (length,) = struct.unpack("!i", await self._reader.readexactly(4))
        body = await self._reader.readexactly(length - 4)
        return struct.unpack_from("!i", body)[0], body[4:]

    async def greet(self) -> None:
        """AuthenticationOk up to ReadyForQuery."""
        settings = b"".join(parameter_status(name, value) for name, value in PARAMETERS.items())
        key = frame("K", struct.pack("!ii", 40_000 + self.number, 7))
        await self.send(AUTHENTICATION_OK, settings, key, READY)

    async def hang_up(self) -> None:
        """Close, as a server does."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


Script = Callable[[Peer], Awaitable[None]]

_ANSWERS: Final = {
    "Q": frames.row_description("a") + frames.data_row("fine") + frame("C", b"SELECT 1\0") + READY,
    "P": frame("1"),
    "B": frame("2"),
    "E": frames.data_row("fine") + frame("C", b"SELECT 1\0"),
    "C": frame("3"),
    "S": READY,
}


async def answer(peer: Peer, message: Message) -> None:
    """The well-behaved answer to one message."""
    if message.tag == "D":
        statement = frame("t", struct.pack("!h", 0)) if message.body[:1] == b"S" else b""
        await peer.send(statement + frames.row_description("a"))
    elif message.tag in _ANSWERS:
        await peer.send(_ANSWERS[message.tag])


async def fine(peer: Peer) -> None:
    """Answer everything, until the client leaves."""
    while (message := await peer.receive()).tag != "X":
        await answer(peer, message)


class ScriptedServer:
    """The listening side: the n-th connection plays the n-th script, later ones the last."""

    def __init__(self, *scripts: Script, before_login: Script | None = None) -> None:
        self.port = 0
        self.connections = 0
        self.cancels: list[tuple[int, bytes]] = []
        self._scripts = scripts or (fine,)
        self._before_login = before_login

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from its first packet to the end of its script."""
        peer = Peer(reader, writer, 0)
        code, rest = await peer.first_packet()
        while code in (80877103, 80877104):
            await peer.send(b"N")
            code, rest = await peer.first_packet()
        if code == 80877102:
            self.cancels.append((struct.unpack_from("!i", rest)[0], rest[4:]))
            return
        self.connections += 1
        peer.number = self.connections
        words = [word.decode() for word in rest.split(b"\0") if word]
        peer.startup = dict(zip(words[::2], words[1::2], strict=False))
        script = self._scripts[min(self.connections, len(self._scripts)) - 1]
        if self._before_login is not None and script is not fine:
            await self._before_login(peer)
            return
        await peer.greet()
        await script(peer)


@contextlib.asynccontextmanager
async def scripted_server(*scripts: Script, before_login: Script | None = None) -> AsyncIterator[ScriptedServer]:
    """A server on a free loopback port; `before_login` replaces login and script, except for `fine`."""
    server = ScriptedServer(*scripts, before_login=before_login)
    async with listening(server.serve) as server.port:
        yield server
