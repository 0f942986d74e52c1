"""What the triggers of a table write when rows or the table are changed.

A trigger is understood when its function is (`plpgsql`), everything that the function runs is quiet, and so is its
WHEN condition. Which schemas the function looks into is not known: a name without a schema means every relation of
that name. Deferred triggers run at COMMIT, but within the transaction, so they count like others. INSTEAD OF triggers
are on views, which `closure` never follows.

A partition has its own copy of a row trigger of its parent; the copy has no dependencies of its WHEN condition in
pg_depend. The original has, and whoever writes the partition is held to write the parent as well (`closure.family`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from .facts import Event
from .plpgsql import body
from .unseen import Sight

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from .catalog import Catalog

Writes = frozenset[tuple[int, Event]]

# Builtin functions of triggers that change nothing but the row itself, or nothing at all.
_HARMLESS: Final = frozenset(
    {
        "suppress_redundant_updates_trigger",
        "tsvector_update_trigger",
        "tsvector_update_trigger_column",
        "unique_key_recheck",
    }
)
_FOREIGN_KEY: Final = "RI_FKey_"  # their writes are followed by `closure`
_EVENTS: Final = {  # the bits of pg_trigger.tgtype
    4: Event.INSERT,
    8: Event.DELETE,
    16: Event.UPDATE,
    32: Event.TRUNCATE,
}
# Never asked for a name without a schema: they hold many a plain word (`parameters`), nothing that is ever kept, and
# nothing that runs code of a user.
_SILENT: Final = frozenset({"information_schema", "pg_toast"})
_NOTHING: Final[Writes] = frozenset()


def fired(
    catalog: Catalog,
    triggers: Sequence[Mapping[str, Any]],
    sources: Iterable[Mapping[str, Any]],
    noisy: Collection[int],
) -> dict[tuple[int, Event], Writes | None]:
    """What an event on a table writes through its triggers: None = anything, absent = no trigger of a user.

    The rows are those of `catalog_sql.QUERIES`; `noisy` are the OIDs of triggers whose WHEN may run anything.
    """
    rows = [row for row in triggers if not _is_harmless(row)]
    transitions: defaultdict[int, set[str]] = defaultdict(set)
    for row in rows:
        transitions[row["function"]] |= {row["old_table"], row["new_table"]} - {""}
    schemas = tuple({schema for schema, _ in catalog.relations} - _SILENT)
    functions = {
        row["oid"]: _written(catalog, row["source"], schemas, frozenset(transitions[row["oid"]])) for row in sources
    }
    found: dict[tuple[int, Event], Writes | None] = {}
    for row in rows:
        writes = functions.get(row["function"]) if row["oid"] not in noisy else None
        for bit, event in _EVENTS.items():
            if row["type"] & bit:
                key = row["relation"], event
                known = found.get(key, _NOTHING)
                found[key] = None if known is None or writes is None else known | writes
    return found


def _is_harmless(row: Mapping[str, Any]) -> bool:
    name = row["name"]
    return bool(row["builtin"]) and (name.startswith(_FOREIGN_KEY) or name in _HARMLESS)


def _written(catalog: Catalog, source: str, schemas: tuple[str, ...], transitions: frozenset[str]) -> Writes | None:
    """What a function with this body writes; `transitions` are names that its triggers give to their rows."""
    if catalog.noisy_types:
        return None  # a variable of such a type runs its checks, and the tree does not show every type
    texts = body(source)
    if texts is None:
        return None
    writes: set[tuple[int, Event]] = set()
    for facts in texts:
        sight = Sight(replace(facts, ctes=facts.ctes | transitions), catalog, schemas)
        targets = sight.targets()
        if targets is None or sight.runs_unseen():
            return None
        writes.update(targets)
    return frozenset(writes)
