"""The declarations of what servers send, and of what CopyData carries to and from a standby."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import authentication, backend, replication, tags
from protocol.errors import LocalProtocolError, RemoteProtocolError
from tests.protocol.strategies import BACKEND, STEADY, damaged, plain, verdict


def test_every_message_is_tried() -> None:
    assert BACKEND.keys() == backend.MESSAGES.keys()


@pytest.mark.parametrize("name", BACKEND)
@STEADY
@given(draw=st.data())
def test_fields_come_back(name: str, draw: st.DataObject) -> None:
    fields = draw.draw(BACKEND[name])
    frame = backend.build(name, **fields)
    assert frame[0] == backend.MESSAGES[name].tag
    assert int.from_bytes(frame[1:5], "big") == len(frame) - 1
    parsed = plain(backend.parse(frame[0], frame[5:]))
    parsed.pop("code", None)
    assert parsed == fields


@pytest.mark.parametrize("name", BACKEND)
@STEADY
@given(draw=st.data())
def test_a_damaged_body_is_refused_or_means_what_it_says(name: str, draw: st.DataObject) -> None:
    message = backend.MESSAGES[name]
    body = draw.draw(damaged(message.build(**draw.draw(BACKEND[name]))[5:]))
    parsed = verdict(lambda: message.parse(body))
    if parsed is not None:
        assert message.build(**plain(parsed))[5:] == body


def test_authentication_codes_are_the_manuals() -> None:
    fields = {"salt": b"salt", "mechanisms": ["SCRAM-SHA-256"], "data": b""}
    codes = {name: m.build(**fields)[8] for name, m in authentication.MESSAGES.items()}
    assert codes == {
        "AuthenticationOk": 0,
        "AuthenticationKerberosV5": 2,
        "AuthenticationCleartextPassword": 3,
        "AuthenticationMD5Password": 5,
        "AuthenticationSCMCredential": 6,
        "AuthenticationGSS": 7,
        "AuthenticationGSSContinue": 8,
        "AuthenticationSSPI": 9,
        "AuthenticationSASL": 10,
        "AuthenticationSASLContinue": 11,
        "AuthenticationSASLFinal": 12,
    }


@pytest.mark.parametrize("body", [b"", b"\0\0\0", b"\0\0\0\1", b"\0\0\0\4ab", b"\xff\xff\xff\xff"])
def test_an_unknown_authentication_request_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        backend.parse(tags.AUTHENTICATION, body)
    assert caught.value.sqlstate == "08P01"


@pytest.mark.parametrize("tag", [0, ord("Q"), ord("z")])
def test_an_unknown_tag_is_refused(tag: int) -> None:
    with pytest.raises(RemoteProtocolError):
        backend.parse(tag, b"")


@pytest.mark.parametrize("status", [b"", b"X", b"i", b"II"])
def test_ready_for_query_knows_three_states(status: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        backend.parse(tags.READY_FOR_QUERY, status)


@pytest.mark.parametrize("length", [0, 3, 257])
def test_a_cancel_key_has_4_to_256_bytes(length: int) -> None:
    with pytest.raises(LocalProtocolError):
        backend.build("BackendKeyData", pid=1, key=bytes(length))
    with pytest.raises(RemoteProtocolError):
        backend.parse(tags.BACKEND_KEY_DATA, b"\0\0\0\1" + bytes(length))


REPLICATION = [
    (replication.STREAM, "XLogData", {"start": 1, "end": 2**64 - 1, "time": -5, "data": b"wal"}),
    (replication.STREAM, "PrimaryKeepalive", {"end": 7, "time": 8, "reply": True}),
    (
        replication.STANDBY,
        "StandbyStatusUpdate",
        {"written": 3, "flushed": 2, "applied": 1, "time": 9, "reply": False},
    ),
    (
        replication.STANDBY,
        "HotStandbyFeedback",
        {"time": 9, "xmin": 1, "xmin_epoch": 2, "catalog_xmin": 3, "catalog_xmin_epoch": 4},
    ),
    (replication.BACKUP, "NewArchive", {"name": b"base.tar", "path": b""}),
    (replication.BACKUP, "ManifestStart", {}),
    (replication.BACKUP, "BackupData", {"data": b"tar"}),
    (replication.BACKUP, "BackupProgress", {"done": 2**40}),
]


@pytest.mark.parametrize(("table", "name", "fields"), REPLICATION)
def test_what_copy_data_carries_comes_back(table: dict[str, Any], name: str, fields: dict[str, Any]) -> None:
    data = table[name].build(fields)
    found, parsed = replication.parse(table, data)
    parsed = plain(parsed)
    assert parsed.pop("tag") == data[:1]
    assert (found, parsed) == (name, fields)


def test_every_replication_message_is_tried() -> None:
    declared = {*replication.STREAM, *replication.STANDBY, *replication.BACKUP}
    assert {name for _, name, _ in REPLICATION} == declared


@pytest.mark.parametrize("data", [b"", b"z", b"k", b"k" + bytes(18), b"r" + bytes(16)])
def test_a_malformed_replication_message_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        replication.parse(replication.STREAM, data)
