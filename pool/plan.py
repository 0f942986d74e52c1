"""How many server connections to open, and which to close: pure decisions, taken by Pool.

Opening. Each waiting client deserves a connection until the pool has ``size`` of them. Connections that are being
opened already will serve as many waiters, so only the rest is opened. When the first in the queue has waited
``reserve_timeout``, ``reserve_size`` more may be opened. With nobody waiting the pool is filled up to ``min_size``.
After a failure one connection at a time is tried, and none before its back-off has passed: a database that comes back
is not met by a crowd.

Closing. A connection past its lifetime goes when nobody uses it; an idle one goes after ``idle_timeout``, but not below
``min_size``. The list of idle connections has the longest idle first, because the most recently used is lent first: so
the few that a quiet pool needs stay warm and the others grow old.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What the configuration allows. Times in seconds, 0 = no limit unless said otherwise."""

    size: int = 20
    min_size: int = 0
    reserve_size: int = 0
    reserve_timeout: float = 5.0
    idle_timeout: float = 600.0
    lifetime: float = 3600.0
    lifetime_jitter: float = 0.1  # a connection lives between (1 - jitter) and 1 times its lifetime
    connect_timeout: float = 15.0
    queue_timeout: float = 120.0
    check_after_idle: float = 30.0
    cancel_timeout: float = 10.0
    retry_delay: float = 0.1
    retry_max: float = 5.0
    prepared: int = 200  # statements kept on one server connection
    rotate: bool = False  # for tests: lend the longest idle, so that leaks of session state show


@dataclass(frozen=True, slots=True)
class Situation:
    """A pool at one moment."""

    idle: int
    busy: int  # leased or settling
    opening: int
    waiting: int
    longest_wait: float  # seconds
    failing: bool  # the last attempt to open failed
    held_back: bool  # its back-off has not passed yet


def to_open(now: Situation, limits: PoolLimits) -> int:
    """How many connections to start opening."""
    if now.held_back or (now.failing and now.opening):
        return 0
    total = now.idle + now.busy + now.opening
    allowed = limits.size
    if limits.reserve_size and now.waiting and now.longest_wait >= limits.reserve_timeout:
        allowed += limits.reserve_size
    wanted = max(now.waiting - now.opening, limits.min_size - total)
    count = max(0, min(wanted, allowed - total))
    return min(count, 1) if now.failing else count


def to_close(
    idle_since: Sequence[float], expires: Sequence[float], total: int, now: float, limits: PoolLimits
) -> list[int]:
    """Indexes of the idle connections to close; both sequences are in the order of the idle list."""
    closing: list[int] = []
    for index, (since, end) in enumerate(zip(idle_since, expires, strict=True)):
        expired = end and now >= end
        too_idle = limits.idle_timeout and now - since >= limits.idle_timeout
        if expired or (too_idle and total - len(closing) > limits.min_size):
            closing.append(index)
    return closing


def retry_delay(failures: int, limits: PoolLimits, jitter: float) -> float:
    """Seconds to wait after this many failures in a row; ``jitter`` in [0, 1)."""
    return min(limits.retry_max, limits.retry_delay * 2.0 ** min(failures - 1, 30)) * (0.75 + 0.25 * jitter)
