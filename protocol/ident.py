"""pg_ident.conf: which names that somebody else vouches for may come in as which user.

    map-name   system-name   user

A system name that begins with / is a regular expression (Python's), found anywhere unless it says ^ and $; \\1 in the
user then stands for its first group. The user ``all`` is everybody. Groups (+role) and expressions for the user would
need the server's catalog, and are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.hbalines import LineError, MalformedLine, lines

if TYPE_CHECKING:
    from protocol.hbalines import Word


@dataclass(frozen=True, slots=True)
class Mapping:
    """One line: ``system`` is a name, or an expression."""

    system: str | re.Pattern[str]
    user: Word

    def fits(self, system: str, user: str) -> bool:
        """Whether who is vouched for as ``system`` may be ``user``."""
        target = self.user.text
        if isinstance(self.system, re.Pattern):
            found = self.system.search(system)
            if found is None:
                return False
            if "\\1" in target:
                return target.replace("\\1", found[1] or "", 1) == user
        elif self.system != system:
            return False
        return self.user.says("all") or target == user


@dataclass(frozen=True, slots=True)
class UserMap:
    """All lines of one map."""

    mappings: tuple[Mapping, ...]

    def __call__(self, system: str, user: str) -> bool:
        """Whether any line fits."""
        return any(mapping.fits(system, user) for mapping in self.mappings)


def parse_ident(text: str, file: str) -> dict[str, UserMap]:
    """The maps by name; LineError names the line of ``file`` that is wrong."""
    found: dict[str, list[Mapping]] = {}
    number = 0
    try:
        for at, fields in lines(text):
            number = at
            if len(fields) != 3 or any(len(field) != 1 for field in fields):
                raise ValueError("must be a map's name, a system's name, and a user")
            name, system, user = (field[0] for field in fields)
            found.setdefault(name.text, []).append(_mapping(system, user))
    except MalformedLine as error:
        raise LineError(file, error.number, str(error)) from None
    except ValueError as error:
        raise LineError(file, number, str(error)) from None
    return {name: UserMap(tuple(mappings)) for name, mappings in found.items()}


def _mapping(system: Word, user: Word) -> Mapping:
    if user.text.startswith(("+", "/", "@")) and not user.quoted:
        raise ValueError(f"{user.text}: groups, expressions and files are not available for the user")
    if not system.text.startswith("/") or system.quoted:
        return Mapping(system.text, user)
    try:
        pattern = re.compile(system.text[1:])
    except re.error as error:
        raise ValueError(f"{system.text}: is no regular expression: {error}") from None
    if "\\1" in user.text and pattern.groups < 1:
        raise ValueError(f"{system.text}: has no group for the \\1 in {user.text}")
    return Mapping(pattern, user)
