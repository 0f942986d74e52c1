from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import build
from protocol.errors import RemoteProtocolError
from protocol.startup import (
    CancelRequest,
    GSSENCRequest,
    NotPostgres,
    SSLRequest,
    StartupMessage,
    read_first,
    split_options,
)


def packet(code: int, rest: bytes = b"") -> bytes:
    return struct.pack("!II", 8 + len(rest), code) + rest


def test_the_four_kinds() -> None:
    assert read_first(build.ssl_request()) == SSLRequest()
    assert read_first(build.gssenc_request()) == GSSENCRequest()
    assert read_first(build.cancel_request(7, b"\x01\x02\x03\x04")) == CancelRequest(7, b"\x01\x02\x03\x04")
    parameters = {"user": "app", "database": "shöp", "options": ""}
    assert read_first(build.startup((3, 2), parameters)) == StartupMessage(3, 2, parameters)


@pytest.mark.parametrize("length", [0, 4, 7, 10_001, 0x7FFFFFFF, 0xFFFFFFFF])
def test_impossible_lengths_are_refused_before_the_rest_arrives(length: int) -> None:
    with pytest.raises(NotPostgres):
        read_first(struct.pack("!I", length))


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"SSH-2.0-x\r\n"])
def test_other_protocols_are_not_answered(noise: bytes) -> None:
    with pytest.raises(NotPostgres):
        read_first(noise)


@pytest.mark.parametrize(("major", "minor"), [(2, 0), (4, 0), (1, 0), (0, 0)])
def test_other_versions_are_not_supported(major: int, minor: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_first(packet(major << 16 | minor, b"\0"))
    assert caught.value.sqlstate == "0A000"


@pytest.mark.parametrize(
    "rest",
    [b"", b"user\0app\0", b"user\0app", b"user\0\0extra", b"user\0app\0\0behind", b"us\xff\0app\0\0"],
)
def test_malformed_startup_messages(rest: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_first(packet(3 << 16, rest))
    assert caught.value.sqlstate == "08P01"
    assert not isinstance(caught.value, NotPostgres)


def test_cancel_keys_have_4_to_256_bytes() -> None:
    for size in (4, 32, 256):
        assert read_first(build.cancel_request(1, b"k" * size)) == CancelRequest(1, b"k" * size)
    for size in (0, 3, 257):
        with pytest.raises(RemoteProtocolError):
            read_first(packet(1234 << 16 | 5678, b"\0\0\0\1" + b"k" * size))


@given(st.binary(max_size=64))
def test_noise_never_breaks_it(data: bytes) -> None:
    try:
        first = read_first(data)
    except RemoteProtocolError:
        return
    assert first is None or len(data) >= 8


@given(st.integers(0, 60))
def test_every_part_of_a_packet_wants_more(cut: int) -> None:
    whole = build.startup((3, 0), {"user": "somebody", "application_name": "a longer text"})
    assert (read_first(whole[:cut]) is None) == (cut < len(whole))


def test_options() -> None:
    text = r"-c search_path=a\ b,c\\d  --statement-timeout=5s -cgeqo=off -c TimeZone="
    assert split_options(text) == {
        "search_path": r"a b,c\d",
        "statement_timeout": "5s",
        "geqo": "off",
        "TimeZone": "",
    }
    assert split_options("  ") == {}


@pytest.mark.parametrize("text", ["-c", "-c=", "-c geqo", "-c =x", "--", "-B 5", "x"])
def test_bad_options_are_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        split_options(text)
    assert caught.value.sqlstate == "42601"
