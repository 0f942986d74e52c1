"""One client's life after login: turns up to a server and answers down to the client.

Everything is decided inside ``data_received``: no task, no future, no coroutine. Between turns a session holds nothing.
When a client speaks, the session first asks the reader (proxy/reading.py) whether the answer is in the cache; otherwise
it leases a server from its pool, or waits in the pool's queue, and from then on messages go up through Uplink and
replies come down through the server's pipeline until nothing is outstanding and no transaction is open. Then the lease
ends, unless a pin keeps it.

The two directions brake each other: a client that does not read stops its server's reading, and the other way round.
"""

from __future__ import annotations

import asyncio
from struct import Struct
from typing import TYPE_CHECKING

from pool.server import IDLE_IN_BLOCK
from protocol import build, tags
from protocol.errors import RemoteProtocolError
from proxy.downlink import Downlink
from proxy.express import send_plain
from proxy.inbox import EXTENDED, FAR, Inbox, batch_end
from proxy.inside import answer_inside
from proxy.ledger import Ledger
from proxy.notify.ears import Ears, attend
from proxy.parting import cancel_waiting, leave
from proxy.turn import Turn
from proxy.uplink import Terminated, Uplink
from proxy.uplink_own import OwnUplink
from stats.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from pool.errors import PoolError
    from pool.pool import Pool
    from pool.server import Owner, Server
    from pool.settings import Profile
    from proxy.clients import Clients
    from proxy.database import Database
    from proxy.knowledge import Judgement, Known, View
    from proxy.reading import Reader

_header = Struct(">BI").unpack_from
_READY = build.ready_for_query(b"I")
_LINGER = 10.0  # seconds for a client to read its last answer
HOLD_BATCH = 64 * 1024  # bytes; a longer batch without Sync goes to a server as far as it has come


