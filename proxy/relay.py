"""A replication connection: one client, one server connection that is its own, and bytes that pass both ways unread.

What replication speaks has its own rules (CopyBoth, messages inside CopyData, commands of its own), and none of them
matters here, since nothing is shared. So a relay looks at nothing but where messages end in what the client is told:
that is where it can be told that the connection ends.

Flow: a side that does not take what is written to it stops the reading of the other, so at most a transport's buffer
is kept in each direction, however fast the log grows.

Ends: the server's end is the client's, once the client has all that was said. A client that is gone, or has closed its
direction, closes the server's input the same way; what was sent before is carried out, as by PostgreSQL. A server that
does not end then (it waits for old transactions before it makes a slot, say) is told to cancel, and left.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Final

from protocol import build
from protocol.bounds import Bounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from pool.connect import Opened, Target

LINGER: Final = 10.0
"""Seconds for a peer to take its last bytes, and for a server to end when its client has."""

_EARLY: Final = 64 * 1024  # bytes that a client sends before it has been greeted


class Kind(Enum):
    """What is replicated; the values are those of PgBouncer's tables."""

    PHYSICAL = "physical"
    LOGICAL = "logical"


class _Side(asyncio.Protocol):
    """The connection to one of the two. What it reads the other writes."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side = self
        self.stopped = False  # is not read
        self._on_lost = on_lost
        self._kept: list[bytes] = []

    def begin(self, transport: asyncio.Transport) -> None:
        """There is a connection: write what has been kept for it."""
        self.transport = transport
        if self.stopped and not transport.is_closing():
            transport.pause_reading()
        kept, self._kept = self._kept, []
        self.other.stop(False)
        for data in kept:
            self.write(data)

    def write(self, data: bytes) -> None:
        """Pass on what the other side has said."""
        if self.transport is None:
            self._kept.append(data)
            if sum(map(len, self._kept)) > _EARLY:
                self.other.stop(True)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def stop(self, stop: bool) -> None:
        """Do not read here, or read again."""
        if stop != self.stopped:
            self.stopped = stop
            if self.transport is not None and not self.transport.is_closing():
                (self.transport.pause_reading if stop else self.transport.resume_reading)()

    def end_of_input(self) -> bool:
        """No more will be written here; True if the peer may still say something."""
        transport = self.transport
        if transport is None or transport.is_closing() or not transport.can_write_eof():
            self.close()
            return False
        transport.write_eof()
        return True

    def close(self) -> None:
        """Close once what was written has been taken; not for ever."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.close()
            if transport.get_write_buffer_size():
                asyncio.get_running_loop().call_later(LINGER, transport.abort)

    def data_received(self, data: bytes) -> None:
        self.other.write(data)

    def pause_writing(self) -> None:
        self.other.stop(True)

    def resume_writing(self) -> None:
        self.other.stop(False)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost()


class _ClientSide(_Side):
    """A client that closes its direction still gets its answers."""

    def __init__(self, on_lost: Callable[[], None], on_end: Callable[[], bool]) -> None:
        super().__init__(on_lost)
        self.bounds = Bounds()
        self._on_end = on_end

    def write(self, data: bytes) -> None:
        self.bounds.passed(data)
        super().write(data)

    def eof_received(self) -> bool:
        answered = self._on_end()
        return answered and self.transport is not None and self.transport.can_write_eof()


class Relay:
    """One of them. ``ended`` is called once; ``cancel`` delivers a cancel request to the server.

    ``number`` is the process id that the client was told, 0 until it has a server.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        user: str,
        database: str,
        kind: Kind,
        application: str,
        target: Target,
        now: float,
        ended: Callable[[Relay], None],
        cancel: Callable[[Relay], None],
    ) -> None:
        self.user = user
        self.database = database
        self.kind = kind
        self.application = application
        self.target = target
        self.connected_at = self.opened_at = now
        self.number = 0
        self.opened: Opened | None = None
        self.opening: asyncio.Task[None] | None = None
        self.transport = transport
        self.client = _ClientSide(self._client_lost, self._client_ends)
        self.client.transport = transport
        self._server = _Side(self._server_lost)
        self.client.other, self._server.other = self._server, self.client
        self._ended = ended
        self._cancel = cancel
        self._over = False
        self._patience: asyncio.TimerHandle | None = None

    @property
    def state(self) -> str:
        """waiting: for its server; active: has it."""
        return "waiting" if self.opened is None else "active"

    @property
    def over(self) -> bool:
        """Whether it has ended, or is about to."""
        return self._over or self.transport.is_closing()

    def begin(self, opened: Opened, number: int, key: bytes, now: float) -> None:
        """The server has let us in: greet the client with what it said, and with a key of ours."""
        self.opened = opened
        self.number = number
        self.opened_at = now
        parts = [build.parameter_status(name, value) for name, value in opened.parameters.items()]
        parts.append(build.backend_key_data(number, key))
        parts.append(build.ready_for_query(b"I"))
        self.transport.write(b"".join(parts))
        opened.adopt(self._server)
        self._server.begin(opened.transport)

    def refuse(self, sqlstate: str, message: str, detail: str | None = None) -> None:
        """End it. The client is told why, unless it is in the middle of a message."""
        if not self.over and self.client.bounds.between:
            self.transport.write(build.error_response(sqlstate, message, severity="FATAL", detail=detail))
        self.client.close()
        self._server.close()

    def dismiss(self) -> None:
        """It has to go, for a reason that is not its own."""
        self.refuse("57P01", "terminating connection due to administrator command")

    def _client_ends(self) -> bool:
        self._be_patient()
        return self._server.end_of_input()

    def _client_lost(self) -> None:
        if self.opening is not None and self.opened is None:
            self.opening.cancel()
            self._finish()
            return
        self._server.stop(False)  # else its end would not be seen
        if self._server.end_of_input():
            self._be_patient()

    def _be_patient(self) -> None:
        if self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(LINGER, self._leave)

    def _leave(self) -> None:
        self._cancel(self)
        if self._server.transport is not None:
            self._server.transport.abort()
        self.client.close()

    def _server_lost(self) -> None:
        self.client.close()
        self._finish()

    def _finish(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        if not self._over:
            self._over = True
            self._ended(self)
