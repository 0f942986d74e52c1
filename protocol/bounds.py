"""Where messages end in a stream that is passed on unread.

Whoever wants to say something of its own to the receiver may do so between two messages only. Nothing is kept but the
number of bytes that the message under way still has, and the part of a header that has come.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

_length: Final = Struct(">xI").unpack_from
_HEADER: Final = 5


class Bounds:
    """One direction of a connection, from the first byte of a message on."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._left = 0
        self._head = b""

    @property
    def between(self) -> bool:
        """Whether what has passed ends where a message ends."""
        return not (self._left or self._head)

    def passed(self, data: bytes) -> None:
        """These bytes have passed. A length that is too small for a message counts as an empty one."""
        at = self._left
        if at >= len(data):
            self._left = at - len(data)
            return
        if self._head:
            data = self._head + data
            self._head = b""
        size = len(data)
        while at + _HEADER <= size:
            at += 1 + max(4, _length(data, at)[0])
        self._head = data[at:]
        self._left = max(0, at - size)
