"""What the cache asks of a place that holds entries.

A store knows nothing of coherence and time: it may lose any entry at any moment, and it may hand out an entry
that is not true any more; the stamp and the expiry in the entry decide, and the cache asks them on every hit.
That is what lets a store be anything: memory here, a shared one behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cache.entry import Entry
    from cache.key import Key


class Store(Protocol):
    """Entries by key. No method waits, none raises for want of room."""

    @property
    def max_entry(self) -> int:
        """The bytes of the largest answer that it takes."""

    @property
    def entries(self) -> int:
        """How many entries it holds."""

    @property
    def bytes(self) -> int:
        """How many bytes they take, keys and administration included."""

    @property
    def evictions(self) -> int:
        """How many entries it gave up for want of room since it was made."""

    def get(self, key: Key) -> Entry | None:
        """The entry of this key, true or not; using it protects it from eviction for a while."""

    def put(self, key: Key, entry: Entry) -> bool:
        """Keep an entry in place of the one with the same key; False when too large, then nothing changes."""

    def remove(self, key: Key) -> None:
        """Forget an entry if it is there."""

    def clear(self) -> None:
        """Forget every entry."""
