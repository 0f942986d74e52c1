"""Reads: answered from the cache, or collected on their way down to be kept.

Only a session at rest is served: nothing of it is in flight, no transaction is open, no pin holds a server. A
simple Query with one statement, or one batch ``[Parse] Bind [Describe] Execute Sync`` of one portal without a row
limit, may be a hit.

Looking up and writing happen without a pause in between. The stamp of a fill is captured before the query leaves; what
comes back is kept only if it is the whole, undisturbed answer of one turn: no error, no notice, no changed setting.
"""

from __future__ import annotations

from struct import Struct, iter_unpack
from typing import TYPE_CHECKING

from cache.key import Key, extended_key, simple_key
from protocol import build, tags
from protocol.errors import RemoteProtocolError
from protocol.hot import bind_parameters, read_bind, read_execute, read_parse, read_query, read_target
from proxy.turn import Fill, Turn
from sql.reach import parameters_plain
from sql.words import text_parameter_unsafe
from stats.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.cache import Cache
    from proxy.knowledge import Judgement, Known, View
    from proxy.session import Session

_header = Struct(">BI").unpack_from
_READY = build.ready_for_query(b"I")
_PARSED = build.parse_complete()
_BOUND = build.bind_complete()
_PARSED_AND_BOUND = _PARSED + _BOUND
_PORTAL = 0x50  # 'P'


class Reader:
    """Shared by all sessions; holds no state of its own."""

    __slots__ = ("_cache", "_clock")

    def __init__(self, cache: Cache, clock: Callable[[], float]) -> None:
        self._cache = cache
        self._clock = clock

    def simple(self, session: Session, data: bytes, end: int, now: float) -> bool:
        """Answer a simple Query that is all there; if it cannot be, prepare the turn that will be sent."""
        view = session.view()
        if view is None:
            return False
        try:
            text = read_query(data, 5, end)
        except RemoteProtocolError:
            return False
        known = session.database.statements.get(text)
        judgement = view.judge(known)
        if judgement.bypass is not None or not view.reads(text):
            return False
        key = simple_key(view.scope, view.epoch, text)
        entry = self._cache.lookup(key, now)
        if entry is None:
            self._miss(session, judgement, key, now)
            return False
        session.uplink.statements.pop(b"", None)  # as a simple Query does
        session.transport.write((entry.description or b"") + entry.body + _READY)
        self._count(session, known, text, now)
        return True

    def batch(self, session: Session, data: bytes, end: int, now: float) -> bool:
        """The same for a batch of the extended protocol that ends with Sync at ``end``."""
        view = session.view()
        if view is None:
            return False
        try:
            position = 0
            tag, length = _header(data, 0)
            statements = session.uplink.statements
            parsed: tuple[bytes, bytes, bytes] | None = None
            if tag == tags.PARSE:
                position = 1 + length
                parsed = read_parse(data, 5, position)
                if parsed[0] and parsed[0] in statements:
                    return False
                tag, length = _header(data, position)
            if tag != tags.BIND:
                return False
            bind_end = position + 1 + length
            portal, name, rest = read_bind(data, position + 5, bind_end)
            if parsed is not None and parsed[0] == name:
                query, types = parsed[1], parsed[2]
            else:
                statement = statements.get(name)
                if statement is None or parsed is not None:
                    return False
                query, types = statement.query, statement.types
            tag, length = _header(data, bind_end)
            position = bind_end
            described = tag == tags.DESCRIBE
            if described:
                if read_target(data, position + 5, position + 1 + length) != (_PORTAL, portal):
                    return False
                position += 1 + length
                tag, length = _header(data, position)
            if tag != tags.EXECUTE or position + 1 + length + 5 != end:
                return False
            if read_execute(data, position + 5, position + 1 + length) != (portal, 0):
                return False
        except RemoteProtocolError:
            return False
        known = session.database.statements.get(query)
        judgement = view.judge(known)
        if judgement.bypass is not None or not view.reads(query):
            return False
        key = extended_key(view.scope, view.epoch, query, types, data[rest:bind_end])
        entry = self._cache.lookup(key, now)
        if entry is None or (described and entry.description is None):
            reason = _not_to_keep(view, types, data, rest, bind_end)
            if reason is not None:
                session.turn = Turn(now)
                session.turn.reason = reason
            else:
                self._miss(session, judgement, key, now)
            return False
        if parsed is not None:
            statements[name] = session.pool.registry.intern(query, types)
        head = _BOUND if parsed is None else _PARSED_AND_BOUND
        if described and entry.description is not None:
            session.transport.write(head + entry.description + entry.body + _READY)
        else:
            session.transport.write(head + entry.body + _READY)
        self._count(session, known, query, now)
        return True

    def _miss(self, session: Session, judgement: Judgement, key: Key, now: float) -> None:
        turn = session.turn = Turn(now)
        stamp = self._cache.capture(judgement.tags)
        if stamp is None:
            turn.reason = "in_doubt"
            return
        turn.outcome = Outcome.MISS
        turn.fill = Fill(key, stamp, judgement.ttl)

    def _count(self, session: Session, known: Known, text: bytes, now: float) -> None:
        database = session.database
        total = self._clock() - now
        database.stats.finish(
            database.counters,
            known.digest,
            session.user,
            session.application,
            0.0,
            0.0,
            total,
            Outcome.HIT,
            None,
            text,
        )

    def collect(self, turn: Turn, out: bytes) -> None:
        """Bytes of an answer that is to be kept."""
        fill = turn.fill
        if fill is not None:
            fill.chunks.append(out)
            fill.size += len(out)
            if fill.size > self._cache.max_entry:
                turn.fill = None

    def keep(self, turn: Turn, now: float) -> None:
        """The answer is complete, and the undisturbed answer of this turn alone: keep it."""
        fill = turn.fill
        if fill is None:
            return
        data = b"".join(fill.chunks)
        position = 0
        while data[position] in (0x31, 0x32):  # ParseComplete, BindComplete
            position += 5
        description = None
        if data[position] == tags.ROW_DESCRIPTION:
            end = position + 1 + _header(data, position)[1]
            description = data[position:end]
            position = end
        if data[-6:] != _READY:
            return
        body = data[position:-6]
        self._cache.fill(fill.key, fill.stamp, description, body, now - turn.sent, now, fill.ttl)


def _not_to_keep(view: View, types: bytes, data: bytes, rest: int, end: int) -> str | None:
    """Why the answer may depend on the time, because of its parameters: a word such as 'now', or a type."""
    if types and not parameters_plain([oid for (oid,) in iter_unpack(">I", types)], view.catalog):
        return "unknown_type"
    try:
        _, values, _ = bind_parameters(data, rest, end)
    except RemoteProtocolError:
        return "malformed"
    for value in values:
        if value is not None and text_parameter_unsafe(value):  # a text is one in the binary format too
            return "date_word"
    return None
