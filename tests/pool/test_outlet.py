"""What is written in one round of the loop, and when it leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pool.outlet import ENOUGH, Outlets

if TYPE_CHECKING:
    from collections.abc import Callable


class Wire(asyncio.Transport):
    """Says to everybody who asks what was done to it."""

    def __init__(self, name: str, log: list[tuple[str, bytes | str]]) -> None:
        super().__init__()
        self._name = name
        self._log = log
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._name == "broken":
            raise RuntimeError("the handler is closed")
        self._log.append((self._name, bytes(data)))

    def close(self) -> None:
        self._closing = True
        self._log.append((self._name, "closed"))

    def abort(self) -> None:
        self._closing = True
        self._log.append((self._name, "aborted"))

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0


class Round:
    """A loop that goes round when told to."""

    def __init__(self) -> None:
        self.log: list[tuple[str, bytes | str]] = []
        self._calls: list[Callable[[], None]] = []
        outlets = Outlets(self._calls.append)
        self.a, self.b = (outlets.outlet(Wire(name, self.log)) for name in "ab")

    def ends(self) -> list[tuple[str, bytes | str]]:
        calls = self._calls.copy()
        self._calls.clear()
        for call in calls:
            call()
        done = self.log.copy()
        self.log.clear()
        return done


def test_writes_leave_in_order_when_the_round_ends() -> None:
    turn = Round()
    turn.a.write(b"1")
    turn.b.write(b"2")
    turn.a.write(b"3")
    assert turn.log == []
    assert turn.a.get_write_buffer_size() == 2
    assert turn.ends() == [("a", b"13"), ("b", b"2")]
    assert turn.ends() == []
    turn.b.write(b"4")
    assert turn.ends() == [("b", b"4")]


def test_what_is_written_meanwhile_leaves_with_the_next_round() -> None:
    turn = Round()
    turn.a.write(b"")
    assert turn.ends() == []
    turn.a.write(b"1")
    turn.ends()
    turn.a.write(b"2")
    assert turn.ends() == [("a", b"2")]


def test_much_leaves_at_once_and_behind_what_was_kept() -> None:
    turn = Round()
    turn.a.write(b"x" * (ENOUGH + 1))
    assert [len(data) for _, data in turn.log] == [ENOUGH + 1]
    turn.log.clear()
    turn.a.write(b"first")
    turn.a.write(b"x" * ENOUGH)
    assert turn.log == [("a", b"first" + b"x" * ENOUGH)]
    assert turn.a.get_write_buffer_size() == 0
    turn.log.clear()
    assert turn.ends() == []


def test_a_goodbye_is_heard() -> None:
    turn = Round()
    turn.a.write(b"bye")
    turn.a.close()
    assert turn.log == [("a", b"bye"), ("a", "closed")]
    turn.a.write(b"too late")
    assert turn.ends() == [("a", b"bye"), ("a", "closed")]


def test_an_aborted_connection_says_nothing_more() -> None:
    turn = Round()
    turn.a.write(b"bye")
    turn.a.abort()
    assert turn.ends() == [("a", "aborted")]


def test_one_that_cannot_be_written_to_does_not_hold_up_the_others() -> None:
    log: list[tuple[str, bytes | str]] = []
    calls: list[Callable[[], None]] = []
    outlets = Outlets(calls.append)
    first, broken, second, third = (outlets.outlet(Wire(name, log)) for name in ("1", "broken", "2", "3"))
    for outlet in (first, broken, second, third):
        outlet.write(b"x")
    with pytest.raises(RuntimeError):
        calls.pop()()
    assert log == [("1", b"x")]
    second.write(b"y")
    first.write(b"z")
    for call in calls:
        call()
    assert log == [("1", b"x"), ("2", b"xy"), ("3", b"x"), ("1", b"z")]
