"""A command that is ready to run, and how its rows are wanted."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from protocol.errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.console.command import Command
    from proxy.console.table import Column, Row


class Portal:
    """``formats`` has one for each column; ``rows`` are those that are still to come, None before it ran."""

    __slots__ = ("columns", "command", "formats", "ran", "rows")

    def __init__(self, command: Command | None, columns: tuple[Column, ...] | None, formats: list[int]) -> None:
        self.command = command
        self.columns = columns
        self.formats = formats
        self.ran = False
        self.rows: Iterator[Row] | None = None


def formats_of(raw: bytes, count: int) -> list[int]:
    """A Bind's result formats for each of ``count`` columns. RemoteProtocolError if there are too many or strange."""
    given = list(struct.unpack(f">{len(raw) // 2 - 1}h", raw[2:]))
    if any(form not in (0, 1) for form in given):
        raise RemoteProtocolError("unsupported format code", "22023")
    if len(given) <= 1:
        return (given or [0]) * count
    if len(given) != count:
        raise RemoteProtocolError(f"bind message has {len(given)} result formats but query has {count} columns")
    return given
