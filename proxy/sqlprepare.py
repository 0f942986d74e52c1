"""PREPARE, EXECUTE and DEALLOCATE of SQL: a session has one set of names, as in PostgreSQL, whoever gave them.

A lone ``PREPARE name AS statement`` becomes a Parse of that statement under a name of ours (pool/prepared.py), so that
any server can be given it; the client is told PREPARE. The statement keeps its place in the text, behind blanks, so
that the server's error positions fit the client's text. EXECUTE goes up with our name in place of the client's, behind
the Parse that the server may lack; what it does is what the statement does (proxy/ledger.py hears of that one).
DEALLOCATE changes only what the client believes: servers are tidied by the pool.

Nothing is decided while an earlier turn is unanswered: whether a name is free, and whether the transaction has failed,
is known then. A failed one is left to the server, which refuses all of these. So are names that the session has not
got, with the errors that belong to them; a name that is taken is put in the way, as for a client's Parse.

What goes ahead of a simple Query may fail, and the server then skips the Query, too, and waits for a Sync that the
client does not know of. So the Query waits until what went ahead is answered (``Waits``). If that was an error, the
client has got it, and a Sync in place of the Query ends its turn.

What is not understood (several statements in one text, a type that need not be builtin) goes up as it is, to a server
on which the session's names stand as the client gave them, and which it keeps (sqlprepare_there.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pool.prepared import Presence
from protocol import build
from protocol.replies import CLOSE, DESCRIBE_STATEMENT, PARSE, QUERY, SWALLOW, SYNC
from proxy.draws import forget_draws
from proxy.knowledge import Doubt
from proxy.retelling import Retelling
from proxy.sqlprepare_shown import parsed_only, says, show
from proxy.sqlprepare_there import called, kept_there, put_there, stays_there
from proxy.uplink_notes import EVERYTHING, Injected, Naming, Registered, foreign_name, taken, without
from proxy.uplink_shapes import Learned, Waits, close, compare, provide
from sql.facts import Bypass, Kind
from stats.records import Outcome

if TYPE_CHECKING:
    from pool.prepared import Prepared
    from pool.server import Server
    from proxy.knowledge import Known
    from proxy.turn import Turn
    from proxy.uplink import Uplink
    from sql.named import Named

_FAILED: Final = 0x45
_FLUSH: Final = build.flush()
_SYNC: Final = build.sync()
_PREPARED: Final = build.command_complete("PREPARE")
_FORGOTTEN: Final = build.command_complete("DEALLOCATE")
_ALL_FORGOTTEN: Final = build.command_complete("DEALLOCATE ALL")
_CLOSE_PORTAL: Final = b"C\0\0\0\x06P\0"


def send_names(uplink: Uplink, known: Known, text: bytes, server: Server) -> bytes | None:
    """A simple Query that may name prepared statements: what goes up for it, or None = it goes as any other.

    Raises Waits.
    """
    pipeline = server.pipeline
    asked = uplink.asking
    if not known.means and (ahead := forget_draws(uplink, known, server)):
        return ahead + _as_it_is(uplink, known, text, server)
    if not (known.means or asked or says(uplink, known, text)):
        return None
    if pipeline.skipping:
        uplink.asking = False
        return _end(uplink, known, text, server) if asked else None
    if pipeline.copy_in:
        return None
    _settle(uplink, server)
    uplink.asking = False
    within = uplink.open and not asked  # within a batch of the client's own
    if pipeline.status == _FAILED:
        return None
    facts = known.facts
    named = known.named(text) if _is_read(uplink, known, text, server) else None
    if named is not None and (named.name.isascii() or not _is_foreign(uplink, server)):
        if named.kind is Kind.PREPARE:
            return _prepare(uplink, known, named, text, server)
        if named.kind is Kind.DEALLOCATE:
            return _deallocate(uplink, known, named, text, server)
        return _execute(uplink, known, named, text, server)
    if facts.kind is Kind.DEALLOCATE and facts.name is None and not kept_there(uplink):
        uplink.statements.clear()
        uplink.made.clear()
        return _answer(uplink, known, text, server, _ALL_FORGOTTEN)
    names = (*called(uplink, known, text), *parsed_only(uplink, known, text, within=within))
    ahead = put_there(uplink, dict.fromkeys(names), server, keep=True)
    if ahead:
        raise _ask(uplink, ahead + _FLUSH)
    stays_there(uplink, known)
    shown = show(uplink, known, text, server)
    if known.forgets and not known.copies:
        return shown + _forgetting(uplink, known, text, server)
    return shown + _as_it_is(uplink, known, text, server) if shown else None


def _settle(uplink: Uplink, server: Server) -> None:
    """Nothing may be unanswered. Raises Waits."""
    pipeline = server.pipeline
    if pipeline.turns_outstanding:
        raise Waits(b"")
    if uplink.open and pipeline.queue:
        uplink.conductor.answer(pipeline.take_fakes())
        if pipeline.queue:
            raise Waits(_FLUSH)


def _ask(uplink: Uplink, ahead: bytes) -> Waits:
    """What the Query needs goes ahead of it; until that is answered the server is kept."""
    uplink.asking = uplink.open = True
    return Waits(ahead)


def _setting(uplink: Uplink, server: Server, name: str) -> str:
    return uplink.conductor.profile.values.get(name) or server.base.get(name, "")


def _is_foreign(uplink: Uplink, server: Server) -> bool:
    """Is the client's encoding another than ours?"""
    return _setting(uplink, server, "client_encoding").upper().replace("-", "") not in ("", "UTF8", "UNICODE")


