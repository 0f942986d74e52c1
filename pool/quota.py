"""Limits on server connections that several pools share: all of one database, or of one user.

At the limit room is made only for clients that wait. First by closing a connection that another of these pools has
idle, the one that has been idle longest. If all are busy, the next one that comes back is closed instead of lent when
the client who waits longest wants it elsewhere: a pool whose clients never stop must not starve the others. Changing
hands this way costs a login, so nobody is preferred before he has waited for PATIENCE.

A pool that is refused is *hungry* until it gets what it wants; while nobody is, a connection that comes back costs one
look. A limit that has been lowered closes nothing by itself: connections that end are not replaced.

Connections that belong to no pool are counted as well (``take``). They do not wait for room, and are not closed for it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pool.pool import Pool

PATIENCE: Final = 0.1
"""Seconds."""


class Quota:
    """At most ``limit`` connections of all its pools, standing or being opened, and ``apart`` from them."""

    __slots__ = ("apart", "hungry", "limit", "pools")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.apart = 0
        self.pools: set[Pool] = set()
        self.hungry: set[Pool] = set()

    @property
    def room(self) -> int:
        """How many more may be opened; below zero when the limit has been lowered."""
        return self.limit - self.apart - sum(pool.taken for pool in self.pools)

    @property
    def full(self) -> bool:
        """No more may be opened."""
        return self.room <= 0


def admit(pool: Pool, now: float) -> bool:
    """May this pool open one more? If somebody waits in it, room is made."""
    full = [quota for quota in pool.quotas if quota.full]
    if full and pool.wants(now):
        _make_room(full, {pool})
        full = [quota for quota in pool.quotas if quota.full]
        for quota in full:
            quota.hungry.add(pool)
    return not full


def _make_room(full: list[Quota], spared: set[Pool]) -> None:
    """Close an idle connection for each of these, if every one of them has one to spare."""
    found = [
        min(idle, key=lambda server: server.idle_since, default=None)
        for idle in ([s for other in quota.pools - spared for s in other.idle] for quota in full)
    ]
    victims = [server for server in found if server is not None]
    if len(victims) == len(full):
        for server in victims:
            server.close("another pool needs the room")  # and whoever has waited longest takes it, see share


def share(pool: Pool, now: float) -> None:
    """A connection of this pool is gone: whoever has waited longest may open one first."""
    _share(pool.quotas, now)


def _share(quotas: Iterable[Quota], now: float) -> None:
    sharers = {other for quota in quotas for other in quota.pools}
    for other in sorted(sharers, key=lambda one: one.longest_wait(now), reverse=True):
        other.replan(now)


def must_yield(pool: Pool, now: float) -> bool:
    """A connection of this pool has come back: must it go, since somebody else has waited longer for the room?"""
    patience = max(PATIENCE, pool.longest_wait(now))
    for quota in pool.quotas:
        for other in list(quota.hungry):
            if not other.wants(now):
                quota.hungry.discard(other)
            elif other is not pool and other.longest_wait(now) > patience and _only(quota, other):
                return True
    return False


def _only(quota: Quota, other: Pool) -> bool:
    return not any(one.full for one in other.quotas if one is not quota)


_Name = tuple[str, str]


def _names(database: str, user: str) -> tuple[_Name, _Name]:
    return ("database", database), ("user", user)


class Quotas:
    """All limits, by database and by user."""

    def __init__(self) -> None:
        self._quotas: dict[_Name, Quota] = {}
        self._apart: Counter[_Name] = Counter()  # with or without a limit: there may be one later

    def enrol(self, pool: Pool, of_database: int, of_user: int) -> None:
        """These limits hold from now on, 0 = none; connections beyond them stay until they come back."""
        self.dismiss(pool)
        pool.quotas = self._of(pool.database, pool.user, of_database, of_user)
        for quota in pool.quotas:
            quota.pools.add(pool)

    def take(self, database: str, user: str, of_database: int, of_user: int, now: float) -> bool:
        """One connection of no pool is wanted: counted until ``release``. False if there is no room for it now."""
        for name in _names(database, user):
            self._count(name, 1)  # first, so that nobody else takes what is made room for it
        over = [quota for quota in self._of(database, user, of_database, of_user) if quota.room < 0]
        _make_room(over, set())
        if all(quota.room >= 0 for quota in over):
            return True
        self.release(database, user, now)
        return False

    def release(self, database: str, user: str, now: float) -> None:
        """It is gone: whoever has waited longest in a pool may open one."""
        for name in _names(database, user):
            self._count(name, -1)
        _share([self._quotas[name] for name in _names(database, user) if name in self._quotas], now)

    def _count(self, name: _Name, change: int) -> None:
        self._apart[name] += change
        if name in self._quotas:
            self._quotas[name].apart = self._apart[name]
        if not self._apart[name]:
            del self._apart[name]

    def _of(self, database: str, user: str, *limits: int) -> tuple[Quota, ...]:
        quotas: list[Quota] = []
        for name, limit in zip(_names(database, user), limits, strict=True):
            if limit:
                quota = self._quotas.setdefault(name, Quota(limit))
                quota.limit = limit
                quota.apart = self._apart[name]
                quotas.append(quota)
        return tuple(quotas)

    def dismiss(self, pool: Pool) -> None:
        """The pool is no more."""
        for quota in pool.quotas:
            quota.pools.discard(pool)
            quota.hungry.discard(pool)
        pool.quotas = ()
