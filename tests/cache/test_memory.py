"""The store in memory: bounded, and evicting as SIEVE does."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from cache.coherence import Coherence, Stamp
from cache.entry import Entry
from cache.key import Key, simple_key
from cache.memory import OVERHEAD, PER_TAG, MemoryStore
from tests.cache.world import numbered

SLOT = OVERHEAD + PER_TAG + 4 + 16  # an entry of `entry` below: a key of 4 bytes, an answer of 16


def key(name: int) -> Key:
    return simple_key(b"s", 1, b"%03d" % name)


def living() -> Stamp:
    stamp = Coherence(numbered()).capture(["tag"])
    assert stamp is not None
    return stamp


def entry(stamp: Stamp, body: bytes = b"x" * 16) -> Entry:
    return Entry(None, body, stamp, 60.0, 0.1)


def names(store: MemoryStore, count: int = 20) -> list[int]:
    """Which of the first keys are there. Counts as use, so ask last."""
    return [name for name in range(count) if store.get(key(name)) is not None]


def test_an_entry_comes_back_until_it_is_removed() -> None:
    store, kept = MemoryStore(10 * SLOT, 100), entry(living())
    assert store.get(key(1)) is None
    assert store.put(key(1), kept)
    assert store.get(key(1)) is kept
    assert (store.entries, store.bytes) == (1, SLOT)
    store.remove(key(1))
    store.remove(key(1))
    assert store.get(key(1)) is None
    assert (store.entries, store.bytes, store.evictions) == (0, 0, 0)


def test_bytes_count_key_answer_and_tags() -> None:
    store = MemoryStore(10 * SLOT, 100)
    stamp = Coherence(numbered()).capture(["a", "b", "c"])
    assert stamp is not None
    store.put(key(1), Entry(b"abc", b"de", stamp, 60.0, 0.1))
    assert store.bytes == OVERHEAD + 3 * PER_TAG + 4 + 5


def test_a_second_put_replaces_the_first() -> None:
    store, stamp = MemoryStore(10 * SLOT, 100), living()
    store.put(key(1), entry(stamp))
    shorter = entry(stamp, b"y")
    store.put(key(1), shorter)
    assert store.get(key(1)) is shorter
    assert (store.entries, store.bytes) == (1, SLOT - 15)


def test_what_is_too_large_is_refused_and_changes_nothing() -> None:
    store, stamp = MemoryStore(2 * SLOT, 100), living()
    kept = entry(stamp)
    store.put(key(1), kept)
    assert not store.put(key(1), entry(stamp, b"x" * 101))
    assert store.put(key(2), entry(stamp, b"x" * 16))
    assert not MemoryStore(SLOT - 1, 100).put(key(1), kept)
    assert MemoryStore(SLOT, 100).put(key(1), kept)
    assert store.get(key(1)) is kept
    assert store.put(key(1), entry(stamp, b"x" * 16))
    assert store.evictions == 0
    assert store.put(key(3), entry(stamp, b"x" * 100))
    assert store.bytes <= 2 * SLOT


def test_used_entries_survive_unused_ones() -> None:
    store, stamp = MemoryStore(3 * SLOT, 100), living()
    for name in (1, 2, 3):
        store.put(key(name), entry(stamp))
    store.get(key(1))
    store.put(key(4), entry(stamp))
    assert store.evictions == 1
    assert names(store) == [1, 3, 4]


def test_the_hand_goes_on_where_it_stopped() -> None:
    store, stamp = MemoryStore(4 * SLOT, 100), living()
    for name in (1, 2, 3, 4):
        store.put(key(name), entry(stamp))
    store.get(key(1))
    store.put(key(5), entry(stamp))  # takes the bit of 1, evicts 2
    store.put(key(6), entry(stamp))  # goes on at 3, though 1 is older and unprotected
    assert names(store) == [1, 4, 5, 6]


def test_dead_entries_go_first_though_they_were_used() -> None:
    store, machine = MemoryStore(3 * SLOT, 100), Coherence(numbered())
    dying = machine.capture(["dying"])
    assert dying is not None
    store.put(key(1), entry(living()))
    store.put(key(2), entry(dying))
    store.put(key(3), entry(living()))
    for name in (1, 2, 3):
        store.get(key(name))
    machine.unmark(machine.mark(["dying"], None))
    store.put(key(4), entry(living()))
    assert names(store) == [1, 3, 4]


def test_removing_the_entry_under_the_hand_moves_the_hand_on() -> None:
    store, stamp = MemoryStore(4 * SLOT, 100), living()
    for name in (1, 2, 3, 4):
        store.put(key(name), entry(stamp))
    store.get(key(1))
    store.put(key(5), entry(stamp))  # evicts 2, the hand is on 3
    store.remove(key(3))
    store.put(key(6), entry(stamp))  # there is room
    store.put(key(7), entry(stamp))  # evicts 4
    assert names(store) == [1, 5, 6, 7]


def test_clearing_leaves_a_store_that_works() -> None:
    store, stamp = MemoryStore(2 * SLOT, 100), living()
    for name in range(5):
        store.put(key(name), entry(stamp))
    store.clear()
    assert (store.entries, store.bytes) == (0, 0)
    for name in range(5, 8):
        store.put(key(name), entry(stamp))
    assert names(store) == [6, 7]


@dataclass(slots=True)
class Slot:
    """An entry of the plain model of SIEVE below."""

    name: int
    size: int
    used: bool = False


class PlainSieve:
    """SIEVE over a list, the oldest first, written for the eye and not for speed."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.queue: list[Slot] = []
        self.hand = 0

    def get(self, name: int) -> None:
        for slot in self.queue:
            slot.used = slot.used or slot.name == name

    def remove(self, name: int) -> None:
        for place, slot in enumerate(self.queue):
            if slot.name == name:
                del self.queue[place]
                if place < self.hand:
                    self.hand -= 1
                if self.hand == len(self.queue):
                    self.hand = 0
                return

    def put(self, name: int, size: int) -> None:
        self.remove(name)
        while sum(slot.size for slot in self.queue) + size > self.room:
            while self.queue[self.hand].used:
                self.queue[self.hand].used = False
                self.hand = (self.hand + 1) % len(self.queue)
            self.remove(self.queue[self.hand].name)
        self.queue.append(Slot(name, size))


actions = st.tuples(st.sampled_from(["put", "put", "get", "get", "remove"]), st.integers(0, 9), st.integers(0, 99))


@settings(max_examples=300, deadline=None)
@given(st.lists(actions, max_size=60))
def test_it_holds_what_plain_sieve_holds(script: list[tuple[str, int, int]]) -> None:
    room = 5 * SLOT
    store, model, stamp = MemoryStore(room, 100), PlainSieve(room), living()
    for action, name, length in script:
        match action:
            case "put":
                assert store.put(key(name), entry(stamp, b"x" * length))
                model.put(name, SLOT - 16 + length)
            case "get":
                store.get(key(name))
                model.get(name)
            case _:
                store.remove(key(name))
                model.remove(name)
        assert store.bytes == sum(slot.size for slot in model.queue) <= room
        assert store.entries == len(model.queue)
    assert names(store) == sorted(slot.name for slot in model.queue)
