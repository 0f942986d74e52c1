"""Reads: answered from the cache, or collected on their way down to be kept.

Only a session at rest is served: nothing of it is in flight, no pin holds a server, and no transaction is open but one
that has only read (see inside.py). A simple Query with one statement, or one batch ``[Parse] Bind [Describe] Execute
Sync`` of one portal without a row limit, may be a hit.

Looking up and writing happen without a pause in between. The stamp of a fill is captured before the query leaves; what
comes back is kept only if it is the whole, undisturbed answer of one turn: no error, no notice, no changed setting.
"""

from __future__ import annotations

from struct import Struct, iter_unpack
from typing import TYPE_CHECKING, cast

from cache.key import extended_key, simple_key
from protocol import build, tags
from protocol.errors import RemoteProtocolError
from protocol.hot import bind_parameters, read_bind, read_execute, read_parse, read_target
from proxy.turn import Fill, Turn
from proxy.usual import describes, execution_of, read_bound, read_parsed, read_text
from sql.reach import parameters_plain
from sql.words import text_parameter_unsafe
from stats.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.cache import Cache
    from cache.key import Key
    from pool.prepared import Prepared
    from proxy.knowledge import Judgement, Known, View
    from proxy.session import Session

_header = Struct(">BI").unpack_from
_READY = build.ready_for_query(b"I")
_ENDS = (_READY, build.ready_for_query(b"T"))
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

    def simple(self, session: Session, data: bytes, end: int, now: float, ready: bytes = _READY) -> bool:
        """Answer a simple Query that is all there; if it cannot be, prepare the turn that will be sent.

        ``ready`` is the ReadyForQuery that ends the answer.
        """
        view = session.view()
        text = read_text(data, end)
        if view is None or text is None:
            return False
        key = simple_key(view.scope, view.epoch, text)
        entry = self._cache.lookup(key, now)
        if entry is None:
            known = session.database.statements.get(text)
            judgement = view.judge(known)
            if judgement.bypass is None and view.reads(text):
                self._miss(session, judgement, key, now)
            return False
        if session.uplink.statements:
            session.uplink.statements.pop(b"", None)  # as a simple Query does
        if entry.description is None:
            session.transport.write(entry.body + ready)
        else:
            session.transport.write(entry.description + entry.body + ready)
        self._count(session, cast("Known", entry.note), text, now)
        return True

    def batch(self, session: Session, data: bytes, end: int, now: float, ready: bytes = _READY) -> bool:
        """The same for a batch of the extended protocol that ends with Sync at ``end``."""
        view = session.view()
        asked = None if view is None else _asked(session, data, end)
        if view is None or asked is None:
            return False
        query, types, name, held, rest, bind_end, described = asked
        told = None if held is None else held.shape
        key = extended_key(view.scope, view.epoch, query, types, data[rest:bind_end], told)
        entry = self._cache.lookup(key, now) if held is None or told is not None else None
        if entry is None or (described and entry.description is None):
            judgement = view.judge(session.database.statements.get(query))
            if judgement.bypass is not None or not view.reads(query):
                return False
            reason = _not_to_keep(view, types, data, rest, bind_end)
            if reason is not None:
                session.turn = Turn(now)
                session.turn.reason = reason
            else:
                self._miss(session, judgement, key, now)
            return False
        if name is None:
            head = _BOUND
        else:
            head = _PARSED_AND_BOUND
            place = session.profile.place
            session.uplink.statements[name] = held or session.pool.registry.intern(query, types, place)
        if described and entry.description is not None:
            session.transport.write(head + entry.description + entry.body + ready)
        else:
            session.transport.write(head + entry.body + ready)
        self._count(session, cast("Known", entry.note), query, now)
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
        if data[-6:] not in _ENDS:
            return
        body = data[position:-6]
        self._cache.fill(fill.key, fill.stamp, description, body, now - turn.sent, now, fill.ttl, turn.known)


_Asked = tuple[bytes, bytes, "bytes | None", "Prepared | None", int, int, bool]
"""Text, types, the name that it gets (None: it had it), where the values of its Bind begin and end, with Describe?

Before the last three the statement by which the client counts on a result of a certain shape. It need not be known yet
which; then no answer is known to be of that shape.
"""


def _asked(session: Session, data: bytes, end: int) -> _Asked | None:
    """What a batch asks, if that can be a hit by its form."""
    tail = execution_of(data) if end == len(data) else 0
    if tail:
        if data[0] == tags.PARSE:
            read = read_parsed(data, end - tail)
            if read is not None:
                text, types, bind = read
                return text, types, b"", None, bind + 7, end - tail, describes(tail)
        elif data[0] == tags.BIND:
            name_end = read_bound(data, end - tail)
            statement = session.uplink.statements.get(data[6:name_end]) if name_end else None
            if statement is not None:
                return statement.query, statement.types, None, statement, name_end + 1, end - tail, describes(tail)
    try:
        return _asked_otherwise(session, data, end)
    except RemoteProtocolError:
        return None


def _asked_otherwise(session: Session, data: bytes, end: int) -> _Asked | None:
    """The same of any batch ``[Parse] Bind [Describe] Execute Sync``."""
    statements = session.uplink.statements
    position = 0
    tag, length = _header(data, 0)
    parsed: tuple[bytes, bytes, bytes] | None = None
    if tag == tags.PARSE:
        position = 1 + length
        parsed = read_parse(data, 5, position)
        if parsed[0] and parsed[0] in statements:
            return None
        tag, length = _header(data, position)
    if tag != tags.BIND:
        return None
    bind_end = position + 1 + length
    portal, name, rest = read_bind(data, position + 5, bind_end)
    held: Prepared | None = None
    if parsed is not None and parsed[0] == name:
        query, types = parsed[1], parsed[2]
        if name:
            held = session.pool.registry.intern(query, types, session.profile.place)
    else:
        held = statements.get(name)
        if held is None or parsed is not None:
            return None
        query, types = held.query, held.types
    tag, length = _header(data, bind_end)
    position = bind_end
    described = tag == tags.DESCRIBE
    if described:
        if read_target(data, position + 5, position + 1 + length) != (_PORTAL, portal):
            return None
        position += 1 + length
        tag, length = _header(data, position)
    if tag != tags.EXECUTE or position + 1 + length + 5 != end:
        return None
    if read_execute(data, position + 5, position + 1 + length) != (portal, 0):
        return None
    if held is not None and held.name and not name:  # a portal may have told of it, which is not remembered
        if not described:
            return None
        held = None
    return query, types, name if parsed is not None else None, held, rest, bind_end, described


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
