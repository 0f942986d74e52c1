"""Every message that a server sends, protocol 3.0 to 3.2; `authentication` declares what comes at login."""

from __future__ import annotations

from typing import Any, Final

import construct as c

from protocol import authentication, tags
from protocol.errors import RemoteProtocolError
from protocol.wire import (
    CANCEL_KEY,
    FORMATS,
    OIDS,
    REST,
    TEXT,
    VALUE,
    VALUES,
    by_name,
    closed_by_nul,
    declare,
    one_of,
)

# Idle, in a transaction, in a failed transaction.
STATUSES: Final = b"ITE"

_REPORT: Final = "fields" / closed_by_nul(c.Sequence(c.ExprValidator(c.Byte, lambda code, _: code != 0), TEXT))
_COLUMN: Final = c.Struct(
    "name" / TEXT,
    "table_oid" / c.Int32ub,
    "attribute" / c.Int16sb,
    "type_oid" / c.Int32ub,
    "size" / c.Int16sb,
    "modifier" / c.Int32sb,
    "format" / c.Int16sb,
)
_COPY: Final = ("format" / c.Byte, "column_formats" / FORMATS)

MESSAGES: Final = authentication.MESSAGES | by_name(
    declare("BackendKeyData", tags.BACKEND_KEY_DATA, "pid" / c.Int32ub, "key" / CANCEL_KEY),
    # The manual calls the first field the newest minor version; servers send the whole version number.
    declare(
        "NegotiateProtocolVersion",
        tags.NEGOTIATE_VERSION,
        "major" / c.Int16ub,
        "minor" / c.Int16ub,
        "unknown_options" / c.PrefixedArray(c.Int32ub, TEXT),
    ),
    declare("ParameterStatus", tags.PARAMETER_STATUS, "name" / TEXT, "value" / TEXT),
    declare("ReadyForQuery", tags.READY_FOR_QUERY, "status" / one_of(STATUSES)),
    declare("ErrorResponse", tags.ERROR_RESPONSE, _REPORT),
    declare("NoticeResponse", tags.NOTICE_RESPONSE, _REPORT),
    declare("NotificationResponse", tags.NOTIFICATION, "pid" / c.Int32ub, "channel" / TEXT, "payload" / TEXT),
    declare("RowDescription", tags.ROW_DESCRIPTION, "columns" / c.PrefixedArray(c.Int16ub, _COLUMN)),
    declare("DataRow", tags.DATA_ROW, "columns" / VALUES),
    declare("CommandComplete", tags.COMMAND_COMPLETE, "tag" / TEXT),
    declare("EmptyQueryResponse", tags.EMPTY_QUERY),
    declare("PortalSuspended", tags.PORTAL_SUSPENDED),
    declare("ParseComplete", tags.PARSE_COMPLETE),
    declare("BindComplete", tags.BIND_COMPLETE),
    declare("CloseComplete", tags.CLOSE_COMPLETE),
    declare("NoData", tags.NO_DATA),
    declare("ParameterDescription", tags.PARAMETER_DESCRIPTION, "types" / OIDS),
    declare("CopyInResponse", tags.COPY_IN, *_COPY),
    declare("CopyOutResponse", tags.COPY_OUT, *_COPY),
    declare("CopyBothResponse", tags.COPY_BOTH, *_COPY),
    declare("CopyData", tags.COPY_DATA, "data" / REST),
    declare("CopyDone", tags.COPY_DONE),
    declare("FunctionCallResponse", tags.FUNCTION_CALL_RESPONSE, "value" / VALUE),
)

_BY_TAG: Final = {m.tag: m for m in MESSAGES.values() if m.tag != tags.AUTHENTICATION}


def parse(tag: int, body: bytes) -> Any:
    """Read the fields of a message; RemoteProtocolError for an unknown tag or a malformed body."""
    if tag == tags.AUTHENTICATION:
        return authentication.parse(body)
    message = _BY_TAG.get(tag)
    if message is None:
        raise RemoteProtocolError(f"invalid backend message type {tag}")
    return message.parse(body)


def build(name: str, /, **fields: Any) -> bytes:
    """Make a framed message by its name in the manual; LocalProtocolError when the fields do not fit."""
    return MESSAGES[name].build(**fields)
