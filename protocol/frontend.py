"""Every message that a client sends after the opening ones (`protocol/opening.py`), protocol 3.0 to 3.2."""

from __future__ import annotations

from typing import Any, Final

import construct as c

from protocol import tags
from protocol.errors import RemoteProtocolError
from protocol.wire import FORMATS, OIDS, REST, TEXT, VALUE, VALUES, by_name, declare, one_of


def _formats_fit(values: str) -> Any:
    """Declare that there is one format for all of the values or one for each; none means text for all."""
    return c.Check(lambda this: len(this.formats) <= 1 or len(this.formats) == len(this[values]))


# A statement or a portal.
_KIND: Final = one_of(b"SP")

MESSAGES: Final = by_name(
    declare("Query", tags.QUERY, "text" / TEXT),
    declare("Parse", tags.PARSE, "name" / TEXT, "query" / TEXT, "types" / OIDS),
    declare(
        "Bind",
        tags.BIND,
        "portal" / TEXT,
        "statement" / TEXT,
        "formats" / FORMATS,
        "parameters" / VALUES,
        _formats_fit("parameters"),
        "result_formats" / FORMATS,
    ),
    declare("Describe", tags.DESCRIBE, "kind" / _KIND, "name" / TEXT),
    declare("Execute", tags.EXECUTE, "portal" / TEXT, "max_rows" / c.Int32sb),
    declare("Close", tags.CLOSE, "kind" / _KIND, "name" / TEXT),
    declare("Sync", tags.SYNC),
    declare("Flush", tags.FLUSH),
    declare(
        "FunctionCall",
        tags.FUNCTION_CALL,
        "function" / c.Int32ub,
        "formats" / FORMATS,
        "arguments" / VALUES,
        _formats_fit("arguments"),
        "result_format" / c.Int16sb,
    ),
    declare("CopyData", tags.COPY_DATA, "data" / REST),
    declare("CopyDone", tags.COPY_DONE),
    declare("CopyFail", tags.COPY_FAIL, "reason" / TEXT),
    declare("Terminate", tags.TERMINATE),
    # Four messages share a tag; only what the server asked for tells them apart.
    declare("PasswordMessage", tags.PASSWORD, "password" / TEXT),
    declare("SASLInitialResponse", tags.PASSWORD, "mechanism" / TEXT, "data" / VALUE),
    declare("SASLResponse", tags.PASSWORD, "data" / REST),
    declare("GSSResponse", tags.PASSWORD, "data" / REST),
)

_BY_TAG: Final = {m.tag: m for m in MESSAGES.values() if m.tag != tags.PASSWORD}


def parse(tag: int, body: bytes) -> Any:
    """Read the fields of a message.

    RemoteProtocolError for an unknown tag, for a malformed body, and for `p`, whose meaning the tag does
    not tell: read that with `MESSAGES[name].parse`.
    """
    message = _BY_TAG.get(tag)
    if message is None:
        raise RemoteProtocolError(f"invalid frontend message type {tag}")
    return message.parse(body)


def build(name: str, /, **fields: Any) -> bytes:
    """Make a framed message by its name in the manual; LocalProtocolError when the fields do not fit."""
    return MESSAGES[name].build(**fields)
