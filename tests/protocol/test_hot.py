"""The hand-written readers say what the declarations say: of whole bodies, of damaged ones and of any bytes.

Every body is read from the middle of a larger buffer whose other bytes invite a reader to look beyond its
bounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol import backend, frontend, hot
from protocol.errors import RemoteProtocolError
from protocol.wire import FORMATS
from tests.protocol.strategies import BACKEND, FRONTEND, STEADY, damaged, plain, verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocol.wire import Message

    Reader = Callable[[bytes, int, int], Any]


def _read_query(buf: bytes, start: int, end: int) -> Any:
    return {"text": hot.read_query(buf, start, end)}


def _read_parse(buf: bytes, start: int, end: int) -> Any:
    name, query, raw = hot.read_parse(buf, start, end)
    types = [int.from_bytes(raw[at : at + 4], "big") for at in range(0, len(raw), 4)]
    return {"name": name, "query": query, "types": types}


def _read_bind(buf: bytes, start: int, end: int) -> Any:
    portal, statement, rest = hot.read_bind(buf, start, end)
    try:
        hot.check_bind_rest(buf, rest, end)
    except RemoteProtocolError:
        assert verdict(lambda: hot.bind_parameters(buf, rest, end)) is None
        raise
    read = verdict(lambda: hot.bind_parameters(buf, rest, end))
    assert read is not None
    formats, parameters, raw = read
    results = FORMATS.parse(raw)
    return {
        "portal": portal,
        "statement": statement,
        "formats": list(formats),
        "parameters": list(parameters),
        "result_formats": plain(results),
    }


def _read_target(buf: bytes, start: int, end: int) -> Any:
    kind, name = hot.read_target(buf, start, end)
    return {"kind": kind, "name": name}


def _read_execute(buf: bytes, start: int, end: int) -> Any:
    portal, max_rows = hot.read_execute(buf, start, end)
    return {"portal": portal, "max_rows": max_rows}


def _data_row_values(buf: bytes, start: int, end: int) -> Any:
    return {"columns": list(hot.data_row_values(buf, start, end))}


def _command_tag(buf: bytes, start: int, end: int) -> Any:
    return {"tag": hot.command_tag(buf, start, end)}


def _declared_report(body: bytes) -> Any:
    fields = backend.MESSAGES["ErrorResponse"].parse(body).fields
    return {chr(code): text.decode("utf-8", "replace") for code, text in fields}


READERS: list[tuple[str, Reader, Message]] = [
    ("Query", _read_query, frontend.MESSAGES["Query"]),
    ("Parse", _read_parse, frontend.MESSAGES["Parse"]),
    ("Bind", _read_bind, frontend.MESSAGES["Bind"]),
    ("Describe", _read_target, frontend.MESSAGES["Describe"]),
    ("Close", _read_target, frontend.MESSAGES["Close"]),
    ("Execute", _read_execute, frontend.MESSAGES["Execute"]),
    ("DataRow", _data_row_values, backend.MESSAGES["DataRow"]),
    ("CommandComplete", _command_tag, backend.MESSAGES["CommandComplete"]),
    ("ErrorResponse", hot.error_fields, backend.MESSAGES["ErrorResponse"]),
]
FIELDS = BACKEND | FRONTEND

around = st.sampled_from([b"", b"\0", bytes(40), b"S\0\0\0\4", b"P" * 5, b"\xff" * 9])


def _declared(message: Message, body: bytes) -> Any:
    if message.name == "ErrorResponse":
        return _declared_report(body)
    return plain(message.parse(body))


def _same(read: Reader, message: Message, body: bytes, before: bytes, after: bytes) -> bool:
    """Compare the two readers on a body inside a buffer; tell whether they took it."""
    start, end = len(before), len(before) + len(body)
    fast = verdict(lambda: read(before + body + after, start, end))
    assert fast == verdict(lambda: _declared(message, body))
    return fast is not None


@pytest.mark.parametrize(("name", "read", "message"), READERS)
@STEADY
@given(draw=st.data())
def test_whole_bodies(name: str, read: Reader, message: Message, draw: st.DataObject) -> None:
    body = message.build(**draw.draw(FIELDS[name]))[5:]
    assert _same(read, message, body, draw.draw(around), draw.draw(around))


@pytest.mark.parametrize(("name", "read", "message"), READERS)
@STEADY
@given(draw=st.data())
def test_damaged_bodies(name: str, read: Reader, message: Message, draw: st.DataObject) -> None:
    body = draw.draw(damaged(message.build(**draw.draw(FIELDS[name]))[5:]))
    _same(read, message, body, draw.draw(around), draw.draw(around))


@pytest.mark.parametrize(("name", "read", "message"), READERS)
@STEADY
@given(draw=st.data())
def test_every_cut(name: str, read: Reader, message: Message, draw: st.DataObject) -> None:
    body = message.build(**draw.draw(FIELDS[name]))[5:]
    before, after = draw.draw(around), draw.draw(around)
    for length in range(len(body)):
        _same(read, message, body[:length], before, body[length:] + after)


@pytest.mark.parametrize(("name", "read", "message"), READERS)
@STEADY
@given(body=st.lists(st.sampled_from(b"\0\0\0\1\2S\xff")).map(bytes) | st.binary(max_size=20))
@example(body=b"")
def test_any_bytes(name: str, read: Reader, message: Message, body: bytes) -> None:
    assert message.name == name
    for before, after in ((b"", b""), (b"\0", b"\0"), (b"S\0", bytes(40))):
        _same(read, message, body, before, after)


@STEADY
@given(fields=FRONTEND["Bind"], before=around)
def test_the_head_of_a_bind_is_enough(fields: dict[str, Any], before: bytes) -> None:
    body = frontend.build("Bind", **fields)[5:]
    start, end = len(before), len(before) + len(body)
    named = len(fields["portal"]) + len(fields["statement"]) + 2
    for length in range(len(body) + 1):
        head = before + body[:length]
        if length < named:
            with pytest.raises(hot.Incomplete):
                hot.read_bind(head, start, end)
        else:
            expected = (fields["portal"], fields["statement"], start + named)
            assert hot.read_bind(head, start, end) == expected


@pytest.mark.parametrize("body", [b"", b"\0", b"p\0s"])
def test_a_bind_that_ends_within_its_names_is_not_waited_for(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        hot.read_bind(body + b"\0\0", 0, len(body))
    with pytest.raises(RemoteProtocolError):
        hot.read_bind(body, 0, len(body))


def test_what_precedes_a_parse_is_no_part_of_it() -> None:
    with pytest.raises(RemoteProtocolError):
        hot.read_parse(b"\0\0\1abcd", 3, 7)  # before the body stand a NUL and a count that would fit


def test_as_many_parameters_as_postgres_takes() -> None:
    frame = frontend.build(
        "Bind", portal="", statement="", formats=[1] * 65535, parameters=[None] * 65535, result_formats=[]
    )
    rest = hot.read_bind(frame, 5, len(frame))[2]
    hot.check_bind_rest(frame, rest, len(frame))
    formats, values, results = hot.bind_parameters(frame, rest, len(frame))
    assert (len(formats), len(values), results) == (65535, 65535, b"\0\0")


def test_a_parameter_may_be_larger_than_any_buffer() -> None:
    value = bytes(3_000_000)
    frame = frontend.build("Bind", portal="p", statement="s", formats=[], parameters=[value, None], result_formats=[1])
    rest = hot.read_bind(frame[:100], 5, len(frame))[2]
    assert hot.bind_parameters(frame, rest, len(frame)) == ((), (value, None), b"\0\1\0\1")


def test_an_error_in_another_encoding_is_readable() -> None:
    body = b"SFATAL\0C28P01\0Mmot de passe refus\xe9\0\0"
    assert hot.error_fields(body, 0, len(body)) == {
        "S": "FATAL",
        "C": "28P01",
        "M": "mot de passe refus\ufffd",
    }


def test_the_last_of_two_equal_fields_counts() -> None:
    assert hot.error_fields(b"Ma\0Mb\0\0", 0, 7) == {"M": "b"}
