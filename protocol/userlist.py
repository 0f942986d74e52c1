"""PgBouncer's userlist.txt: ``"user" "secret"`` on each line, as text.

A quote inside the quotes is doubled. What follows the second string is ignored, as are lines that begin
with ``;`` and empty ones. An empty secret is for users who need none (trust). The last line of a user
counts. Errors name the line, never what stands in it."""

from __future__ import annotations

import re
from typing import Final

from protocol.secrets import Secret, parse_secret

_STRING: Final = r'"((?:[^"\n]|"")*)"'
_LINE: Final = re.compile(rf'\s*{_STRING}[^"\n]*{_STRING}.*')


class UserlistError(ValueError):
    """A line that is not of the format; ``line`` counts from 1."""

    def __init__(self, line: int) -> None:
        super().__init__(f'line {line} must look like "user" "secret"')
        self.line = line


def parse_userlist(text: str) -> dict[str, Secret]:
    """Read the whole file; UserlistError for the first line that is wrong."""
    users: dict[str, Secret] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip() or line.lstrip().startswith(";"):
            continue
        found = _LINE.fullmatch(line)
        if found is None or not found[1] or "\0" in line:
            raise UserlistError(number)
        user, secret = (part.replace('""', '"') for part in found.groups())
        users[user] = parse_secret(secret)
    return users
