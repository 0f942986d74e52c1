"""An answer to a text in which we have written another name of a prepared statement: told in the client's words.

Errors and notices say the name (``prepared statement "forebay_7" does not exist``) and positions, in characters from
the beginning of the text. What follows our name is moved by as much as that is longer; what lies beyond the text, or
says that a table is missing, is about the text of the prepared statement, which PostgreSQL counts by itself.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sql.named import Named

_header = Struct(">BI").unpack_from
_TOLD: Final = frozenset((0x45, 0x4E))  # ErrorResponse, NoticeResponse
_READY: Final = 0x5A
_MESSAGE: Final = 0x4D
_POSITION: Final = 0x50
_NO_TABLE: Final = b"C42P01"


class Retelling:
    """Of one simple Query, up to its ReadyForQuery; then it is ``over``."""

    __slots__ = ("_ahead", "_left", "_length", "_name", "_sent", "_width", "over")

    def __init__(self, named: Named, sent: bytes, length: int) -> None:
        """``sent`` is the name that the server has been told, ``length`` that of the whole text, in characters."""
        self._ahead = named.ahead
        self._width = named.width
        self._name = b'"%b"' % named.name
        self._sent = b'"%b"' % sent
        self._length = length
        self._left = 0  # bytes of a message that has passed in part
        self.over = False

    def passing(self, out: bytes) -> bytes:
        """The same bytes, retold; they begin and end with messages, or within a long one."""
        size = len(out)
        position = min(self._left, size)
        self._left -= position
        parts: list[bytes] = []
        start = 0
        while position < size and not self.over:
            tag, length = _header(out, position)
            end = position + 1 + length
            if end > size:
                self._left = end - size
                break
            if tag in _TOLD:
                parts += (out[start:position], self._retold(tag, out[position + 5 : end]))
                start = end
            self.over = tag == _READY
            position = end
        if not parts:
            return out
        parts.append(out[start:])
        return b"".join(parts)

    def _retold(self, tag: int, body: bytes) -> bytes:
        fields = body.split(b"\0")
        ours = _NO_TABLE not in fields
        for number, field in enumerate(fields):
            if field and field[0] == _MESSAGE:
                fields[number] = field.replace(self._sent, self._name)
            elif field and field[0] == _POSITION and ours and field[1:].isdigit():
                fields[number] = b"P%d" % self._moved(int(field[1:]))
        body = b"\0".join(fields)
        return tag.to_bytes(1, "big") + (len(body) + 4).to_bytes(4, "big") + body

    def _moved(self, position: int) -> int:
        """Positions begin with 1."""
        behind = position - 1 - self._ahead
        if behind <= 0 or position > self._length + 1:
            return position
        length = len(self._sent)
        return position - length + self._width if behind >= length else self._ahead + 1
