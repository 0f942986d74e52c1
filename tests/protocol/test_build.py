"""The builders: complete frames that the declarations read back, and no frame for what does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from protocol import backend, build, frontend, opening, tags
from protocol.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from tests.protocol.strategies import plain

if TYPE_CHECKING:
    from collections.abc import Callable


def _read(frame: bytes, side: Any) -> Any:
    assert int.from_bytes(frame[1:5], "big") == len(frame) - 1
    return plain(side.parse(frame[0], frame[5:]))


def test_an_error_says_its_severity_twice() -> None:
    frame = build.error_response("42601", "no", severity="FATAL", detail="d", hint="h", P="8")
    assert frame[0] == tags.ERROR_RESPONSE
    assert _read(frame, backend)["fields"] == [
        [ord("S"), b"FATAL"],
        [ord("V"), b"FATAL"],
        [ord("C"), b"42601"],
        [ord("M"), b"no"],
        [ord("D"), b"d"],
        [ord("H"), b"h"],
        [ord("P"), b"8"],
    ]


def test_a_notice_leaves_out_what_it_has_not() -> None:
    frame = build.notice_response("00000", "ça")
    assert frame[0] == tags.NOTICE_RESPONSE
    assert _read(frame, backend)["fields"] == [
        [ord("S"), b"NOTICE"],
        [ord("V"), b"NOTICE"],
        [ord("C"), b"00000"],
        [ord("M"), "ça".encode()],
    ]


def test_a_column_is_text_unless_told() -> None:
    frame = build.row_description([build.Column("a"), build.Column(b"b", 23, 4, 7, 16384, 2, 1)])
    assert _read(frame, backend)["columns"] == [
        {
            "name": b"a",
            "table_oid": 0,
            "attribute": 0,
            "type_oid": 25,
            "size": -1,
            "modifier": -1,
            "format": 0,
        },
        {
            "name": b"b",
            "table_oid": 16384,
            "attribute": 2,
            "type_oid": 23,
            "size": 4,
            "modifier": 7,
            "format": 1,
        },
    ]


def test_null_and_empty_differ() -> None:
    assert _read(build.data_row([None, b"", "é"]), backend)["columns"] == [None, b"", "é".encode()]


def test_an_initial_response_may_be_absent() -> None:
    declared = frontend.MESSAGES["SASLInitialResponse"]
    assert declared.parse(build.sasl_initial("PLAIN", None)[5:]).data is None
    assert declared.parse(build.sasl_initial("PLAIN", b"")[5:]).data == b""


def test_startup_keeps_the_order_of_its_parameters() -> None:
    frame = build.startup((3, 2), {"user": "u", "database": "d", "options": ""})
    parsed = plain(opening.MESSAGES["StartupMessage"].parse(frame[4:]))
    assert parsed == {
        "major": 3,
        "minor": 2,
        "parameters": [[b"user", b"u"], [b"database", b"d"], [b"options", b""]],
    }


def test_negotiation_offers_version_3() -> None:
    parsed = _read(build.negotiate_protocol_version(2, ["_pq_.x"]), backend)
    assert parsed == {"major": 3, "minor": 2, "unknown_options": [b"_pq_.x"]}


def test_describe_and_close_take_letters() -> None:
    assert _read(build.describe("S", "n"), frontend) == {"kind": ord("S"), "name": b"n"}
    assert _read(build.close(b"P", ""), frontend) == {"kind": ord("P"), "name": b""}


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (build.authentication_ok(), b"R\0\0\0\x08\0\0\0\0"),
        (build.authentication_cleartext(), b"R\0\0\0\x08\0\0\0\3"),
        (build.authentication_sasl_continue(b"r=1"), b"R\0\0\0\x0b\0\0\0\x0br=1"),
        (build.authentication_sasl_final(b"v=1"), b"R\0\0\0\x0b\0\0\0\x0cv=1"),
        (build.parameter_status("a", "b"), b"S\0\0\0\x08a\0b\0"),
        (build.backend_key_data(7, b"keys"), b"K\0\0\0\x0c\0\0\0\7keys"),
        (build.no_data(), b"n\0\0\0\4"),
        (build.portal_suspended(), b"s\0\0\0\4"),
        (build.copy_data(b"x\n"), b"d\0\0\0\6x\n"),
        (build.copy_done(), b"c\0\0\0\4"),
        (build.flush(), b"H\0\0\0\4"),
        (build.terminate(), b"X\0\0\0\4"),
        (build.password("md5x"), b"p\0\0\0\x09md5x\0"),
        (build.sasl_response(b"c=biws"), b"p\0\0\0\x0ac=biws"),
        (build.ssl_request(), b"\0\0\0\x08\x04\xd2\x16\x2f"),
        (build.gssenc_request(), b"\0\0\0\x08\x04\xd2\x16\x30"),
        (build.cancel_request(7, b"keys"), b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\7keys"),
    ],
)
def test_short_frames_byte_by_byte(frame: bytes, expected: bytes) -> None:
    assert frame == expected


@pytest.mark.parametrize("status", [b"I", b"T", b"E"])
def test_ready_for_query(status: bytes) -> None:
    assert build.ready_for_query(status) == b"Z\0\0\0\5" + status


@pytest.mark.parametrize(
    "make",
    [
        lambda: build.query("select 1\0; drop table t"),
        lambda: build.query("\ud800"),
        lambda: build.parameter_status("a\0", "b"),
        lambda: build.parse("s", "select 1", [2**32]),
        lambda: build.bind("", "", ["a", "b", "c"], [1, 1]),
        lambda: build.bind("", "", ["a"] * 65536),
        lambda: backend.build("DataRow", columns=[1]),
        lambda: build.execute("", 2**31),
        lambda: build.describe("X", ""),
        lambda: build.describe("", ""),
        lambda: build.describe("☃", ""),
        lambda: build.ready_for_query(b"X"),
        lambda: build.authentication_md5(b"abc"),
        lambda: build.authentication_sasl([""]),
        lambda: build.backend_key_data(1, b"abc"),
        lambda: build.cancel_request(-1, b"abcd"),
        lambda: build.startup((3, 0), {"": "x"}),
        lambda: build.error_response("42601", "no\0"),
        lambda: build.error_response("42601", "no", position="8"),
        lambda: frontend.build("Query"),
    ],
)
def test_what_does_not_fit_is_not_built(make: Callable[[], bytes]) -> None:
    with pytest.raises(LocalProtocolError):
        make()


def test_a_refusal_quotes_no_secret() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        build.password("hunter2\0")
    assert "hunter2" not in str(caught.value)


def test_errors_carry_message_and_sqlstate() -> None:
    error = RemoteProtocolError("no", "0A000")
    assert (str(error), error.message, error.sqlstate) == ("no", "no", "0A000")
    assert ProtocolError("no").sqlstate == "08P01"
