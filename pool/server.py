"""One server connection: its conversation, what is known of its session state, and who has it.

A connection is *leased* to an owner (a session), or *idle* in its pool, or *settling*: its last owner is gone and it
is being brought back to a state that anybody may get. Settling sends one thing at a time and looks again when the
answer is there; the order of the steps is the order of the code in ``_settle``. What cannot be settled within the
pool's ``cancel_timeout`` is closed: a closed connection is always clean.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol, cast

from pool.hosts import REPORTED, Role, fits
from pool.prepared import ServerStatements, close_message
from pool.settings import Profile, switch_query
from pool.spots import Spotted
from protocol import build
from protocol.errors import RemoteProtocolError
from protocol.pipeline import Pipeline
from protocol.replies import CLOSE, FUNCTION, QUERY, SWALLOW, SYNC

if TYPE_CHECKING:
    from collections.abc import Callable

    from pool.connect import Opened, Target
    from pool.pool import Pool

logger = logging.getLogger("forebay.server")

IDLE_IN_BLOCK = 0x49  # 'I': not in a transaction block
_SYNC = build.sync()
_CANCEL_AGAIN = 0.5  # seconds
_RESET = (
    "CLOSE ALL;RESET SESSION AUTHORIZATION;RESET ROLE;RESET ALL;UNLISTEN *;"
    "SELECT pg_catalog.pg_advisory_unlock_all();DISCARD TEMP"
)
"""What DISCARD ALL does, except for prepared statements and plans, which are ours and true."""


class Note(Protocol):
    """What to record when a request has taken effect, or has been skipped because of an earlier error."""

    def proved(self) -> None:
        """The reply has shown that it took effect."""

    def dropped(self) -> None:
        """The server skipped it."""


class Owner(Protocol):
    """Who leases a server connection."""

    def server_data(self, out: bytes) -> None:
        """Replies have arrived: read the pipeline's records, then pass ``out`` on."""

    def server_answered(self, out: bytes, rows: int) -> None:
        """The whole answer to a plain turn, the only one outstanding, has arrived."""

    def server_lost(self, reason: str) -> None:
        """The connection is gone; the lease with it."""

    def server_congested(self, congested: bool) -> None:
        """The server reads slower than the owner writes, or no longer does."""


class _ProfileSet:
    """A switch of settings is on its way."""

    __slots__ = ("_profile", "_server")

    def __init__(self, server: Server, profile: Profile) -> None:
        self._server = server
        self._profile = profile

    def proved(self) -> None:
        self._server.profile = self._profile

    def dropped(self) -> None:
        """Not in any set of settings that we know: never lent again."""
        self._server.broken = True


