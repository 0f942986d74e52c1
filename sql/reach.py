"""Facts judged with a catalog: what a statement reads and writes, and why its answer may not be kept.

What a name may mean, and what a statement runs unseen, is asked of `unseen`.

Two questions are kept apart. *May it be kept?* needs everything proved, else there is a `Bypass`. *What may
it write?* is asked of every statement, also of SELECT: whatever may run a function that is not quiet may do
anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from . import builtin
from .closure import descendants, written
from .facts import Bypass, Cast, Facts, Kind, Source
from .unseen import Sight
from .views import Behind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .catalog import Catalog, Relation
    from .facts import Call

_USER: Final = "$user"
_CATALOG: Final = "pg_catalog"
_DEEPEST: Final = 32  # views on views
_NO_EFFECT: Final = frozenset(
    {
        Kind.EMPTY,
        Kind.BEGIN,
        Kind.COMMIT,
        Kind.ROLLBACK,
        Kind.SAVEPOINT,
        Kind.RELEASE,
        Kind.ROLLBACK_TO,
        Kind.PREPARE_TRANSACTION,
        Kind.ROLLBACK_PREPARED,
        Kind.SET,
        Kind.RESET,
        Kind.SET_TRANSACTION,
        Kind.SHOW,
        Kind.DISCARD,
        Kind.SET_CONSTRAINTS,
        Kind.PREPARE,
        Kind.DEALLOCATE,
        Kind.FETCH,
        Kind.CLOSE,
        Kind.LISTEN,
        Kind.UNLISTEN,
        Kind.NOTIFY,
        Kind.LOCK,
    }
)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a statement touches in one catalog; `writes` None = any relation of the database."""

    reads: frozenset[int]
    writes: frozenset[int] | None
    bypass: Bypass | None
    ddl: bool  # may have changed definitions: the catalog is to be loaded again
    taints: bool  # may have changed the session in a way that the facts do not list


_NOTHING: Final[frozenset[int]] = frozenset()


def reach(facts: Facts, catalog: Catalog, search_path: tuple[str, ...], user: str) -> Reach:
    """Judge one statement; `search_path` as set (with "$user"), `user` is the current role, not the login."""
    if facts.kind is Kind.MULTI:
        return _united([reach(part, catalog, search_path, user) for part in facts.statements], facts)
    judge = _Judge(facts, catalog, _resolve_path(search_path, user))
    writes, ddl, taints = judge.effects()
    bypass = facts.bypass if facts.bypass is not None else judge.bypass()
    return Reach(judge.reads() if bypass is None else _NOTHING, writes, bypass, ddl, facts.taints or taints)


def parameters_plain(types: Iterable[int], catalog: Catalog) -> bool:
    """Whether parameters declared with these type OIDs (0 = not declared) mean the same at any time.

    A declared timetz or regclass does not, nor does a type of a user that is no enum, domain or composite of
    plain ones: then the statement must bypass the cache, whatever its facts say.
    """
    return all(oid == 0 or catalog.types.is_plain(oid) for oid in types)


def _united(parts: list[Reach], facts: Facts) -> Reach:
    known = [part.writes for part in parts if part.writes is not None]
    return Reach(
        _NOTHING,
        _NOTHING.union(*known) if len(known) == len(parts) else None,
        facts.bypass,
        any(part.ddl for part in parts),
        any(part.taints for part in parts),
    )


def _resolve_path(search_path: tuple[str, ...], user: str) -> tuple[str, ...]:
    path = tuple(user if schema == _USER else schema for schema in search_path)
    return path if _CATALOG in path else (_CATALOG, *path)


