"""Writing when everything that has come in has been dealt with.

A write to a socket wakes whoever reads from it, and on a busy machine that process takes the processor at once. Many
small writes between many small reads therefore cost far more than the writes themselves. So what is written while the
event loop goes through its sockets is kept, in order, and leaves in one go when it is through: nothing waits longer
than one round of the loop, and what goes to one connection several times in a round is one write.

Order: what goes through one `Outlets` leaves in the order in which its connections were first written to, and to each
connection in the order in which it was written. More than `ENOUGH` for one connection leaves at once, so that its
transport can say that it is full. Closing a connection writes what is kept for it first; aborting it does not.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

ENOUGH: Final = 32 * 1024
"""Bytes that are kept for one connection."""


class Outlets:
    """The round in which several connections are written to. ``later`` runs a call when the loop is through."""

    __slots__ = ("_later", "_waiting")

    def __init__(self, later: Callable[[Callable[[], None]], object] | None = None) -> None:
        self._later = later
        self._waiting: list[Outlet] = []

    def outlet(self, transport: asyncio.Transport) -> Outlet:
        """A connection's transport, to be used in its place from now on."""
        return Outlet(transport, self)

    def waits(self, outlet: Outlet) -> None:
        """It has something to write, and had nothing before."""
        self._waiting.append(outlet)
        if len(self._waiting) == 1:
            if self._later is None:
                self._later = asyncio.get_running_loop().call_soon
            self._later(self.flush)

    def flush(self) -> None:
        """Write everything that is kept."""
        waiting, self._waiting = self._waiting, []
        waiting.reverse()
        try:
            while waiting:
                waiting.pop().flush()
        finally:
            if waiting:  # one could not be written to: the others must not suffer for it
                rest = Outlets(self._later)
                for outlet in reversed(waiting):
                    rest.waits(outlet)


class Outlet(asyncio.Transport):
    """A transport that writes a little later."""

    __slots__ = ("_kept", "_outlets", "_transport")

    def __init__(self, transport: asyncio.Transport, outlets: Outlets) -> None:
        super().__init__()
        self._transport = transport
        self._outlets = outlets
        self._kept = b""

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self._kept:
            if len(data) > ENOUGH:
                self._transport.write(data)
            elif data:
                self._kept = bytes(data)
                self._outlets.waits(self)
            return
        self._kept += data
        if len(self._kept) > ENOUGH:
            self.flush()

    def flush(self) -> None:
        """Write what is kept now."""
        kept, self._kept = self._kept, b""
        if kept and not self._transport.is_closing():
            self._transport.write(kept)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        self._kept = b""
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def is_reading(self) -> bool:
        return self._transport.is_reading()

    def get_write_buffer_size(self) -> int:
        return len(self._kept) + self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._transport.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._transport.get_protocol()
