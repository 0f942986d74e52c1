"""What a scrape shows besides `Stats`: the state of pools, sessions, cache and process at that moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Gauges:
    """One moment's state, handed to the exporter; what is left out is not shown.

    Keys are label values in the order of the words. Names of users and databases must be those of clients
    that were let in. Fields that are said to count must never go back while the process lives, and a key of
    theirs must not vanish.
    """

    servers: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """Server connections by (database, user, state)."""
    clients: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """Client sessions by (database, user, state)."""
    waiting: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Clients waiting for a server, by (database, user)."""
    oldest_wait: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Seconds that the first of them waits already, by (database, user)."""
    pool_limit: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Most server connections that the pool may have, by (database, user)."""
    upstream_up: Mapping[str, bool] = field(default_factory=dict)
    """Whether the last attempt to reach the database's server succeeded, by database."""
    connects: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Counts attempts to connect to servers, by (database, outcome): "ok" or a SQLSTATE."""
    login_failures: Mapping[str, int] = field(default_factory=dict)
    """Counts clients that were not let in, by reason."""
    prepared_entries: Mapping[str, int] = field(default_factory=dict)
    """Prepared statements known, by database."""
    prepared_parses: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Counts Parse messages, by (database, peer): those that "client" sent, those sent to "server"."""
    cache_bytes: int | None = None
    """Bytes held by the cache in this process; None = there is no cache."""
    cache_limit_bytes: int | None = None
    """Most bytes that it may hold."""
    cache_entries: int | None = None
    """Answers held by it."""
    cache_evictions: Mapping[str, int] = field(default_factory=dict)
    """Counts answers that left the cache for another reason than a write, by cause."""
    cache_fills: int | None = None
    """Counts answers put into the cache."""
    reloads: Mapping[str, int] = field(default_factory=dict)
    """Counts configuration reloads, by result: "ok" or "failed"."""
    build: Mapping[str, str] = field(default_factory=dict)
    """Labels of the build: version, python, ..."""
    started: float | None = None
    """When the process started, Unix seconds."""
