"""The declarations of what clients send: everything that fits comes back as it was, nothing else is taken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import frontend, opening, tags
from protocol.errors import LocalProtocolError, RemoteProtocolError
from tests.protocol.strategies import FRONTEND, OPENING, STEADY, damaged, plain, verdict


def test_every_message_is_tried() -> None:
    assert FRONTEND.keys() == frontend.MESSAGES.keys()
    assert OPENING.keys() == opening.MESSAGES.keys()


@pytest.mark.parametrize("name", FRONTEND)
@STEADY
@given(draw=st.data())
def test_fields_come_back(name: str, draw: st.DataObject) -> None:
    fields = draw.draw(FRONTEND[name])
    frame = frontend.build(name, **fields)
    message = frontend.MESSAGES[name]
    assert frame[0] == message.tag
    assert int.from_bytes(frame[1:5], "big") == len(frame) - 1
    assert plain(message.parse(frame[5:])) == fields
    if frame[0] != tags.PASSWORD:
        assert plain(frontend.parse(frame[0], frame[5:])) == fields


@pytest.mark.parametrize("name", OPENING)
@STEADY
@given(draw=st.data())
def test_opening_fields_come_back(name: str, draw: st.DataObject) -> None:
    fields = draw.draw(OPENING[name])
    message = opening.MESSAGES[name]
    frame = message.build(**fields)
    assert int.from_bytes(frame[:4], "big") == len(frame)
    parsed = plain(message.parse(frame[4:]))
    parsed.pop("code", None)
    assert parsed == fields


@pytest.mark.parametrize("name", FRONTEND)
@STEADY
@given(draw=st.data())
def test_a_damaged_body_is_refused_or_means_what_it_says(name: str, draw: st.DataObject) -> None:
    message = frontend.MESSAGES[name]
    body = draw.draw(damaged(message.build(**draw.draw(FRONTEND[name]))[5:]))
    parsed = verdict(lambda: message.parse(body))
    if parsed is not None:
        assert message.build(**plain(parsed))[5:] == body


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("Query", {"text": b"x"}),
        ("Parse", {"name": b"", "query": b"x", "types": [23]}),
        ("Execute", {"portal": b"", "max_rows": 0}),
        ("Sync", {}),
        ("CopyDone", {}),
        ("Terminate", {}),
    ],
)
def test_nothing_may_follow_the_fields(name: str, fields: dict[str, Any]) -> None:
    message = frontend.MESSAGES[name]
    body = message.build(**fields)[5:]
    message.parse(body)
    with pytest.raises(RemoteProtocolError):
        message.parse(body + b"\0")


@pytest.mark.parametrize("tag", [0, ord("z"), ord("Z"), tags.PASSWORD])
def test_a_tag_that_tells_nothing_is_refused(tag: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        frontend.parse(tag, b"")
    assert caught.value.sqlstate == "08P01"


def test_counts_are_unsigned() -> None:
    frame = frontend.build("Parse", name="", query="", types=[23] * 65535)
    assert len(frontend.parse(frame[0], frame[5:]).types) == 65535


@pytest.mark.parametrize("length", [0, 3, 257])
def test_a_cancel_key_has_4_to_256_bytes(length: int) -> None:
    with pytest.raises(LocalProtocolError):
        opening.MESSAGES["CancelRequest"].build(pid=1, key=bytes(length))
    with pytest.raises(RemoteProtocolError):
        opening.MESSAGES["CancelRequest"].parse(b"\x04\xd2\x16\x2e\0\0\0\1" + bytes(length))


def test_the_requests_are_told_apart_by_their_code() -> None:
    body = opening.MESSAGES["SSLRequest"].build()[4:]
    with pytest.raises(RemoteProtocolError):
        opening.MESSAGES["GSSENCRequest"].parse(body)
