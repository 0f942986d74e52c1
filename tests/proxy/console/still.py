"""A `View` that stands still: what a test puts into it is there, nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cache.cache import Cache
from cache.coherence import Coherence
from cache.memory import MemoryStore
from proxy.config import Config
from proxy.console.view import ClientState, Period, PoolState, ServerState, Socket, Traffic
from stats.snapshot import take
from stats.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cache.counters import Counters
    from stats.slowlog import SlowRecord
    from stats.snapshot import Snapshot

SECRET = "hush-hush"
SHOP = f"postgresql://app:{SECRET}@db.example:5433/shop_live?sslmode=disable"


def config(**keys: object) -> Config:
    """A configuration with one database, `shop`."""
    return Config.model_validate({"databases": {"shop": {"url": SHOP, "pool_size": 7}}, **keys})


def client(number: int, database: str = "shop", user: str = "app", *pins: str, state: str = "idle") -> ClientState:
    """A client of which only this matters."""
    return ClientState(
        id=number,
        user=user,
        database=database,
        application="till",
        state=state,
        socket=Socket("10.0.0.7", 40_000 + number, "10.0.0.1", 6432, "TLSv1.3/TLS_AES_256_GCM_SHA384"),
        connected=1_700_000_000.0,
        requested=1_700_000_061.5,
        waited=2.25 if state == "waiting" else 0.0,
        ptr=f"0xc{number}",
        link="0x51" if state == "active" else "",
        statements=3,
        server_pid=4711 if state == "active" else 0,
        pins=pins,
    )


def server(pid: int, state: str = "idle", *, outdated: bool = False) -> ServerState:
    """A server connection of which only this matters."""
    return ServerState(
        user="app",
        database="shop",
        application="till" if state == "active" else "",
        state=state,
        socket=Socket("10.0.0.9", 5433, "10.0.0.1", 50_000, ""),
        connected=1_700_000_000.0,
        requested=1_700_000_001.0,
        outdated=outdated,
        ptr="0x51",
        link="0xc1" if state == "active" else "",
        pid=pid,
        statements=5,
    )


POOL = PoolState(
    database="shop",
    user="app",
    mode="transaction",
    clients=11,
    waiting=12,
    cancels=1,
    active=13,
    being_canceled=14,
    idle=15,
    used=16,
    tested=17,
    opening=18,
    longest_wait=3.25,
)


@dataclass
class StillView:
    """Implements `View`."""

    version: str = "9.8.7"
    config: Config = field(default_factory=config)
    database_names: Sequence[str] = ("shop",)
    paused_names: Sequence[str | None] = ()
    user_names: Sequence[str] = ("app",)
    pool_states: Sequence[PoolState] = ()
    client_states: Sequence[ClientState] = ()
    server_states: Sequence[ServerState] = ()
    traffic: Mapping[str, Traffic] = field(default_factory=dict)
    last_period: Period = field(default_factory=lambda: Period(0.0, {}))
    stats: Stats = field(default_factory=lambda: Stats(0.1))
    kept: Cache = field(default_factory=lambda: Cache(Coherence(), MemoryStore(1 << 20, 1 << 16), 60.0))

    def databases(self) -> Sequence[str]:
        return self.database_names

    def paused(self, database: str | None) -> bool:
        return database in self.paused_names

    def users(self) -> Sequence[str]:
        return self.user_names

    def pools(self) -> Sequence[PoolState]:
        return self.pool_states

    def clients(self) -> Sequence[ClientState]:
        return self.client_states

    def servers(self) -> Sequence[ServerState]:
        return self.server_states

    def logging_in(self) -> int:
        return 2

    def totals(self) -> Mapping[str, Traffic]:
        return self.traffic

    def period(self) -> Period:
        return self.last_period

    def cache(self) -> Counters:
        return self.kept.counters()

    def snapshot(self, top: int) -> Snapshot:
        return take(self.stats, top)

    def slow(self) -> Sequence[SlowRecord]:
        return self.stats.slowlog.records()