class Server(Spotted, asyncio.Protocol):
    """A connection to PostgreSQL after login. Made by Pool; all methods are synchronous."""

    def __init__(self, pool: Pool, opened: Opened, target: Target, now: float, expires: float) -> None:
        self.pool = pool
        self.target = target
        self.pid = opened.pid
        self.key = opened.key
        self.tls = opened.tls
        self.address = opened.address
        self.reported: dict[str, str] = dict(opened.parameters)
        self.base: dict[str, str] = dict(opened.parameters)  # as reported at login, when the profile was empty
        self.opened_at = now
        self.expires = expires
        self.idle_since = now
        self.leased_at = now
        self.pipeline = Pipeline()
        self.statements = ServerStatements()
        self.profile: Profile = pool.profiles.empty
        self.owner: Owner | None = None
        self.generation = 0  # the pool's when it was opened
        self.spots = 0
        self.guards = 0  # cancel requests on their way: while there are any, it must not change hands
        self.settling = False
        self.after: Callable[[bool], None] | None = None  # told once how the last owner's requests ended, see give_back
        self.transport = opened.transport
        self._deadline: asyncio.TimerHandle | None = None

    # -- asyncio ----------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        pipeline = self.pipeline
        if pipeline.plain is not None and self.owner is not None:
            rows = pipeline.receive_plain(data)
            if rows >= 0:
                for note in pipeline.proved:
                    cast("Note", note).proved()
                pipeline.proved.clear()
                self.owner.server_answered(data, rows)
                return
        try:
            out = pipeline.receive(data)
        except RemoteProtocolError as error:
            logger.warning("server connection %d closed: %s", self.pid, error.message)
            self.close(f"the server broke the protocol: {error.message}")
            return
        if pipeline.proved or pipeline.dropped or pipeline.parameters:
            self._record(pipeline)
        if self.owner is not None:
            self.owner.server_data(out)
        else:
            self._unowned()

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(f"the server connection was lost: {exc}" if exc else "the server closed the connection")

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self.owner is not None:
            self.congested = True
            self.owner.server_congested(True)

    def resume_writing(self) -> None:
        if self.owner is not None and self.congested:
            self.congested = False
            self.owner.server_congested(False)

    # -- what the owner does ----------------------------------------------------------------------------------------

    def pause(self) -> None:
        """The owner's client reads too slowly: stop reading from the server."""
        if not self.paused and not self.closed:
            self.paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """The owner's client has caught up."""
        if self.paused and not self.closed:
            self.paused = False
            self.transport.resume_reading()

    def take(self, owner: Owner, now: float) -> None:
        """Lend it. Only Pool calls this."""
        self.owner = owner
        self.leased_at = now

    def switch(self, profile: Profile) -> bytes:
        """What must go ahead of the owner's first message so that the settings fit; empty if they do."""
        text = switch_query(self.profile, profile)
        if not text:
            self.profile = profile
            return b""
        self.pipeline.add(QUERY, _ProfileSet(self, profile), SWALLOW)
        self.statements.unnamed_lost()
        return build.query(text)

    def trim(self, limit: int) -> bytes:
        """Close for each statement beyond the limit; only while nothing is outstanding."""
        out = []
        for statement in self.statements.surplus(limit):
            self.statements.closed(statement)
            self.pipeline.add(CLOSE, None, SWALLOW)
            out.append(close_message(statement.name))
            self.pool.counters.statements_evicted += 1
        return b"".join(out)

    # -- coming back ------------------------------------------------------------------------------------------------

    def give_back(self, *, half_sent: bool = False) -> None:
        """The owner is done with it. ``half_sent``: part of a message has been sent and its rest will never come.

        ``after`` is called with True once the server has answered everything and is outside a transaction, with False
        if that can no longer be learnt.
        """
        owner, self.owner = self.owner, None
        pipeline = self.pipeline
        spotless = not (self.spots or half_sent or self.after or self.statements.strays)
        if spotless and pipeline.status == IDLE_IN_BLOCK and pipeline.at_rest:  # as nearly always
            self.pool.available(self)
            return
        if self.congested and owner is not None:
            self.congested = False
            owner.server_congested(False)
        if self.closed:
            self._tell(False)
            return
        self.resume()
        if half_sent or self.broken:
            self.close("a message was cut off" if half_sent else "its state is not known")
            return
        if self.pipeline.at_rest and self.pipeline.status == IDLE_IN_BLOCK and not self.dirty and not self.guards:
            self._tell(True)
            self.pool.available(self)
            return
        self.settling = True
        if self.pipeline.queue or self.pipeline.skipping:
            self.pool.abandoned(self)
        self._limit("it did not come to rest")
        self._settle()

    def _limit(self, reason: str) -> None:
        timeout = self.pool.limits.cancel_timeout
        if timeout and self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(timeout, self.close, reason)

    @property
    def dirty(self) -> bool:
        """Something must be cleaned before another owner may have it."""
        return self.tainted or self.used_up or bool(self.statements.strays)

    def guard(self) -> None:
        """A cancel request is on its way: until it has been delivered, the connection does not change hands."""
        self.guards += 1
        self.guarded = True

    def guard_released(self) -> None:
        """A cancel request has been delivered."""
        self.guards -= 1
        self.guarded = self.guards > 0
        if self.owner is None and self.settling:
            self._settle()
            if self.pipeline.queue and not self.guards:  # it may have come before the query had begun: once more
                asyncio.get_running_loop().call_later(_CANCEL_AGAIN, self._cancel_again)

    def _cancel_again(self) -> None:
        if self.owner is None and self.settling and self.pipeline.queue and not (self.guards or self.closed):
            self.pool.abandoned(self)

    def _settle(self) -> None:
        pipeline = self.pipeline
        if pipeline.copy_in:
            pipeline.copy_ended()
            self.transport.write(build.copy_fail("the client is gone"))
        if pipeline.queue or pipeline.skipping:
            if pipeline.skipping or pipeline.queue[-1][0] not in (SYNC, QUERY, FUNCTION):
                pipeline.add(SYNC, None, SWALLOW)
                self.transport.write(_SYNC)
            return
        if not pipeline.at_rest:
            return
        if pipeline.status == IDLE_IN_BLOCK:
            self._tell(True)
        if self.guards:  # a cancel request must meet neither the cleaning nor the next owner
            return
        if pipeline.swallowed_errors:
            self.close("it could not be cleaned")
        elif pipeline.status != IDLE_IN_BLOCK:
            self.tainted = True  # settings go back to what they were before the block, and nobody follows that
            self._clean("ROLLBACK")
        elif self.worn:
            self.close("its process cannot be made as new")
        elif self.used_up:
            self.used_up = self.tainted = False
            self.statements.clear()
            self.profile = self.pool.profiles.empty
            self._clean("DISCARD ALL")
        elif self.tainted:
            self.tainted = False
            self.profile = self.pool.profiles.empty
            self._clean(_RESET)
        elif self.statements.strays:
            for name in self.statements.strays:
                pipeline.add(CLOSE, None, SWALLOW)
                self.transport.write(close_message(name))
            self.statements.strays.clear()
            pipeline.add(SYNC, None, SWALLOW)
            self.transport.write(_SYNC)
        else:
            self.settling = False
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
            self.pool.available(self)

    def _tell(self, known: bool) -> None:
        after, self.after = self.after, None
        if after is not None:
            after(known)

    def _clean(self, text: str) -> None:
        self.statements.unnamed_lost()
        self.pipeline.add(QUERY, None, SWALLOW)
        self.transport.write(build.query(text))

    def check(self) -> None:
        """An empty query, to see that the connection is alive; the pool hears of it through ``available``."""
        self.settling = True
        self._limit("it does not answer")
        self._clean("")

    def _unowned(self) -> None:
        pipeline = self.pipeline
        pipeline.finished.clear()
        if pipeline.errors and not pipeline.queue and not self.settling:
            self.close("the server ended an idle connection")
            return
        pipeline.errors.clear()
        if self.settling:
            self._settle()

    def close(self, reason: str) -> None:
        """Close it now; tells the owner or the pool. Idempotent."""
        if self.closed:
            return
        self.closed = True
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if not self.transport.is_closing():
            if self.pipeline.at_rest and self.pipeline.status == IDLE_IN_BLOCK:
                self.transport.write(build.terminate())
                self.transport.close()
            else:
                self.transport.abort()
        for note in self._pending_notes():
            note.dropped()
        if self.owner is None:
            self._tell(False)
        owner, self.owner = self.owner, None
        self.pool.gone(self, reason)
        if owner is not None:
            owner.server_lost(reason)

    def write_refused(self) -> None:
        """The owner was told 25006: perhaps its own wish, perhaps no primary any more."""
        if self.target.role.writes:
            self.broken = True

    def _look_at_role(self) -> None:
        standby = REPORTED[0]  # the other may be the owner's doing: as it was at login
        now = self.base | ({standby: self.reported[standby]} if standby in self.reported else {})
        if fits(self.target.role, now) is False and not self.broken:
            self.broken = True
            logger.warning("the server at %s is no longer %s", self.address[1], self.target.role.value)
            self.pool.role_changed(self)

    def _pending_notes(self) -> list[Note]:
        return [cast("Note", note) for kind, _, note, _ in self.pipeline.queue if note and kind not in (SYNC, QUERY)]

    def _record(self, pipeline: Pipeline) -> None:
        for body, _ in pipeline.parameters:
            name, _, value = body.rstrip(b"\0").partition(b"\0")
            self.reported[name.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        if pipeline.parameters and self.target.role is not Role.ANY:
            self._look_at_role()
        for note in pipeline.proved:
            cast("Note", note).proved()
        for note in pipeline.dropped:
            cast("Note", note).dropped()
        pipeline.proved.clear()
        pipeline.dropped.clear()
        pipeline.failed.clear()
        if self.owner is None:
            if any(forwarded for _, forwarded in pipeline.parameters):  # the last owner's doing, and it has gone
                self.tainted = True
            pipeline.parameters.clear()
