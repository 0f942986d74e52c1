"""Conversations with PostgreSQL 18, kept byte for byte, read and written again.

The property tests show that declarations, readers and builders agree with each other; these show that they
agree with PostgreSQL.
"""

from __future__ import annotations

from typing import Any

import pytest

from protocol import backend, build, frontend, hot, opening, replication
from protocol.errors import RemoteProtocolError
from tests.protocol.strategies import plain

SIMPLE = (
    b"T\x00\x00\x00J\x00\x03one\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x17\x00\x04\xff\xff\xff\xff\x00\x00"
    b"nothing\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00"
    b"e\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00"
    b"D\x00\x00\x00\x15\x00\x03\x00\x00\x00\x011\xff\xff\xff\xff\x00\x00\x00\x02\xc3\xa9"
    b"C\x00\x00\x00\rSELECT 1\x00Z\x00\x00\x00\x05I"
)
EXTENDED_ASKED = (
    b"P\x00\x00\x00/s1\x00select $1::int4 + 1, $2::text\x00\x00\x02\x00\x00\x00\x17\x00\x00\x00\x00"
    b"D\x00\x00\x00\x08Ss1\x00"
    b"B\x00\x00\x00 \x00s1\x00\x00\x01\x00\x01\x00\x02\x00\x00\x00\x04\x00\x00\x00)\xff\xff\xff\xff"
    b"\x00\x02\x00\x01\x00\x00"
    b"E\x00\x00\x00\t\x00\x00\x00\x00\x00C\x00\x00\x00\x08Ss1\x00S\x00\x00\x00\x04"
)
EXTENDED_ANSWERED = (
    b"1\x00\x00\x00\x04t\x00\x00\x00\x0e\x00\x02\x00\x00\x00\x17\x00\x00\x00\x19"
    b"T\x00\x00\x008\x00\x02?column?\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x17\x00\x04\xff\xff\xff\xff\x00\x00"
    b"text\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00"
    b"2\x00\x00\x00\x04D\x00\x00\x00\x12\x00\x02\x00\x00\x00\x04\x00\x00\x00*\xff\xff\xff\xff"
    b"C\x00\x00\x00\rSELECT 1\x003\x00\x00\x00\x04Z\x00\x00\x00\x05I"
)
LOGIN_3_9 = (
    b"v\x00\x00\x00\x18\x00\x03\x00\x02\x00\x00\x00\x01_pq_.colour\x00R\x00\x00\x00\x08\x00\x00\x00\x00"
    b'S\x00\x00\x00 search_path\x00"$user", public\x00S\x00\x00\x00\x16application_name\x00\x00'
    b"K\x00\x00\x00(\x00\x00\x1c\x97n'9\xbf\xe0\r\x8d\xb1V\x95\x9a|x>\xe2G=\xa1O@\xe4x\xd4\xedM\"\x17h\x91"
    b"\xfax\x02Z\x00\x00\x00\x05I"
)
SYNTAX_ERROR = (
    b'E\x00\x00\x00jSERROR\x00VERROR\x00C42601\x00Munterminated quoted string at or near "\'abc"\x00P8\x00'
    b"Fscan.l\x00L1237\x00Rscanner_yyerror\x00\x00"
)
COPY_FAILED = (
    b"E\x00\x00\x00mSERROR\x00VERROR\x00C57014\x00MCOPY from stdin failed: enough\x00WCOPY t, line 1\x00"
    b"Fcopyfromparse.c\x00L315\x00RCopyGetData\x00\x00"
)


def _frames(stream: bytes) -> list[bytes]:
    frames = []
    while stream:
        length = 1 + int.from_bytes(stream[1:5], "big")
        frames.append(stream[:length])
        stream = stream[length:]
    return frames


def _parsed(stream: bytes, side: Any) -> list[tuple[str, Any]]:
    return [(chr(frame[0]), plain(side.parse(frame[0], frame[5:]))) for frame in _frames(stream)]


