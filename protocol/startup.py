"""The first packet of a connection: which of the four kinds it is, within limits that are checked first.

The packet has no tag: four bytes of length, then a number that is a protocol version or one of three
request codes. The length is the claim of a stranger, so it is compared with the limit before anything is
kept for it. A peer whose length makes no sense does not speak this protocol (HTTP, TLS, noise): it is told
nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol import opening
from protocol.errors import RemoteProtocolError

LIMIT: Final = 10_000
HEADER: Final = 8

_MAJOR: Final = 3
_NOT_SUPPORTED: Final = "0A000"


class NotPostgres(RemoteProtocolError):
    """The first bytes are not of this protocol; no answer would be understood."""


@dataclass(frozen=True, slots=True)
class SSLRequest:
    """The client asks for TLS; the answer is S or N."""


@dataclass(frozen=True, slots=True)
class GSSENCRequest:
    """The client asks for GSSAPI encryption; the answer is G or N."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Somebody asks to cancel what the session with this pid and key runs; there is no answer."""

    pid: int
    key: bytes


@dataclass(frozen=True, slots=True)
class StartupMessage:
    """The client asks for a session. ``parameters`` in the order sent; of a repeated name the last counts."""

    major: int
    minor: int
    parameters: dict[str, str]


First = SSLRequest | GSSENCRequest | CancelRequest | StartupMessage


def read_first(buf: bytes | bytearray, limit: int = LIMIT) -> First | None:
    """Read the packet at the start of ``buf``; None when there must come more (see ``first_length``).

    Raises NotPostgres for an impossible length, else RemoteProtocolError with the SQLSTATE to report: 0A000
    for another protocol than 3, 08P01 for a malformed packet.
    """
    length = first_length(buf, limit)
    if length > len(buf):
        return None
    body = bytes(buf[4:length])
    code = int.from_bytes(body[:4], "big")
    if code == opening.SSL_CODE:
        opening.MESSAGES["SSLRequest"].parse(body)
        return SSLRequest()
    if code == opening.GSSENC_CODE:
        opening.MESSAGES["GSSENCRequest"].parse(body)
        return GSSENCRequest()
    if code == opening.CANCEL_CODE:
        request = opening.MESSAGES["CancelRequest"].parse(body)
        return CancelRequest(int(request.pid), bytes(request.key))
    return _startup(body)


def first_length(buf: bytes | bytearray, limit: int = LIMIT) -> int:
    """How many bytes the packet has in all; as many as are needed to tell while that is not known."""
    if len(buf) < 4:
        return HEADER
    length = int.from_bytes(buf[:4], "big")
    if not HEADER <= length <= limit:
        raise NotPostgres("invalid length of startup packet")
    return length


def _startup(body: bytes) -> StartupMessage:
    major, minor = int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big")
    if major != _MAJOR:
        raise RemoteProtocolError(
            f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2", _NOT_SUPPORTED
        )
    try:
        pairs = opening.MESSAGES["StartupMessage"].parse(body).parameters
    except RemoteProtocolError as error:
        raise RemoteProtocolError("invalid startup packet layout: expected terminator as last byte") from error
    try:
        return StartupMessage(major, minor, {name.decode(): value.decode() for name, value in pairs})
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("the startup packet is not valid UTF-8") from error


def split_options(text: str) -> dict[str, str]:
    """Read the settings of the parameter ``options``: ``-c name=value``, ``-cname=value``, ``--name=value``.

    Raises RemoteProtocolError (42601) for anything else. Names keep their case; dashes become underscores.
    """
    words = _words(text)
    settings: dict[str, str] = {}
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "-c" and at < len(words):
            setting = words[at]
            at += 1
        elif word.startswith(("--", "-c")):
            setting = word[2:]
        else:
            raise RemoteProtocolError(f"invalid command-line argument for server process: {word}", "42601")
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise RemoteProtocolError(f"{word} requires a name and a value", "42601")
        settings[name.replace("-", "_")] = value
    return settings


def _words(text: str) -> list[str]:
    # White space separates; a backslash takes the next character as it is, white space and backslash too.
    words: list[str] = []
    word: list[str] | None = None
    escaped = False
    for char in text:
        if not escaped and char in " \t\n\r\f\v":
            if word is not None:
                words.append("".join(word))
                word = None
            continue
        word = [] if word is None else word
        if escaped or char != "\\":
            word.append(char)
            escaped = False
        else:
            escaped = True
    if word is not None:
        words.append("".join(word))
    return words
