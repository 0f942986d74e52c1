"""Prepared statements that a text uses without naming them as PREPARE, EXECUTE and DEALLOCATE do.

Who reads pg_prepared_statements wants the session's own, as the session made them, and nobody else's. Who hands a
function, a procedure or a DO block a text that says the name of a statement which the session prepared by SQL may have
it executed there. Both are given the server with the session's statements on it, which the session then keeps
(``Pin.PREPARE``).

What PREPARE made is made by the same PREPARE again, as a Query of ours of which nobody hears: if it fails by now, the
name stays as it was and the client's text runs all the same, as it does where the statement is merely invalid. Inside
a transaction a savepoint round each sees to that; prepared statements do not care about savepoints. What Parse made,
and whatever is asked for within a batch that has no Sync yet, is parsed there (sqlprepare_there.py).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pool.prepared import close_message
from pool.server import IDLE_IN_BLOCK
from protocol import build
from protocol.probe import Silent
from protocol.replies import CLOSE, QUERY, SWALLOW
from proxy.draws import forget_draws_in_batch
from proxy.sqlprepare_there import put_there, summon
from proxy.uplink_notes import foreign_name
from proxy.uplink_shapes import Waits
from sql.facts import Kind, Pin

if TYPE_CHECKING:
    from collections.abc import Callable

    from pool.prepared import Prepared
    from pool.server import Server
    from proxy.knowledge import Known
    from proxy.uplink import Uplink

_FAILED: Final = 0x45
_FLUSH: Final = build.flush()
_SAVE: Final = build.query("SAVEPOINT forebay")
_UNDO: Final = build.query("ROLLBACK TO SAVEPOINT forebay; RELEASE SAVEPOINT forebay")
_WORD: Final = re.compile(rb"[a-z0-9_\x80-\xff]+")


class _Made(Silent):
    """A PREPARE of ours by the client's own name."""

    __slots__ = ("_name", "_statement", "_uplink")

    def __init__(self, uplink: Uplink, name: bytes, statement: Prepared) -> None:
        super().__init__()
        self._uplink = uplink
        self._name = name
        self._statement = statement

    def proved(self) -> None:
        uplink = self._uplink
        if not self.failed and uplink.statements.get(self._name) is self._statement:
            del uplink.statements[self._name]
            uplink.there.add(self._name)


def says(uplink: Uplink, known: Known, text: bytes) -> list[bytes]:
    """The statements made by SQL that this text may have executed by what it calls."""
    facts = known.facts
    calls = facts.functions or facts.kind in (Kind.DO, Kind.CALL) or facts.statements
    if not calls or not (b"'" in text or b"$" in text):
        return []
    lowered = text.lower()
    words = set(_WORD.findall(lowered))
    return [
        name
        for name, (statement, _) in uplink.made.items()
        if uplink.statements.get(name) is statement
        and (name in words or (_WORD.fullmatch(name) is None and name.lower() in lowered))
    ]


def only_own(uplink: Uplink, server: Server) -> bytes:
    """Closes what other names of ours stand on the server; only while nothing is outstanding."""
    out = []
    for statement in server.statements.surplus(0):
        server.statements.closed(statement)
        server.pipeline.add(CLOSE, None, SWALLOW)
        out.append(close_message(statement.name))
    for name in server.statements.strays - {foreign_name(name) for name in uplink.there}:
        server.pipeline.add(CLOSE, None, SWALLOW)
        out.append(close_message(name))
    return b"".join(out)


def show(uplink: Uplink, known: Known, text: bytes, server: Server) -> bytes:
    """What goes ahead of a simple Query so that the server knows what it may ask for. Nothing is outstanding."""
    if known.shows:
        return only_own(uplink, server) + _make(uplink, [name for name in uplink.statements if name], server)
    return _make(uplink, says(uplink, known, text), server)


def parsed_only(uplink: Uplink, known: Known, text: bytes, *, within: bool) -> list[bytes]:
    """Those of them that cannot be made by SQL here (``within`` a batch none), and must be parsed ahead."""
    if known.shows:
        return [name for name in uplink.statements if name and (within or _sql(uplink, name) is None)]
    return says(uplink, known, text) if within else []


def _sql(uplink: Uplink, name: bytes) -> bytes | None:
    """The PREPARE that made it, if that is what made it, and its name is one that servers may see."""
    statement, text = uplink.made.get(name, (None, b""))
    return text if statement is uplink.statements[name] and foreign_name(name) == name else None


def _make(uplink: Uplink, names: list[bytes], server: Server) -> bytes:
    pipeline = server.pipeline
    inside = pipeline.status != IDLE_IN_BLOCK
    up: list[bytes] = []
    for name in names:
        text = _sql(uplink, name)
        if text is None:
            continue
        server.statements.strays.discard(name)
        pipeline.add(CLOSE, None, SWALLOW)
        up.append(close_message(name))
        if inside:
            pipeline.add(QUERY, Silent(), SWALLOW)
            up.append(_SAVE)
        pipeline.add(QUERY, _Made(uplink, name, uplink.statements[name]), SWALLOW)
        up.append(b"Q%b%b\0" % ((len(text) + 5).to_bytes(4, "big"), text))
        if inside:
            pipeline.add(QUERY, Silent(), SWALLOW)
            up.append(_UNDO)
    if up:
        server.statements.unnamed_lost()
        uplink.conductor.ledger.pin(Pin.PREPARE)
    return b"".join(up)


def provide_named(
    uplink: Uplink,
    known: Known,
    statement: Prepared,
    server: Server,
    give: Callable[[Prepared, Server, Uplink], bytes],
) -> bytes:
    """What goes ahead of a Bind whose statement names others, or asks for what the server remembers. Raises Waits."""
    if known.shows:
        _summon_all(uplink, server)
    summon(uplink, known, server)
    return give(statement, server, uplink) + forget_draws_in_batch(uplink, known, server)


def _summon_all(uplink: Uplink, server: Server) -> None:
    pipeline = server.pipeline
    names = [name for name in uplink.statements if name]
    if pipeline.skipping or pipeline.copy_in or pipeline.status == _FAILED or not (names or len(server.statements)):
        return
    if pipeline.turns_outstanding:
        raise Waits(b"")
    uplink.conductor.answer(pipeline.take_fakes())
    if pipeline.queue:
        raise Waits(_FLUSH)
    ahead = only_own(uplink, server) + put_there(uplink, names, server, keep=True)
    if ahead:
        raise Waits(ahead + _FLUSH)
