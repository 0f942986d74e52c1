"""What a server says of a statement, and when two results have one shape."""

from __future__ import annotations

import struct
from typing import Final

import pytest

from protocol.description import NO_ROWS, Description, shape
from protocol.errors import RemoteProtocolError
from protocol.pipeline import Pipeline
from protocol.replies import BIND, DESCRIBE_STATEMENT, EXECUTE, HOLD, PARSE, SWALLOW, SYNC
from tests.support import frames

Column = tuple[str, int, int, int, int, int, int]
X: Final[Column] = ("x", 16400, 1, 23, 4, -1, 0)
"""Name, table, number in it, type, its length, modifier, format."""


def described(*columns: Column) -> bytes:
    fields = [name.encode() + b"\0" + struct.pack("!ihihih", *rest) for name, *rest in columns]
    return struct.pack("!h", len(columns)) + b"".join(fields)


@pytest.mark.parametrize(
    "other",
    [
        ("y", *X[1:]),
        ("", *X[1:]),
        (*X[:3], 25, *X[4:]),
        (*X[:5], 14, X[6]),
    ],
)
def test_names_types_and_modifiers_make_the_shape(other: Column) -> None:
    assert shape(described(X)) != shape(described(other))
    assert shape(described(X, other)) != shape(described(other, X))
    assert shape(described(X)) != shape(described(X, other))


def test_where_a_column_is_from_and_how_it_comes_does_not() -> None:
    assert shape(described(X)) == shape(described(("x", 1, 9, 23, 8, -1, 1)))


def test_no_columns_are_not_no_rows() -> None:
    assert shape(described()) != NO_ROWS


@pytest.mark.parametrize("cut", range(len(described(X))))
def test_half_a_description_is_none(cut: int) -> None:
    with pytest.raises(RemoteProtocolError):
        shape(described(X)[:cut])
    with pytest.raises(RemoteProtocolError):
        shape(described(X) + b"x")


def test_the_answer_is_told_to_who_asked() -> None:
    pipeline = Pipeline()
    told = Description()
    pipeline.add(DESCRIBE_STATEMENT, told, SWALLOW)
    pipeline.add(DESCRIBE_STATEMENT, None)
    many = tuple((f"column_{number}_{'n' * 48}", *X[1:]) for number in range(1664))
    parameters = struct.pack("!hii", 2, 23, 25)
    answer = frames.frame("t", parameters) + frames.frame("T", described(*many))
    assert len(answer) > HOLD
    assert pipeline.receive(answer[:-1]) == b""
    assert pipeline.receive(answer[-1:] + frames.frame("t", b"\0\0") + frames.frame("n")) == (
        frames.frame("t", b"\0\0") + frames.frame("n")
    )
    assert pipeline.proved == [told]
    assert (told.parameters, told.shape) == (parameters[2:], shape(described(*many)))


def test_a_statement_without_a_result() -> None:
    pipeline = Pipeline()
    told = Description()
    pipeline.add(DESCRIBE_STATEMENT, told, SWALLOW)
    assert pipeline.receive(frames.frame("t", b"\0\0") + frames.frame("n")) == b""
    assert (told.parameters, told.shape) == (b"", NO_ROWS)


def test_an_error_that_was_provoked_is_told_as_the_one_it_stands_for() -> None:
    pipeline = Pipeline()
    said = frames.error_response("0A000", "as it should be said")
    note = object()
    pipeline.add(PARSE)
    pipeline.add(BIND, None, SWALLOW, said)
    pipeline.add(EXECUTE, note)
    pipeline.add(SYNC, "the turn")
    ready = frames.frame("Z", b"E")
    provoked = frames.error_response("26000", "no such statement")
    assert pipeline.receive(frames.frame("1") + provoked + ready) == frames.frame("1") + said + ready
    assert pipeline.dropped == [note]
    assert [finished.error for finished in pipeline.finished] == [said[5:]]
    assert pipeline.at_rest


@pytest.mark.parametrize("last", [b"", frames.frame("Z", b"I")])
def test_another_error_in_its_place_is_told_as_it_is(last: bytes) -> None:
    pipeline = Pipeline()
    pipeline.add(BIND, None, SWALLOW, frames.error_response("0A000", "as it should be said"))
    if last:
        pipeline.add(SYNC)
    cancelled = frames.error_response("57014", "canceling statement due to user request")
    assert pipeline.receive(cancelled + last) == cancelled + last
    assert pipeline.skipping != bool(last)


def test_the_provoked_error_comes_before_its_sync() -> None:
    pipeline = Pipeline()
    said = frames.error_response("0A000", "as it should be said")
    pipeline.add(BIND, None, SWALLOW, said)
    assert pipeline.receive(frames.error_response("26000", "no such statement")) == said
    assert pipeline.skipping
    pipeline.add(SYNC, "the turn")
    assert pipeline.receive(frames.frame("Z", b"I")) == frames.frame("Z", b"I")
    assert [finished.error for finished in pipeline.finished] == [said[5:]]
