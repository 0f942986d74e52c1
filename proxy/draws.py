"""currval and lastval of a session that has not drawn from a sequence on the server connection that it has just got.

The server process would answer with what another client drew. PostgreSQL says to a session that has drawn nothing that
the value is not yet defined (55000), and so it does here: what the process remembers is discarded ahead of the first
question of a lease. Later ones, and those in a transaction, may be about what the session itself has just drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pool.prepared import close_message
from pool.server import IDLE_IN_BLOCK
from protocol import build
from protocol.probe import Silent
from protocol.replies import BIND, CLOSE, EXECUTE, PARSE, QUERY, SWALLOW
from sql.facts import Pin

if TYPE_CHECKING:
    from pool.server import Server
    from proxy.knowledge import Known
    from proxy.uplink import Uplink

_NAME: Final = "forebay: draws"
_TEXT: Final = "DISCARD SEQUENCES"
_DISCARD: Final = build.query(_TEXT)
_WITHIN_BATCH: Final = b"".join(
    (
        build.parse(_NAME.encode(), _TEXT.encode()),
        build.bind(_NAME, _NAME),
        build.execute(_NAME),
        close_message(_NAME.encode()),
    )
)


def _is_first(uplink: Uplink, known: Known, server: Server) -> bool:
    """Has the session had nothing run on this server since it got it, and does it ask for what it has drawn?"""
    pipeline = server.pipeline
    if Pin.SEQUENCE_READ not in known.facts.pins or uplink.conductor.ledger.pins or uplink.portals:
        return False
    return not (pipeline.skipping or pipeline.status != IDLE_IN_BLOCK or pipeline.turns_outstanding)


def forget_draws(uplink: Uplink, known: Known, server: Server) -> bytes:
    """What goes ahead of a simple Query."""
    if uplink.open or not _is_first(uplink, known, server):
        return b""
    server.pipeline.add(QUERY, Silent(), SWALLOW)
    server.statements.unnamed_lost()
    return _DISCARD


def forget_draws_in_batch(uplink: Uplink, known: Known, server: Server) -> bytes:
    """What goes ahead of a Bind."""
    if not _is_first(uplink, known, server):
        return b""
    for kind in (PARSE, BIND, EXECUTE, CLOSE):
        server.pipeline.add(kind, None, SWALLOW)
    return _WITHIN_BATCH
