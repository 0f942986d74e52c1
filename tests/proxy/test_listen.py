from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

import pytest

from proxy.listen import Acceptor, tcp_listeners, unix_listener

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.every_loop


async def test_every_address_of_a_name_gets_the_same_port() -> None:
    listeners = await tcp_listeners("localhost", 0)
    assert len({listener.getsockname()[1] for listener in listeners}) == 1
    with pytest.raises(OSError) as caught:
        await tcp_listeners("localhost", listeners[0].getsockname()[1])
    assert caught.value.errno == errno.EADDRINUSE
    for listener in listeners:
        listener.close()


async def test_a_socket_file_is_replaced_only_if_nobody_listens(tmp_path: Path) -> None:
    path = tmp_path / ".s.PGSQL.6432"
    first = unix_listener(str(path))
    with pytest.raises(OSError):
        unix_listener(str(path))
    first.close()
    unix_listener(str(path)).close()
    path.unlink()
    path.write_text("not a socket")
    with pytest.raises(OSError):
        unix_listener(str(path))
    assert path.read_text() == "not a socket"


class Exhausted:
    """A listening socket whose first accept finds no file descriptor left."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.family = listener.family
        self.attempts = 0
        self.tried = asyncio.Event()

    def fileno(self) -> int:
        return self.listener.fileno()

    def close(self) -> None:
        self.listener.close()

    def accept(self) -> tuple[socket.socket, object]:
        self.attempts += 1
        self.tried.set()
        if self.attempts == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return self.listener.accept()


async def test_accepting_goes_on_after_file_descriptors_ran_out() -> None:
    arrived: asyncio.Queue[socket.socket] = asyncio.Queue()
    acceptor = Acceptor(arrived.put_nowait)
    (listener,) = await tcp_listeners("127.0.0.1", 0)
    exhausted = Exhausted(listener)
    acceptor.add(exhausted)  # type: ignore[arg-type]  # stands for a socket
    with socket.create_connection(listener.getsockname()):
        client = await asyncio.wait_for(arrived.get(), 30)
        client.close()
    # Once in vain, once with success, and once to find that there are no more: no spinning meanwhile.
    assert exhausted.attempts == 3
    acceptor.close()


async def test_closing_while_paused() -> None:
    acceptor = Acceptor(lambda client: client.close())
    (listener,) = await tcp_listeners("127.0.0.1", 0)
    exhausted = Exhausted(listener)
    acceptor.add(exhausted)  # type: ignore[arg-type]  # stands for a socket
    with socket.create_connection(listener.getsockname()):
        await asyncio.wait_for(exhausted.tried.wait(), 30)
        acceptor.close()
        await asyncio.sleep(0.3)
    assert exhausted.attempts == 1
