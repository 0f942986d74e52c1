"""The state of the whole process for people and machines: gauges for Prometheus, JSON for the page."""

from __future__ import annotations

import platform
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from proxy.version import VERSION, compiled
from stats.gauges import Gauges
from stats.snapshot import as_json, take

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cache.cache import Cache
    from pool.pool import Pool
    from proxy.clients import Clients
    from proxy.relays import Relays
    from proxy.session import Session
    from stats.stats import Stats


def session_state(session: Session) -> str:
    """active: has a server; waiting: wants one; idle: neither."""
    if session.waiting:
        return "waiting"
    return "active" if session.down.server is not None else "idle"


def _connects(pool: Pool) -> dict[tuple[str, str], int]:
    counts = {(pool.database, sqlstate): count for sqlstate, count in pool.counters.failures.items()}
    return {(pool.database, "ok"): pool.counters.opened, **counts}


def _add(counts: dict[tuple[str, str, str], int], labels: tuple[str, str, str]) -> None:
    counts[labels] = counts.get(labels, 0) + 1


class Status:
    """Looks at everything when it is asked; keeps only counters that nobody else has."""

    def __init__(self, stats: Stats, clients: Clients, relays: Relays, cache: Cache, memory: int) -> None:
        self._stats = stats
        self._clients = clients
        self._relays = relays
        self._cache = cache
        self._memory = memory
        self.pools: list[Pool] = []
        self.reloads: Counter[str] = Counter()
        self.login_failures: Counter[str] = Counter()
        self.connects: Counter[tuple[str, str]] = Counter()  # of pools that are gone
        self.started = time.time()
        python = platform.python_version()
        self._build = {"version": VERSION, "python": python, "compiled": "yes" if compiled() else "no"}

    def forget(self, pool: Pool) -> None:
        """A pool is closed for good; what it counted stays counted."""
        self.pools.remove(pool)
        self.connects.update(_connects(pool))

    def gauges(self) -> Gauges:
        """For the exporter."""
        servers: dict[tuple[str, str, str], int] = {}
        waiting: dict[tuple[str, str], int] = {}
        oldest: dict[tuple[str, str], float] = {}
        limits: dict[tuple[str, str], int] = {}
        up: dict[str, bool] = {}
        connects: Counter[tuple[str, str]] = Counter(self.connects)
        prepared: Counter[str] = Counter()
        for pool in self.pools:
            now = pool.status()
            name = (now.database, now.user)
            for state, count in (("idle", now.idle), ("active", now.active), ("settling", now.settling)):
                servers[(*name, state)] = count
            servers[(*name, "opening")] = now.opening
            waiting[name] = now.waiting
            oldest[name] = now.longest_wait
            limits[name] = pool.limits.size
            up[now.database] = up.get(now.database, True) and not now.failing
            connects.update(_connects(pool))
            prepared[now.database] += len(pool.registry)
        counters = self._cache.counters()
        clients = self._sessions(self._clients)
        for relay in self._relays:
            _add(clients, (relay.database, relay.user, relay.state))
            _add(servers, (relay.database, relay.target.user, "replication" if relay.opened else "opening"))
        return Gauges(
            servers=servers,
            clients=clients,
            waiting=waiting,
            oldest_wait=oldest,
            pool_limit=limits,
            upstream_up=up,
            connects=dict(connects),
            login_failures=dict(self.login_failures),
            prepared_entries=dict(prepared),
            cache_bytes=counters.bytes,
            cache_limit_bytes=self._memory,
            cache_entries=counters.entries,
            cache_evictions={"memory": counters.evictions, "ttl": counters.expired},
            cache_fills=counters.fills,
            reloads={"ok": self.reloads["ok"], "failed": self.reloads["failed"]},
            build=self._build,
            started=self.started,
        )

    @staticmethod
    def _sessions(sessions: Iterable[Session]) -> dict[tuple[str, str, str], int]:
        found: Counter[tuple[str, str, str]] = Counter()
        for session in sessions:
            for state in ("idle", "active", "waiting"):
                found[(session.database.name, session.user, state)] += session_state(session) == state
        return dict(found)

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Can clients be served? Not while every database that was tried cannot be reached."""
        states = [pool.status() for pool in self.pools]
        failing = {state.database: state.failing for state in states if state.failing}
        return not states or len(failing) < len(states), {"unreachable": failing}

    def page(self) -> dict[str, Any]:
        """For the page and for scripts."""
        pools = [pool.status() for pool in self.pools]
        counters = self._cache.counters()
        return {
            "version": VERSION,
            "uptime_seconds": time.time() - self.started,
            "clients": {
                state: sum(1 for session in self._clients if session_state(session) == state)
                + sum(1 for relay in self._relays if relay.state == state)
                for state in ("idle", "active", "waiting")
            },
            "pools": [
                {
                    "database": pool.database,
                    "user": pool.user,
                    "idle": pool.idle,
                    "active": pool.active,
                    "settling": pool.settling,
                    "opening": pool.opening,
                    "waiting": pool.waiting,
                    "longest_wait_seconds": pool.longest_wait,
                    "failing": pool.failing,
                }
                for pool in pools
            ],
            "cache": {
                "entries": counters.entries,
                "bytes": counters.bytes,
                "limit_bytes": self._memory,
                "hits": counters.hits,
                "misses": counters.misses,
                "stale": counters.stale,
                "evictions": counters.evictions,
                "marks_open": counters.marks_open,
                "abandoned": counters.abandoned,
            },
            **as_json(take(self._stats)),
        }
