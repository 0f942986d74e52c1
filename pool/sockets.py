"""Sockets before they have a transport, for both sides of the proxy.

Whether TLS comes is decided by the first bytes. A transport would read on behind them, and what it read
would have to be taken back and given to TLS; so those bytes are read from the bare socket, no more of them
than wanted, and the transport is made afterwards, with TLS or without. Every wait is one turn of the event
loop's readiness."""

from __future__ import annotations

import asyncio
import contextlib
import socket

_KEEPALIVE_IDLE = 15
_KEEPALIVE_INTERVAL = 5
_KEEPALIVE_PROBES = 3


def tune(sock: socket.socket) -> None:
    """Make it non-blocking and undelayed; the kernel notices within 30 s that the other side is gone."""
    sock.setblocking(False)
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    # A peer that has already reset the connection makes these fail; reading will say so.
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", _KEEPALIVE_IDLE),
            ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL),
            ("TCP_KEEPCNT", _KEEPALIVE_PROBES),
        ):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def receive(sock: socket.socket, size: int, flags: int = 0) -> bytes:
    """Up to ``size`` bytes as soon as there are any; empty at the end. With MSG_PEEK they stay there."""
    while True:
        try:
            return sock.recv(size, flags)
        except (BlockingIOError, InterruptedError):
            await readable(sock)


async def readable(sock: socket.socket) -> None:
    """Wait until reading would not block."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def waiting(sock: socket.socket) -> bool:
    """Whether there is something to read already."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except (BlockingIOError, InterruptedError):
        return False
