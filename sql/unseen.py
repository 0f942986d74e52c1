"""What a statement runs that its text does not show.

Names are resolved against every schema of the search path at once, because which of them the session may look
into depends on its privileges: what is found is a superset of what is meant, which is safe both for tags and
for proofs. Functions, operators and types are judged by name over all schemas: a name is builtin only if
nobody else uses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import builtin
from .closure import descendants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .catalog import Builtin, Catalog, Relation
    from .facts import Call, Cast, Event, Facts, Name
    from .functions import Function

_CATALOG: Final = "pg_catalog"


class Sight:
    """One statement against one catalog: what its names may mean, and whether all that runs is quiet."""

    def __init__(self, facts: Facts, catalog: Catalog, path: tuple[str, ...]) -> None:
        self.facts = facts
        self.catalog = catalog
        self._path = path
        self.relations = [found for name in facts.reads for found in self.find(name)]

    def find(self, name: Name) -> Iterator[Relation]:
        """Every relation that a name may mean."""
        schemas = self._path if name.schema is None else (name.schema,)
        for schema in schemas:
            found = self.catalog.relations.get((schema, name.name))
            if found is not None:
                yield found

    def targets(self) -> list[tuple[int, Event]] | None:
        """What the text says is written, or None when a name means nothing that is known."""
        targets: list[tuple[int, Event]] = []
        for write in self.facts.writes:
            found = list(self.find(write.target))
            if not found:
                return None
            targets.extend((relation.oid, event) for relation in found for event in write.events)
        return targets

    def runs_unseen(self) -> bool:
        """Whether anything may run that is not quiet."""
        catalog, facts = self.catalog, self.facts
        return (
            catalog.odd
            or not all(self._is_quiet(call) for call in facts.functions)
            or not all(self._is_quiet_operator(name) for name in self.operators())
            or not all(self._is_quiet_cast(cast) for cast in facts.casts)
            or any(f.oid not in catalog.quiet for f in self.row_functions())
            or not all(self._is_quiet_relation(name) for name in facts.reads)
        )

    def _is_quiet_relation(self, name: Name) -> bool:
        found = list(self.find(name))
        if not found:
            return name.schema is None and name.name in self.facts.ctes
        oids = [oid for relation in found for oid in descendants(self.catalog, relation.oid)]
        return self.catalog.noisy_reads.isdisjoint(oids)

    def _is_quiet(self, call: Call) -> bool:
        """Every function that the name may mean has to be quiet; a name that means none is something else."""
        schema, name = call.function
        users = self.catalog.functions.get(name, ()) if schema != _CATALOG else ()
        known = self.catalog.builtins.get(name) if schema in (None, _CATALOG) else None
        if not users and known is None:
            return False
        if call.arity == 1 and schema != _CATALOG and not self._is_quiet_type(name):
            return False
        return all(function.oid in self.catalog.quiet for function in users) and (
            known is None or _is_harmless(name, known)
        )

    def _is_quiet_operator(self, name: str) -> bool:
        return all(oid in self.catalog.quiet for oid in self.catalog.operators.get(name, ()))

    def _is_quiet_cast(self, cast: Cast) -> bool:
        return cast.type.schema == _CATALOG or self._is_quiet_type(cast.type.name)

    def _is_quiet_type(self, name: str) -> bool:
        catalog = self.catalog
        return not any(catalog.types.contains(t.oid, catalog.noisy_types) for t in catalog.types.users(name))

    def row_functions(self) -> Iterator[Function]:
        """Functions of a user that `row.name` may call."""
        for name in self.facts.attributes:
            yield from (f for f in self.catalog.functions.get(name, ()) if f.of_row)

    def operators(self) -> frozenset[str]:
        return self.facts.operators | builtin.IMPLIED_OPERATORS


def _is_harmless(name: str, known: Builtin) -> bool:
    """Whether a builtin function writes no table and runs no SQL that it is handed."""
    if name in builtin.RUNS_SQL:
        return False
    quiet = name in builtin.HARMLESS or name.startswith(builtin.HARMLESS_PREFIXES)
    return quiet or "v" not in known.volatility
