"""Which functions of a user are *quiet*: surely write nothing, define nothing and leave the session alone.

STABLE and IMMUTABLE are not enough: such a function cannot write by itself, but it may call a volatile one
that does (PostgreSQL does not stop that). So a quiet function is
- compiled and labelled immutable, or of a library known to write nothing (only a superuser can lie there), or
- a plain function in SQL or PL/pgSQL, not volatile, whose source contains no name of anything noisy: of a
  volatile function, builtin or not, or of a function that is itself not quiet; and no dynamic SQL.
Names are looked for as substrings of the folded source, which finds more than there is. Whatever can be
called without its name (operators, casts, views, policies, domains) must be quiet as well, else only compiled
functions are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .builtin import RUNS_SQL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_DYNAMIC: Final = frozenset({"execute", "u&"}) | RUNS_SQL
_COMPILED: Final = frozenset({"c", "internal"})
_LIBRARIES: Final = frozenset(
    {
        "btree_gin",
        "btree_gist",
        "citext",
        "cube",
        "earthdistance",
        "fuzzystrmatch",
        "hstore",
        "intarray",
        "isn",
        "ltree",
        "pg_trgm",
        "pgcrypto",
        "seg",
        "unaccent",
        "uuid-ossp",
        "vector",
    }
)


@dataclass(frozen=True, slots=True)
class Function:
    """One function, procedure or aggregate that did not come with the server."""

    oid: int
    name: str
    volatility: str
    kind: str
    language: str
    source: str
    library: str
    parts: tuple[int, ...]  # the functions of users that an aggregate is made of
    of_row: bool  # may be called as `row.name`

    @property
    def honest(self) -> bool:
        """Compiled and labelled immutable: its answer depends on its arguments alone."""
        return self.kind == "f" and self.language in _COMPILED and self.volatility == "i"

    @property
    def trusted(self) -> bool:
        """Compiled, and surely without effects."""
        library = self.library.rpartition("/")[2].removesuffix(".so")
        return self.honest or (self.kind == "f" and self.language == "c" and library in _LIBRARIES)


def honest_functions(functions: Collection[Function]) -> frozenset[int]:
    """OIDs of those whose answer depends on their arguments alone; also aggregates made of such."""
    return _with_aggregates(functions, frozenset(f.oid for f in functions if f.honest))


def _with_aggregates(functions: Collection[Function], proved: frozenset[int]) -> frozenset[int]:
    return proved | {f.oid for f in functions if f.kind == "a" and proved.issuperset(f.parts)}


def quiet_functions(
    functions: Collection[Function], volatile_builtins: Iterable[str], unnamed: Collection[int]
) -> frozenset[int]:
    """OIDs of the quiet ones; `unnamed` are OIDs of functions that run without being named."""
    trusted = _with_aggregates(functions, frozenset(f.oid for f in functions if f.trusted))
    candidates = {
        f.oid: f
        for f in functions
        if f.kind == "f" and f.language in ("sql", "plpgsql") and f.volatility in "is" and f.source.strip()
    }
    noisy = set(_DYNAMIC) | set(volatile_builtins)
    noisy |= {f.name.lower() for f in functions if f.oid not in candidates and f.oid not in trusted}
    fresh = noisy
    while fresh and candidates:
        loud = [f for f in candidates.values() if any(name in f.source for name in fresh)]
        for function in loud:
            del candidates[function.oid]
        fresh = {f.name.lower() for f in loud} - noisy
        noisy |= fresh
    quiet = trusted.union(candidates)
    return quiet if quiet.issuperset(unnamed) and '"' not in "".join(noisy) else trusted
