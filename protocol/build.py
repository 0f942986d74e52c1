"""Builders of the cold messages, one function for each: complete framed bytes, through the declarations.

Strings may be `str` (sent as UTF-8) or bytes (sent as they are). Every function raises LocalProtocolError
when its arguments do not fit the message: a NUL in a string, more than 65,535 values, a number too big. The
messages without fields are built once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from protocol import backend, frontend, opening
from protocol.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Text = str | bytes

TEXT_OID: Final = 25

_NO_FIELDS: Final = {
    name: backend.build(name)
    for name in (
        "AuthenticationOk",
        "AuthenticationCleartextPassword",
        "EmptyQueryResponse",
        "PortalSuspended",
        "ParseComplete",
        "BindComplete",
        "CloseComplete",
        "NoData",
        "CopyDone",
    )
} | {name: frontend.build(name) for name in ("Sync", "Flush", "Terminate")}

_READY: Final = {bytes((s,)): backend.build("ReadyForQuery", status=s) for s in backend.STATUSES}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a RowDescription; by default a text column that belongs to no table."""

    name: Text
    type_oid: int = TEXT_OID
    size: int = -1
    modifier: int = -1
    table_oid: int = 0
    attribute: int = 0
    format: int = 0


# Backend: what a server says.


def error_response(
    sqlstate: str,
    message: Text,
    *,
    severity: str = "ERROR",
    detail: Text | None = None,
    hint: Text | None = None,
    **more: Text,
) -> bytes:
    """Build an ErrorResponse; `more` takes further fields under their one-letter codes."""
    return backend.build("ErrorResponse", fields=_report(severity, sqlstate, message, detail, hint, more))


def notice_response(
    sqlstate: str,
    message: Text,
    *,
    severity: str = "NOTICE",
    detail: Text | None = None,
    hint: Text | None = None,
    **more: Text,
) -> bytes:
    """Build a NoticeResponse; the same fields as an error's."""
    return backend.build("NoticeResponse", fields=_report(severity, sqlstate, message, detail, hint, more))


def _report(
    severity: str,
    sqlstate: str,
    message: Text,
    detail: Text | None,
    hint: Text | None,
    more: Mapping[str, Text],
) -> list[tuple[int, Text]]:
    # V is S in a form that the server's language does not change; clients since 9.6 read it first.
    known = {"S": severity, "V": severity, "C": sqlstate, "M": message, "D": detail, "H": hint, **more}
    for code in known:
        if len(code) != 1 or not code.isascii():
            raise LocalProtocolError(f"{code!r} is no field of an error or notice")
    return [(ord(code), value) for code, value in known.items() if value is not None]


def authentication_ok() -> bytes:
    """Build the end of every successful login."""
    return _NO_FIELDS["AuthenticationOk"]


def authentication_cleartext() -> bytes:
    """Build the request for the password itself."""
    return _NO_FIELDS["AuthenticationCleartextPassword"]


def authentication_md5(salt: bytes) -> bytes:
    """Build the request for an MD5 of the password; `salt` has four bytes."""
    return backend.build("AuthenticationMD5Password", salt=salt)


def authentication_sasl(mechanisms: Sequence[Text]) -> bytes:
    """Build the offer of SASL mechanisms, the preferred one first."""
    return backend.build("AuthenticationSASL", mechanisms=mechanisms)


def authentication_sasl_continue(data: bytes) -> bytes:
    """Build a SASL challenge."""
    return backend.build("AuthenticationSASLContinue", data=data)


def authentication_sasl_final(data: bytes) -> bytes:
    """Build the outcome of a SASL exchange."""
    return backend.build("AuthenticationSASLFinal", data=data)


def negotiate_protocol_version(minor: int, unknown_options: Sequence[Text]) -> bytes:
    """Build the answer to a client that wants more than version 3.`minor`, or options unknown to us."""
    return backend.build("NegotiateProtocolVersion", major=3, minor=minor, unknown_options=list(unknown_options))


def backend_key_data(pid: int, key: bytes) -> bytes:
    """Build what a client needs to cancel; `key` has four bytes before protocol 3.2, up to 256 since."""
    return backend.build("BackendKeyData", pid=pid, key=key)


def parameter_status(name: Text, value: Text) -> bytes:
    """Build the report of a setting's value."""
    return backend.build("ParameterStatus", name=name, value=value)


def ready_for_query(status: bytes) -> bytes:
    """Build the end of a turn; `status` is b"I", b"T" or b"E"."""
    try:
        return _READY[status]
    except KeyError:
        raise LocalProtocolError(f"{status!r} is no transaction status") from None


def notification_response(pid: int, channel: Text, payload: Text) -> bytes:
    """Build the delivery of a NOTIFY by the backend `pid`."""
    return backend.build("NotificationResponse", pid=pid, channel=channel, payload=payload)


def row_description(columns: Iterable[Column]) -> bytes:
    """Build the description of the rows that follow."""
    return backend.build("RowDescription", columns=[asdict(column) for column in columns])


