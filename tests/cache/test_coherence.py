"""The coherence machine, rule by rule."""

from __future__ import annotations

import gc

import pytest

from cache.coherence import TOKEN_BYTES, Coherence, MarkState
from cache.errors import LocalCacheError
from tests.cache.world import numbered


def test_a_stamp_lives_until_one_of_its_tags_is_marked() -> None:
    machine = Coherence(numbered())
    first, second = machine.capture(["a", "b"]), machine.capture(["b", "c"])
    assert first is not None
    assert second is not None
    assert machine.valid(first)
    assert machine.valid(second)
    machine.unmark(machine.mark(["a"], None))
    assert not machine.valid(first)
    assert machine.valid(second)


def test_a_stamp_is_dead_as_soon_as_the_mark_is_set_and_stays_dead() -> None:
    machine = Coherence(numbered())
    stamp = machine.capture(["a"])
    assert stamp is not None
    mark = machine.mark(["a"], None)
    assert not machine.valid(stamp)
    machine.unmark(mark)
    assert not machine.valid(stamp)
    again = machine.capture(["a"])
    assert again is not None
    assert machine.valid(again)
    assert not machine.valid(stamp)


def test_nothing_is_captured_in_doubt() -> None:
    machine = Coherence(numbered())
    mark = machine.mark(["a"], None)
    assert machine.capture(["b", "a"]) is None
    assert machine.capture(["b"]) is not None
    machine.unmark(mark)
    assert machine.capture(["b", "a"]) is not None


def test_doubt_ends_with_the_last_of_several_writers() -> None:
    machine = Coherence(numbered())
    first, second = machine.mark(["a"], 1), machine.mark(["a"], 2)
    machine.unmark(first)
    assert machine.capture(["a"]) is None
    machine.unmark(second)
    assert machine.capture(["a"]) is not None


def test_the_same_owner_may_hold_several_marks() -> None:
    machine = Coherence(numbered())
    first, second = machine.mark(["a"], "owner"), machine.mark(["a"], "owner")
    machine.unmark(second)
    assert machine.capture(["a"]) is None
    machine.unmark(first)
    assert machine.capture(["a"]) is not None


def test_captures_share_the_token_that_stands() -> None:
    machine = Coherence(numbered())
    first, second = machine.capture(["a"]), machine.capture(["a"])
    assert first == second


def test_tokens_are_128_random_bits_and_new_after_every_write() -> None:
    lengths: list[int] = []
    source = numbered()

    def draw(length: int) -> bytes:
        lengths.append(length)
        return source(length)

    machine = Coherence(draw)
    kept = []
    for _ in range(3):
        stamp = machine.capture(["a"])
        assert stamp is not None
        kept.append(stamp)
        machine.unmark(machine.mark(["a"], None))
    assert len({token for stamp in kept for _, token in stamp.pairs}) == 3
    assert lengths == [TOKEN_BYTES] * 3
    assert TOKEN_BYTES == 16


def test_two_machines_draw_different_tokens() -> None:
    stamps = [Coherence().capture(["a"]) for _ in range(2)]
    tokens = {token for stamp in stamps if stamp is not None for _, token in stamp.pairs}
    assert len(tokens) == 2


def test_an_abandoned_mark_keeps_its_doubt_until_it_is_settled() -> None:
    machine = Coherence(numbered())
    stamp = machine.capture(["a"])
    assert stamp is not None
    mark = machine.mark(["a"], ("pid", 42))
    machine.abandon(mark)
    assert machine.capture(["a"]) is None
    assert machine.abandoned() == (mark,)
    assert machine.abandoned()[0].owner == ("pid", 42)
    assert machine.open_marks == 0
    machine.settle(mark)
    assert machine.abandoned() == ()
    assert machine.capture(["a"]) is not None
    assert not machine.valid(stamp)


def test_abandoned_marks_come_oldest_first() -> None:
    machine = Coherence(numbered())
    marks = [machine.mark([i], i) for i in range(5)]
    for mark in reversed(marks):
        machine.abandon(mark)
    assert [mark.owner for mark in machine.abandoned()] == [4, 3, 2, 1, 0]


def test_a_mark_on_nothing_is_legal_and_touches_nothing() -> None:
    machine = Coherence(numbered())
    stamp = machine.capture(["a"])
    assert stamp is not None
    mark = machine.mark([], None)
    assert machine.open_marks == 1
    machine.unmark(mark)
    assert machine.valid(stamp)
    assert mark.state is MarkState.CLOSED


def test_a_mark_ends_once() -> None:
    machine = Coherence(numbered())
    closed, left, held = (machine.mark(["a"], None) for _ in range(3))
    machine.unmark(closed)
    machine.abandon(left)
    for wrong in (machine.unmark, machine.abandon, machine.settle):
        with pytest.raises(LocalCacheError, match="closed"):
            wrong(closed)
    with pytest.raises(LocalCacheError, match="abandoned"):
        machine.unmark(left)
    with pytest.raises(LocalCacheError, match="abandoned"):
        machine.abandon(left)
    with pytest.raises(LocalCacheError, match="open"):
        machine.settle(held)
    assert machine.open_marks == 1
    assert machine.abandoned() == (left,)
    machine.settle(left)
    assert machine.capture(["a"]) is None  # the misuse took nobody's doubt away
    machine.unmark(held)
    assert machine.capture(["a"]) is not None


def test_a_capture_without_tags_is_a_mistake() -> None:
    with pytest.raises(LocalCacheError):
        Coherence(numbered()).capture([])


def test_a_mark_that_its_owner_loses_still_stands() -> None:
    machine = Coherence(numbered())
    machine.mark(["a"], None)
    gc.collect()
    assert machine.capture(["a"]) is None


def test_a_stamp_in_flight_is_killed_even_when_nothing_else_remembers_its_tag() -> None:
    machine = Coherence(numbered())
    stamp = machine.capture(["a"])
    assert stamp is not None
    gc.collect()
    machine.unmark(machine.mark(["a"], None))
    gc.collect()
    assert not machine.valid(stamp)


def test_tags_that_nobody_refers_to_take_no_memory() -> None:
    machine = Coherence(numbered())
    kept = machine.capture(["kept"])
    for i in range(1000):
        machine.capture([i])
        machine.unmark(machine.mark([i], None))
    assert list(machine._cells) == ["kept"]
    assert kept is not None
    assert machine.valid(kept)


def test_renewing_all_kills_every_stamp_and_no_mark() -> None:
    machine = Coherence(numbered())
    stamp = machine.capture(["a"])
    assert stamp is not None
    mark = machine.mark(["b"], None)
    machine.renew_all()
    assert not machine.valid(stamp)
    assert machine.capture(["b"]) is None
    machine.unmark(mark)
    assert machine.capture(["a", "b"]) is not None
