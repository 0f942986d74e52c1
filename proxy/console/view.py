"""The state of the process as the console sees it: plain values, read anew for each command."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cache.counters import Counters
    from proxy.config import Config
    from stats.slowlog import SlowRecord
    from stats.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Socket:
    """One connection's two ends and its encryption; times are Unix seconds."""

    address: str
    port: int
    local_address: str
    local_port: int
    tls: str  # as "TLSv1.3/cipher", empty without


@dataclass(frozen=True, slots=True)
class ClientState:
    """One client. ``ptr`` tells it from all other objects, ``link`` is the ptr of the server that it has."""

    id: int
    user: str
    database: str
    application: str
    state: str
    socket: Socket
    connected: float
    requested: float
    waited: float  # seconds in the queue so far
    ptr: str
    link: str
    statements: int  # prepared
    server_pid: int  # of the server that it has, else 0
    pins: tuple[str, ...]
    replication: str = "none"


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server connection."""

    user: str
    database: str
    application: str  # of the client that has it
    state: str
    socket: Socket
    connected: float
    requested: float
    outdated: bool  # will be closed when it comes back
    ptr: str
    link: str
    pid: int
    statements: int
    replication: str = "none"


@dataclass(frozen=True, slots=True)
class PoolState:
    """One pool; server connections by state."""

    database: str
    user: str
    mode: str
    clients: int  # those that do not wait
    waiting: int
    cancels: int  # cancel requests on their way to a server
    active: int
    being_canceled: int
    idle: int
    used: int  # idle for so long that they are tried before they are lent
    tested: int
    opening: int
    longest_wait: float  # seconds

    @property
    def servers(self) -> int:
        """Connections that stand."""
        return self.active + self.being_canceled + self.idle + self.used + self.tested


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went through one database, since the start or in one period; durations in microseconds."""

    assignments: int = 0
    transactions: int = 0
    queries: int = 0
    transaction_time: int = 0
    query_time: int = 0
    wait_time: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Traffic)))

    def since(self, other: Traffic) -> Traffic:
        """What was added since; counters that began anew count from nothing."""
        return Traffic(*(max(0, getattr(self, f.name) - getattr(other, f.name)) for f in fields(Traffic)))


@dataclass(frozen=True, slots=True)
class Period:
    """The traffic of a stretch of time, by database."""

    seconds: float
    traffic: Mapping[str, Traffic]


class View(Protocol):
    """Everything that tables are made of. Nothing of it is kept after the command."""

    @property
    def version(self) -> str: ...

    @property
    def config(self) -> Config: ...

    def databases(self) -> Sequence[str]:
        """The names that are configured, and those that were asked for."""

    def paused(self, database: str | None) -> bool:
        """Whether a database is paused; with None, whether everything is."""

    def users(self) -> Sequence[str]:
        """Everybody who could log in or has, as far as that is known."""

    def pools(self) -> Sequence[PoolState]: ...

    def clients(self) -> Iterable[ClientState]: ...

    def servers(self) -> Iterable[ServerState]: ...

    def logging_in(self) -> int:
        """Clients that are on their way in."""

    def totals(self) -> Mapping[str, Traffic]:
        """By database, since the start."""

    def period(self) -> Period:
        """The last complete period; until there is one, the time since the start."""

    def cache(self) -> Counters: ...

    def snapshot(self, top: int) -> Snapshot:
        """The counters with the ``top`` digests."""

    def slow(self) -> Sequence[SlowRecord]:
        """Slow queries, newest first."""
