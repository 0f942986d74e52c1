"""The conversation with one server, played from both ends, in every cut of the bytes between them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.pipeline import Pipeline
from protocol.probe import Probe
from protocol.replies import (
    BIND,
    CLOSE,
    DESCRIBE_PORTAL,
    DESCRIBE_STATEMENT,
    EXECUTE,
    FAKE,
    FORWARD,
    FUNCTION,
    HOLD,
    PARSE,
    QUERY,
    SWALLOW,
    SYNC,
    Finished,
)
from tests.protocol.backend_model import ERROR, EXTENDED, Backend, ready
from tests.support.frames import data_row, error_response, frame, lying_frame, row_description

PARSED = frame("1")
NOTICE = frame("N", b"SNOTICE\0\0")
COMPLETE = frame("C", b"SELECT 1\0")
STATUS = frame("S", b"TimeZone\0UTC\0")


def fed(pipeline: Pipeline, data: bytes, *cuts: int) -> bytes:
    """What comes out when the bytes arrive in pieces."""
    edges = [0, *sorted(cuts), len(data)]
    return b"".join(pipeline.receive(data[a:b]) for a, b in pairwise(edges))


def test_rows_pass_as_they_are() -> None:
    pipeline = Pipeline()
    pipeline.add(QUERY, "turn")
    data = row_description("a") + data_row("x") + data_row("y") + COMPLETE + ready()
    assert pipeline.receive(data) is data
    assert pipeline.finished == [Finished("turn", ord("I"), None, b"SELECT 1", 2, 0)]
    assert pipeline.at_rest


def test_swallowed_requests_leave_no_trace_in_the_output() -> None:
    for cut in range(200):
        pipeline = Pipeline()
        pipeline.add(QUERY, "settings", SWALLOW)
        pipeline.add(PARSE, "injected", SWALLOW)
        pipeline.add(BIND)
        pipeline.add(EXECUTE)
        pipeline.add(SYNC, "turn")
        hidden = STATUS + row_description("a") + data_row("a") + frame("C", b"SELECT 9\0") + ready() + PARSED
        shown = frame("2") + data_row("x") + ready("T")[:0] + frame("s") + ready("T")
        assert fed(pipeline, hidden + shown, min(cut, len(hidden + shown))) == shown
        assert pipeline.proved == ["settings", "injected"]
        assert pipeline.parameters == [(b"TimeZone\0UTC\0", False)]
        assert pipeline.finished == [Finished("turn", ord("T"), None, b"", 1, 0)], "nothing of the swallowed query"


def test_fakes_come_in_their_place() -> None:
    for cut in range(40):
        pipeline = Pipeline()
        pipeline.add_fake(PARSE, b"<a>", "a")
        pipeline.add(BIND)
        pipeline.add_fake(CLOSE, b"<b>", "b")
        pipeline.add_fake(PARSE, b"<c>", "c")
        pipeline.add(SYNC, "turn")
        data = frame("2") + ready()
        assert fed(pipeline, data, min(cut, len(data))) == b"<a>" + frame("2") + b"<b><c>" + ready()
        assert pipeline.proved == ["a", "b", "c"]
        assert pipeline.at_rest


def test_an_error_drops_everything_up_to_the_sync() -> None:
    pipeline = Pipeline()
    pipeline.add(PARSE, "parse")
    pipeline.add(BIND, "bind")
    pipeline.add_fake(CLOSE, b"<never>", "fake")
    pipeline.add(SYNC, "first")
    pipeline.add(PARSE, "later")
    pipeline.add(SYNC, "second")
    assert pipeline.receive(PARSED + ERROR + ready("E")) == PARSED + ERROR + ready("E")
    assert (pipeline.proved, pipeline.dropped) == (["parse"], ["bind", "fake"])
    assert [(done.note, done.error) for done in pipeline.finished] == [("first", ERROR[5:])]
    assert not pipeline.skipping
    assert pipeline.receive(PARSED + ready()) == PARSED + ready()
    assert pipeline.finished[1].error is None, "an error belongs to one turn"


def test_while_the_server_skips_everything_is_dropped_at_once() -> None:
    pipeline = Pipeline()
    pipeline.add(BIND)
    pipeline.receive(ERROR)
    assert pipeline.skipping
    assert not pipeline.at_rest
    pipeline.add(PARSE, "parse")
    pipeline.add(QUERY, "query")
    pipeline.add_fake(PARSE, b"<never>", "fake")
    assert pipeline.dropped == ["parse", "query", "fake"]
    pipeline.add(SYNC, "turn")
    assert pipeline.receive(ready()) == ready()
    assert pipeline.at_rest


def test_an_injected_parse_that_fails_is_shown_but_a_swallowed_query_is_not() -> None:
    pipeline = Pipeline()
    pipeline.add(PARSE, "injected", SWALLOW)
    pipeline.add(BIND)
    pipeline.add(SYNC, "turn")
    assert pipeline.receive(ERROR + ready()) == ERROR + ready()
    assert pipeline.swallowed_errors == []
    pipeline.add(QUERY, None, SWALLOW)
    assert pipeline.receive(ERROR + ready()) == b""
    assert pipeline.swallowed_errors == [ERROR[5:]]


def test_what_a_swallowed_query_said_is_not_the_next_turns_answer() -> None:
    pipeline = Pipeline()
    pipeline.add(QUERY, None, SWALLOW)
    pipeline.receive(frame("C", b"ROLLBACK\0") + ready())
    pipeline.add(SYNC, "turn")
    pipeline.receive(ready())
    assert pipeline.finished[0].tag == b""


def test_messages_of_any_time() -> None:
    pipeline = Pipeline()
    assert pipeline.receive(NOTICE + STATUS) == NOTICE + STATUS
    assert pipeline.parameters == [(b"TimeZone\0UTC\0", True)]
    pipeline.add(SYNC, "turn")
    pipeline.receive(NOTICE + ready())
    assert pipeline.finished[0].notices == 2, "the first one may have come for this turn"


def test_long_rows_stream_and_short_messages_wait() -> None:
    pipeline = Pipeline()
    pipeline.add(EXECUTE)
    row = data_row("x" * 100)
    assert pipeline.receive(row[:20]) == row[:20]
    within = pipeline.mid_message
    assert pipeline.receive(row[20:] + COMPLETE[:8]) == row[20:]
    assert (within, pipeline.mid_message) == (True, False)
    assert not pipeline.at_rest, "half a message is kept"
    assert pipeline.receive(COMPLETE[8:]) == COMPLETE
    assert pipeline.at_rest


def test_a_swallowed_row_that_streams_stays_hidden() -> None:
    pipeline = Pipeline()
    pipeline.add(QUERY, None, SWALLOW)
    pipeline.add(SYNC)
    row = data_row("x" * 100)
    assert fed(pipeline, row + COMPLETE + ready() + ready(), 20, 60, 150) == ready()


def test_no_fake_is_put_inside_a_message_that_streams() -> None:
    pipeline = Pipeline()
    pipeline.add(DESCRIBE_PORTAL)
    description = row_description("c" * ((1 << 20) + 100))
    assert pipeline.receive(description[:50]) == description[:50]
    pipeline.add_fake(PARSE, b"<fake>", "fake")
    assert pipeline.take_fakes() == b""
    assert pipeline.receive(description[50:]) == description[50:] + b"<fake>"


def test_a_flush_gets_what_waits_only_for_us() -> None:
    pipeline = Pipeline()
    pipeline.add_fake(PARSE, b"<a>", "a")
    pipeline.add(BIND)
    pipeline.add_fake(PARSE, b"<b>")
    assert pipeline.take_fakes() == b"<a>"
    assert pipeline.take_fakes() == b""
    assert pipeline.receive(frame("2")) == frame("2") + b"<b>"


# -- violations


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        (None, ""),
        (PARSE, "1"),
        (BIND, "2"),
        (CLOSE, "3"),
        (DESCRIBE_STATEMENT, "tTn"),
        (DESCRIBE_PORTAL, "Tn"),
        (EXECUTE, "DCIsGHdc"),
        (SYNC, "Z"),
        (QUERY, "TDCIGHdcZ"),
        (FUNCTION, "VZ"),
    ],
)
def test_an_answer_to_nothing_is_refused(kind: int | None, answers: str) -> None:
    for tag in map(chr, range(256)):
        pipeline = Pipeline()
        if kind is not None:
            pipeline.add(kind)
        message = tag.encode("latin-1") + b"\0\0\0\x05I"
        if tag in answers + "NASE":
            assert pipeline.receive(message) == message
        else:
            with pytest.raises(RemoteProtocolError):
                pipeline.receive(message)


@pytest.mark.parametrize(
    "message",
    [
        lying_frame(b"D", 3),
        lying_frame(b"Z", -1),
        lying_frame(b"Z", 4),
        lying_frame(b"Z", 6, b"II"),
        lying_frame(b"Z", 5, b"X"),
        lying_frame(b"C", HOLD + 1, b"SELECT"),
        lying_frame(b"S", HOLD + 1, b"TimeZone"),
    ],
)
def test_malformed_messages_are_refused(message: bytes) -> None:
    pipeline = Pipeline()
    pipeline.add(QUERY)
    with pytest.raises(RemoteProtocolError):
        pipeline.receive(message)


@given(st.binary(max_size=60), st.lists(st.sampled_from(range(9)), max_size=4))
def test_noise_raises_nothing_else(noise: bytes, kinds: list[int]) -> None:
    pipeline = Pipeline()
    for kind in kinds:
        pipeline.add(kind)
    with contextlib.suppress(RemoteProtocolError):
        pipeline.receive(noise)


# -- against the model


@dataclass(frozen=True)
class Request:
    kind: int
    action: int
    fails: bool


_actions = st.sampled_from([FORWARD, FORWARD, FORWARD, SWALLOW, FAKE])
_requests = st.lists(
    st.builds(
        Request, st.sampled_from([*EXTENDED, SYNC, SYNC, QUERY, FUNCTION]), _actions, st.integers(0, 5).map(bool)
    ),
    max_size=25,
)


def plausible(wanted: list[Request]) -> list[Request]:
    """Only requests of the extended protocol are faked; a failed swallowed Sync does not exist; most succeed."""
    found = []
    for request in wanted:
        action = FORWARD if request.action == FAKE and request.kind not in EXTENDED else request.action
        found.append(Request(request.kind, action, not request.fails and action != FAKE))
    return [*found, Request(SYNC, FORWARD, fails=False)]


def expected(requests: list[Request]) -> tuple[bytes, list[int], list[int], list[int]]:
    """What the client sees, and the numbers of the requests that are proved, dropped, finished."""
    backend = Backend()
    shown = b""
    proved: list[int] = []
    dropped: list[int] = []
    finished: list[int] = []
    for number, request in enumerate(requests):
        skipped = backend.skipping and request.kind != SYNC
        data = b"" if request.action == FAKE else backend.answer(request.kind, fails=request.fails)
        failed = request.fails and request.kind in EXTENDED
        if skipped or failed:
            dropped.append(number)
        elif request.kind in EXTENDED or request.action == SWALLOW:
            proved.append(number)
        else:
            finished.append(number)
        if request.action == FAKE and not skipped:
            shown += b"<%d>" % number
        if request.action == FORWARD or (failed and not skipped):
            shown += data
    return shown, proved, dropped, finished


@given(_requests, st.data())
def test_every_conversation_comes_out_as_the_model_says(wanted: list[Request], data: st.DataObject) -> None:
    requests = plausible(wanted)
    backend = Backend()
    pipeline = Pipeline()
    shown = arriving = b""
    for number, request in enumerate(requests):
        if request.action == FAKE:
            pipeline.add_fake(request.kind, b"<%d>" % number, number)
        else:
            pipeline.add(request.kind, number, request.action)
            arriving += backend.answer(request.kind, fails=request.fails)
        cut = data.draw(st.integers(0, len(arriving)))
        shown += pipeline.receive(arriving[:cut])
        arriving = arriving[cut:]
        if data.draw(st.booleans()):
            shown += pipeline.take_fakes()
    while arriving:
        cut = data.draw(st.integers(1, len(arriving)))
        shown += pipeline.receive(arriving[:cut])
        arriving = arriving[cut:]
    output, proved, dropped, finished = expected(requests)
    assert shown == output
    assert (pipeline.proved, pipeline.dropped) == (proved, dropped)
    assert [done.note for done in pipeline.finished] == finished
    assert pipeline.at_rest


@pytest.mark.parametrize("fails", [False, True])
def test_a_probe_is_between_us_and_the_server(fails: bool) -> None:
    pipeline = Pipeline()
    probe = Probe()
    pipeline.add(QUERY, "before")
    pipeline.add(QUERY, probe, SWALLOW)
    pipeline.add(QUERY, "behind")
    whole = row_description("a") + data_row("1") * 2 + frame("C", b"SELECT 2\0") + ready()
    failed = row_description("a") + data_row("1") + error_response("57014", "canceling statement") + ready()
    shown = pipeline.receive(data_row("x") + ready() + (failed if fails else whole) + data_row("y") + ready())
    assert shown == data_row("x") + ready() + data_row("y") + ready()
    assert probe.rows == (None if fails else 2)
    assert pipeline.proved == [probe]
    assert [finished.rows for finished in pipeline.finished] == [1, 1]
    assert [finished.error for finished in pipeline.finished] == [None, None]
    assert pipeline.swallowed_errors == []
