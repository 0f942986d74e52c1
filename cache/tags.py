"""Tags of tables and of whole databases.

Every read depends on its tables and on its database. A write whose reach is unknown marks the database alone,
and with it puts every answer of that database in doubt at the price of one tag. A write with known tables
leaves the tag of the database in peace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

Tag: TypeAlias = "tuple[Hashable, int | None]"


def read_tags(database: Hashable, relations: Iterable[int]) -> frozenset[Tag]:
    """What an answer read from these relations (OIDs) of this database depends on; never empty."""
    tags: set[Tag] = {(database, oid) for oid in relations}
    tags.add((database, None))
    return frozenset(tags)


def write_tags(database: Hashable, relations: Iterable[int] | None) -> frozenset[Tag]:
    """What a write to these relations (OIDs) touches; None means that it may have touched any of them."""
    if relations is None:
        return frozenset({(database, None)})
    return frozenset((database, oid) for oid in relations)
