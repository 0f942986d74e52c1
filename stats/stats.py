"""The one object that counts: what a turn cost, and what happened around turns.

Theory: a turn that is answered from memory costs a few microseconds, so counting it may cost only one. `finish`
therefore only writes down what the turn was; the counters, which lie in many places, are added to for `BATCH` turns
at once, when they are all at hand in the processor's caches, or as soon as somebody reads (`databases` and `digests`
see to that). Counting reads no clock (the caller has the times already), looks up no labels, and knows nothing of
Prometheus. What is rare (a slow turn, an error, a new application) leaves at once and through a method of its own.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from stats.counters import OTHER, DatabaseStats
from stats.digests import Digests, DigestStats
from stats.histogram import BOUNDS, Histogram
from stats.records import Outcome
from stats.slowlog import SlowLimits, SlowLog, SlowRecord, TurnSeen, escaped_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from stats.counters import ApplicationStats

MAX_DATABASES: Final = 200
"""Databases counted apart; with a "*" in the configuration clients choose the names."""
MAX_SQLSTATES: Final = 200
"""SQLSTATEs counted apart; PostgreSQL has about 250, and a function may raise any other."""

_SQLSTATE: Final = re.compile(r"[0-9A-Z]{5}")
_HIT: Final = Outcome.HIT
_BYPASS: Final = Outcome.BYPASS
BATCH: Final = 128
"""Turns that are counted together."""

_Note = tuple[DatabaseStats, "DigestStats | None", str, float, float, float, Outcome, int, "str | None"]
"""A turn to be counted: database, digest, application, seconds (queue, server, total), outcome, rows, reason."""


class Stats:
    """Counters of one process; everything is named by the database as clients call it."""

    __slots__ = (
        "_databases",
        "_digests",
        "_notes",
        "_slow",
        "_unnamed",
        "errors",
        "loop_lag",
        "pins",
        "slowlog",
    )

    def __init__(
        self,
        slow: float,
        max_digests: int = 5000,
        *,
        log_parameters: bool = False,
        limits: SlowLimits | None = None,
        sink: Callable[[SlowRecord], None] | None = None,
        describe: Callable[[bytes], str] = escaped_bytes,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Count; turns that take `slow` seconds or more are slow (0 = none is).

        `sink` gets every record of the slow log; `describe` turns `finish`'s parameters into text.
        """
        self._databases: dict[str, DatabaseStats] = {}
        self._digests = Digests(max_digests)
        self._notes: list[_Note] = []
        self._unnamed = DigestStats("", "")  # turns without a statement: a Sync alone, a function call
        self.errors: dict[str, int] = {}
        self.pins: dict[str, int] = {}
        self.loop_lag = Histogram()
        self.slowlog = SlowLog(
            limits or SlowLimits(),
            log_parameters=log_parameters,
            sink=sink,
            describe=describe,
            clock=clock,
            wall=wall,
        )
        self.configure(slow, log_parameters)

    def configure(self, slow: float, log_parameters: bool) -> None:
        """Take what a reload may change; `slow` in seconds, 0 = no turn is slow."""
        self._slow = slow if slow > 0 else float("inf")
        self.slowlog.log_parameters = log_parameters

    def database(self, name: str) -> DatabaseStats:
        """Return the counters of a database, made on first use; past `MAX_DATABASES` they are shared.

        Ask only for configured names, or after the client was let in: names become labels.
        """
        found = self._databases.get(name)
        if found is not None:
            return found
        if len(self._databases) >= MAX_DATABASES:
            name = OTHER
        return self._databases.setdefault(name, DatabaseStats(name))

    @property
    def databases(self) -> dict[str, DatabaseStats]:
        """The counters of all databases, with every turn that has ended."""
        self.settle()
        return self._databases

    @property
    def digests(self) -> Digests:
        """The counters of all shapes, with every turn that has ended."""
        self.settle()
        return self._digests

    def digest(self, fingerprint: str, text: str) -> DigestStats:
        """Return the counters of a shape, which the caller may keep; `text` is the normalised statement."""
        self.settle()  # another may have to go for it: with all that is known of it
        return self._digests.get(fingerprint, text)

    def finish(
        self,
        db: DatabaseStats,
        digest: DigestStats | None,
        user: str,
        application: str,
        queue: float,
        server: float,
        total: float,
        outcome: Outcome,
        sqlstate: str | None = None,
        statement: bytes | None = None,
        parameters: bytes | None = None,
        rows: int = 0,
        reason: str | None = None,
    ) -> None:
        """Count a turn that ended; the hot call, once per turn.

        `queue`, `server`, `total` are seconds. A `server` of 0 says that no server was asked; a `queue` above
        0 counts even then (the client gave up waiting). `reason` says why a read was not a question to the
        cache; reasons are a fixed few. `statement` and `parameters` are only looked at when
        the turn is slow. An error is counted here: do not call `error` for the same one.
        """
        notes = self._notes
        notes.append((db, digest, application, queue, server, total, outcome, rows, reason))
        if sqlstate is not None or total >= self._slow:
            self.settle()
            app = db.application(application)
            named = (db.name, self._counting(digest), user, application)
            turn = TurnSeen(*named, queue, server, total, outcome, sqlstate, rows, statement, parameters)
            self._remarkable(db, app, turn)
        elif len(notes) >= BATCH:
            self.settle()

    def settle(self) -> None:
        """Add what was written down to the counters."""
        notes, self._notes = self._notes, []
        for note in notes:
            self._count(*note)

    def _count(
        self,
        db: DatabaseStats,
        digest: DigestStats | None,
        application: str,
        queue: float,
        server: float,
        total: float,
        outcome: Outcome,
        rows: int,
        reason: str | None,
    ) -> None:
        if not total >= 0.0:  # also what is not a number; a counter must never go back
            total = 0.0
        slot = bisect_left(BOUNDS, total)
        db.outcomes[outcome] += 1
        db.rows += rows
        seen = db.total
        seen.counts[slot] += 1
        seen.sum += total
        app = db.applications.get(application) or db.application(application)
        app.calls += 1
        app.total += total
        digest = self._counting(digest)
        digest.calls += 1
        digest.rows += rows
        digest.total += total
        digest.counts[slot] += 1
        if total > digest.maximum:
            digest.maximum = total
        if server > 0.0:
            seen = db.server
            seen.counts[bisect_left(BOUNDS, server)] += 1
            seen.sum += server
            app.server += server
            digest.served += 1
            digest.server += server
            if not queue > 0.0:
                db.queue.counts[0] += 1
        if reason is not None and outcome is _BYPASS:
            db.bypasses[reason] = db.bypasses.get(reason, 0) + 1
        if outcome is _HIT:
            db.hit.counts[slot] += 1
            db.hit.sum += total
            _answered(db, digest, total)
        if queue > 0.0:
            seen = db.queue
            seen.counts[bisect_left(BOUNDS, queue)] += 1
            seen.sum += queue
            digest.queue += queue

    def _counting(self, digest: DigestStats | None) -> DigestStats:
        """Return the counters to use: those given, or what stands for none, or for evicted ones."""
        if digest is not None and digest.live:
            return digest
        return self._unnamed if digest is None else self._digests.get(digest.fingerprint, digest.text)

    def _remarkable(self, db: DatabaseStats, app: ApplicationStats, turn: TurnSeen) -> None:
        """Count a turn that failed or was slow, besides what all turns count."""
        if turn.sqlstate is not None:
            db.errors += 1
            app.errors += 1
            turn.digest.errors += 1
            self.error(turn.sqlstate)
        if turn.total >= self._slow:
            db.slow += 1
            turn.digest.slow += 1
            self.slowlog.note(turn)

    def invalidation(self, db: DatabaseStats, cause: str) -> None:
        """Count an invalidation of cached answers. Causes are a fixed few."""
        db.invalidations[cause] = db.invalidations.get(cause, 0) + 1

    def pin(self, reason: str) -> None:
        """Count a session that got a reason to keep its server connection. Reasons are a fixed few."""
        self.pins[reason] = self.pins.get(reason, 0) + 1

    def error(self, sqlstate: str) -> None:
        """Count an error outside of turns (logging in, a lost connection); any text is safe to hand in."""
        if sqlstate not in self.errors and (len(self.errors) >= MAX_SQLSTATES or _SQLSTATE.fullmatch(sqlstate) is None):
            sqlstate = OTHER
        self.errors[sqlstate] = self.errors.get(sqlstate, 0) + 1


def _answered(db: DatabaseStats, digest: DigestStats, total: float) -> None:
    """Count a hit, and what it saved: the time that a server took on average for this digest."""
    digest.hits += 1
    if digest.served:
        saved = digest.server / digest.served - total
        if saved > 0.0:
            digest.saved += saved
            db.saved += saved
