"""A frozen snapshot of what one database's system catalogs say, as far as `reach` asks.

Noise: a relation is noisy to read (or to write) when doing so may run a function of a user that is not quiet,
through its view, policies, defaults, checks or indexes. Such a function may do anything, so its reach is the
whole database.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .functions import Function, honest_functions, quiet_functions
from .triggers import fired
from .types import Type, Types
from .views import Views

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .facts import Event
    from .triggers import Writes

_SYSTEM: Final = frozenset({"pg_catalog", "information_schema", "pg_toast"})


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or the like; `kind` and `persistence` are those of pg_class."""

    oid: int
    schema: str
    name: str
    kind: str
    persistence: str
    rules: bool
    row_security: bool
    plain: bool  # every column's type shows plain data
    columns: Mapping[str, int]

    @property
    def system(self) -> bool:
        """Whether it lives in a schema of the server's own."""
        return self.schema in _SYSTEM


class ForeignKey(NamedTuple):
    """What deleting or updating in the parent does to the child: pg_constraint's action letters."""

    child: int
    parent: int
    on_delete: str
    on_update: str


class Builtin(NamedTuple):
    """All overloads of one function name of pg_catalog; `volatility` holds each letter that occurs."""

    volatility: str
    of_row: bool


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """One database at one moment. Compare by identity, or by `epoch`."""

    epoch: str
    database: int
    relations: Mapping[tuple[str, str], Relation]
    by_oid: Mapping[int, Relation]
    views: Views
    children: Mapping[int, tuple[int, ...]]
    parents: Mapping[int, tuple[int, ...]]
    referencing: Mapping[int, tuple[ForeignKey, ...]]
    fired: Mapping[tuple[int, Event], Writes | None]  # by triggers; None = anything may be written
    builtins: Mapping[str, Builtin]
    functions: Mapping[str, tuple[Function, ...]]
    quiet: frozenset[int]
    operators: Mapping[str, tuple[int, ...]]  # name -> functions of the user-defined ones
    honest: frozenset[int]
    types: Types
    noisy_types: frozenset[int]
    noisy_reads: frozenset[int]
    noisy_writes: frozenset[int]
    odd: bool  # casts or sort support that are not compiled and immutable: nothing can be proved

    @classmethod
    def from_rows(cls, rows: Mapping[str, Sequence[Mapping[str, Any]]], epoch: str = "") -> Catalog:
        """Build from the rows of `catalog_sql.QUERIES`; `epoch` is PROBE's answer in the same snapshot."""
        return _Loader(rows).catalog(epoch)


