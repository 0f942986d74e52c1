"""The messages that open a connection: they come before login and have no tag byte, only a length.

What would be the protocol version tells them apart: 1234 in its upper half, which no version will ever have,
marks the requests. A cancel request opens a connection of its own.
"""

from __future__ import annotations

from typing import Any, Final

import construct as c

from protocol.wire import CANCEL_KEY, NONEMPTY, TEXT, by_name, closed_by_nul, declare

CANCEL_CODE: Final = 1234 << 16 | 5678
SSL_CODE: Final = 1234 << 16 | 5679
GSSENC_CODE: Final = 1234 << 16 | 5680


def _code(code: int) -> Any:
    return "code" / c.Const(code, c.Int32ub)


MESSAGES: Final = by_name(
    declare(
        "StartupMessage",
        None,
        "major" / c.Int16ub,
        "minor" / c.Int16ub,
        "parameters" / closed_by_nul(c.Sequence(NONEMPTY, TEXT)),
    ),
    declare("CancelRequest", None, _code(CANCEL_CODE), "pid" / c.Int32ub, "key" / CANCEL_KEY),
    declare("SSLRequest", None, _code(SSL_CODE)),
    declare("GSSENCRequest", None, _code(GSSENC_CODE)),
)
