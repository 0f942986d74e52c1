"""Session settings that move with the session from server to server.

A *profile* is the set of settings in which a session differs from a freshly opened server connection. Profiles are
interned: two sessions with the same settings hold the same object, so that "does this server fit?" is one comparison
of identities, which is nearly always true.

Two sources feed a profile. Settings that PostgreSQL reports (ParameterStatus) are followed by those reports alone:
they come in PostgreSQL's own spelling, and also when a function or the end of a transaction changed the value. The
others are followed by what the statement said (see proxy/), once the reply has proved it.

When a server with another profile is taken, one simple Query goes ahead of the client's message and its replies are
swallowed: RESET for what only the old profile has, set_config for what differs. set_config takes list values such as
search_path whole, where SET would quote them into one name.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NEVER_SET = frozenset(
    (
        "in_hot_standby",
        "integer_datetimes",
        "is_superuser",
        "server_encoding",
        "server_version",
        "session_authorization",
    )
)
"""Reported, but not to be set: they follow from the connection."""


_READING = frozenset(
    (
        "array_nulls",
        "backslash_quote",
        "client_encoding",
        "datestyle",
        "intervalstyle",
        "lc_monetary",
        "role",
        "search_path",
        "session_authorization",
        "standard_conforming_strings",
        "timezone",
        "timezone_abbreviations",
        "transform_null_equals",
        "xmloption",
    )
)
"""Settings by which PostgreSQL reads a statement: its names, quotes and constants."""


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Settings by lower-case name. Interned: compare with ``is``.

    ``place`` is the part of them that decides what a statement's text means.
    """

    values: dict[str, str]
    number: int
    place: bytes = b""
    _queries: dict[int, bytes] = field(default_factory=dict)


class Profiles:
    """The interned profiles of one pool."""

    def __init__(self, limit: int = 10_000) -> None:
        self.empty = Profile({}, 0)
        self._limit = limit
        self._made = 0
        self._known: dict[frozenset[tuple[str, str]], Profile] = {frozenset(): self.empty}

    def of(self, values: dict[str, str]) -> Profile:
        """The one profile with these values."""
        key = frozenset(values.items())
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self._limit:  # numbers go on, so an old profile only loses its sharing
                self._known = {frozenset(): self.empty}
            self._made += 1
            found = self._known[key] = Profile(dict(values), self._made, _place(values))
        return found

    def changed(self, profile: Profile, name: str, value: str | None) -> Profile:
        """The profile with one setting set, or with None reset."""
        name = name.lower()
        if profile.values.get(name) == value:
            return profile
        values = dict(profile.values)
        if value is None:
            values.pop(name, None)
        else:
            values[name] = value
        return self.of(values)


def _place(values: dict[str, str]) -> bytes:
    parts = [f"{name}={values[name]}" for name in sorted(values) if name in _READING]
    return "\0".join(parts).encode("utf-8", "surrogatepass")


def literal(text: str) -> str:
    """A string constant that means the same whatever standard_conforming_strings says."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'" if "\\" in text else f"'{escaped}'"


def identifier(name: str) -> str:
    """A setting's name, quoted part by part ("app.user" is a name of two parts)."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def switch_query(old: Profile, new: Profile) -> bytes:
    """The text that takes a server from one profile to another; empty if they say the same. Kept with ``new``."""
    kept = new._queries.get(old.number)
    if kept is not None:
        return kept
    parts = [f"RESET {identifier(name)}" for name in sorted(old.values) if name not in new.values]
    differing = [name for name in sorted(new.values) if old.values.get(name) != new.values[name]]
    # client_encoding last: the text of this very query is still in the old one
    differing.sort(key=lambda name: name == "client_encoding")
    if differing:
        calls = ", ".join(
            f"pg_catalog.set_config({literal(name)}, {literal(new.values[name])}, false)" for name in differing
        )
        parts.append(f"SELECT {calls}")
    query = ";".join(parts).encode("utf-8", "surrogateescape")
    if len(new._queries) > 64:
        new._queries.clear()
    new._queries[old.number] = query
    return query