class Session(asyncio.Protocol):
    """Owner of leases, and Uplink's conductor."""

    def __init__(
        self,
        transport: asyncio.Transport,
        database: Database,
        pool: Pool,
        clients: Clients,
        *,
        user: str,
        profile: Profile,
        application: str,
        number: int,
    ) -> None:
        self.transport = transport
        self.database = database
        self.pool = pool
        self.clients = clients
        self.user = user
        self.application = application
        self.number = number  # the process id that the client was told
        self.profile = profile
        self.startup_profile = profile
        self.connected_at = self.active_at = clients.clock()
        self.waiting = self.closing = self.draining = False
        self.ledger = Ledger(database)
        self.shared = database.pool_mode != "session"
        most = clients.limits.message
        self.uplink = Uplink(self, most) if self.shared else OwnUplink(self, most, database.statements.get)
        self.down = Downlink(self)
        self.owner: Owner = self.down
        self.turn: Turn | None = None  # the one whose messages are coming in
        self.reader: Reader = clients.reader
        self.clock: Callable[[], float] = clients.clock
        self.longest = min(HOLD_BATCH, most)  # bytes; longer messages go the long way
        self.ears: Ears | None = None  # from its first LISTEN on, if it does not keep its server
        self.inbox = Inbox()
        self._reading_paused = False
        self.full = False  # more has been written than the client reads
        self._view: View | None = None

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        if self.inbox.size or self.waiting:
            whole = self.inbox.add(data)
            if whole is None:
                if (self.waiting or self.uplink.stalled) and self.inbox.size > HOLD_BATCH:
                    self.brake(True)
                return
            data = whole
        now = self.clock()
        if self.down.server is None and not (self.database.caching or self.uplink.left or self.full):
            self.active_at = now
            if send_plain(self, data, now):
                return
        self.advance(data, now)

    def advance(self, data: bytes, now: float) -> None:
        """Go through what the client has sent."""
        self.active_at = now
        try:
            while data:
                server = self.down.server
                if server is None:
                    if self.full:  # it does not read its answers: no more of them from the cache
                        self.inbox.hold(data, FAR)
                        self.brake(True)
                        return
                    data = self._without_server(data, now)
                    server = self.down.server
                    if server is None or not data:
                        if self.waiting or self.inbox or self.closing:
                            return
                        continue
                elif self.ledger.reading and not (data := answer_inside(self, data, server, now)):
                    return
                up, used, needed = self.uplink.forward(data, server)
                if up:
                    (server.transport if self.ears is None else self.ears).write(up)
                if not needed:
                    raise Terminated
                if used < len(data):
                    self.inbox.hold(data[used:], needed)
                if not server.pipeline.queue:  # nothing was asked of it, and nothing will come that ends the lease
                    self.down.rest(server)
                return
        except Terminated:
            leave(self)
        except RemoteProtocolError as error:
            self.refuse(error.sqlstate, error.message)

    def go_on(self) -> None:
        """An answer has come that what the client has sent since may have been waiting for."""
        self.uplink.stalled = False
        self.brake(False)
        self.advance(self.inbox.take(), self.clock())

    def _without_server(self, data: bytes, now: float) -> bytes:
        """At rest. Returns what is left; having leased a server, all that has not been answered."""
        if self.uplink.left:  # the rest of copy data that nobody wants any more
            passed = min(self.uplink.left, len(data))
            self.uplink.left -= passed
            return data[passed:]
        size = len(data)
        if size < 5:
            self.inbox.hold(data, 5)
            return b""
        tag, length = _header(data)
        end = 1 + length
        if length < 4 or length > self.clients.limits.message:
            raise RemoteProtocolError(f"invalid message length {length}")
        if tag == tags.QUERY:
            if end > size:
                self.inbox.hold(data, end)
                return b""
            if self.database.caching and self.reader.simple(self, data, end, now):
                return data[end:] if end < size else b""
        elif tag in EXTENDED:
            if self.database.caching:
                end = batch_end(data)
                if end == 0 and size < HOLD_BATCH:
                    self.inbox.hold(data, size + 1)
                    return b""
                if end > 0 and self.reader.batch(self, data, end, now):
                    return data[end:] if end < size else b""
        elif tag != tags.FUNCTION_CALL:
            return self._alone(tag, length, data, end)
        if end == size and self.database.caching and send_plain(self, data, now):
            return b""
        return self._lease(data, now) if self.down.server is None else data

    def _alone(self, tag: int, length: int, data: bytes, end: int) -> bytes:
        """A message that needs no server."""
        if tag == tags.SYNC and length == 4:
            self.transport.write(_READY)
            return data[end:]
        if tag == tags.TERMINATE:
            raise Terminated
        if tag in (tags.FLUSH, tags.COPY_DATA, tags.COPY_DONE, tags.COPY_FAIL):
            if end > len(data):  # copy data after a copy that failed: let it pass by
                self.uplink.left = end - len(data)
                self.uplink.stream_dropped = True
                return b""
            return data[end:]
        raise RemoteProtocolError(f"invalid frontend message type {tag}")

    def _lease(self, data: bytes, now: float) -> bytes:
        if self.turn is None:
            self.turn = Turn(now)
        server = self.pool.acquire(self, now)
        if server is None:
            self.waiting = True
            self.inbox.hold(data, FAR)
            return b""
        self.take(server)
        return data

    def take(self, server: Server) -> None:
        """It is leased: bring its settings to the session's."""
        self.down.server = server
        if server.profile is not self.profile:
            ahead = server.switch(self.profile)
            if ahead:
                server.transport.write(ahead)
        if len(server.statements) > self.pool.limits.prepared:
            ahead = server.trim(self.pool.limits.prepared)
            if ahead:
                server.transport.write(ahead)
        if not self.shared:
            server.used_up = True

    def lease_granted(self, server: Server) -> None:
        self.waiting = False
        now = self.clock()
        if self.turn is not None:
            self.turn.queued = now - self.turn.started
        self.take(server)
        data = self.inbox.take()
        self.brake(False)
        self.active_at = now
        if self.full or self.uplink.left or self.ledger.deferred is not None or not send_plain(self, data, now):
            self.advance(data, now)

    def lease_failed(self, error: PoolError) -> None:
        self.waiting = False
        turn = self.turn
        if turn is not None:
            now = self.clock()
            waited = now - turn.started
            digest = turn.known.digest if turn.known is not None else None
            who = (self.database.counters, digest, self.user, self.application)
            self.database.stats.finish(*who, waited, 0.0, waited, Outcome.BYPASS, error.sqlstate)
        self.refuse(error.sqlstate, error.message, error.detail, counted=turn is not None)

    def query(self, known: Known, text: bytes, server: Server) -> Turn:
        turn = self.turn or Turn(self.active_at)
        turn.known = known
        turn.text = text
        self._judge(turn, known, text)
        return self._send(turn, server)

    def sync(self, server: Server) -> Turn:
        return self._send(self.turn or Turn(self.active_at), server)

    def function(self, server: Server) -> Turn:
        turn = self.turn or Turn(self.active_at)
        self.ledger.executes(turn, self.clients.function, self.clients.function.blind, self.profile, self.pool.user)
        return self._send(turn, server)

    def known(self, text: bytes) -> Known:
        return self.database.statements.get(text)

    def executes(self, known: Known, text: bytes, server: Server, *, partial: bool) -> None:
        turn = self.turn
        if turn is None:
            turn = self.turn = Turn(self.active_at)
        if turn.known is None:
            turn.known = known
            turn.text = text
        if partial:
            turn.fill = None
            self.ledger.reading = False  # a portal stays open
        self._judge(turn, known, text)
        if known.facts.can_commit:
            self.ledger.before_send(turn, self.down.turns, may_commit=True)

    def executes_unknown(self, server: Server) -> None:
        self.executes(self.clients.function, b"", server, partial=True)

    def answer(self, data: bytes) -> None:
        self.transport.write(data)

    def _judge(self, turn: Turn, known: Known, text: bytes) -> None:
        judgement = self.database.judge(known, self.view(), text, self.ledger.doubt)
        if turn.outcome is Outcome.BYPASS and turn.known is known:
            self.count_bypass(turn, known, judgement)
        if not judgement.quiet:
            self.ledger.executes(turn, known, judgement, self.profile, self.pool.user)
            if known.listens and self.shared:
                self.ears = self.ledger.ears = attend(self)

    def count_bypass(self, turn: Turn, known: Known, judgement: Judgement) -> None:
        """A turn that the cache was not asked about: say why, if it is a read."""
        if known.plain_read:
            turn.reason = turn.reason or (judgement.bypass if self.database.caching else "off") or "transaction"
        else:
            turn.outcome = Outcome.WRITE

    def _send(self, turn: Turn, server: Server) -> Turn:
        if turn.effects is not None or self.ledger.in_block:
            pipeline = server.pipeline
            settled = not self.down.turns and pipeline.status != IDLE_IN_BLOCK
            commits = turn.effects is not None and turn.effects.commits
            self.ledger.before_send(turn, self.down.turns, may_commit=commits or not settled)
        turn.sent = self.clock() if turn.queued else turn.started
        self.down.turns.append(turn)
        self.turn = None
        return turn

    def view(self) -> View | None:
        """How this session sees statements now."""
        view = self._view
        if view is None or view.catalog is not self.database.catalog or view.profile is not self.profile:
            view = self._view = self.database.view(self.profile, self.pool.user)
        return view

    def brake(self, stop: bool) -> None:
        """Stop reading from the client, or go on."""
        if stop != self._reading_paused and not self.transport.is_closing():
            self._reading_paused = stop
            (self.transport.pause_reading if stop else self.transport.resume_reading)()

    def pause_writing(self) -> None:
        self.full = True
        if self.down.server is not None:
            self.down.server.pause()

    def resume_writing(self) -> None:
        self.full = False
        if self.down.server is not None:
            self.down.server.resume()
        if self.ears is not None:
            self.ears.flush()
        if self.down.server is None and self.inbox and not (self.waiting or self.closing):
            self.brake(False)
            self.advance(self.inbox.take(), self.clock())

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self._part()
        self.clients.gone(self)

    def drain(self) -> None:
        """The process is ending: close now, or after the open transaction."""
        self.draining = True
        if self.waiting or self.down.server is None:
            self.dismiss()
        else:
            self.down.rest(self.down.server)

    def cancel(self) -> asyncio.Task[None] | None:
        """The client, or a time limit, wants the running query cancelled; what tells the server, if that is needed."""
        server, turns = self.down.server, self.down.turns
        if self.waiting:
            cancel_waiting(self)
        elif server is not None and turns:
            turn = turns[0]
            return self.pool.cancel(server, lambda: self.down.server is server and turn in self.down.turns)
        elif server is not None and self.uplink.stalled:
            return self.pool.cancel(server, lambda: self.down.server is server and self.uplink.stalled)
        return None

    def dismiss(self) -> None:
        """End the session between transactions, for a shutdown or because it has said goodbye."""
        if self.closing:
            self.close()
        else:
            self.refuse("57P01", "terminating connection due to administrator command")

    def refuse(self, sqlstate: str, message: str, detail: str | None = None, *, counted: bool = False) -> None:
        """Tell the client why, and close."""
        if not counted:
            self.database.stats.error(sqlstate)
        if not self.closing and not (self.down.server is not None and self.down.server.pipeline.mid_message):
            self.transport.write(build.error_response(sqlstate, message, severity="FATAL", detail=detail))
        self.close()

    def close(self) -> None:
        """Part from the server and close, once what was written has been read; not for ever."""
        self.closing = True
        self._part()
        self.transport.close()
        if self.transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(_LINGER, self.transport.abort)

    def _part(self) -> None:
        if self.waiting:
            self.waiting = False
            self.pool.withdraw(self)
        unsent = self.ears is not None and self.ears.unsent
        self.down.part(half_sent=unsent or (self.uplink.left > 0 and not self.uplink.stream_dropped))
        if self.ears is not None:
            self.ears.close()
