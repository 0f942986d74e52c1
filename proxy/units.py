"""Durations and sizes as people write them: "100ms", "60s", "128MiB", or a plain number.

A plain number is seconds or bytes. Zero is always allowed here; a key that cannot be zero says so itself.
`MB` and `MiB` differ by 5%: both are read, each as its own standard defines it, so nothing is guessed.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

DURATION_FORM: Final = 'a duration like "100ms", "60s", "5m", "1h", or a number of seconds'
SIZE_FORM: Final = 'a size like "64KiB", "128MiB", "1GiB", or a number of bytes'

_LONGEST: Final = 3650 * 86400.0  # ten years: past this a timer overflows before it ever rings
_LARGEST: Final = 2**50

_SECONDS: Final = {
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "": 1.0,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_BYTES: Final = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_NUMBER_AND_UNIT: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ]*)\s*", re.ASCII)


def duration(value: object) -> float:
    """Seconds from a number or a text; ValueError with the allowed form otherwise."""
    number, unit = _split(value, DURATION_FORM)
    factor = _SECONDS.get(unit)
    if factor is None:
        raise ValueError(f"must be {DURATION_FORM}")
    # Dividing keeps "100ms" equal to 0.1, where multiplying by 0.001 may not.
    seconds = number / round(1 / factor) if factor < 1 else number * factor
    if seconds > _LONGEST:
        raise ValueError("must be at most ten years")
    return seconds


def size(value: object) -> int:
    """Bytes from a number or a text; ValueError with the allowed form otherwise."""
    number, unit = _split(value, SIZE_FORM)
    factor = _BYTES.get(unit)
    if factor is None:
        raise ValueError(f"must be {SIZE_FORM}")
    amount = number * factor
    if amount > _LARGEST:
        raise ValueError("must be at most 1048576GiB")
    if amount != int(amount):
        raise ValueError("must be a whole number of bytes")
    return int(amount)


def format_duration(seconds: float) -> str:
    """The shortest text that `duration` reads back as the same value."""
    if seconds == 0:
        return "0"
    for factor, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if seconds % factor == 0:
            return f"{int(seconds // factor)}{unit}"
    plain = f"{round(seconds * 1000, 9):f}".rstrip("0").rstrip(".") + "ms"
    return plain if seconds < 1 and duration(plain) == seconds else f"{Decimal(repr(seconds)):f}s"


def format_size(amount: int) -> str:
    """The shortest text that `size` reads back as the same value."""
    if amount == 0:
        return "0"
    for factor, unit in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if amount % factor == 0:
            return f"{amount // factor}{unit}"
    return str(amount)


def _split(value: object, form: str) -> tuple[float, str]:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be {form}")
    if isinstance(value, str):
        found = _NUMBER_AND_UNIT.fullmatch(value)
        if found is None:
            raise ValueError(f"must be {form}")
        return float(found[1]), found[2].lower()
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"must be {form}")
    return float(value), ""
