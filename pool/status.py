"""A pool in figures."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class PoolCounters:
    """Only ever grow."""

    opened: int = 0
    open_failures: int = 0
    closed: int = 0
    lost: int = 0
    leases: int = 0
    waits: int = 0
    queue_timeouts: int = 0
    cancels: int = 0
    statements_evicted: int = 0
    failures: dict[str, int] = field(default_factory=dict)  # attempts to open that failed, by SQLSTATE


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool at one moment, for SHOW POOLS and the metrics."""

    database: str
    user: str
    idle: int
    active: int
    settling: int
    opening: int
    waiting: int
    longest_wait: float
    failing: str  # the last error while the database cannot be reached, else empty
