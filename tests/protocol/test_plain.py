"""The plain turn's answer, read in few steps, is what the pipeline reads in many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.pipeline import Pipeline
from protocol.plain import BOUND, BOUND_DESCRIBED, PARSED, PARSED_DESCRIBED, SIMPLE, Shape, count_rows
from protocol.replies import QUERY, SYNC, Finished
from tests.support.frames import data_row, error_response, frame, row_description

SHAPES = (SIMPLE, BOUND, BOUND_DESCRIBED, PARSED, PARSED_DESCRIBED)
ROW = data_row("x")
COMPLETE = frame("C", b"SELECT 1\0")
READY = frame("Z", b"I")


def answer(shape: Shape, rows: int) -> bytes:
    """What a server says to it."""
    described = row_description("a") if shape.described else b""
    return shape.head + described + ROW * rows + COMPLETE + READY


def asked(shape: Shape) -> Pipeline:
    """A pipeline in which nothing else is outstanding."""
    pipeline = Pipeline()
    pipeline.plain = shape
    pipeline.add_turn(shape, "turn", "parse")
    return pipeline


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_plain_answer_ends_the_turn(shape: Shape, rows: int) -> None:
    pipeline = asked(shape)
    assert pipeline.receive_plain(answer(shape, rows)) == rows
    assert pipeline.at_rest
    assert pipeline.plain is None
    assert pipeline.proved == (["parse"] if shape.parsed else [])


@pytest.mark.parametrize("shape", SHAPES)
def test_another_request_behind_it_makes_it_an_ordinary_turn(shape: Shape) -> None:
    pipeline = asked(shape)
    pipeline.add(SYNC, "next")
    assert pipeline.receive_plain(answer(shape, 1)) == -1
    pipeline.receive(answer(shape, 1))
    assert [finished.note for finished in pipeline.finished] == ["turn"]
    assert len(pipeline.queue) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_the_rest_of_a_torn_answer_is_not_plain(shape: Shape) -> None:
    whole = answer(shape, 2)
    for cut in range(1, len(whole)):
        pipeline = asked(shape)
        assert pipeline.receive_plain(whole[:cut]) == -1
        first = pipeline.receive(whole[:cut])
        assert pipeline.receive_plain(whole[cut:]) == -1
        assert first + pipeline.receive(whole[cut:]) == whole
        assert pipeline.finished == [Finished("turn", ord("I"), None, b"SELECT 1", 2, 0)]


@pytest.mark.parametrize(
    "stranger",
    [
        frame("N", b"SNOTICE\0\0"),
        frame("S", b"TimeZone\0UTC\0"),
        frame("A", b"\0\0\0\1a\0\0"),
        error_response("22012", "division by zero"),
        frame("s"),
        frame("n"),
        frame("I"),
        b"D\0\0\0\3",
    ],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_else_is_said_is_looked_at(shape: Shape, stranger: bytes) -> None:
    parts = [shape.head, row_description("a") if shape.described else b"", ROW, COMPLETE, READY]
    for place in range(len(parts) + 1):
        assert count_rows(b"".join([*parts[:place], stranger, *parts[place:]]), shape) == -1


@pytest.mark.parametrize("status", ["T", "E"])
def test_an_open_transaction_is_not_plain(status: str) -> None:
    assert count_rows(row_description("a") + COMPLETE + frame("Z", status.encode()), SIMPLE) == -1


MESSAGES = st.sampled_from(
    [ROW, COMPLETE, READY, row_description("a"), frame("1"), frame("2"), frame("n"), frame("I"), frame("N", b"\0")]
)


@given(
    st.sampled_from(SHAPES),
    st.one_of(st.lists(MESSAGES, max_size=7).map(b"".join), st.binary(max_size=40).map(lambda noise: noise + READY)),
)
def test_what_counts_as_plain_is_what_the_long_way_makes_of_it(shape: Shape, data: bytes) -> None:
    rows = count_rows(data, shape)
    if rows < 0:
        return
    pipeline = asked(shape)
    try:
        assert pipeline.receive(data) == data
    except RemoteProtocolError:
        raise AssertionError("the long way refuses it") from None
    (finished,) = pipeline.finished
    assert finished == Finished("turn", ord("I"), None, finished.tag, rows, 0)
    assert pipeline.at_rest
    assert pipeline.proved == (["parse"] if shape.parsed else [])


def test_a_plain_turn_enters_the_queue_in_order() -> None:
    assert [kind for kind, *_ in asked(SIMPLE).queue] == [QUERY]
    for shape in SHAPES:
        assert len(asked(shape).queue) == shape.size
        assert asked(shape).queue[-1][2] == "turn"
