"""Views as what they are: the statements behind their names.

Theory: reading a view runs its definition, so its answer depends on what the definition depends on, and on no more.
The server prints the definition from its own tree; with an empty search_path every name in the text that is not
pg_catalog's has its schema, so that it means the same for everybody. That text is judged like any other. It differs
from what runs only in constants that were computed when the view was made; they are shown as what they are.

A view reads with its owner's privileges, the reader needs none on the tables. A change of either is a change of
definitions, which renews the catalog. Views of tables with row-level security are not kept, as those are not.

A materialized view is a table that only REFRESH writes; REFRESH counts as a write to anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .analyse import analyse
from .facts import Bypass, Facts, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CAREFULLY: Final = "SET LOCAL search_path TO ''; SET LOCAL lock_timeout TO '50ms'"
"""To be run before the definitions are asked for, in the same transaction.

Printing a definition locks what it reads (ACCESS SHARE) until that transaction ends, and waits for whoever alters it.
Who waited long might be part of a deadlock, and PostgreSQL might choose a client to end it.
"""


class Behind(NamedTuple):
    """What a view reads, and why its rows may not be kept."""

    reads: frozenset[int]
    bypass: Bypass | None


class Views:
    """Definitions by OID; each is parsed when it is first asked for, since most never are."""

    __slots__ = ("_texts", "verdicts")

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._texts: dict[int, str] = {row["oid"]: row["definition"] for row in rows if row["definition"]}
        self.verdicts: dict[int, Behind] = {}
        """Of those that were judged, in the one catalog that they belong to; kept by `reach`."""

    def facts(self, oid: int) -> Facts | None:
        """What the view does; None if that is not known."""
        text = self._texts.get(oid)
        found = analyse(text) if text is not None else None
        return found if found is not None and found.kind is Kind.SELECT else None