def _is_read(uplink: Uplink, known: Known, text: bytes, server: Server) -> bool:
    """Does the server read the text as we do?"""
    if known.facts.backslash and _setting(uplink, server, "standard_conforming_strings") == "off":
        return False
    return text.isascii() or not _is_foreign(uplink, server)


def _prepare(uplink: Uplink, known: Known, named: Named, text: bytes, server: Server) -> bytes | None:
    name = named.name
    held = name in uplink.statements
    if not held and kept_there(uplink):
        return _leave(uplink, known, named, text, server)  # the server knows whether the name is free
    if named.types is None or (named.path and not _finds_builtin(uplink, server)):
        ahead = put_there(uplink, (name,), server, keep=True)
        if ahead:
            raise _ask(uplink, ahead + _FLUSH)
        return _leave(uplink, known, named, text, server)
    statement = server.pool.registry.intern(named.body, named.types, uplink.conductor.profile.place)
    if not held:
        uplink.made[name] = (statement, text)
        uplink.conductor.longest = 0  # from now on each text is searched for the names, see sqlprepare_shown.py
    if held:
        foreign = foreign_name(name)
        if foreign != name:
            uplink.retelling = Retelling(named, foreign, 0)
        return taken(name, statement, server) + _end(uplink, known, text, server)
    pipeline = server.pipeline
    presence = server.statements.presence(statement, pipeline.batch)
    if presence is not Presence.PRESENT and statement.shape is not None:
        raise _ask(uplink, compare(statement, server, uplink, held=False).ahead)
    up = _close_portal(uplink, server)
    note = Registered(uplink, name, statement, server)
    note.sends(statement)
    if presence is Presence.PRESENT:
        note.sent = False
        pipeline.add_fake(PARSE, _PREPARED, note)
        return up + _end(uplink, known, text, server)
    if presence is Presence.DOUBTFUL:
        up += close(statement, server)
    pipeline.add(PARSE, note, SWALLOW)
    server.statements.sent(statement, pipeline.batch)
    pipeline.add(DESCRIBE_STATEMENT, Learned(server, statement), SWALLOW)
    pipeline.add_fake(PARSE, _PREPARED)
    up += statement.parse_message(statement.name) + build.describe("S", statement.name)
    return up + _end(uplink, known, text, server)


def _finds_builtin(uplink: Uplink, server: Server) -> bool:
    """Does a name of a builtin type mean that type, wherever else it may be defined?"""
    path = _setting(uplink, server, "search_path")
    return uplink.conductor.ledger.doubt is Doubt.NONE and not ("pg_catalog" in path or "pg_temp" in path)


def _execute(uplink: Uplink, known: Known, named: Named, text: bytes, server: Server) -> bytes | None:
    statement = uplink.statements.get(named.name)
    if statement is None:
        return _leave(uplink, known, named, text, server)
    misfit = uplink.misfit is statement
    ahead = _provide(uplink, statement, server)
    if misfit and ahead:
        return ahead + _end(uplink, known, text, server)
    conductor = uplink.conductor
    conductor.executes(conductor.known(statement.query), statement.query, server, partial=True)
    if named.kind is not Kind.EXECUTE:
        turn = conductor.query(known, text, server)
    else:
        if known.arguments is not None:
            conductor.executes(known.arguments, text, server, partial=True)
        turn = conductor.sync(server)
        if turn.outcome is Outcome.BYPASS:
            turn.reason = Bypass.NOT_SELECT.value
    return ahead + _query(uplink, named, text, statement.name, turn, server)


