"""BEGIN deferred: answered here, and sent with the first statement that needs a server.

A session at rest whose client sends a BEGIN alone in a simple Query is told "BEGIN" at once and leases nothing
(``Ledger.deferred`` holds the text). COMMIT or ROLLBACK alone is then answered here, too. Anything else takes a server,
and the client's own BEGIN goes ahead in the same write, swallowed; from its reply on everything is as ever.

Nothing may run outside the transaction that the client believes in. So BEGIN goes ahead as Parse, Bind and Execute
without a Sync: if it fails (a standby refuses SERIALIZABLE, a cancel request comes early), the server skips what
follows up to the next Sync, and the client has the error as the answer to its statement, with a ReadyForQuery that says
that no transaction is open. And until BEGIN is proved, one turn at most goes up: a second would run behind that Sync.
What has come behind the first by then was meant for a transaction that there is not, and such a client is closed.

The pipeline's status says "in a transaction" from the moment BEGIN is sent: what the client's statement does commits
with its COMMIT, or does not happen at all.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import TYPE_CHECKING

from protocol import build, tags
from protocol.errors import RemoteProtocolError
from protocol.hot import error_fields
from protocol.replies import BIND, CLOSE, EXECUTE, FORWARD, PARSE, SWALLOW, SYNC
from proxy.inbox import FAR
from proxy.inside import answer_inside
from proxy.parting import NOT_BEGUN, leave
from proxy.session import HOLD_BATCH, Session
from proxy.uplink import Terminated
from proxy.usual import read_text
from sql.facts import Kind
from stats.records import Outcome

if TYPE_CHECKING:
    from pool.server import Server
    from proxy.knowledge import Known

_header = Struct(">BI").unpack_from
_IN_BLOCK = 0x54  # 'T'
_IDLE = build.ready_for_query(b"I")
_OPEN = build.ready_for_query(b"T")
_SYNC = build.sync()
_BOUND_AND_EXECUTED = build.bind("", "") + build.execute("")
_CLOSED = build.close("P", "") + build.close("S", "")
_TURN_ENDS = frozenset((tags.QUERY, tags.FUNCTION_CALL, tags.SYNC))
_SPACE = rb"(?:\s|--[^\n\r]*[\n\r]|/\*[^*]*\*/)*"
_BEGINS = re.compile(_SPACE + rb"(?:(begin)|start)\b", re.IGNORECASE).match
_ENDS = re.compile(_SPACE + rb"(?:commit|end|rollback|abort)\b", re.IGNORECASE).match
_ENDINGS = {Kind.COMMIT: build.command_complete("COMMIT"), Kind.ROLLBACK: build.command_complete("ROLLBACK")}
_BEGUN = build.command_complete("BEGIN") + _OPEN
_STARTED = build.command_complete("START TRANSACTION") + _OPEN


class DeferringSession(Session):
    """A session that leases for what follows a BEGIN. While no transaction is deferred it is as any other."""

    _ahead: Ahead | None = None  # BEGIN is on its way

    def data_received(self, data: bytes) -> None:
        if self.ledger.deferred is None or self.waiting or self.closing:
            super().data_received(data)
            return
        if self.inbox.size:
            whole = self.inbox.add(data)
            if whole is None:
                if self.uplink.stalled and self.inbox.size > HOLD_BATCH:
                    self.brake(True)
                return
            data = whole
        self.advance(data, self.clock())

    def advance(self, data: bytes, now: float) -> None:
        """Go through what the client has sent."""
        if self.ledger.deferred is None:
            super().advance(data, now)
            return
        self.active_at = now
        try:
            if data and self.down.server is None and self.ledger.reading:
                data = answer_inside(self, data, None, now)
            if data and self.down.server is None:
                data = super()._lease(data, now) if self._needs_server(data, now) else b""
            if data and self.down.server is not None:
                self._go_ahead(data, self.down.server, now)
        except Terminated:
            leave(self)
        except RemoteProtocolError as refusal:
            self.refuse(refusal.sqlstate, refusal.message)

    def drain(self) -> None:
        """The process is ending: a deferred transaction may end first, as any other."""
        if self.ledger.deferred is not None and self.down.server is None and not self.waiting:
            self.draining = True
        else:
            super().drain()

    # -- without a server ---------------------------------------------------------------------------------------------

    def _lease(self, data: bytes, now: float) -> bytes:
        """Only a server can answer this; unless it is a BEGIN."""
        if data[0] != tags.QUERY or (begins := _BEGINS(data, 5)) is None:
            return super()._lease(data, now)
        known = self._lone(data)
        if known is None or known.facts.kind is not Kind.BEGIN:
            return super()._lease(data, now)
        self.ledger.deferred = data[5:-1]
        self.ledger.reading = known.begins_reading
        self._count(known, now)
        self.transport.write(_BEGUN if begins[1] else _STARTED)
        return b""

    def _needs_server(self, data: bytes, now: float) -> bool:
        """In a deferred transaction: answer it, keep what is not all there, or say that somebody else must."""
        size = len(data)
        if self.full or size < 5:
            self.inbox.hold(data, FAR if self.full else 5)
            self.brake(self.full)
            return False
        tag, length = _header(data)
        if tag == tags.TERMINATE:
            raise Terminated
        if length < 4 or length > self.clients.limits.message:
            raise RemoteProtocolError(f"invalid message length {length}")
        if tag == tags.QUERY:
            if length >= size:
                self.inbox.hold(data, 1 + length)
                return False
            return not (_ENDS(data, 5) and self._ended(data, now))
        if data == _SYNC:
            self.transport.write(_OPEN)
        return data != _SYNC

    def _ended(self, data: bytes, now: float) -> bool:
        """The client ends the transaction in which nothing has happened."""
        known = self._lone(data)
        complete = _ENDINGS.get(known.facts.kind) if known is not None and not known.facts.chain else None
        if known is None or complete is None:
            return False
        self.ledger.deferred = None
        self.ledger.reading = False
        self._count(known, now)
        self.transport.write(complete)
        if self.ears is not None:
            self.ears.flush()
        self.transport.write(_IDLE)
        if self.draining:
            self.dismiss()
        return True

    def _lone(self, data: bytes) -> Known | None:
        """What is known of the text, if this is one simple Query that everybody reads in the same way."""
        text = read_text(data, len(data)) if _header(data)[1] == len(data) - 1 else None
        return self.database.statements.get(text) if text is not None and text.isascii() else None

    def _count(self, known: Known, now: float) -> None:
        self.uplink.statements.pop(b"", None)  # as a simple Query does
        stats, spent = self.database.stats, self.clock() - now
        counters = self.database.counters
        stats.finish(counters, known.digest, self.user, self.application, 0.0, 0.0, spent, Outcome.LOCAL)

    # -- with one -----------------------------------------------------------------------------------------------------

    def _go_ahead(self, data: bytes, server: Server, now: float) -> None:
        """Send BEGIN, and what belongs to one turn; the rest waits until BEGIN is proved."""
        pipeline = server.pipeline
        if self._ahead is None:
            self._ahead = Ahead(self, server)
            pipeline.status = _IN_BLOCK
            begin = build.parse("", self.ledger.deferred or b"") + _BOUND_AND_EXECUTED
            for kind in (PARSE, BIND):
                pipeline.add(kind, None, SWALLOW)
            pipeline.add(EXECUTE, self._ahead, SWALLOW)
            if data[0] != tags.QUERY:  # which would do the same
                begin += _CLOSED
                for _ in range(2):
                    pipeline.add(CLOSE, None, SWALLOW)
            server.statements.unnamed_lost()
            server.transport.write(begin)
        end = 0 if self.down.turns else turn_end(data, self.uplink.left)
        if end:
            super().advance(data[:end], now)
        if end < len(data) and not self.closing:
            self._hold(data[end:])

    def _hold(self, data: bytes) -> None:
        """Until BEGIN is proved, see ``Downlink.server_data``."""
        if data[0] == tags.TERMINATE:
            raise Terminated
        if self.inbox:  # the end of this turn waits, too
            self.inbox.add(data)
        else:
            self.inbox.hold(data, FAR)
        self.uplink.stalled = True
        if self.inbox.size > HOLD_BATCH:
            self.brake(True)

    def begun(self, server: Server) -> None:
        """The server has said so."""
        self.ledger.deferred = self._ahead = None
        told = bool(server.pipeline.finished)  # by what came behind it, how things are since
        if self.down.server is server and not told:
            server.pipeline.status = _IN_BLOCK

    def not_begun(self, server: Server) -> None:
        """BEGIN has failed, and the server skips what came behind it."""
        self.ledger.deferred = self._ahead = None
        self.ledger.reading = False
        if self.down.server is not server or server.closed:
            return
        pipeline, turns = server.pipeline, self.down.turns
        held = self.inbox.take()
        if len(held) > (0 if turns else turn_end(held, 0)):
            body = pipeline.errors[-1] if pipeline.errors else pipeline.finished[-1].error or b""
            fields = error_fields(body, 0, len(body))
            self.refuse(fields.get("C", "XX000"), fields.get("M", "BEGIN failed"), NOT_BEGUN)
            return
        if held:
            self.inbox.hold(held, FAR)
        if pipeline.skipping and not self.uplink.open:  # no Sync of the client's is on its way
            pipeline.add(SYNC, turns[-1] if turns else None, FORWARD if turns else SWALLOW)
            server.transport.write(_SYNC)


class Ahead:
    """Note of the Execute of a BEGIN."""

    def __init__(self, session: DeferringSession, server: Server) -> None:
        self._session = session
        self._server = server

    def proved(self) -> None:
        self._session.begun(self._server)

    def dropped(self) -> None:
        """It failed, or the connection is lost."""
        self._session.not_begun(self._server)


def turn_end(data: bytes, position: int) -> int:
    """Behind the first message that ends a turn, from where a message begins; all of it if that has not come."""
    size = len(data)
    while size - position >= 5:
        tag, length = _header(data, position)
        position += 1 + max(length, 4)
        if tag in _TURN_ENDS:
            return min(position, size)
    return size
