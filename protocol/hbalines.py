"""The lines of pg_hba.conf and pg_ident.conf: fields with blanks between them, each a list of words with commas.

"quoted"      keeps blanks, commas and #; a quote inside is doubled; a keyword in quotes is a name
@file         in a list of names: the words of that file
# comment     up to the end of the line
\\             at the end: the next line goes on
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST: Final = 10  # files of names that name files

_WORD: Final = re.compile(r'(?:[^\s,"#]|"(?:[^"]|"")*")+')
_GAP: Final = re.compile(r"[ \t\r\f\v]*")

ReadFile = Callable[[str], str]
"""A file that a line names, as text; OSError or UnicodeDecodeError."""


class LineError(ValueError):
    """A line that cannot be used: ``line`` counts from 1."""

    def __init__(self, file: str, line: int, text: str) -> None:
        super().__init__(f"{file}, line {line}: {text}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Word:
    """One word; ``quoted``: it is a name, whatever it says."""

    text: str
    quoted: bool = False

    def says(self, keyword: str) -> bool:
        """Whether this is the keyword."""
        return self.text == keyword and not self.quoted


Field = tuple[Word, ...]


def lines(text: str) -> Iterator[tuple[int, list[Field]]]:
    """The fields of each line that has any, with its number. ValueError (number, text) for one that is malformed."""
    number, begin, whole = 0, 0, ""
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        begin = begin or number
        line = line.removesuffix("\r")
        if line.endswith("\\"):
            whole += line[:-1]
            continue
        fields = _fields(whole + line, begin)
        if fields:
            yield begin, fields
        begin, whole = 0, ""
    if whole and (fields := _fields(whole, begin)):  # the last line would go on
        yield begin, fields


def expanded(field: Field, read: ReadFile, depth: int = 0) -> Iterator[Word]:
    """The words of a list of names, with those of its files. ValueError says what is wrong."""
    for word in field:
        if not word.text.startswith("@") or word.quoted or len(word.text) == 1:
            yield word
            continue
        if depth == DEEPEST:
            raise ValueError(f"files of names are nested more than {DEEPEST} deep")
        name = word.text[1:]
        try:
            text = read(name)
        except OSError as error:
            raise ValueError(f'the file "{name}" cannot be read: {error.strerror}') from None
        except UnicodeDecodeError:
            raise ValueError(f'the file "{name}" is not UTF-8 text') from None
        try:
            found = [field for _, fields in lines(text) for field in fields]
        except MalformedLine as error:
            raise ValueError(f'the file "{name}" is wrong in line {error.number}: {error}') from None
        for inner in found:
            yield from expanded(inner, read, depth + 1)


class MalformedLine(ValueError):
    """A line that cannot be split."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


def _fields(line: str, number: int) -> list[Field]:
    fields: list[list[Word]] = []
    at, goes_on = 0, False
    while True:
        at = _end(_GAP, line, at)
        if at == len(line) or line[at] == "#":
            break
        if line[at] == ",":
            goes_on = True
            at += 1
            continue
        end = _end(_WORD, line, at)
        if end == at:
            raise MalformedLine(number, "a quote is not closed")
        raw = line[at:end]
        word = Word(re.sub(r'""|"', lambda quote: '"' if quote[0] == '""' else "", raw), raw.startswith('"'))
        if goes_on and fields:
            fields[-1].append(word)
        else:
            fields.append([word])
        at, goes_on = end, False
    return [tuple(field) for field in fields]


def _end(pattern: re.Pattern[str], line: str, at: int) -> int:
    found = pattern.match(line, at)
    return at if found is None else found.end()
