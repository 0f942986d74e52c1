"""What hypothesis draws for each message: fields that fit its declaration, and bodies that were damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from protocol.errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Machines differ in speed and the outcome must not: no deadline, the same examples every time.
STEADY: Final = settings(deadline=None, derandomize=True, max_examples=60)

Fields = SearchStrategy[dict[str, Any]]

# Letters that matter somewhere come often, so that what is drawn nearly means something.
text: Final = st.lists(st.sampled_from(b"SPIa1\xff")).map(bytes) | st.binary(max_size=12).map(
    lambda data: data.replace(b"\0", b"")
)
nonempty: Final = text.filter(bool)
data: Final = st.binary(max_size=24)
int16: Final = st.integers(-(2**15), 2**15 - 1)
int32: Final = st.integers(-(2**31), 2**31 - 1)
oid: Final = st.integers(0, 2**32 - 1)
formats: Final = st.lists(int16, max_size=4)
values: Final = st.lists(st.none() | data, max_size=4)
kind: Final = st.sampled_from(b"SP")
key: Final = st.binary(min_size=4, max_size=256)
report: Final = st.lists(st.tuples(st.integers(1, 255), text).map(list), max_size=6)


@st.composite
def _formats_for(draw: st.DrawFn, count: int) -> list[int]:
    size = draw(st.sampled_from(sorted({0, 1, count})))
    return draw(st.lists(int16, min_size=size, max_size=size))


@st.composite
def bind(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the fields of a Bind whose formats fit its values."""
    parameters = draw(values)
    return {
        "portal": draw(text),
        "statement": draw(text),
        "formats": draw(_formats_for(len(parameters))),
        "parameters": parameters,
        "result_formats": draw(formats),
    }


@st.composite
def function_call(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the fields of a FunctionCall whose formats fit its arguments."""
    arguments = draw(values)
    return {
        "function": draw(oid),
        "formats": draw(_formats_for(len(arguments))),
        "arguments": arguments,
        "result_format": draw(int16),
    }


def _fields(**strategies: SearchStrategy[Any]) -> Fields:
    return st.fixed_dictionaries(strategies)


_column: Final = _fields(
    name=text, table_oid=oid, attribute=int16, type_oid=oid, size=int16, modifier=int32, format=int16
)
_copy: Final = _fields(format=st.integers(0, 1), column_formats=formats)

FRONTEND: Final[dict[str, Fields]] = {
    "Query": _fields(text=text),
    "Parse": _fields(name=text, query=text, types=st.lists(oid, max_size=4)),
    "Bind": bind(),
    "Describe": _fields(kind=kind, name=text),
    "Execute": _fields(portal=text, max_rows=int32),
    "Close": _fields(kind=kind, name=text),
    "Sync": _fields(),
    "Flush": _fields(),
    "FunctionCall": function_call(),
    "CopyData": _fields(data=data),
    "CopyDone": _fields(),
    "CopyFail": _fields(reason=text),
    "Terminate": _fields(),
    "PasswordMessage": _fields(password=text),
    "SASLInitialResponse": _fields(mechanism=text, data=st.none() | data),
    "SASLResponse": _fields(data=data),
    "GSSResponse": _fields(data=data),
}

OPENING: Final[dict[str, Fields]] = {
    "StartupMessage": _fields(
        major=st.just(3),
        minor=st.integers(0, 2**16 - 1),
        parameters=st.lists(st.tuples(nonempty, text).map(list), max_size=4),
    ),
    "CancelRequest": _fields(pid=oid, key=key),
    "SSLRequest": _fields(),
    "GSSENCRequest": _fields(),
}

BACKEND: Final[dict[str, Fields]] = {
    "AuthenticationOk": _fields(),
    "AuthenticationKerberosV5": _fields(),
    "AuthenticationCleartextPassword": _fields(),
    "AuthenticationMD5Password": _fields(salt=st.binary(min_size=4, max_size=4)),
    "AuthenticationSCMCredential": _fields(),
    "AuthenticationGSS": _fields(),
    "AuthenticationGSSContinue": _fields(data=data),
    "AuthenticationSSPI": _fields(),
    "AuthenticationSASL": _fields(mechanisms=st.lists(nonempty, max_size=4)),
    "AuthenticationSASLContinue": _fields(data=data),
    "AuthenticationSASLFinal": _fields(data=data),
    "BackendKeyData": _fields(pid=oid, key=key),
    "NegotiateProtocolVersion": _fields(
        major=st.just(3), minor=st.integers(0, 2**16 - 1), unknown_options=st.lists(text, max_size=3)
    ),
    "ParameterStatus": _fields(name=text, value=text),
    "ReadyForQuery": _fields(status=st.sampled_from(b"ITE")),
    "ErrorResponse": _fields(fields=report),
    "NoticeResponse": _fields(fields=report),
    "NotificationResponse": _fields(pid=oid, channel=text, payload=text),
    "RowDescription": _fields(columns=st.lists(_column, max_size=3)),
    "DataRow": _fields(columns=values),
    "CommandComplete": _fields(tag=text),
    "EmptyQueryResponse": _fields(),
    "PortalSuspended": _fields(),
    "ParseComplete": _fields(),
    "BindComplete": _fields(),
    "CloseComplete": _fields(),
    "NoData": _fields(),
    "ParameterDescription": _fields(types=st.lists(oid, max_size=4)),
    "CopyInResponse": _copy,
    "CopyOutResponse": _copy,
    "CopyBothResponse": _copy,
    "CopyData": _fields(data=data),
    "CopyDone": _fields(),
    "FunctionCallResponse": _fields(value=st.none() | data),
}


def plain(parsed: Any) -> Any:
    """Turn what construct parsed into plain dicts and lists, without the stream that it keeps."""
    if isinstance(parsed, dict):
        return {name: plain(value) for name, value in parsed.items() if not name.startswith("_")}
    if isinstance(parsed, list):
        return [plain(value) for value in parsed]
    return parsed


def verdict(read: Callable[[], T]) -> T | None:
    """Return what was read, or None if it was refused as a protocol violation; let other errors through."""
    try:
        return read()
    except RemoteProtocolError as error:
        if error.sqlstate != "08P01":
            raise
        return None


@st.composite
def damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """Draw a body that differs a little: cut, prolonged, a byte changed, gone or come."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        # Bytes that mean something: string ends, small counts, the -1 of NULL, a negative length.
        byte = draw(st.sampled_from([b"\0", b"\1", b"\2", b"\3", b"\x7f", b"\x80", b"\xfe", b"\xff", b"S", b"P"]))
        body = draw(
            st.sampled_from(
                [
                    body[:at],
                    body[:at] + body[at + 1 :],
                    body[:at] + byte + body[at:],
                    body[:at] + byte + body[at + 1 :],
                    body + byte,
                    body[:at] + body,
                ]
            )
        )
    return body
