"""Limits on server connections that several pools share: all of one database, or of one user.

At the limit room is made only for clients that wait. First by closing a connection that another of these pools has
idle, the one that has been idle longest. If all are busy, the next one that comes back is closed instead of lent when
the client who waits longest wants it elsewhere: a pool whose clients never stop must not starve the others. Changing
hands this way costs a login, so nobody is preferred before he has waited for PATIENCE.

A pool that is refused is *hungry* until it gets what it wants; while nobody is, a connection that comes back costs one
look. A limit that has been lowered closes nothing by itself: connections that end are not replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pool.pool import Pool

PATIENCE: Final = 0.1
"""Seconds."""


class Quota:
    """At most ``limit`` connections of all its pools, standing or being opened."""

    __slots__ = ("hungry", "limit", "pools")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.pools: set[Pool] = set()
        self.hungry: set[Pool] = set()

    @property
    def room(self) -> int:
        """How many more may be opened; below zero when the limit has been lowered."""
        return self.limit - sum(pool.taken for pool in self.pools)

    @property
    def full(self) -> bool:
        """No more may be opened."""
        return self.room <= 0


def admit(pool: Pool, now: float) -> bool:
    """May this pool open one more? If somebody waits in it, room is made."""
    full = [quota for quota in pool.quotas if quota.full]
    if full and pool.wants(now):
        found = [
            min(idle, key=lambda server: server.idle_since, default=None)
            for idle in ([s for other in quota.pools - {pool} for s in other.idle] for quota in full)
        ]
        victims = [server for server in found if server is not None]
        if len(victims) == len(full):
            for server in victims:
                server.close("another pool needs the room")  # and whoever has waited longest takes it, see share
            full = [quota for quota in pool.quotas if quota.full]
        for quota in full:
            quota.hungry.add(pool)
    return not full


def share(pool: Pool, now: float) -> None:
    """A connection of this pool is gone: whoever has waited longest may open one first."""
    sharers = {other for quota in pool.quotas for other in quota.pools}
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


class Quotas:
    """All limits, by database and by user."""

    def __init__(self) -> None:
        self._databases: dict[str, Quota] = {}
        self._users: dict[str, Quota] = {}

    def enrol(self, pool: Pool, of_database: int, of_user: int) -> None:
        """These limits hold from now on, 0 = none; connections beyond them stay until they come back."""
        self.dismiss(pool)
        quotas: list[Quota] = []
        for kept, name, limit in ((self._databases, pool.database, of_database), (self._users, pool.user, of_user)):
            if limit:
                quota = kept.setdefault(name, Quota(limit))
                quota.limit = limit
                quota.pools.add(pool)
                quotas.append(quota)
        pool.quotas = tuple(quotas)

    def dismiss(self, pool: Pool) -> None:
        """The pool is no more."""
        for quota in pool.quotas:
            quota.pools.discard(pool)
            quota.hungry.discard(pool)
        pool.quotas = ()
