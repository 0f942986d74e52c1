"""The way up: a client's messages become what its leased server is sent.

Most messages go up as they are, in one slice with their neighbours. Rewritten are those that name a prepared
statement: clients' names become ours (pool/prepared.py), a missing statement is parsed ahead, one that is there
already is answered by us in its place. The unnamed statement keeps its name, but may have to be parsed again on
another server.

A client's Parse with a name it has in use must fail as PostgreSQL lets it fail. The server is made to say so itself: an
empty statement of that name is put in its way.

What the client believes (``statements``) changes when its message is sent and is taken back when the server skips that
message, because later messages of the same batch rely on it. A later batch does not: what refers to a name that an
unanswered earlier batch made or closed waits for that answer (``stalled``).

A Sync behind a statement that may begin a COPY from the client (``copying``) waits until it is known whether it does:
within a copy the server ignores it, and answers it if the copy fails too early. Drivers send it with the Execute.

Long messages: Query and Parse are needed whole. Bind and CopyData stream: once the names of a Bind are there, the
rest is passed on as it comes. ``left`` is what is still to come.
"""

from __future__ import annotations

from struct import Struct, pack
from typing import TYPE_CHECKING

from pool.prepared import Presence, close_message
from protocol import build, tags
from protocol.errors import RemoteProtocolError
from protocol.hot import Incomplete, read_bind, read_execute, read_parse, read_query, read_target
from protocol.replies import (
    BIND,
    CLOSE,
    DESCRIBE_PORTAL,
    DESCRIBE_STATEMENT,
    EXECUTE,
    FAKE,
    FUNCTION,
    PARSE,
    QUERY,
    SWALLOW,
    SYNC,
)
from proxy.inbox import FAR, LONG, SHORT
from proxy.sqlprepare import send_names
from proxy.sqlprepare_shown import provide_named
from proxy.sqlprepare_there import parse_there, stands_there, summon_for_parse
from proxy.uplink_malformed import pass_malformed
from proxy.uplink_notes import (
    STATEMENT,
    Naming,
    Registered,
    bind_message,
    foreign_name,
    taken,
    unsure,
    without,
    without_unnamed,
)
from proxy.uplink_shapes import Learned, Told, Waits, close, compare, provide, provide_unnamed, steady
from proxy.uplink_usual import send_execution

if TYPE_CHECKING:
    from pool.prepared import Prepared
    from pool.server import Server
    from proxy.knowledge import Known
    from proxy.retelling import Retelling
    from proxy.uplink_ports import Conductor

_header = Struct(">BI").unpack_from
_PARSE_COMPLETE = build.parse_complete()
_CLOSE_COMPLETE = build.close_complete()
_FLUSH = build.flush()
STREAM = 64 * 1024  # bytes; a longer Bind is not waited for
FAILED = 0x45


class Terminated(Exception):
    """A Terminate has been read."""


