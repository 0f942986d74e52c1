"""What a client has sent and nobody has dealt with yet: the beginning of a message, or all that came while waiting.

Pieces are joined once, when enough is there, so that a message of many megabytes is not copied again with each of its
parts.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from protocol import tags

_header = Struct(">BI").unpack_from
EXTENDED: Final = frozenset((tags.PARSE, tags.BIND, tags.DESCRIBE, tags.EXECUTE, tags.CLOSE))
"""The messages that a batch of the extended protocol is made of, besides its Sync."""
FAR: Final = 1 << 62
SHORT: Final = 10_000
"""Bytes; PostgreSQL takes no longer messages than this but for those in LONG."""
LONG: Final = frozenset((tags.QUERY, tags.PARSE, tags.BIND, tags.FUNCTION_CALL, tags.COPY_DATA))


class Inbox:
    """Empty most of the time."""

    __slots__ = ("_needed", "_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._needed = 0
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def hold(self, data: bytes, needed: int) -> None:
        """Keep this until there are so many bytes in all. Only when it is empty."""
        self._pieces.append(data)
        self.size = len(data)
        self._needed = needed

    def add(self, data: bytes) -> bytes | None:
        """More has come: everything, if it is enough now."""
        self._pieces.append(data)
        self.size += len(data)
        return None if self.size < self._needed else self.take()

    def take(self) -> bytes:
        """Everything; it is empty then."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self.size = 0
        self._needed = 0
        return data


def batch_end(data: bytes) -> int:
    """Where the batch that begins here ends, behind its Sync; 0 if that has not come, -1 if it is cut otherwise."""
    position = 0
    size = len(data)
    while size - position >= 5:
        tag, length = _header(data, position)
        position += 1 + length
        if tag == tags.SYNC:
            return position if position <= size else 0
        if tag not in EXTENDED or length < 4:
            return -1
    return 0