class _Judge(Sight):
    """One statement against one catalog, or, at some depth, a view's definition."""

    def __init__(self, facts: Facts, catalog: Catalog, path: tuple[str, ...], depth: int = 0) -> None:
        super().__init__(facts, catalog, path)
        self._depth = depth

    def reads(self) -> frozenset[int]:
        """Every relation whose rows the answer may hold: of a view those behind it."""
        return _NOTHING.union(*map(self._read, self.relations))

    def _read(self, relation: Relation) -> frozenset[int]:
        return self._behind(relation).reads if _is_view(relation) else descendants(self.catalog, relation.oid)

    def _behind(self, view: Relation) -> Behind:
        """What its definition says; and its columns must show plain data, as those of a table must."""
        views = self.catalog.views
        found = views.verdicts.get(view.oid)
        if found is None:
            facts = views.facts(view.oid) if self._depth < _DEEPEST and view.plain else None
            if facts is None:
                found = Behind(_NOTHING, Bypass.VIEW if view.plain else Bypass.UNKNOWN_TYPE)
            else:
                judge = _Judge(facts, self.catalog, (_CATALOG,), self._depth + 1)
                found = Behind(judge.reads(), facts.bypass or judge.bypass())
            views.verdicts[view.oid] = found
        return found

    # What may it write?

    def effects(self) -> tuple[frozenset[int] | None, bool, bool]:
        """(writes, ddl, taints)."""
        facts, kind = self.facts, self.facts.kind
        if kind in _NO_EFFECT:
            return _NOTHING, False, False
        if facts.opaque:
            return None, True, kind not in (Kind.DDL, Kind.COMMIT_PREPARED)
        if kind is Kind.DDL:
            return self._temporary()
        if kind is Kind.MAINTENANCE:
            return (None if self.catalog.noisy_writes or self.catalog.odd else _NOTHING), False, False
        if self.runs_unseen():
            return None, True, True
        writes = self._written()
        return writes, writes is None, writes is None  # a trigger may do whatever a function may

    def _temporary(self) -> tuple[frozenset[int] | None, bool, bool]:
        """DDL that is not opaque makes a temporary relation, from a query or from nothing."""
        return (None, True, True) if self.runs_unseen() else (_NOTHING, False, False)

    def _written(self) -> frozenset[int] | None:
        targets = self.targets()
        return None if targets is None else written(self.catalog, targets)

    # May its answer be kept?

    def bypass(self) -> Bypass | None:
        """The first reason why not."""
        if self.facts.opaque:
            return Bypass.UNSUPPORTED
        if self.catalog.odd:
            return Bypass.UNKNOWN_TYPE
        return (
            self._relation_bypass()
            or self._function_bypass()
            or self._attribute_bypass()
            or self._operator_bypass()
            or next((reason for cast in self.facts.casts if (reason := self._cast_bypass(cast))), None)
        )

    def _relation_bypass(self) -> Bypass | None:
        for name in self.facts.reads:
            cte = name.schema is None and name.name in self.facts.ctes
            if not cte and next(self.find(name), None) is None:
                return Bypass.UNKNOWN_RELATION
        for relation in self.relations:
            if _is_view(relation):
                reason = self._behind(relation).bypass
                if reason is not None:
                    return reason
                continue
            for oid in descendants(self.catalog, relation.oid):
                reason = _unkept(self.catalog.by_oid.get(oid))
                if reason is not None:
                    return reason
        return None if self.relations else Bypass.NO_RELATION

    def _function_bypass(self) -> Bypass | None:
        for call in self.facts.functions:
            reason = self._call_bypass(call)
            if reason is not None:
                return reason
        return None

    def _call_bypass(self, call: Call) -> Bypass | None:
        schema, name = call.function
        users = self.catalog.functions.get(name, ()) if schema is None else ()
        if schema not in (None, _CATALOG) or any(f.oid not in self.catalog.honest for f in users):
            return Bypass.UNKNOWN_FUNCTION
        known = self.catalog.builtins.get(name)
        if known is None:
            return Bypass.UNKNOWN_FUNCTION
        if call.arity == 1 and (schema is None or name in builtin.CAST_FUNCTIONS):
            reason = self._call_as_cast(call)
            if reason is not None:
                return reason
        if name in builtin.CAST_FUNCTIONS:
            return None if call.arity == 1 else Bypass.VOLATILE_FUNCTION
        if name in builtin.MISLABELLED or builtin.CLOCK_TYPE in name:
            return Bypass.VOLATILE_FUNCTION
        if name == builtin.AGE:
            return None if call.arity == 2 else Bypass.VOLATILE_FUNCTION
        if name == builtin.TIMEZONE and self._has_time():
            return Bypass.VOLATILE_FUNCTION
        return None if known.volatility == "i" or name in builtin.SETTINGS_ONLY else Bypass.VOLATILE_FUNCTION

    def _call_as_cast(self, call: Call) -> Bypass | None:
        """`f(x)` is a cast when f is the name of a type."""
        types = self.catalog.types
        if types.users(call.function.name):
            return Bypass.UNKNOWN_TYPE
        if not types.is_builtin(call.function.name):
            return None
        return self._cast_bypass(Cast(call.function, call.source, call.column))

    def _has_time(self) -> bool:
        """AT TIME ZONE of a time without date and zone depends on the date of today."""
        types = self.catalog.types
        return (
            any(cast.type.name == builtin.TIME for cast in self.facts.casts)
            or any(call.function.name in builtin.MAKE_TIME for call in self.facts.functions)
            or any(types.has_time(oid) for r in self.relations for oid in r.columns.values())
        )

    def _attribute_bypass(self) -> Bypass | None:
        if next(self.row_functions(), None) is not None:
            return Bypass.UNKNOWN_FUNCTION
        for name in self.facts.attributes:
            known = self.catalog.builtins.get(name)
            column = any(name in relation.columns for relation in self.relations)
            if known is not None and known.of_row and not column and known.volatility != "i":
                return Bypass.VOLATILE_FUNCTION
        return None

    def _operator_bypass(self) -> Bypass | None:
        for name in self.operators():
            if name in builtin.UNWATCHED_OPERATORS:
                return Bypass.UNKNOWN_OPERATOR
            if not all(oid in self.catalog.honest for oid in self.catalog.operators.get(name, ())):
                return Bypass.UNKNOWN_OPERATOR
        return None

    def _cast_bypass(self, cast: Cast) -> Bypass | None:
        schema, name = cast.type
        given = cast.source in (Source.LITERAL, Source.PARAMETER)
        users = self.catalog.types.users(name) if schema != _CATALOG else []
        if users or schema not in (None, _CATALOG):
            enums = bool(users) and all(t.kind == "e" for t in users)
            return None if enums and given else Bypass.UNKNOWN_TYPE
        if name in builtin.SAFE_TYPES:
            return None
        if name in builtin.DATE_TYPES or name in builtin.DATE_RANGES:
            dated = cast.source is Source.COLUMN and name in builtin.DATE_TYPES and self._is_dated(cast.column)
            return None if given or dated else Bypass.VOLATILE_CAST
        return Bypass.VOLATILE_CAST if self.catalog.types.is_builtin(name) else Bypass.UNKNOWN_TYPE

    def _is_dated(self, column: str) -> bool:
        """Whether a column of that name is a date or time in every relation that has one."""
        if self.facts.derived:
            return False
        types = [r.columns[column] for r in self.relations if column in r.columns]
        return bool(types) and all(map(self.catalog.types.is_date, types))


def _is_view(relation: Relation) -> bool:
    return relation.kind == "v" and not relation.system


def _unkept(relation: Relation | None) -> Bypass | None:
    """Why an answer from this relation may not be kept."""
    if relation is None:
        return Bypass.UNKNOWN_RELATION
    if relation.system:
        return Bypass.SYSTEM_CATALOG
    if relation.kind == "f":
        return Bypass.FOREIGN
    if relation.kind not in ("r", "p", "m"):
        return Bypass.NOT_A_TABLE
    if relation.persistence != "p":
        return Bypass.UNLOGGED
    if relation.row_security:
        return Bypass.ROW_SECURITY
    if relation.rules and relation.kind != "m":  # a materialized view keeps its definition as one
        return Bypass.VIEW
    return None if relation.plain else Bypass.UNKNOWN_TYPE
