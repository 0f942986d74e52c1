"""The face of the room: what is given, what is refused, and what is counted."""

from __future__ import annotations

import pytest

from cache.cache import Cache
from cache.coherence import Coherence, Stamp
from cache.counters import Fill
from cache.key import simple_key
from cache.memory import MemoryStore
from tests.cache.world import numbered

KEY = simple_key(b"s", 1, b"SELECT 1")


def make(ttl: float = 60.0, room: int = 1 << 16) -> Cache:
    return Cache(Coherence(numbered()), MemoryStore(room, 100), ttl)


def captured(cache: Cache, *tags: str) -> Stamp:
    stamp = cache.capture(tags or ("a",))
    assert stamp is not None
    return stamp


def test_what_was_filled_is_given_back() -> None:
    cache = make()
    assert cache.lookup(KEY, 1.0) is None
    assert cache.fill(KEY, captured(cache), b"T", b"DC", 0.5, 1.0) is Fill.STORED
    entry = cache.lookup(KEY, 2.0)
    assert entry is not None
    assert (entry.description, entry.body, entry.cost) == (b"T", b"DC", 0.5)
    counters = cache.counters()
    assert (counters.misses, counters.hits, counters.fills, counters.entries) == (1, 1, 1, 1)


def test_a_write_takes_the_entry_out() -> None:
    cache = make()
    cache.fill(KEY, captured(cache), None, b"DC", 0.5, 1.0)
    mark = cache.mark(["a"], None)
    assert cache.counters().marks_open == 1
    assert cache.lookup(KEY, 2.0) is None
    assert cache.counters().entries == 0
    assert cache.lookup(KEY, 2.0) is None
    cache.unmark(mark)
    assert cache.lookup(KEY, 2.0) is None
    counters = cache.counters()
    assert (counters.stale, counters.misses, counters.hits, counters.marks_open) == (1, 2, 0, 0)


def test_a_fill_with_a_dead_stamp_is_refused() -> None:
    cache = make()
    stamp = captured(cache)
    cache.unmark(cache.mark(["a"], None))
    assert cache.fill(KEY, stamp, None, b"DC", 0.5, 1.0) is Fill.STALE
    counters = cache.counters()
    assert counters.entries == counters.fills == 0
    assert counters.rejected_fills == {Fill.STALE: 1, Fill.EXPIRED: 0, Fill.TOO_LARGE: 0}


def test_a_stale_fill_does_not_push_out_a_living_entry() -> None:
    cache = make()
    old = captured(cache)
    cache.unmark(cache.mark(["a"], None))
    cache.fill(KEY, captured(cache), None, b"new", 0.0, 1.0)
    assert cache.fill(KEY, old, None, b"old", 0.0, 1.0) is Fill.STALE
    entry = cache.lookup(KEY, 1.0)
    assert entry is not None
    assert entry.body == b"new"


def test_what_is_too_large_is_refused() -> None:
    cache = make()
    assert cache.max_entry == 100
    assert cache.fill(KEY, captured(cache), b"x", b"x" * 100, 0.5, 1.0) is Fill.TOO_LARGE
    assert cache.fill(KEY, captured(cache), b"x", b"x" * 99, 0.5, 1.0) is Fill.STORED
    assert cache.counters().rejected_fills[Fill.TOO_LARGE] == 1


def test_the_life_of_an_entry_counts_from_the_sending_of_its_query() -> None:
    cache = make(ttl=10.0)
    cache.fill(KEY, captured(cache), None, b"DC", 4.0, 100.0)
    assert cache.lookup(KEY, 105.9) is not None
    assert cache.lookup(KEY, 106.0) is None
    counters = cache.counters()
    assert (counters.expired, counters.hits, counters.entries) == (1, 1, 0)
    assert cache.fill(KEY, captured(cache), None, b"DC", 10.0, 100.0) is Fill.EXPIRED
    assert cache.counters().rejected_fills[Fill.EXPIRED] == 1


def test_an_entry_may_have_its_own_life() -> None:
    cache = make(ttl=10.0)
    assert cache.fill(KEY, captured(cache), None, b"DC", 0.0, 0.0, ttl=20.0) is Fill.STORED
    assert cache.lookup(KEY, 19.0) is not None
    assert cache.fill(KEY, captured(cache), None, b"DC", 0.0, 0.0, ttl=0.0) is Fill.EXPIRED


def test_captures_in_doubt_are_counted() -> None:
    cache = make()
    mark = cache.mark(["a"], "owner")
    assert cache.capture(["a", "b"]) is None
    assert cache.counters().doubts == 1
    cache.abandon(mark)
    assert cache.abandoned() == (mark,)
    assert cache.capture(["a"]) is None
    counters = cache.counters()
    assert (counters.doubts, counters.marks_open, counters.abandoned) == (2, 0, 1)
    cache.settle(mark)
    assert cache.capture(["a"]) is not None
    assert cache.counters().abandoned == 0


def test_a_purge_forgets_also_what_is_being_read() -> None:
    cache = make()
    reading = captured(cache)
    cache.fill(KEY, captured(cache), None, b"DC", 0.0, 1.0)
    mark = cache.mark(["b"], None)
    cache.purge()
    assert cache.lookup(KEY, 1.0) is None
    assert cache.fill(KEY, reading, None, b"DC", 0.0, 1.0) is Fill.STALE
    assert cache.capture(["b"]) is None
    cache.unmark(mark)
    assert cache.fill(KEY, captured(cache), None, b"DC", 0.0, 1.0) is Fill.STORED


def test_a_snapshot_of_the_counters_does_not_move() -> None:
    cache = make(room=2000)
    before = cache.counters()
    for i in range(5):
        cache.fill(simple_key(b"s", i, b"q"), captured(cache), None, b"DC", 0.0, 1.0)
    after = cache.counters()
    assert (before.fills, before.evictions, before.bytes) == (0, 0, 0)
    assert (after.fills, after.evictions + after.entries) == (5, 5)
    assert 0 < after.bytes <= 2000
    with pytest.raises(TypeError):
        after.rejected_fills[Fill.STALE] = 9  # type: ignore[index] # that it is read-only is what is tested
