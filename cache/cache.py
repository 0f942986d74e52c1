"""The face of the room: what a session calls when it reads and when it writes.

Reading: `lookup`; when that gives nothing, `capture` before the query (or its Bind) leaves, and `fill` when
the answer is complete. A captured None means: ask the server and keep nothing. Writing: `mark` before
anything leaves that can commit, `unmark` when the outcome is known and before the client is told, `abandon`
when it is not known. An entry that `lookup` gives must be written to the client before anything is awaited;
after a wait look up again.

Everything here is synchronous. The clock is handed in: seconds of one monotonic clock.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from cache.counters import Counters, Fill
from cache.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from cache.coherence import Coherence, Mark, Stamp
    from cache.key import Key
    from cache.store import Store


class Cache:
    """Answers that are never older than what anybody was told."""

    __slots__ = (
        "_coherence",
        "_doubts",
        "_expired",
        "_fills",
        "_hits",
        "_misses",
        "_stale",
        "_store",
        "_ttl",
    )

    def __init__(self, coherence: Coherence, store: Store, ttl: float) -> None:
        """Join a store and a coherence machine.

        `ttl` is the life in seconds of entries that are given no other.
        """
        self._coherence = coherence
        self._store = store
        self._ttl = ttl
        self._hits = 0
        self._misses = 0
        self._stale = 0
        self._expired = 0
        self._doubts = 0
        self._fills = dict.fromkeys(Fill, 0)

    @property
    def max_entry(self) -> int:
        """The bytes of the largest answer worth collecting; above it, give up early."""
        return self._store.max_entry

    def lookup(self, key: Key, now: float) -> Entry | None:
        """The answer to give now, or None. Entries that died are removed on the way."""
        entry = self._store.get(key)
        if entry is None:
            self._misses += 1
            return None
        if not self._coherence.valid(entry.stamp):
            self._store.remove(key)
            self._stale += 1
            return None
        if entry.expires <= now:
            self._store.remove(key)
            self._expired += 1
            return None
        self._hits += 1
        return entry

    def capture(self, tags: Iterable[Hashable]) -> Stamp | None:
        """The stamp for an answer that is about to be read; None when a tag is in doubt, then do not fill."""
        stamp = self._coherence.capture(tags)
        if stamp is None:
            self._doubts += 1
        return stamp

    def fill(
        self,
        key: Key,
        stamp: Stamp,
        description: bytes | None,
        body: bytes,
        cost: float,
        now: float,
        ttl: float | None = None,
        note: object = None,
    ) -> Fill:
        """Offer a complete answer with the stamp that was captured before its snapshot.

        `cost` are the seconds from sending the query until `now`. The life of the entry counts from the
        sending, since the snapshot may have been taken right then.
        """
        expires = now - cost + (self._ttl if ttl is None else ttl)
        if not self._coherence.valid(stamp):
            result = Fill.STALE
        elif expires <= now:
            result = Fill.EXPIRED
        elif self._store.put(key, Entry(description, body, stamp, expires, cost, note)):
            result = Fill.STORED
        else:
            result = Fill.TOO_LARGE
        self._fills[result] += 1
        return result

    def mark(self, tags: Iterable[Hashable], owner: object) -> Mark:
        """Put tags in doubt before a byte leaves that can commit a write to them."""
        return self._coherence.mark(tags, owner)

    def unmark(self, mark: Mark) -> None:
        """End a mark whose outcome is known, before the client is told.

        LocalCacheError when it is not open.
        """
        self._coherence.unmark(mark)

    def abandon(self, mark: Mark) -> None:
        """Leave a mark with an unknown outcome to the janitor. LocalCacheError when it is not open."""
        self._coherence.abandon(mark)

    def abandoned(self) -> tuple[Mark, ...]:
        """The marks that wait for the janitor, the oldest first."""
        return self._coherence.abandoned()

    def settle(self, mark: Mark) -> None:
        """End an abandoned mark: its transaction has surely ended, in whichever way.

        LocalCacheError when it was not abandoned.
        """
        self._coherence.settle(mark)

    def purge(self) -> None:
        """Forget every answer, those that are being read at this moment included. Marks stay."""
        self._coherence.renew_all()
        self._store.clear()

    def counters(self) -> Counters:
        """A snapshot of all counts."""
        return Counters(
            hits=self._hits,
            misses=self._misses,
            stale=self._stale,
            expired=self._expired,
            fills=self._fills[Fill.STORED],
            rejected_fills=MappingProxyType({k: n for k, n in self._fills.items() if k is not Fill.STORED}),
            doubts=self._doubts,
            evictions=self._store.evictions,
            entries=self._store.entries,
            bytes=self._store.bytes,
            marks_open=self._coherence.open_marks,
            abandoned=len(self._coherence.abandoned()),
        )
