"""Entries in this process: a dict, bounded by bytes, evicting by SIEVE.

SIEVE keeps a queue in order of arrival and one bit per entry. A hit sets the bit and moves nothing. When room
is needed, a hand walks from the oldest towards the newest: an entry with the bit loses the bit and stays
where it is, the first without it goes. The hand stays where it stopped; past the newest it begins again at
the oldest. So what was used stays, what came once and was never asked for again leaves soon, and a hit writes
one attribute. Here the hand also takes entries whose stamp is dead, bit or no bit: no lookup can ever use
them.

The queue is linked through its nodes. The hand is the node to look at next, None for "the oldest"; a node
that leaves the queue while the hand is on it first moves the hand on to the next newer one. The walk clears
only bits that a hit has set, so over time it costs O(1) per hit and put.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cache.key import key_bytes

if TYPE_CHECKING:
    from cache.entry import Entry
    from cache.key import Key

# Bytes that an entry takes besides its contents, measured with tracemalloc and rounded up: the objects of
# key, entry and node with the place in the dict, and the pairs of the stamp. Cells (600 bytes) are not
# counted: while tags are tables, there are few of them and all entries share them.
OVERHEAD: Final = 640
PER_TAG: Final = 72


class _Node:
    """A place in the queue."""

    __slots__ = ("entry", "key", "newer", "older", "size", "used")

    def __init__(self, key: Key, entry: Entry, size: int, older: _Node | None) -> None:
        self.key = key
        self.entry = entry
        self.size = size
        self.used = False
        self.older = older
        self.newer: _Node | None = None


class MemoryStore:
    """A `Store` in memory that never holds more than `max_bytes`, counted with keys and administration."""

    __slots__ = ("_bytes", "_evictions", "_hand", "_max_bytes", "_max_entry", "_newest", "_nodes", "_oldest")

    def __init__(self, max_bytes: int, max_entry: int) -> None:
        """Bound the whole by `max_bytes` and the answer of one entry by `max_entry`, both in bytes."""
        self._max_bytes = max_bytes
        self._max_entry = max_entry
        self._nodes: dict[Key, _Node] = {}
        self._oldest: _Node | None = None
        self._newest: _Node | None = None
        self._hand: _Node | None = None
        self._bytes = 0
        self._evictions = 0

    @property
    def max_entry(self) -> int:
        """The bytes of the largest answer that it takes."""
        return self._max_entry

    @property
    def entries(self) -> int:
        """How many entries it holds."""
        return len(self._nodes)

    @property
    def bytes(self) -> int:
        """How many bytes they take, keys and administration included."""
        return self._bytes

    @property
    def evictions(self) -> int:
        """How many entries it gave up for want of room since it was made."""
        return self._evictions

    def get(self, key: Key) -> Entry | None:
        """The entry of this key, true or not; using it protects it from eviction for a while."""
        node = self._nodes.get(key)
        if node is None:
            return None
        node.used = True
        return node.entry

    def put(self, key: Key, entry: Entry) -> bool:
        """Keep an entry in place of the one with the same key; False when too large, then nothing changes."""
        size = OVERHEAD + PER_TAG * len(entry.stamp.pairs) + key_bytes(key) + len(entry)
        if len(entry) > self._max_entry or size > self._max_bytes:
            return False
        self.remove(key)
        while self._bytes + size > self._max_bytes:
            self._evict()
        node = _Node(key, entry, size, self._newest)
        if self._newest is None:
            self._oldest = node
        else:
            self._newest.newer = node
        self._newest = node
        self._nodes[key] = node
        self._bytes += size
        return True

    def remove(self, key: Key) -> None:
        """Forget an entry if it is there."""
        node = self._nodes.pop(key, None)
        if node is not None:
            self._unlink(node)

    def clear(self) -> None:
        """Forget every entry."""
        node = self._oldest
        while node is not None:  # neighbours refer to each other: untied, they go at once, without the collector
            node.older = None
            node.newer, node = None, node.newer
        self._nodes.clear()
        self._oldest = self._newest = self._hand = None
        self._bytes = 0

    def _evict(self) -> None:
        """Give up the entry that the hand finds; the store is not empty."""
        node = self._hand or self._oldest
        while node is not None and node.used and node.entry.stamp.live():
            node.used = False
            node = node.newer or self._oldest
        if node is not None:
            self._hand = node
            del self._nodes[node.key]
            self._unlink(node)
            self._evictions += 1

    def _unlink(self, node: _Node) -> None:
        """Take a node out of the queue, and the hand off the node."""
        if self._hand is node:
            self._hand = node.newer
        if node.older is None:
            self._oldest = node.newer
        else:
            node.older.newer = node.newer
        if node.newer is None:
            self._newest = node.older
        else:
            node.newer.older = node.older
        node.older = node.newer = None
        self._bytes -= node.size