def test_a_simple_query() -> None:
    columns = [build.Column("one", 23, 4), build.Column("nothing"), build.Column("e")]
    answer = [
        build.row_description(columns),
        build.data_row(["1", None, "é"]),
        build.command_complete("SELECT 1"),
        build.ready_for_query(b"I"),
    ]
    assert b"".join(answer) == SIMPLE
    row, complete = _frames(SIMPLE)[1:3]
    assert hot.data_row_values(row, 5, len(row)) == (b"1", None, b"\xc3\xa9")
    assert hot.command_tag(complete, 5, len(complete)) == b"SELECT 1"
    asked = b"Q\x00\x00\x000select 1 as one, null as nothing, '\xc3\xa9' as e\x00"
    assert build.query("select 1 as one, null as nothing, 'é' as e") == asked


def test_an_extended_query_as_it_is_asked() -> None:
    asked = [
        build.parse("s1", "select $1::int4 + 1, $2::text", [23, 0]),
        build.describe("S", "s1"),
        build.bind("", "s1", [b"\0\0\0\x29", None], [1], [1, 0]),
        build.execute("", 0),
        build.close("S", "s1"),
        build.sync(),
    ]
    assert b"".join(asked) == EXTENDED_ASKED
    buf = EXTENDED_ASKED
    assert hot.read_parse(buf, 5, 48) == (b"s1", b"select $1::int4 + 1, $2::text", b"\0\0\0\x17\0\0\0\0")
    assert hot.read_target(buf, 53, 57) == (ord("S"), b"s1")
    assert hot.read_bind(buf, 62, 90) == (b"", b"s1", 66)
    assert hot.bind_parameters(buf, 66, 90) == ((1,), (b"\0\0\0)", None), b"\0\2\0\1\0\0")
    assert hot.read_execute(buf, 95, 100) == (b"", 0)


def test_an_extended_query_as_it_is_answered() -> None:
    answer = [
        build.parse_complete(),
        build.parameter_description([23, 25]),
        build.row_description([build.Column("?column?", 23, 4), build.Column("text")]),
        build.bind_complete(),
        build.data_row([b"\0\0\0*", None]),
        build.command_complete("SELECT 1"),
        build.close_complete(),
        build.ready_for_query(b"I"),
    ]
    assert b"".join(answer) == EXTENDED_ANSWERED
    assert _parsed(EXTENDED_ANSWERED, backend)[1] == ("t", {"types": [23, 25]})


def test_a_login_that_asks_for_too_much() -> None:
    asked = b"\x00\x00\x00(\x00\x03\x00\tuser\x00postgres\x00_pq_.colour\x00blue\x00\x00"
    assert build.startup((3, 9), {"user": "postgres", "_pq_.colour": "blue"}) == asked
    assert plain(opening.MESSAGES["StartupMessage"].parse(asked[4:]))["minor"] == 9
    answer = _parsed(LOGIN_3_9, backend)
    assert answer[0] == ("v", {"major": 3, "minor": 2, "unknown_options": [b"_pq_.colour"]})
    assert answer[1] == ("R", {"code": 0})
    assert answer[2] == ("S", {"name": b"search_path", "value": b'"$user", public'})
    assert answer[4][1]["pid"] == 7319
    assert len(answer[4][1]["key"]) == 32
    again = [
        build.negotiate_protocol_version(2, ["_pq_.colour"]),
        build.authentication_ok(),
        build.parameter_status("search_path", '"$user", public'),
        build.parameter_status("application_name", ""),
        build.backend_key_data(7319, answer[4][1]["key"]),
        build.ready_for_query(b"I"),
    ]
    assert b"".join(again) == LOGIN_3_9


def test_requests_for_a_password() -> None:
    assert build.authentication_md5(b'\x99]"\x9b') == b'R\x00\x00\x00\x0c\x00\x00\x00\x05\x99]"\x9b'
    offer = b"R\x00\x00\x00\x17\x00\x00\x00\nSCRAM-SHA-256\x00\x00"
    assert build.authentication_sasl(["SCRAM-SHA-256"]) == offer
    assert _parsed(offer, backend) == [("R", {"code": 10, "mechanisms": [b"SCRAM-SHA-256"]})]


