"""A server connection that listens: one command at a time goes out, notifications come in at any time."""

from __future__ import annotations

import asyncio
from struct import Struct
from typing import TYPE_CHECKING, Protocol

from protocol import build, tags
from protocol.hot import error_fields

if TYPE_CHECKING:
    from pool.connect import Opened

_header = Struct(">BI").unpack_from
_LONGEST = 1 << 20  # bytes; a notification has at most 8000, and nothing else that is long was asked for


class Listener(Protocol):
    """Who hears what comes."""

    def notified(self, channel: bytes, message: bytes) -> None:
        """A whole NotificationResponse."""

    def answered(self, error: str | None) -> None:
        """The command has been carried out, or refused for this reason."""

    def lost(self, reason: str) -> None:
        """The connection is gone; told once, unless it was closed from this side."""


class Wire(asyncio.Protocol):
    """Made of a connection that has logged in; ``start`` takes it over."""

    def __init__(self, opened: Opened, listener: Listener) -> None:
        self._listener = listener
        self._transport = opened.transport
        self._held = b""
        self._error: str | None = None
        self._closed = False
        self._opened = opened

    def start(self) -> None:
        """Begin to read; the listener may hear at once that the connection is lost."""
        self._opened.adopt(self)

    def send(self, text: str) -> None:
        """A command, once the last has been answered."""
        self._error = None
        self._transport.write(build.query(text))

    def close(self) -> None:
        """Say goodbye; the listener hears no more."""
        if not self._closed:
            self._closed = True
            self._transport.write(build.terminate())
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        data = self._held + data
        position = 0
        while len(data) - position >= 5 and not self._closed:
            tag, length = _header(data, position)
            if not 4 <= length <= _LONGEST:
                self._break("the server broke the protocol")
                return
            end = position + 1 + length
            if end > len(data):
                break
            self._message(tag, data[position:end])
            position = end
        self._held = data[position:]

    def _message(self, tag: int, message: bytes) -> None:
        if tag == tags.NOTIFICATION:
            self._listener.notified(message[9 : message.index(0, 9)], message)
        elif tag == tags.ERROR_RESPONSE:
            self._error = error_fields(message, 5, len(message)).get("M", "the server refused to listen")
        elif tag == tags.READY_FOR_QUERY:
            self._listener.answered(self._error)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._break(self._error or (f"the connection was lost: {exc}" if exc else "the server closed the connection"))

    def _break(self, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._transport.abort()
            self._listener.lost(reason)