class _Loader:
    """Turns rows into the maps of a Catalog."""

    def __init__(self, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self._rows = rows
        columns: defaultdict[int, dict[str, int]] = defaultdict(dict)
        for row in rows["columns"]:
            columns[row["relation"]][row["name"]] = row["type"]
        self._columns = dict(columns)
        self._types = Types(
            (_type(row) for row in rows["types"]),
            {relation: tuple(found.values()) for relation, found in columns.items()},
        )
        self._functions = [_function(row) for row in rows["functions"]]
        self._operators = {row["oid"]: row for row in rows["operators"]}
        self._depends: defaultdict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
        for row in rows["depends"]:
            self._depends[row["when"], row["owner"]].append((row["class"], row["object"]))
        self._builtins = {
            row["name"]: Builtin(row["volatility"], bool(row["of_row"])) for row in rows["builtin_functions"]
        }
        self._honest = honest_functions(self._functions)
        self._quiet = self._find_quiet()
        self._noisy_types: frozenset[int] = frozenset()
        self._noisy_types = frozenset(
            owner for (when, owner) in self._depends if when == "type" and self._is_noisy(when, owner)
        )

    def catalog(self, epoch: str) -> Catalog:
        relations = [self._relation(row) for row in self._rows["relations"]]
        reads = self._noisy_reads()
        found = Catalog(
            epoch=epoch,
            database=self._rows["database"][0]["oid"],
            relations={(r.schema, r.name): r for r in relations},
            by_oid={r.oid: r for r in relations},
            views=Views(self._rows["views"]),
            children=_grouped((row["parent"], row["child"]) for row in self._rows["inherits"]),
            parents=_grouped((row["child"], row["parent"]) for row in self._rows["inherits"]),
            referencing=_grouped((fk.parent, fk) for fk in map(_foreign_key, self._rows["foreign_keys"])),
            fired={},
            builtins=self._builtins,
            functions=_grouped((f.name, f) for f in self._functions),
            quiet=self._quiet,
            operators=_grouped((row["name"], row["function"]) for row in self._operators.values()),
            honest=self._honest,
            types=self._types,
            noisy_types=self._noisy_types,
            noisy_reads=reads,
            noisy_writes=self._noisy_writes(relations, reads),
            odd=self._is_odd(),
        )
        noisy = {owner for (when, owner) in self._depends if when == "trigger" and self._is_noisy(when, owner)}
        return replace(found, fired=fired(found, self._rows["triggers"], self._rows["trigger_functions"], noisy))

    def _find_quiet(self) -> frozenset[int]:
        """What operators, casts, views, ... run without a name; defaults, checks and triggers wait for a write."""
        unnamed = {row["function"] for row in self._operators.values()} - {0}
        unnamed |= {row["function"] for row in self._rows["casts"]} - {0}
        named = [found for (when, _), found in self._depends.items() if when not in ("write", "trigger")]
        for found in named:
            unnamed |= {oid for kind, oid in found if kind == "pg_proc"}
        own = {f.oid for f in self._functions} | {0}
        if any(kind == "runs_sql" for found in named for kind, _ in found):
            unnamed.add(0)  # no function at all, so never quiet
        volatile = (name for name, builtin in self._builtins.items() if "v" in builtin.volatility)
        return quiet_functions(self._functions, volatile, unnamed & own)

    def _relation(self, row: Mapping[str, Any]) -> Relation:
        columns = self._columns.get(row["oid"], {})
        return Relation(
            row["oid"],
            row["schema"],
            row["name"],
            row["kind"],
            row["persistence"],
            row["rules"],
            row["row_security"],
            all(self._types.is_plain(oid) for oid in columns.values()),
            columns,
        )

    def _is_noisy(self, when: str, owner: int) -> bool:
        """Whether what an object depends on may run anything that is not quiet."""
        for kind, oid in self._depends.get((when, owner), ()):
            if kind == "runs_sql":
                return True
            if kind == "pg_proc" and oid not in self._quiet:
                return True
            if kind == "pg_operator" and self._operators.get(oid, {}).get("function", 0) not in self._quiet:
                return True
            if kind == "pg_type" and self._types.contains(oid, self._noisy_types):
                return True
        return False

    def _noisy_reads(self) -> frozenset[int]:
        """Also through views that read a noisy relation."""
        noisy = {owner for (when, owner) in self._depends if when == "read" and self._is_noisy(when, owner)}
        users = _grouped(
            (oid, owner)
            for (when, owner), found in self._depends.items()
            if when == "read"
            for kind, oid in found
            if kind == "pg_class"
        )
        fresh = set(noisy)
        while fresh:
            fresh = {user for oid in fresh for user in users.get(oid, ())} - noisy
            noisy |= fresh
        return frozenset(noisy)

    def _noisy_writes(self, relations: Iterable[Relation], reads: frozenset[int]) -> frozenset[int]:
        noisy = {owner for (when, owner) in self._depends if when == "write" and self._is_noisy(when, owner)}
        for relation in relations:
            types = relation.columns.values() if self._noisy_types else ()
            if any(self._types.contains(oid, self._noisy_types) for oid in types):
                noisy.add(relation.oid)
        return frozenset(noisy | reads)

    def _is_odd(self) -> bool:
        """Casts and support functions run without a name in the text, so all of them have to be honest."""
        if any(row["function"] not in self._honest for row in self._rows["support"]):
            return True
        own = {f.oid for f in self._functions}
        for row in self._rows["casts"]:
            if row["method"] == "f" and row["function"] in own - self._honest:
                return True
            ends = (row["source"], row["target"])
            if row["method"] == "i" and not all(map(self._types.is_simple, ends)):
                return True
        return False


def _type(row: Mapping[str, Any]) -> Type:
    return Type(row["oid"], row["schema"], row["name"], row["kind"], row["element"], row["base"], row["relation"])


def _function(row: Mapping[str, Any]) -> Function:
    return Function(
        row["oid"],
        row["name"],
        row["volatility"],
        row["kind"],
        row["language"],
        row["source"],
        row["library"],
        tuple(row["parts"]),
        bool(row["of_row"]),
    )


def _foreign_key(row: Mapping[str, Any]) -> ForeignKey:
    return ForeignKey(row["child"], row["parent"], row["on_delete"], row["on_update"])


def _grouped(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, tuple[Any, ...]]:
    found: defaultdict[Any, list[Any]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return {key: tuple(values) for key, values in found.items()}
