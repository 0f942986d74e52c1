"""What PgBouncer's values mean, as values of ours. Each reader raises ValueError with what was expected."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxy.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Value = str | int | bool | list[str]

_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")
_SWITCH: Final = {
    **dict.fromkeys(("1", "on", "yes", "true", "t", "y"), True),
    **dict.fromkeys(("0", "off", "no", "false", "f", "n"), False),
}
LARGEST_MESSAGE: Final = 2**30


@dataclass(frozen=True, slots=True)
class Said:
    """One key of our configuration, its value, and what of PgBouncer's says so."""

    key: tuple[str, ...]
    value: Value
    source: str = ""


@dataclass(frozen=True, slots=True)
class Remark:
    """What has no equivalent: where it stood, what it was, why, and what to do. Never a value that may be secret."""

    place: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.name}: {self.text}" if self.place else f"{self.name}: {self.text}"


@dataclass(slots=True)
class Translation:
    """What has been found so far."""

    base: Path  # the directory that paths of the new file are relative to
    said: dict[tuple[str, ...], Said] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)

    def say(self, key: str | tuple[str, ...], value: Value, source: str = "") -> None:
        """Our key; dotted, or in parts when a part holds a name. What is said last counts."""
        path = tuple(key.split(".")) if isinstance(key, str) else key
        self.said[path] = Said(path, value, source)

    def remark(self, place: str, name: str, text: str) -> None:
        """Something that is not carried over as it was."""
        self.remarks.append(Remark(place, name, text))

    def path(self, found: Path) -> str:
        """A file's name for the new file: relative when it is below, else absolute."""
        whole = found.absolute()
        return str(whole.relative_to(self.base)) if whole.is_relative_to(self.base) else str(whole)


def seconds(text: str) -> str:
    """A number of seconds, as our duration."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("must be a number of seconds")
    return format_duration(float(text))


def time_to_live(text: str) -> str:
    """A number of seconds, as our duration; PgBouncer keeps nothing with 0, where ours would look never again."""
    found = seconds(text)
    return "1s" if found == "0" else found


def number(text: str) -> int:
    """A whole number that is not negative."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError("must be a whole number")
    return int(text)


def message_size(text: str) -> str:
    """A size; PgBouncer allows up to 2 GiB, PostgreSQL itself sends and takes no more than 1 GiB."""
    return format_size(min(number(text), LARGEST_MESSAGE))


def switch(text: str) -> bool:
    """0 or 1, and words for them."""
    found = _SWITCH.get(text.lower())
    if found is None:
        raise ValueError("must be 0 or 1")
    return found


def names(text: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def one_of(*allowed: str) -> Callable[[str], str]:
    """A reader of a word."""

    def read(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text.lower()

    return read