def data_row(values: Sequence[Text | None]) -> bytes:
    """Build one row; None is NULL."""
    return backend.build("DataRow", columns=values)


def command_complete(tag: Text) -> bytes:
    """Build the end of a statement, as `SELECT 1`."""
    return backend.build("CommandComplete", tag=tag)


def empty_query_response() -> bytes:
    """Build the answer to a statement without text."""
    return _NO_FIELDS["EmptyQueryResponse"]


def portal_suspended() -> bytes:
    """Build the end of an Execute whose row limit was reached."""
    return _NO_FIELDS["PortalSuspended"]


def parse_complete() -> bytes:
    """Build the answer to Parse."""
    return _NO_FIELDS["ParseComplete"]


def bind_complete() -> bytes:
    """Build the answer to Bind."""
    return _NO_FIELDS["BindComplete"]


def close_complete() -> bytes:
    """Build the answer to Close."""
    return _NO_FIELDS["CloseComplete"]


def no_data() -> bytes:
    """Build the description of a statement that returns no rows."""
    return _NO_FIELDS["NoData"]


def parameter_description(types: Sequence[int]) -> bytes:
    """Build the parameter type OIDs of a statement."""
    return backend.build("ParameterDescription", types=types)


# Frontend: what a client says.


def startup(version: tuple[int, int], parameters: Mapping[str, Text]) -> bytes:
    """Build the StartupMessage for a protocol version (major, minor)."""
    major, minor = version
    return opening.MESSAGES["StartupMessage"].build(major=major, minor=minor, parameters=list(parameters.items()))


def ssl_request() -> bytes:
    """Build the question whether the server has TLS; it answers with one byte."""
    return opening.MESSAGES["SSLRequest"].build()


def gssenc_request() -> bytes:
    """Build the question whether the server has GSSAPI encryption; it answers with one byte."""
    return opening.MESSAGES["GSSENCRequest"].build()


def cancel_request(pid: int, key: bytes) -> bytes:
    """Build a CancelRequest; the only message of its connection."""
    return opening.MESSAGES["CancelRequest"].build(pid=pid, key=key)


def password(data: Text) -> bytes:
    """Build the answer to a cleartext or MD5 request."""
    return frontend.build("PasswordMessage", password=data)


def sasl_initial(mechanism: Text, data: bytes | None) -> bytes:
    """Build the choice of a mechanism with its first message, None when it has none."""
    return frontend.build("SASLInitialResponse", mechanism=mechanism, data=data)


def sasl_response(data: bytes) -> bytes:
    """Build the answer to a SASL challenge."""
    return frontend.build("SASLResponse", data=data)


def query(text: Text) -> bytes:
    """Build a simple query."""
    return frontend.build("Query", text=text)


def parse(name: Text, text: Text, types: Sequence[int] = ()) -> bytes:
    """Build the preparation of a statement; a type OID of 0 leaves the type to the server."""
    return frontend.build("Parse", name=name, query=text, types=types)


def bind(
    portal: Text,
    statement: Text,
    values: Sequence[Text | None] = (),
    formats: Sequence[int] = (),
    result_formats: Sequence[int] = (),
) -> bytes:
    """Build a portal; formats (0 text, 1 binary) are none for all text, one for all, or one for each."""
    return frontend.build(
        "Bind",
        portal=portal,
        statement=statement,
        formats=formats,
        parameters=values,
        result_formats=result_formats,
    )


def describe(kind: Text, name: Text) -> bytes:
    """Build the question what a statement (kind S) or portal (kind P) returns."""
    return frontend.build("Describe", kind=_letter(kind), name=name)


def execute(portal: Text, max_rows: int = 0) -> bytes:
    """Build the run of a portal; 0 rows means all."""
    return frontend.build("Execute", portal=portal, max_rows=max_rows)


def close(kind: Text, name: Text) -> bytes:
    """Build the end of a statement (kind S) or portal (kind P)."""
    return frontend.build("Close", kind=_letter(kind), name=name)


def _letter(kind: Text) -> int:
    if len(kind) != 1:
        raise LocalProtocolError(f"{kind!r} is neither S nor P")
    return ord(kind)


def sync() -> bytes:
    """Build the end of an extended-protocol turn."""
    return _NO_FIELDS["Sync"]


def flush() -> bytes:
    """Build the request to send what is finished."""
    return _NO_FIELDS["Flush"]


def terminate() -> bytes:
    """Build the end of a session."""
    return _NO_FIELDS["Terminate"]


def copy_data(data: bytes) -> bytes:
    """Build a piece of COPY data; the same in both directions."""
    return frontend.build("CopyData", data=data)


def copy_done() -> bytes:
    """Build the end of COPY data; the same in both directions."""
    return _NO_FIELDS["CopyDone"]


def copy_fail(reason: Text) -> bytes:
    """Build the client's refusal to go on with its COPY."""
    return frontend.build("CopyFail", reason=reason)
