"""The last slow turns, and a line for each, within limits.

Theory: a slow log is read when things go wrong, which is when it could do the most harm: when everything is
slow, everything is logged. So lines have two allowances (token buckets), one per digest, so that one shape
cannot push all others out of the ring, and one for all together, so that many shapes cannot fill a disk.
What is held back is counted, and the next line of the same digest says how many it stands for.

Records never hold what a client may keep secret, unless `log_parameters` is set: neither literals (the
normalised text is shown) nor parameters. Even then a statement that mentions a password stays normalised.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stats.redact import MAX_NAME, MAX_TEXT, decode, escape

if TYPE_CHECKING:
    from collections.abc import Callable

    from stats.digests import DigestStats
    from stats.records import Outcome


@dataclass(frozen=True, slots=True)
class SlowRecord:
    """One slow turn, ready to be shown; durations in milliseconds, `time` (its end) in Unix seconds."""

    time: float
    database: str
    user: str
    application: str
    digest: str
    text: str
    queue_ms: float
    server_ms: float
    total_ms: float
    outcome: str
    sqlstate: str | None
    rows: int
    suppressed: int
    """Slow turns of this digest that were not recorded since its last record."""
    statement: str | None = None
    """As the client sent it; only with `log_parameters`."""
    parameters: str | None = None
    """As the client sent them; only with `log_parameters`."""


class Allowance:
    """A token bucket: `burst` at once, then `rate` a second; `held_back` counts what was refused."""

    __slots__ = ("_burst", "_rate", "_since", "_tokens", "held_back")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._since = now
        self.held_back = 0

    def take(self, now: float) -> bool:
        """Take one token; False when there is none. `now` is monotonic seconds."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._since) * self._rate)
        self._since = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


@dataclass(frozen=True, slots=True)
class SlowLimits:
    """How much the slow log keeps and writes; rates are lines a second."""

    keep: int = 200
    digest_rate: float = 0.2
    digest_burst: float = 5.0
    rate: float = 20.0
    burst: float = 100.0


@dataclass(frozen=True, slots=True)
class TurnSeen:
    """A turn as `Stats.finish` hands it over; durations in seconds, nothing redacted yet."""

    database: str
    digest: DigestStats
    user: str
    application: str
    queue: float
    server: float
    total: float
    outcome: Outcome
    sqlstate: str | None
    rows: int
    statement: bytes | None
    parameters: bytes | None


_SECRET: Final = b"password"


def escaped_bytes(raw: bytes) -> str:
    """Show parameters whose layout nobody explained: printable bytes as they are, others escaped."""
    return decode(raw, MAX_TEXT)


class SlowLog:
    """A ring of the last slow turns; every recorded one is also given to `sink`, which must not raise."""

    __slots__ = (
        "_clock",
        "_describe",
        "_everything",
        "_limits",
        "_ring",
        "_sink",
        "_wall",
        "log_parameters",
        "suppressed",
    )

    def __init__(
        self,
        limits: SlowLimits,
        *,
        log_parameters: bool = False,
        sink: Callable[[SlowRecord], None] | None = None,
        describe: Callable[[bytes], str] = escaped_bytes,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._limits = limits
        self._ring: deque[SlowRecord] = deque(maxlen=limits.keep)
        self._sink = sink
        self._describe = describe
        self._clock = clock
        self._wall = wall
        self._everything = Allowance(limits.rate, limits.burst, clock())
        self.log_parameters = log_parameters
        self.suppressed = 0

    def records(self) -> list[SlowRecord]:
        """Return what the ring holds, newest first."""
        return list(reversed(self._ring))

    def note(self, turn: TurnSeen) -> None:
        """Record a slow turn, unless its allowance is used up."""
        own = self._allowance(turn.digest)
        now = self._clock()
        if not own.take(now) or not self._everything.take(now):
            own.held_back += 1
            self.suppressed += 1
            return
        record = self._record(turn, own.held_back)
        own.held_back = 0
        self._ring.append(record)
        if self._sink is not None:
            self._sink(record)

    def _allowance(self, digest: DigestStats) -> Allowance:
        if digest.allowance is None:
            digest.allowance = Allowance(self._limits.digest_rate, self._limits.digest_burst, self._clock())
        return digest.allowance

    def _record(self, turn: TurnSeen, suppressed: int) -> SlowRecord:
        statement = parameters = None
        if self.log_parameters:
            secret = turn.statement is not None and _SECRET in turn.statement.lower()
            if turn.statement is not None and not secret:
                statement = decode(turn.statement, MAX_TEXT)
            if turn.parameters is not None and not secret:
                parameters = escape(self._describe(turn.parameters), MAX_TEXT)
        return SlowRecord(
            time=self._wall(),
            database=escape(turn.database, MAX_NAME),
            user=escape(turn.user, MAX_NAME),
            application=escape(turn.application, MAX_NAME),
            digest=turn.digest.fingerprint,
            text=turn.digest.text,
            queue_ms=round(turn.queue * 1000, 3),
            server_ms=round(turn.server * 1000, 3),
            total_ms=round(turn.total * 1000, 3),
            outcome=turn.outcome.label,
            sqlstate=turn.sqlstate,
            rows=turn.rows,
            suppressed=suppressed,
            statement=statement,
            parameters=parameters,
        )
