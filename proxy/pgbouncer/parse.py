"""Reads pgbouncer.ini as PgBouncer does.

    [section]
    name = value up to the end of the line
    "quoted name" = value        a quote inside is doubled
    ; comment, # comment: only at the beginning of a line
    %include file

A value of [databases], [users] and [peers] is again a list: name=value pairs with blanks between them, a value
with blanks in single quotes, a quote inside of them doubled. What is said twice counts as it was said last.
An included file that is not absolute is looked for in the working directory, as PgBouncer does, and then beside the
file that includes it, since an import is often run from somewhere else. Sections go on through includes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.problems import ConfigError, Problem

DEEPEST: Final = 10  # includes within includes

_SECTION: Final = re.compile(r"\[([^\]]*)\]\s*")
_SETTING: Final = re.compile(r'(?:"((?:[^"]|"")+)"|([A-Za-z0-9_.*-]+))\s*=\s*(.*)', re.DOTALL)
_INCLUDE: Final = re.compile(r"%include\s+(.+)")
_NAME: Final = re.compile(r"\s*([^\s=]+)\s*=\s*")
_QUOTED: Final = re.compile(r"'((?:[^']|'')*)'(?=\s|$)")
_BARE: Final = re.compile(r"[^\s']\S*|(?=\s|$)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One `name = value`; ``place`` is its file and line."""

    name: str
    value: str
    place: str


Ini = dict[str, dict[str, Entry]]
"""Entries by name, by section."""


def read_ini(path: Path) -> Ini:
    """Read the file and what it includes. ConfigError names the file and line that is wrong."""
    reader = _Reader()
    reader.read(path, 0)
    return reader.found


def read_pairs(text: str) -> dict[str, str]:
    """The pairs of a connection string. ValueError when it is not of the form; never repeats a value."""
    found: dict[str, str] = {}
    text = text.strip()
    at = 0
    while at < len(text):
        name = _NAME.match(text, at)
        if name is None:
            raise ValueError("must be name=value pairs with blanks between them")
        quoted = _QUOTED.match(text, name.end())
        bare = None if quoted else _BARE.match(text, name.end())
        if quoted is not None:
            found[name[1]] = quoted[1].replace("''", "'")
            at = quoted.end()
        elif bare is not None:
            found[name[1]] = bare[0]
            at = bare.end()
        else:
            raise ValueError(f"the value of {name[1]} has a quote that is not closed, or more behind its end")
    return found


class _Reader:
    def __init__(self) -> None:
        self.found: Ini = {}
        self._section: str | None = None

    def read(self, path: Path, depth: int) -> None:
        for number, line in enumerate(_text(path).split("\n"), 1):
            self._line(line.strip(), path, f"{path.name}:{number}", depth)

    def _line(self, line: str, path: Path, place: str, depth: int) -> None:
        if not line or line[0] in ";#":
            return
        if section := _SECTION.fullmatch(line):
            self._section = section[1]
            self.found.setdefault(self._section, {})
        elif include := _INCLUDE.fullmatch(line):
            if depth == DEEPEST:
                raise ConfigError([Problem(place, f"includes are nested more than {DEEPEST} deep")])
            self.read(beside(Path(include[1]), path), depth + 1)
        elif (setting := _SETTING.fullmatch(line)) and self._section is not None:
            name = setting[1].replace('""', '"') if setting[1] is not None else setting[2]
            entries = self.found[self._section]
            entries.pop(name, None)  # the last one counts, and stands where it was said
            entries[name] = Entry(name, setting[3].rstrip(), place)
        elif self._section is None:
            raise ConfigError([Problem(place, "stands before the first [section]")])
        else:
            raise ConfigError([Problem(place, "is neither `name = value`, nor [section], nor %include file")])


def beside(wanted: Path, file: Path) -> Path:
    """A file that another one names: from the working directory, else from that one's own directory."""
    if wanted.is_absolute() or wanted.exists():
        return wanted
    return file.parent / wanted


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(str(path), "is not UTF-8 text")]) from None
