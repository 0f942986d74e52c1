"""What the types of a database are: which show plain data, which run code, which a name may mean."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .builtin import DATE_TYPES, PLAIN_TYPES, SAFE_TYPES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

FIRST_OF_USER: Final = 16384
_CATALOG: Final = "pg_catalog"


@dataclass(frozen=True, slots=True)
class Type:
    """A row of pg_type; `kind` is its typtype."""

    oid: int
    schema: str
    name: str
    kind: str
    element: int
    base: int
    relation: int

    @property
    def builtin(self) -> bool:
        """Whether it came with the server and is found by its name alone."""
        return self.oid < FIRST_OF_USER and self.schema == _CATALOG


class Types:
    """All types of a database, by OID and by name."""

    def __init__(self, types: Iterable[Type], columns: Mapping[int, Collection[int]]) -> None:
        self._by_oid = {t.oid: t for t in types}
        self._columns = columns
        self._plain: dict[int, bool] = {}
        named: defaultdict[str, list[Type]] = defaultdict(list)
        for t in self._by_oid.values():
            named[t.name].append(t)
        self._users = {name: [t for t in found if not t.builtin] for name, found in named.items()}
        self._builtin = frozenset(t.name for t in self._by_oid.values() if t.builtin)

    def users(self, name: str) -> list[Type]:
        """Every type of that name that did not come with the server, in any schema."""
        return self._users.get(name, [])

    def is_builtin(self, name: str) -> bool:
        """Whether a type of that name came with the server."""
        return name in self._builtin

    def builtin_name(self, oid: int) -> str:
        """The name of a builtin type, "" for any other."""
        found = self._by_oid.get(oid)
        return found.name if found is not None and found.builtin else ""

    def is_plain(self, oid: int) -> bool:
        """Whether a value of this type shows its own data only, whatever the catalogs and the clock say."""
        known = self._plain.get(oid)
        if known is None:
            self._plain[oid] = False  # a type that contains itself is not plain
            known = self._plain[oid] = self._find_plain(oid)
        return known

    def is_simple(self, oid: int) -> bool:
        """Whether a cast to it through text depends on that text alone: enums, builtins without dates."""
        found = self._by_oid.get(oid)
        return found is not None and (found.kind == "e" or self.builtin_name(oid) in SAFE_TYPES)

    def is_date(self, oid: int) -> bool:
        """Whether it is one of date, time, timestamp, timestamptz."""
        return self.builtin_name(oid) in DATE_TYPES

    def has_time(self, oid: int) -> bool:
        """Whether a value of this type may hold a time of day without a date."""
        times = [t.oid for t in self._by_oid.values() if t.builtin and t.name == "time"]
        return self.contains(oid, times)

    def contains(self, oid: int, wanted: Collection[int], seen: frozenset[int] = frozenset()) -> bool:
        """Whether a value of this type holds a value of a wanted type."""
        if oid in wanted:
            return True
        found = self._by_oid.get(oid)
        if found is None or oid in seen:
            return False
        parts = [found.element, found.base, *self._columns.get(found.relation, ())]
        return any(part and self.contains(part, wanted, seen | {oid}) for part in parts)

    def _find_plain(self, oid: int) -> bool:
        found = self._by_oid.get(oid)
        if found is None:
            return False
        if found.kind == "e":
            return True
        if found.kind == "d":
            return self.is_plain(found.base)
        if found.kind == "c":
            return all(self.is_plain(column) for column in self._columns.get(found.relation, (0,)))
        if found.builtin and found.name in PLAIN_TYPES:
            return True
        array = found.kind == "b" and found.name.startswith("_") and found.element != 0
        return array and self.is_plain(found.element)
