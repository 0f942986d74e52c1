"""The fast lane up: a plain turn from a session at rest, sent in as few steps as can be.

Nothing is decided here that the long way (session.py, uplink.py) would decide otherwise, and nothing is left
undone: session, pool, pipeline and statements are afterwards as it would have made them. A turn takes the lane when
it has come in one piece, is quiet (nothing to record, nothing to mark: see knowledge.py), and a server is free or has
just been granted. Its answer may take the fast lane down (``Downlink.server_answered``) or the long way.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from pool.prepared import Presence
from protocol import tags
from protocol.plain import SIMPLE
from proxy.knowledge import Doubt
from proxy.turn import Turn
from proxy.uplink_notes import Registered, bind_message
from proxy.usual import execution_of, execution_shape, read_bound, read_parsed, read_text
from stats.records import Outcome

if TYPE_CHECKING:
    from pool.server import Server
    from protocol.plain import Shape
    from proxy.knowledge import Judgement, Known
    from proxy.session import Session

_header = Struct(">BI").unpack_from


def send_plain(session: Session, data: bytes, now: float) -> bool:
    """At rest, or with a server just granted: send this to one, if it is one plain turn.

    If it is not, there may be a lease nevertheless.
    """
    size = len(data)
    if size > session.longest or session.ledger.doubt is not Doubt.NONE:
        return False
    if session.ears is not None:  # it may have been told something by then
        return False
    tag = data[0]
    if tag == tags.QUERY:
        return _query(session, data, size, now)
    if tag == tags.PARSE:
        return _parsed(session, data, size, now)
    if tag == tags.BIND:
        return _bound(session, data, size, now)
    return False


def _query(session: Session, data: bytes, size: int, now: float) -> bool:
    text = read_text(data, size) if size > 5 and _header(data)[1] == size - 1 else None
    if text is None:
        return False
    leased = _lease(session, text, now)
    if leased is None:
        return False
    known, judgement, server = leased
    uplink = session.uplink
    if uplink.statements:
        uplink.statements.pop(b"", None)  # a simple Query drops the unnamed statement
    server.statements.unnamed_lost()
    _send(session, server, SIMPLE, known, judgement, text, now)
    server.transport.write(data)
    return True


def _parsed(session: Session, data: bytes, size: int, now: float) -> bool:
    """Parse and Bind of the unnamed statement, and its execution."""
    tail = execution_of(data)
    read = read_parsed(data, size - tail) if tail else None
    if read is None:
        return False
    text, types, _ = read
    leased = _lease(session, text, now)
    if leased is None:
        return False
    known, judgement, server = leased
    statement = server.pool.registry.intern(text, types, session.profile.place)
    note = Registered(session.uplink, b"", statement, server)
    note.sends(statement)
    server.statements.unnamed_sent(statement, server.pipeline.batch)
    session.uplink.portals[b""] = (known, statement)
    _send(session, server, execution_shape(tail, parsed=True), known, judgement, text, now, note)
    server.transport.write(data)
    return True


def _bound(session: Session, data: bytes, size: int, now: float) -> bool:
    """Bind of a named statement that the server has, and its execution."""
    tail = execution_of(data)
    name_end = read_bound(data, size - tail) if tail else 0
    statement = session.uplink.statements.get(data[6:name_end]) if name_end else None
    if statement is None or session.uplink.doubtful:
        return False
    leased = _lease(session, statement.query, now)
    if leased is None:
        return False
    known, judgement, server = leased
    if server.statements.presence(statement, server.pipeline.batch) is not Presence.PRESENT:
        return False  # the long way, on this server
    session.uplink.portals[b""] = (known, statement)
    _send(session, server, execution_shape(tail), known, judgement, statement.query, now)
    server.transport.write(bind_message(b"", statement.bind_name, data, name_end + 1, size, size - tail))
    return True


def _lease(session: Session, text: bytes, now: float) -> tuple[Known, Judgement, Server] | None:
    """The server that was granted, or a free one, with the session's settings, if the statement is quiet."""
    database = session.database
    known = database.statements.get(text)
    judgement = database.judge(known, session.view(), text, Doubt.NONE) if database.caching else known.unwatched
    if not judgement.quiet:
        return None
    server = session.down.server
    if server is None:
        server = session.pool.lend(session.down, now)
        if server is None:
            return None
        session.take(server)
    return known, judgement, server


def _send(
    session: Session,
    server: Server,
    shape: Shape,
    known: Known,
    judgement: Judgement,
    text: bytes,
    now: float,
    parsing: Registered | None = None,
) -> None:
    turn = session.turn
    if turn is None:
        turn = Turn(now)
    else:
        session.turn = None
    turn.sent = now
    turn.known = known
    turn.text = text
    if turn.outcome is Outcome.BYPASS:
        session.count_bypass(turn, known, judgement)
    session.down.turns.append(turn)
    pipeline = server.pipeline
    if not pipeline.queue:
        pipeline.plain = shape
    pipeline.add_turn(shape, turn, parsing)
