"""Columns and rows, and their bytes.

Types matter to clients: a driver turns an int4 into a number and leaves a text alone, and scripts made for PgBouncer
rely on the types that it declares. Binary format is there for drivers that ask for nothing else.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from protocol import build

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Value = str | int | float | None
Row = tuple[Value, ...]


class Type(enum.Enum):
    """A PostgreSQL type: its OID and its size."""

    TEXT = (25, -1)
    INT = (23, 4)
    BIGINT = (20, 8)
    NUMERIC = (1700, -1)


_LETTERS: Final = {"": Type.TEXT, "i": Type.INT, "b": Type.BIGINT, "n": Type.NUMERIC}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    type: Type = Type.TEXT


def columns(spec: str) -> tuple[Column, ...]:
    """Columns from words such as ``name``, ``count:i`` (int4), ``bytes:b`` (int8), ``seconds:n`` (numeric)."""
    parts = (word.partition(":") for word in spec.split())
    return tuple(Column(name, _LETTERS[letter]) for name, _, letter in parts)


@dataclass(frozen=True, slots=True)
class Table:
    """An answer with rows; they may be made while they are read."""

    columns: tuple[Column, ...]
    rows: Iterable[Row]


def describe(table: Sequence[Column], formats: Sequence[int]) -> bytes:
    """The RowDescription; ``formats`` has one for each column."""
    return build.row_description(
        build.Column(column.name, column.type.value[0], column.type.value[1], format=form)
        for column, form in zip(table, formats, strict=True)
    )


def data_row(table: Sequence[Column], row: Row, formats: Sequence[int]) -> bytes:
    """One DataRow; by hand, since a table may have a row for each of ten thousand clients."""
    parts = [struct.pack(">H", len(row))]
    for column, value, form in zip(table, row, formats, strict=True):
        if value is None:
            parts.append(b"\xff\xff\xff\xff")
            continue
        data = _binary(column.type, value) if form else _text(value)
        parts += (struct.pack(">i", len(data)), data)
    body = b"".join(parts)
    return b"D" + struct.pack(">I", len(body) + 4) + body


def _text(value: str | float) -> bytes:
    if isinstance(value, float):
        return f"{value:.3f}".encode()
    return str(value).encode("utf-8", "replace")


def _binary(kind: Type, value: str | float) -> bytes:
    if kind is Type.INT:
        return struct.pack(">i", int(value))
    if kind is Type.BIGINT:
        return struct.pack(">q", int(value))
    return _text(value) if kind is Type.TEXT else _numeric(Decimal(_text(value).decode()))


def _numeric(value: Decimal) -> bytes:
    """PostgreSQL's numeric: digits of base 10,000, the weight of the first, sign, decimals that are shown."""
    sign, decimals, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    digits = "".join(map(str, decimals)) + "0" * max(0, int(exponent))
    whole, fraction = (digits[:-scale], digits[-scale:]) if scale else (digits, "")
    fraction = fraction.rjust(scale, "0")
    whole = whole.rjust(-(-len(whole) // 4) * 4, "0")
    fraction = fraction.ljust(-(-len(fraction) // 4) * 4, "0")
    groups = [int((whole + fraction)[at : at + 4]) for at in range(0, len(whole + fraction), 4)]
    weight = len(whole) // 4 - 1
    return struct.pack(f">hhHH{len(groups)}h", len(groups), weight, 0x4000 if sign else 0, scale, *groups)
