"""How a session's requests end before their time: its client says goodbye, or cancels what waits for a server."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from pool.server import IDLE_IN_BLOCK
from protocol import build, tags
from proxy.inbox import batch_end

if TYPE_CHECKING:
    from proxy.session import Session

_header = Struct(">BI").unpack_from
_READY = build.ready_for_query(b"I")
_CANCELED = "canceling statement due to user request"
NOT_BEGUN = "Its transaction was not begun."


def leave(session: Session) -> None:
    """The client has said goodbye: what it has sent before is still carried out, if it can have an effect."""
    server, turns = session.down.server, session.down.turns
    lasting = any(turn.effects.commits for turn in turns if turn.effects is not None)
    begins = any(turn.known.facts.begins for turn in turns if turn.known is not None)
    running = server is not None and bool(turns) and not server.pipeline.copy_in
    if running and server is not None and (lasting or not (begins or server.pipeline.status != IDLE_IN_BLOCK)):
        session.closing = True
        session.brake(True)
    else:  # its transaction would be rolled back anyway
        session.close()


def cancel_waiting(session: Session) -> None:
    """Cancelled in the queue: the batch fails as it would on a server, and the session goes on."""
    session.pool.withdraw(session)
    session.waiting = False
    data = session.inbox.take()
    session.turn = None
    end = 1 + _header(data)[1] if data[0] == tags.QUERY else batch_end(data)
    alone = session.ledger.deferred is None
    if not 0 < end <= len(data) or not (alone or end == len(data)):
        session.refuse("57014", _CANCELED)
        return
    session.ledger.deferred = None  # the client is told that no transaction is open
    session.database.stats.error("57014")
    detail = None if alone else NOT_BEGUN
    session.transport.write(build.error_response("57014", _CANCELED, detail=detail) + _READY)
    session.brake(False)
    session.advance(data[end:], session.clock())