class Uplink:
    """One session's way up. ``conductor`` is the session: it knows turns, effects and limits."""

    __slots__ = (
        "_max_message",
        "asking",
        "conductor",
        "copying",
        "doubtful",
        "left",
        "made",
        "misfit",
        "open",
        "portals",
        "retelling",
        "stalled",
        "statements",
        "stream_dropped",
        "there",
    )

    def __init__(self, conductor: Conductor, max_message: int) -> None:
        self.conductor = conductor
        self._max_message = max_message
        self.statements: dict[bytes, Prepared] = {}  # by the client's names; b"" is the unnamed one
        self.doubtful: dict[bytes, Naming] = {}  # names whose last Parse or Close is not answered
        self.stalled = False  # a message must wait until a doubt is settled
        self.misfit: Prepared | None = None  # what the waiting message needs is no longer what the client was told
        self.copying: bytes | None = None  # what makes the server say whether a copy begins, when one may
        self.portals: dict[bytes, tuple[Known, Prepared]] = {}
        self.open = False  # a batch of the extended protocol has begun and its Sync has not come
        self.asking = False  # for the simple Query that waits something has gone ahead
        self.retelling: Retelling | None = None  # how the next answer is told
        self.left, self.stream_dropped = 0, False  # bytes of a streamed message that are still to come; for nobody
        self.made: dict[bytes, tuple[Prepared, bytes]] = {}  # statements that SQL made, and the texts that did
        self.there: set[bytes] = set()  # names that may stand on the server that the session keeps

    def forward(self, data: bytes, server: Server) -> tuple[bytes, int, int]:
        """Translate what is complete.

        Returns the bytes for the server, how far ``data`` was used, and how many bytes the next message needs in all
        (at least 5; 0 = it is a Terminate). Raises RemoteProtocolError for what no server should see, Terminated at a
        Terminate with nothing before it.
        """
        size = len(data)
        usual = data[0] == tags.BIND and size > 5 and not (self.left or self.doubtful)
        if usual and (whole := send_execution(self, data, size, server)) is not None:
            return whole, size, 5
        up: list[bytes] = []
        position = start = 0
        if self.left:
            position = min(self.left, size)
            self.left -= position
            if self.stream_dropped:
                start = position
        needed = 5
        while size - position >= 5:
            tag, length = _header(data, position)
            end = position + 1 + length
            if length < 4 or length > self._max_message or (length > SHORT and tag not in LONG):
                raise RemoteProtocolError(f"invalid message length {length}")
            body = position + 5
            if self.doubtful and unsure(self.doubtful, tag, data, body, end, server.pipeline):
                self.stalled = True
                needed = FAR
                break
            try:
                if end > size:
                    new = self._stream(tag, data, position, end, server)
                    if new is None:
                        needed = end - position if size > body else 6
                        break
                    self.left = end - size
                    end = size
                elif tag == tags.BIND:
                    new = self._bind(data, body, end, end, server)
                elif tag == tags.EXECUTE:
                    new = self._execute(data, body, end, server)
                elif tag == tags.SYNC:
                    new = self._sync(length, server)
                elif tag == tags.QUERY:
                    new = self._query(data, body, end, server)
                elif tag == tags.TERMINATE and position:
                    needed = 0  # what came before it goes up first
                    break
                else:
                    new = self._cold(tag, data, body, end, server)
            except Waits as wait:
                needed = self._wait(up, data[start:position], wait)
                start = position
                break
            except RemoteProtocolError:
                if not pass_malformed(tag, self.conductor, server):
                    raise
                new = None
            if new is not None:
                up += (data[start:position], new)
                start = end
            position = end
        if not up:
            return (data if start == 0 and position == size else data[start:position]), position, needed
        if start < position:
            up.append(data[start:position])
        return b"".join(up), position, needed

    def _wait(self, up: list[bytes], before: bytes, wait: Waits) -> int:
        up += (before, wait.ahead)
        turn = self.conductor.turn
        if turn is not None:
            turn.fill = None  # the statement may turn out to be another one than was asked for in the cache
        self.stalled = True
        return FAR

    # Each of these returns what replaces the message, or None to pass it on as it is.

    def _query(self, data: bytes, body: int, end: int, server: Server) -> bytes | None:
        text = read_query(data, body, end)
        known = self.conductor.known(text)
        if (known.names or self.made) and (instead := self._names(known, text, server)) is not None:
            return instead
        if not server.pipeline.skipping:  # else the server ignores it
            self.open = False
            self.statements.pop(b"", None)  # a simple Query drops the unnamed statement
            self.doubtful.pop(b"", None)
            server.statements.unnamed_lost()
        server.pipeline.add(QUERY, self.conductor.query(known, text, server))
        self.copying = None
        if known.copies:
            self._may_copy(server)
        return None

    def _names(self, known: Known, text: bytes, server: Server) -> bytes | None:
        return send_names(self, known, text, server)

    def _sync(self, length: int, server: Server) -> bytes | None:
        if length != 4:
            raise RemoteProtocolError("invalid Sync message")
        pipeline = server.pipeline
        if self.copying is not None:
            if pipeline.queue and pipeline.queue[0][1] == FAKE:  # which no server will answer
                self.conductor.answer(pipeline.take_fakes())
            if pipeline.queue and not pipeline.copy_began:
                ahead, self.copying = self.copying, b""
                raise Waits(ahead)
            waited, self.copying = not self.copying, None
            if waited and pipeline.copy_began:  # and may have failed already
                return b""
        if pipeline.copy_in:
            return b""
        self.open = False
        pipeline.add(SYNC, self.conductor.sync(server))
        return None

    def _may_copy(self, server: Server) -> None:
        self.copying = _FLUSH
        server.pipeline.copy_began = False

    def _bind(self, data: bytes, body: int, available: int, end: int, server: Server) -> bytes | None:
        portal, name, rest = read_bind(data, body, end)
        statement = self.statements.get(name)
        self.open = True
        if statement is None:
            self.portals.pop(portal, None)
            if not name:
                before = without_unnamed(server)
                server.pipeline.add(BIND)
                return before + data[body - 5 : available]
            foreign = foreign_name(name)
            before = without(foreign, server)
            server.pipeline.add(BIND)
            if before or foreign != name:
                return before + bind_message(portal, foreign + b"\0", data, rest, available, end)
            return None
        known = self.conductor.known(statement.query)
        give = provide if name else provide_unnamed
        named = known.names
        injected = provide_named(self, known, statement, server, give) if named else give(statement, server, self)
        self.portals[portal] = (known, statement)
        if portal and not server.pipeline.skipping:  # FETCH can run it without our seeing an Execute
            self.conductor.executes(known, statement.query, server, partial=True)
        server.pipeline.add(BIND)
        if not name:
            return injected + data[body - 5 : available] if injected else None
        return injected + bind_message(portal, statement.bind_name, data, rest, available, end)

    def _execute(self, data: bytes, body: int, end: int, server: Server) -> bytes | None:
        portal, max_rows = read_execute(data, body, end)
        self.open = True
        bound = self.portals.get(portal)
        if bound is not None:
            if bound[0].copies:
                self._may_copy(server)
            self.conductor.executes(bound[0], bound[1].query, server, partial=max_rows != 0)
        elif not server.pipeline.skipping:
            self.conductor.executes_unknown(server)
        server.pipeline.add(EXECUTE)
        return None

    def _cold(self, tag: int, data: bytes, body: int, end: int, server: Server) -> bytes | None:
        pipeline = server.pipeline
        if tag == tags.PARSE:
            return self._parse(data, body, end, server)
        if tag == tags.DESCRIBE:
            return self._describe(data, body, end, server)
        if tag == tags.CLOSE:
            return self._close(data, body, end, server)
        if tag == tags.FLUSH:
            self.conductor.answer(pipeline.take_fakes())
            return b"" if pipeline.copy_in else None
        if tag == tags.COPY_DATA:
            return None if pipeline.queue else b""
        if tag in (tags.COPY_DONE, tags.COPY_FAIL):
            self.copying = None
            return None if pipeline.copy_ended() else b""
        if tag == tags.FUNCTION_CALL:
            pipeline.add(FUNCTION, self.conductor.function(server))
            return None
        if tag == tags.TERMINATE:
            raise Terminated
        raise RemoteProtocolError(f"invalid frontend message type {tag}")

    def _parse(self, data: bytes, body: int, end: int, server: Server) -> bytes | None:
        name, query, types = read_parse(data, body, end)
        pipeline = server.pipeline
        self.open = True
        statement = server.pool.registry.intern(query, types, self.conductor.profile.place)
        if statement.names is not False:
            summon_for_parse(self, statement, server)
        if name in self.there and stands_there(self, server):
            return parse_there(name, statement, server)
        if name and name in self.statements:
            return taken(name, statement, server)
        presence = server.statements.presence(statement, pipeline.batch) if name else Presence.ABSENT
        ready = pipeline.status != FAILED and not (pipeline.skipping or pipeline.copy_in)
        there = presence is Presence.PRESENT and ready and not (pipeline.turns_outstanding or statement.names)
        if name and ready and not there and statement.shape is not None:
            raise compare(statement, server, self, held=False)
        registered = Registered(self, name, statement, server)
        if not pipeline.skipping:
            registered.sends(statement)
        if not name:
            pipeline.add(PARSE, registered)
            if not pipeline.skipping:
                server.statements.unnamed_sent(statement, pipeline.batch)
            return None
        if there:
            registered.sent = False
            pipeline.add_fake(PARSE, _PARSE_COMPLETE, registered)
            return b""
        before = close(statement, server) if presence is not Presence.ABSENT else b""
        pipeline.add(PARSE, registered)
        if not pipeline.skipping:
            server.statements.sent(statement, pipeline.batch)
        message = before + statement.parse_message(statement.name)
        if not steady(self.conductor.known(statement.query)):
            return message
        pipeline.add(DESCRIBE_STATEMENT, Learned(server, statement), SWALLOW)
        return message + build.describe("S", statement.name)

    def _describe(self, data: bytes, body: int, end: int, server: Server) -> bytes | None:
        kind, name = read_target(data, body, end)
        self.open = True
        if kind != STATEMENT:
            server.pipeline.add(DESCRIBE_PORTAL)
            return None
        statement = self.statements.get(name)
        if statement is None:
            foreign = foreign_name(name)
            before = without(foreign, server) if name else without_unnamed(server)
            server.pipeline.add(DESCRIBE_STATEMENT)
            if foreign != name:
                return before + build.describe("S", foreign)
            return before + data[body - 5 : end] if before else None
        if not name:
            before = provide_unnamed(statement, server, self)
            lasts = statement.name and steady(self.conductor.known(statement.query))
            told = Told(self, server, statement) if lasts else None
            server.pipeline.add(DESCRIBE_STATEMENT, told)
            return before + data[body - 5 : end] if before else None
        before = provide(statement, server, self)
        server.pipeline.add(DESCRIBE_STATEMENT)
        return before + b"D%bS%b" % (pack(">I", 5 + len(statement.bind_name)), statement.bind_name)

    def _close(self, data: bytes, body: int, end: int, server: Server) -> bytes | None:
        kind, name = read_target(data, body, end)
        self.open = True
        pipeline = server.pipeline
        if kind != STATEMENT:
            pipeline.add(CLOSE)
            self.portals.pop(name, None)
            return None
        if name in self.there and name not in self.statements and stands_there(self, server):
            pipeline.add(CLOSE)
            return close_message(foreign_name(name))
        note = Naming(self, name, pipeline.batch) if name in self.statements else None
        if not pipeline.skipping and note is not None:
            note.sends(None)
        if name:
            pipeline.add_fake(CLOSE, _CLOSE_COMPLETE, note)
            return b""
        server.statements.unnamed_lost()
        pipeline.add(CLOSE, note)
        return None

    def _stream(self, tag: int, data: bytes, position: int, end: int, server: Server) -> bytes | None:
        """The beginning of a message that is not all there: what goes up of it now, or None to wait for the rest."""
        if len(data) == position + 5:
            return None
        if tag == tags.COPY_DATA:
            self.stream_dropped = not server.pipeline.queue
            return b"" if self.stream_dropped else data[position:]
        if tag == tags.BIND and end - position > STREAM:
            try:
                new = self._bind(data, position + 5, len(data), end, server)
            except (Incomplete, RemoteProtocolError):
                return None
            self.stream_dropped = False
            return data[position:] if new is None else new
        return None