def test_errors() -> None:
    assert hot.error_fields(SYNTAX_ERROR, 5, len(SYNTAX_ERROR)) == {
        "S": "ERROR",
        "V": "ERROR",
        "C": "42601",
        "M": 'unterminated quoted string at or near "\'abc"',
        "P": "8",
        "F": "scan.l",
        "L": "1237",
        "R": "scanner_yyerror",
    }
    message = "COPY from stdin failed: enough"
    where = {"W": "COPY t, line 1", "F": "copyfromparse.c", "L": "315", "R": "CopyGetData"}
    assert build.error_response("57014", message, **where) == COPY_FAILED


def test_copy() -> None:
    assert _parsed(
        b"H\x00\x00\x00\x0b\x00\x00\x02\x00\x00\x00\x00d\x00\x00\x00\t2\t\\N\nc\x00\x00\x00\x04", backend
    ) == [
        ("H", {"format": 0, "column_formats": [0, 0]}),
        ("d", {"data": b"2\t\\N\n"}),
        ("c", {}),
    ]
    assert _parsed(b"G\x00\x00\x00\t\x00\x00\x01\x00\x00", backend) == [("G", {"format": 0, "column_formats": [0]})]
    sent = build.copy_data(b"1\n") + build.copy_data(b"2\n") + build.copy_done()
    assert sent == b"d\x00\x00\x00\x061\nd\x00\x00\x00\x062\nc\x00\x00\x00\x04"
    assert build.copy_fail("enough") == b"f\x00\x00\x00\x0benough\x00"


def test_a_notification() -> None:
    frame = b"A\x00\x00\x00\x11\x00\x00\x1c\x98ch\x00hello\x00"
    assert build.notification_response(7320, "ch", "hello") == frame
    assert _parsed(frame, backend) == [("A", {"pid": 7320, "channel": b"ch", "payload": b"hello"})]


def test_a_function_call() -> None:
    asked = (
        b"F\x00\x00\x00 \x00\x00\x00\xb1\x00\x01\x00\x01\x00\x02\x00\x00\x00\x04\x00\x00\x00\x02"
        b"\x00\x00\x00\x04\x00\x00\x00\x03\x00\x01"
    )
    two_and_three = [b"\0\0\0\2", b"\0\0\0\3"]
    assert _parsed(asked, frontend) == [
        ("F", {"function": 177, "formats": [1], "arguments": two_and_three, "result_format": 1})
    ]
    answered = b"V\x00\x00\x00\x0c\x00\x00\x00\x04\x00\x00\x00\x05"
    assert _parsed(answered, backend) == [("V", {"value": b"\0\0\0\5"})]


def test_the_start_of_replication() -> None:
    assert _parsed(b"W\x00\x00\x00\x07\x00\x00\x00", backend) == [("W", {"format": 0, "column_formats": []})]
    data = b"w\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01v|@\x00\x03\x03\xde\xb5\xd1\x94\\\x18\xd1\x02"
    name, parsed = replication.parse(replication.STREAM, data)
    assert name == "XLogData"
    assert parsed.start == 0x1000000
    assert parsed.data == b"\x18\xd1\x02"


@pytest.mark.parametrize(
    "body",
    [
        b"\0\0\0\2\0\0\0\0\0\1\0\0\0\x011\0\0",  # two formats for one value
        b"\0\0\0\1\0\0\0\1\0\0\0\x011\0\0\0",  # a byte too many
        b"\0\0\0\1\0\0\0\1\xff\xff\xff\xfe\0\0",  # the length -2
        b"\0\0\0\1\0\0\0\1\0\0\0\x051\0\0",  # a length beyond the message
        b"\0",  # no name of a statement
    ],
)
def test_what_postgres_refuses_of_a_bind_as_08p01(body: bytes) -> None:
    def read() -> None:
        rest = hot.read_bind(body, 0, len(body))[2]
        hot.check_bind_rest(body, rest, len(body))

    with pytest.raises(RemoteProtocolError):
        read()
    with pytest.raises(RemoteProtocolError):
        frontend.MESSAGES["Bind"].parse(body)


def test_a_format_that_postgres_refuses_otherwise_is_no_breach() -> None:
    body = b"\0\0\0\1\0\7\0\1\0\0\0\x011\0\0"  # answered with 22023, so it has to reach the server
    hot.check_bind_rest(body, 2, len(body))
    assert hot.bind_parameters(body, 2, len(body))[0] == (7,)
