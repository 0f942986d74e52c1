"""Pins that end when what they are for is gone, however it went.

Most of what ends a temporary table, a session's lock or a cursor WITH HOLD cannot be told from statements: ON COMMIT
DROP, the last of several, a function. PostgreSQL knows. So when a pinned session comes to rest after something that may
have ended the reason (``Ledger.loosened``), the server is asked, in a question that nobody else sees: one row for each
bit of a number, a bit for each reason that is still there. The client's next message need not wait for the answer:
what it pins is recorded after the answer to the question, because the server answers in order.

The question runs as the client's user with the client's settings. It names everything in full, and reads what anybody
may read. If it fails (a statement_timeout), the pins stay until something may have ended them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol import build
from protocol.probe import Probe
from protocol.replies import QUERY, SWALLOW
from sql.facts import Kind, Pin

if TYPE_CHECKING:
    from pool.server import Server
    from proxy.session import Session
    from sql.facts import Facts

BITS: Final = {Pin.TEMP_TABLE: 1, Pin.ADVISORY_LOCK: 2, Pin.HOLD_CURSOR: 4}
"""The reasons that can be asked about."""

_TEMPORARY: Final = " OR ".join(
    f"EXISTS (SELECT FROM pg_catalog.{catalog} WHERE {column} OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())"
    for catalog, column in (("pg_class", "relnamespace"), ("pg_proc", "pronamespace"), ("pg_type", "typnamespace"))
)
_LOCK: Final = (
    "EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory'"
    " AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())"
)
_CURSOR: Final = "EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)"
_QUESTION: Final = build.query(
    "SELECT FROM pg_catalog.generate_series(1, "
    + " OPERATOR(pg_catalog.+) ".join(
        f"CASE WHEN {there} THEN {BITS[pin]} ELSE 0 END"
        for pin, there in ((Pin.TEMP_TABLE, _TEMPORARY), (Pin.ADVISORY_LOCK, _LOCK), (Pin.HOLD_CURSOR, _CURSOR))
    )
    + ")"
)


def loosens(facts: Facts) -> bool:
    """May it end the reason of a pin, by dropping, closing or unlocking something?"""
    if facts.kind in (Kind.DDL, Kind.CLOSE):
        return True
    return any(call.function.name.startswith("pg_advisory_unlock") for call in facts.functions)


class _Remaining(Probe):
    """The answer on its way."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def proved(self) -> None:
        if self.rows is None:
            return
        gone = {pin for pin, bit in BITS.items() if not self.rows & bit}
        if "pg_temp" in self._session.profile.values.get("search_path", "").lower():
            gone.discard(Pin.TEMP_TABLE)  # whatever is made next may be temporary
        self._session.ledger.unpin(gone)

    def dropped(self) -> None:
        """The connection is gone."""


def ask(session: Session, server: Server) -> bool:
    """At rest, outside a transaction: ask which pins remain, if one may have ended. True if an answer will come."""
    ledger = session.ledger
    if not ledger.loosened:
        return False
    ledger.loosened = False
    if not BITS.keys() >= ledger.pins:
        return False
    server.pipeline.add(QUERY, _Remaining(session), SWALLOW)
    server.statements.unnamed_lost()
    server.transport.write(_QUESTION)
    return True
