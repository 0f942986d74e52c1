"""Listening sockets: where clients knock. Accepting never ends because accepting once failed.

When the process or the system has no file descriptor left, accepting pauses: the client in the kernel's
queue stays there, and asking again at once would spin."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("forebay.listen")

_BATCH: Final = 64  # clients taken in one turn of the loop, so that those already here are served between
_PAUSE: Final = 0.2  # seconds
_ACCESS: Final = 0o777  # as PostgreSQL's unix_socket_permissions: logging in is what protects


async def tcp_listeners(host: str, port: int, *, backlog: int = 1024, reuse_port: bool = False) -> list[socket.socket]:
    """Listen on every address of ``host``; with port 0 all get the port that the first was given. OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    with contextlib.ExitStack() as undo:
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            listener = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            chosen = listeners[0].getsockname()[1] if listeners else port
            listener.bind((address[0], chosen, *address[2:]))
            listener.listen(backlog)
            listeners.append(listener)
        undo.pop_all()
    return listeners


def unix_listener(path: str, *, backlog: int = 1024) -> socket.socket:
    """Listen on a socket file. One that nobody listens on is replaced, otherwise OSError (EADDRINUSE)."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        try:
            listener.bind(path)
        except OSError:
            if not _abandoned(path):
                raise
            os.unlink(path)
            listener.bind(path)
        os.chmod(path, _ACCESS)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def _abandoned(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


class Acceptor:
    """Takes clients from listening sockets, which it owns. ``on_socket`` owns what it gets."""

    def __init__(self, on_socket: Callable[[socket.socket], None]) -> None:
        self._on_socket = on_socket
        self._listeners: dict[socket.socket, asyncio.TimerHandle | None] = {}

    def add(self, listener: socket.socket) -> None:
        """Begin to accept from it."""
        self._listeners[listener] = None
        self._resume(listener)

    def close(self) -> None:
        """Stop accepting; socket files are removed. Clients already taken are not touched."""
        loop = asyncio.get_running_loop()
        for listener, timer in self._listeners.items():
            if timer is not None:
                timer.cancel()
            loop.remove_reader(listener)
            if listener.family == socket.AF_UNIX:
                with contextlib.suppress(OSError):
                    os.unlink(listener.getsockname())
            listener.close()
        self._listeners.clear()

    def _resume(self, listener: socket.socket) -> None:
        self._listeners[listener] = None
        asyncio.get_running_loop().add_reader(listener, self._ready, listener)

    def _ready(self, listener: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                client, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                logger.error("cannot accept clients for the moment: %s", error)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                self._listeners[listener] = loop.call_later(_PAUSE, self._resume, listener)
                return
            self._on_socket(client)