def _provide(uplink: Uplink, statement: Prepared, server: Server) -> bytes:
    """What must go ahead so that the server has the statement; only a refusal. Raises Waits."""
    pipeline = server.pipeline
    if statement.shape is None and server.statements.presence(statement, pipeline.batch) is not Presence.PRESENT:
        before = close(statement, server)
        pipeline.add(PARSE, Injected(server, statement, unnamed=False), SWALLOW)
        server.statements.sent(statement, pipeline.batch)
        raise _ask(uplink, before + statement.parse_message(statement.name) + _FLUSH)
    try:
        return provide(statement, server, uplink)
    except Waits as wait:
        raise _ask(uplink, wait.ahead) from None


def _leave(uplink: Uplink, known: Known, named: Named, text: bytes, server: Server) -> bytes | None:
    """The session has no such name, but the server may have it for this session, if it keeps the server."""
    stays_there(uplink, known)
    foreign = foreign_name(named.name)
    before = without(foreign, server)
    if not before and foreign == named.name:
        return None
    turn = uplink.conductor.query(known, text, server)
    return before + _query(uplink, named, text, foreign, turn, server)


def _deallocate(uplink: Uplink, known: Known, named: Named, text: bytes, server: Server) -> bytes | None:
    uplink.made.pop(named.name, None)
    if uplink.statements.pop(named.name, None) is None:
        return _leave(uplink, known, named, text, server)
    return _answer(uplink, known, text, server, _FORGOTTEN)


def _query(uplink: Uplink, named: Named, text: bytes, name: bytes, turn: Turn, server: Server) -> bytes:
    """The text with another name."""
    renamed = named.renamed(text, name)
    _begin(uplink, server)
    uplink.retelling = Retelling(named, name, len(renamed.decode("utf-8", "replace")))
    server.pipeline.add(QUERY, turn)
    return _message(renamed)


def _answer(uplink: Uplink, known: Known, text: bytes, server: Server, reply: bytes) -> bytes:
    """It is answered by us, and the server says how the transaction stands."""
    up = _close_portal(uplink, server)
    server.pipeline.add_fake(PARSE, reply)
    return up + _end(uplink, known, text, server)


def _forgetting(uplink: Uplink, known: Known, text: bytes, server: Server) -> bytes:
    """The server does it. Names wait until it is known whether it has; what follows may be about new ones."""
    _begin(uplink, server)
    pipeline = server.pipeline
    pipeline.add(QUERY, uplink.conductor.query(known, text, server))
    doubt = Naming(uplink, EVERYTHING, pipeline.batch)
    doubt.sends(None)
    pipeline.add_fake(PARSE, b"", doubt)
    return _message(text)


def _as_it_is(uplink: Uplink, known: Known, text: bytes, server: Server) -> bytes:
    """The Query itself, behind something."""
    _begin(uplink, server)
    server.pipeline.add(QUERY, uplink.conductor.query(known, text, server))
    if known.copies:
        uplink.copying = _FLUSH
        server.pipeline.copy_began = False
    return _message(text)


def _message(text: bytes) -> bytes:
    return b"Q%b%b\0" % ((len(text) + 5).to_bytes(4, "big"), text)


def _close_portal(uplink: Uplink, server: Server) -> bytes:
    """The unnamed portal does not survive a simple Query."""
    if uplink.portals.pop(b"", None) is None:
        return b""
    server.pipeline.add(CLOSE, None, SWALLOW)
    return _CLOSE_PORTAL


def _end(uplink: Uplink, known: Known, text: bytes, server: Server) -> bytes:
    """A Sync in place of the Query."""
    _begin(uplink, server)
    turn = uplink.conductor.sync(server)
    if turn.known is None:
        turn.known, turn.text, turn.outcome = known, text, Outcome.WRITE
    server.pipeline.add(SYNC, turn)
    return _SYNC


def _begin(uplink: Uplink, server: Server) -> None:
    """What every simple Query does."""
    uplink.open = False
    uplink.copying = None
    uplink.statements.pop(b"", None)
    uplink.doubtful.pop(b"", None)
    server.statements.unnamed_lost()
