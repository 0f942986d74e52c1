"""Which tables a write to a table may write: partitions, inheritance children, what foreign keys drag along and
what triggers write.

Theory: a worklist of (table, event). A table stands for its whole family (all descendants and all ancestors),
since rows are routed down, and a foreign key to a root is also kept for its partitions. An update of a
partitioned table may move rows, which is a delete here and an insert there. From a table, a delete or an update goes
on to every table whose foreign key acts on it, and any event to what the triggers for it write. Every table that is
reached must be proved: an ordinary table without rules or noise, whose triggers for the event are understood; one that
is not makes the answer None, the whole database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .facts import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .catalog import Catalog, Relation

_FOLLOWS: Final = {
    "c": Event.DELETE,  # CASCADE, when the parent's row is deleted
    "n": Event.UPDATE,  # SET NULL
    "d": Event.UPDATE,  # SET DEFAULT
}
_PLAIN: Final = {Event.TRUNCATE_CASCADE: Event.TRUNCATE}


def descendants(catalog: Catalog, oid: int) -> frozenset[int]:
    """A table and everything that inherits from it: what reading it reads."""
    return _transitive(catalog.children, oid)


def family(catalog: Catalog, oid: int) -> frozenset[int]:
    """A table, its descendants and its ancestors: what writing it may write."""
    return _transitive(catalog.children, oid) | _transitive(catalog.parents, oid)


def written(catalog: Catalog, targets: Iterable[tuple[int, Event]]) -> frozenset[int] | None:
    """Every table that these writes may write, or None when that cannot be proved."""
    seen: set[tuple[int, Event]] = set()
    found: set[int] = set()
    todo = list(targets)
    while todo:
        item = todo.pop()
        if item in seen:
            continue
        seen.add(item)
        oid, event = item
        members = family(catalog, oid)
        if not all(is_provable(catalog, catalog.by_oid.get(member)) for member in members):
            return None
        found |= members
        if event is Event.UPDATE and len(members) > 1:
            todo += [(oid, Event.DELETE), (oid, Event.INSERT)]
        for member in members:
            fired = catalog.fired.get((member, _PLAIN.get(event, event)), ())
            if fired is None:
                return None
            todo.extend(fired)
            todo.extend(_dragged(catalog, member, event))
    return frozenset(found)


def is_provable(catalog: Catalog, relation: Relation | None) -> bool:
    """Whether writing this table alone writes nothing else but what foreign keys and triggers do."""
    return (
        relation is not None
        and relation.kind in ("r", "p")
        and not relation.system
        and not relation.rules
        and relation.oid not in catalog.noisy_writes
    )


def _dragged(catalog: Catalog, oid: int, event: Event) -> Iterable[tuple[int, Event]]:
    for key in catalog.referencing.get(oid, ()):
        if event is Event.TRUNCATE_CASCADE:
            yield key.child, event
        elif event is Event.DELETE and key.on_delete in _FOLLOWS:
            yield key.child, _FOLLOWS[key.on_delete]
        elif event is Event.UPDATE and key.on_update in _FOLLOWS:
            yield key.child, Event.UPDATE


def _transitive(edges: Mapping[int, tuple[int, ...]], oid: int) -> frozenset[int]:
    found = {oid}
    todo = [oid]
    while todo:
        fresh = set(edges.get(todo.pop(), ())) - found
        found |= fresh
        todo.extend(fresh)
    return frozenset(found)
