"""What a server says when it is asked to describe a statement: the types of its parameters and the shape of its result.

Two results have the same *shape* if PostgreSQL would take one for the other in a plan that it has kept: names, types
and type modifiers of the columns, in order. Which table a column is of, and in which format it comes, does not matter.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct, error
from typing import Final

from protocol.errors import RemoteProtocolError

_PARAMETERS: Final = 0x74
_ROWS: Final = 0x54
_count = Struct(">H").unpack_from
_type = Struct(">4s2x4s").unpack_from
_FIELD: Final = 18  # bytes of a field behind its name: table, column, type, its length, modifier, format
_TYPE: Final = 6  # where the type is in there
NO_ROWS: Final = b"-"
"""The shape of a statement without a result."""


def shape(body: bytes) -> bytes:
    """The shape that a RowDescription tells, as a digest. Raises RemoteProtocolError if it is none."""
    digest = blake2b(digest_size=16)
    position = 2
    try:
        for _ in range(_count(body)[0]):
            end = body.index(0, position) + 1
            digest.update(body[position:end])
            for part in _type(body, end + _TYPE):
                digest.update(part)
            position = end + _FIELD
    except (ValueError, error):
        position = -1
    if position != len(body):
        raise RemoteProtocolError("the server sent a malformed RowDescription")
    return digest.digest()


class Description:
    """The note of a Describe of a statement, for those who want to know the answer."""

    __slots__ = ("parameters", "shape")

    def __init__(self) -> None:
        self.parameters = b""  # their OIDs, as Parse wants them
        self.shape = NO_ROWS

    def read(self, tag: int, body: bytes) -> None:
        """ParameterDescription, RowDescription or NoData. Raises RemoteProtocolError."""
        if tag == _PARAMETERS:
            self.parameters = body[2:]
        elif tag == _ROWS:
            self.shape = shape(body)
