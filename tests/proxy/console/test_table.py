from __future__ import annotations

import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.hot import data_row_values
from proxy.console.table import Column, Row, Type, Value, columns, data_row


def cells(spec: str, row: Row, form: int = 0) -> tuple[bytes | None, ...]:
    """The values of one encoded row."""
    table = columns(spec)
    message = data_row(table, row, [form] * len(table))
    assert message[:1] == b"D"
    assert struct.unpack(">I", message[1:5])[0] == len(message) - 1
    return data_row_values(message, 5, len(message))


def test_columns_are_written_as_words() -> None:
    assert columns("name count:i bytes:b seconds:n") == (
        Column("name", Type.TEXT),
        Column("count", Type.INT),
        Column("bytes", Type.BIGINT),
        Column("seconds", Type.NUMERIC),
    )


def test_text_format() -> None:
    assert cells("a b:i c:n d:n e", ("é", -7, 3, 0.25, None)) == ("é".encode(), b"-7", b"3", b"0.250", None)


def test_text_that_is_no_utf8_is_still_an_answer() -> None:
    assert cells("a", ("\udcff",)) == (b"?",)


def test_binary_format() -> None:
    assert cells("a b:i c:b d", ("x", -2, 1 << 40, None), form=1) == (
        b"x",
        b"\xff\xff\xff\xfe",
        struct.pack(">q", 1 << 40),
        None,
    )


def numeric(data: bytes) -> Decimal:
    """A numeric as PostgreSQL's manual of its own format has it."""
    count, weight, sign, scale = struct.unpack_from(">hhHH", data)
    digits = struct.unpack_from(f">{count}h", data, 8)
    assert len(data) == 8 + 2 * count
    value = sum((Decimal(digit) * Decimal(10_000) ** (weight - at) for at, digit in enumerate(digits)), Decimal(0))
    value = value.quantize(Decimal(1).scaleb(-scale))
    return -value if sign == 0x4000 else value


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (1, "1"), (9_999, "9999"), (10_000, "10000"), (123_456_789, "123456789"), (0.001, "0.001")],
)
def test_numeric_in_binary_format(value: Value, expected: str) -> None:
    (data,) = cells("n:n", (value,), form=1)
    assert data is not None
    assert str(numeric(data)) == expected


@given(st.one_of(st.integers(-(10**17), 10**17), st.floats(-1e9, 1e9).map(lambda value: round(value, 3))))
def test_every_numeric_in_binary_format(value: float) -> None:
    (data,) = cells("n:n", (value,), form=1)
    (text,) = cells("n:n", (value,))
    assert data is not None
    assert text is not None
    assert numeric(data) == Decimal(text.decode())
