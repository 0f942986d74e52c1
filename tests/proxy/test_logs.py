from __future__ import annotations

import io
import json
import logging
import os
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import pytest

from proxy.logs import SafeHandler, escape, event, logger, set_level, setup

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Logging is global in Python; give back what was."""
    known = [logger(), logging.getLogger("asyncio"), logging.getLogger("aiohttp")]
    before = [(one, list(one.handlers), one.level, one.propagate) for one in known]
    yield
    for one, handlers, level, propagate in before:
        one.handlers[:], one.propagate = handlers, propagate
        one.setLevel(level)


class Lines:
    """A stream that logging writes to, and what it has been given so far."""

    def __init__(self, form: Literal["text", "json"], level: str = "info") -> None:
        self._stream = io.StringIO()
        self._handler = setup(level, form, self._stream)

    def getvalue(self) -> str:
        self._handler.flush()
        return self._stream.getvalue()


def test_a_text_line_has_time_level_part_message_and_fields() -> None:
    stream = Lines("text")
    event(logger("pool"), logging.WARNING, "server lost", host="db:5432", why="no answer", took=0.5)
    time, rest = stream.getvalue().split(" ", 1)
    assert datetime.fromisoformat(time).utcoffset() is not None
    assert time.endswith("Z")
    assert rest == 'warning pool: server lost host=db:5432 why="no answer" took=0.5\n'


def test_a_json_line_has_the_same_as_keys() -> None:
    stream = Lines("json")
    event(logger("pool"), logging.WARNING, "server lost", host="db", took=0.5, ok=False, level="mine")
    record = json.loads(stream.getvalue())
    del record["time"]
    assert record == {
        "level": "warning",
        "logger": "pool",
        "message": "server lost",
        "host": "db",
        "took": 0.5,
        "ok": False,
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_record_is_one_line_without_control_characters(form: Literal["text", "json"]) -> None:
    stream = Lines(form)
    nasty = 'a\r\nERROR b\x1b[2J\x00\x85\u2028\u202e\ud800"\\'
    event(logger(), logging.ERROR, nasty, user=nasty)
    said = stream.getvalue()
    assert said.count("\n") == 1
    assert not any(ord(char) < 32 or ord(char) in {0x7F, 0x85, 0x2028, 0x202E} for char in said[:-1])
    said.encode("utf-8")
    assert "\\x1b[2J" in said or "\\u001b[2J" in said


def test_a_quoted_value_can_be_told_from_what_follows() -> None:
    stream = Lines("text")
    event(logger(), logging.INFO, "x", a='1" b="2', c="\\", d="", e="f=g")
    assert stream.getvalue().endswith(' x a="1\\" b=\\"2" c="\\\\" d="" e="f=g"\n')


def test_a_megabyte_is_cut() -> None:
    stream = Lines("text")
    event(logger(), logging.INFO, "x" * 1_000_000, sql="y" * 1_000_000)
    assert len(stream.getvalue()) < 20_000
    assert "(1000000 characters)" in stream.getvalue()


def test_levels_and_a_second_setup() -> None:
    stream = Lines("text", "warning")
    event(logger(), logging.INFO, "not said")
    assert stream.getvalue() == ""
    set_level("info")
    event(logger(), logging.INFO, "said now")
    assert "said now" in stream.getvalue()
    again = Lines("text", "debug")
    event(logger("a"), logging.DEBUG, "said once")
    assert "said once" not in stream.getvalue()
    assert again.getvalue().count("said once") == 1


def test_an_exception_stays_in_its_line() -> None:
    stream = Lines("text")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logger().exception("failed")
    assert stream.getvalue().count("\n") == 1
    assert "ValueError: two\\x0alines" in stream.getvalue()


def test_a_pipe_without_a_reader_loses_lines_and_ends_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = open(writer, "w", encoding="utf-8")  # noqa: SIM115 - closing it must be seen to fail
    handler = setup("info", "text", stream)
    event(logger(), logging.INFO, "nobody reads")
    event(logger(), logging.INFO, "nobody reads")
    handler.flush()
    assert handler.lost == 2
    with pytest.raises(BrokenPipeError):
        stream.close()


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_stream_that_is_gone_ends_nothing(stream: str | None) -> None:
    closed = io.StringIO()
    closed.close()
    handler = SafeHandler(closed if stream else None)
    handler.handle(logging.makeLogRecord({"msg": "nobody reads"}))
    handler.flush()
    assert handler.lost == 1
    handler.close()


def test_a_pipe_that_is_not_read_makes_nobody_wait() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as unread, open(writer, "w", encoding="utf-8") as stream:
        handler = SafeHandler(stream, room=10)
        for _ in range(100):  # 800 kB: more than the pipe and the queue hold together
            handler.handle(logging.makeLogRecord({"msg": "x" * 8000}))
        assert 0 < handler.lost < 100
        written = sum(len(unread.readline()) > 8000 for _ in range(100 - handler.lost))
        assert written == 100 - handler.lost
        handler.close()


def test_a_message_that_does_not_fit_its_arguments_ends_nothing() -> None:
    stream = Lines("text")
    logger().info("%d", "x")
    event(logger(), logging.INFO, "100%")
    assert stream.getvalue().endswith(": 100%\n")


def test_ordinary_text_is_left_alone() -> None:
    assert escape("Grüße, 世界 🙂 'x'") == "Grüße, 世界 🙂 'x'"
