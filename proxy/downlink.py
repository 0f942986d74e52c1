"""The way down: what a leased server answers, and what follows from it before the client hears of it.

Order matters. What the replies prove is recorded, marks are lifted and answers are kept first; only then do the
bytes go to the client, so that nobody who has been told of a write can be served what it replaced. When nothing is
outstanding and no transaction is open, the lease ends.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

from pool.prepared import PREFIX
from pool.server import IDLE_IN_BLOCK
from pool.settings import NEVER_SET
from protocol import build
from protocol.hot import error_fields
from protocol.replies import SWALLOW, SYNC
from proxy.ledger import WEAR
from proxy.unpin import ask

if TYPE_CHECKING:
    from pool.server import Server
    from protocol.pipeline import Pipeline
    from protocol.replies import Finished
    from proxy.session import Session
    from proxy.turn import Effects, Turn
    from sql.facts import SettingChange

_SYNC = build.sync()
_OUTDATED = b"\0RRevalidateCached"  # the function that says "cached plan must not change result type"
_REPORTED = frozenset(
    (
        "application_name",
        "client_encoding",
        "datestyle",
        "default_transaction_read_only",
        "intervalstyle",
        "scram_iterations",
        "standard_conforming_strings",
        "timezone",
    )
)
"""Settings that every supported PostgreSQL reports (18 also reports search_path: see ``_follows_report``)."""


class Downlink:
    """Owner of the session's lease."""

    __slots__ = ("_session", "server", "turns")

    def __init__(self, session: Session) -> None:
        self._session = session
        self.server: Server | None = None
        self.turns: deque[Turn] = deque()  # sent and not answered

    def server_data(self, out: bytes) -> None:
        server = cast("Server", self.server)
        session = self._session
        pipeline = server.pipeline
        turns = self.turns
        if pipeline.parameters:
            self._reported(server, pipeline)
        if pipeline.swallowed_errors:
            self._misfit(server, pipeline)
            return
        retelling = session.uplink.retelling
        if retelling is not None:
            out = retelling.passing(out)
            if retelling.over:
                session.uplink.retelling = None
        if turns and turns[0].fill is not None:
            session.reader.collect(turns[0], out)
        if pipeline.finished:
            now = session.clock()
            alone = len(pipeline.finished) == 1
            for finished in pipeline.finished:
                self._finished(finished, server, now, alone=alone)
            pipeline.finished.clear()
            if session.ears is not None:
                out = session.ears.passing(out, over=True)
            if out:
                session.transport.write(out)
            self.rest(server)
        else:
            if session.ears is not None:
                out = session.ears.passing(out, over=False)
            if out:
                session.transport.write(out)
            if not pipeline.queue:
                self.rest(server)
        if session.uplink.stalled and not session.closing:
            session.go_on()

    def server_answered(self, out: bytes, rows: int) -> None:
        """The fast lane down: a quiet turn's answer, complete; what ``_finished`` and ``rest`` do of it."""
        session = self._session
        turn = self.turns.popleft()
        now = session.clock()
        if turn.fill is not None:
            session.reader.collect(turn, out)
            session.reader.keep(turn, now)
        self._count(turn, now, rows)
        session.active_at = now
        uplink = session.uplink
        if uplink.portals:
            uplink.portals.clear()
        session.transport.write(out)
        server = cast("Server", self.server)
        if (
            session.closing
            or uplink.left
            or uplink.open
            or session.draining
            or session.ledger.pins
            or not session.shared
        ):
            self.rest(server)
        else:
            self.server = None
            if session.ledger.taints and session.ledger.released():
                server.tainted = True
            server.give_back()
        if uplink.stalled and not session.closing:
            session.go_on()

    def _finished(self, finished: Finished, server: Server, now: float, *, alone: bool) -> None:
        session = self._session
        turn = cast("Turn", finished.note)
        if finished.error is not None:
            turn.sqlstate = sqlstate_of(finished.error)
            if _OUTDATED in finished.error:
                self._outdated()
            elif PREFIX in finished.error:
                server.statements.doubt()
            if turn.sqlstate == "25006":
                server.write_refused()
        while self.turns:
            first = self.turns.popleft()
            if first is turn:
                break
            session.ledger.finished(first, finished.status, finished.tag)
            if session.ears is not None:
                session.ears.finished(first, finished.status)
        if turn.effects is not None or turn.mark is not None:
            self._take_effect(turn, turn.effects, finished, server)
        if session.ears is not None:
            session.ears.finished(turn, finished.status)
        idle = finished.status == IDLE_IN_BLOCK
        undisturbed = finished.error is None and not finished.notices
        proper = idle or session.ledger.reading
        if turn.fill is not None and undisturbed and proper and alone and not self.turns:
            session.reader.keep(turn, now)
        self._count(turn, now, finished.rows)
        session.active_at = now
        if idle:
            if session.uplink.portals and not self.turns:
                session.uplink.portals.clear()
        elif session.database.pool_mode == "statement":
            session.refuse("0A000", "transaction blocks are not allowed in statement pooling mode")

    def _count(self, turn: Turn, now: float, rows: int) -> None:
        session = self._session
        database = session.database
        known = turn.known
        database.stats.finish(
            database.counters,
            known.digest if known is not None else None,
            session.user,
            session.application,
            turn.queued,
            now - turn.sent,
            now - turn.started,
            turn.outcome,
            turn.sqlstate,
            turn.text,
            turn.parameters,
            rows,
            turn.reason,
        )

    def _outdated(self) -> None:
        """A statement's result type has changed, nobody says which one's, and nothing says that it was the only one.

        What is prepared anew is new. Whoever does not prepare anew may hear of it often, but has that effect once.
        """
        registry = self._session.pool.registry
        if any(registry.is_current(statement) for statement in self._session.uplink.statements.values()):
            registry.renew()

    def _take_effect(self, turn: Turn, effects: Effects | None, finished: Finished, server: Server) -> None:
        session = self._session
        if session.ledger.finished(turn, finished.status, finished.tag):
            self._follow(session.ledger.take_settings(), server)
        if effects is None or turn.sqlstate is not None:
            return
        if effects.forgets:
            session.uplink.statements.clear()
            server.statements.clear()

    def _follow(self, changes: list[SettingChange], server: Server) -> None:
        """Settings have been committed: what the server has now, and what the session is to have from now on.

        A reset leads a server to its own default, but a session to where its client started.
        """
        session = self._session
        profiles = session.pool.profiles
        start = session.startup_profile.values
        there = session.profile
        back: set[str] = set()
        for change in changes:
            name = change.name.lower()
            if name == "*":
                there = profiles.of({n: v for n, v in there.values.items() if _follows_report(n, server)})
                back.update(start)
                continue
            if not _follows_report(name, server):
                there = profiles.changed(there, name, change.value)
            if change.value is None and name in start:
                back.add(name)
            else:
                back.discard(name)
        server.profile = there
        session.profile = profiles.of({**there.values, **{n: start[n] for n in back}}) if back else there

    def rest(self, server: Server) -> None:
        """If nothing is outstanding the lease ends, unless something keeps it."""
        session = self._session
        pipeline = server.pipeline
        if self.server is not server or pipeline.queue or not pipeline.at_rest:
            return
        if session.ears is not None and session.ears.waiting:
            return
        if session.closing:  # it has said goodbye, and everything before that has been carried out
            session.close()
            return
        if pipeline.status != IDLE_IN_BLOCK or session.uplink.open or session.uplink.left:
            return
        if not session.shared or session.ledger.pins:
            if session.draining:
                session.dismiss()
            elif session.shared and ask(session, server):
                return
            elif server.profile is not session.profile and (ahead := server.switch(session.profile)):
                server.transport.write(ahead)
            return
        self.server = None
        if session.ledger.released():
            server.tainted = True
        server.give_back()
        if session.draining:
            session.dismiss()

    def _misfit(self, server: Server, pipeline: Pipeline) -> None:
        """The server would not take the session's settings: nothing may run under others."""
        body = pipeline.swallowed_errors[0]
        fields = error_fields(body, 0, len(body))
        server.broken = True
        self._session.refuse(fields.get("C", "XX000"), fields.get("M", "the session's settings were refused"))

    def _reported(self, server: Server, pipeline: Pipeline) -> None:
        """The client was told that a setting has another value: from now on it goes with the session."""
        session = self._session
        for body, forwarded in pipeline.parameters:
            if not forwarded:
                continue
            if self.turns:
                self.turns[0].fill = None
            raw_name, _, raw_value = body.rstrip(b"\0").partition(b"\0")
            name = raw_name.decode("utf-8", "replace")
            value = raw_value.decode("utf-8", "surrogateescape")
            if name in NEVER_SET:
                continue
            if name == "application_name":
                session.application = value
            unchanged = value == server.base.get(name)
            profiles = session.pool.profiles
            session.profile = profiles.changed(session.profile, name, None if unchanged else value)
            server.profile = session.profile
        pipeline.parameters.clear()

    def server_lost(self, reason: str) -> None:
        server, self.server = self.server, None
        session = self._session
        if server is None:
            return
        if session.ears is not None:
            session.ears.give_up()
        session.database.orphaned(session.ledger.leave(self.all_turns()), server)
        self.turns.clear()
        if server.pipeline.mid_message or server.pipeline.errors:  # half an answer, or the server's own last word
            session.close()
        else:
            session.refuse("08006", reason)

    def server_congested(self, congested: bool) -> None:
        self._session.brake(congested)

    def all_turns(self) -> list[Turn]:
        """Those that are not answered, with the one whose messages are still coming in."""
        turn = self._session.turn
        return [*self.turns, turn] if turn is not None else list(self.turns)

    def part(self, *, half_sent: bool) -> None:
        """The session ends: whoever gets the server next gets it clean, and marks wait for the outcome."""
        server, self.server = self.server, None
        if server is None:
            return
        session = self._session
        turns = self.all_turns()
        left = session.ledger.leave(turns)
        self.turns.clear()
        if left:
            database = session.database
            server.after = lambda known: database.settled(left, server, known=known)
        if session.ledger.pins or not session.shared:
            server.used_up = True
            server.worn = not session.ledger.pins.isdisjoint(WEAR)
        if session.ledger.taints or session.ledger.take_settings():
            server.tainted = True
        for turn in turns:
            if turn.effects is not None:
                _suspect(server, turn.effects)
        server.give_back(half_sent=half_sent or self._unsynced(server))

    def _unsynced(self, server: Server) -> bool:
        """A batch whose Sync will never come is void, as PostgreSQL lets it be: our own Sync would commit it.

        True if only closing the connection makes it so; what writes nothing may as well be committed.
        """
        session = self._session
        if not session.uplink.open or server.closed:
            return False
        if session.turn is not None and session.turn.effects is not None:
            return True
        if not server.pipeline.copy_in:
            server.pipeline.add(SYNC, None, SWALLOW)
            server.transport.write(_SYNC)
        return False


def _suspect(server: Server, effects: Effects) -> None:
    """Nobody will hear how this ended: it may have left traces in the server's session."""
    if effects.pins or effects.forgets:
        server.used_up = True
        server.worn = server.worn or not WEAR.isdisjoint(effects.pins)
    if effects.settings or effects.taints:
        server.tainted = True


def _follows_report(name: str, server: Server) -> bool:
    return name in _REPORTED or (name == "search_path" and "search_path" in server.base)


def sqlstate_of(body: bytes) -> str:
    """The SQLSTATE of an ErrorResponse; XX000 if it has none."""
    for field in body.split(b"\0"):
        if len(field) == 6 and field[0] == 0x43:
            return field[1:].decode("ascii", "replace")
    return "XX000"
