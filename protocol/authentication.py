"""What a server may ask while a client logs in: one tag, a code, and what the code calls for.

Code 4 (crypt) left the protocol with PostgreSQL 8.4, code 6 (SCM credentials) with 9.1; the latter is kept,
so that it can be named when it is refused.
"""

from __future__ import annotations

from typing import Any, Final

import construct as c

from protocol import tags
from protocol.errors import RemoteProtocolError
from protocol.wire import NONEMPTY, REST, Message, by_name, closed_by_nul, declare

_CODE: Final = c.Int32ub


def _request(name: str, code: int, *fields: Any) -> Message:
    return declare(name, tags.AUTHENTICATION, "code" / c.Const(code, _CODE), *fields)


_BY_CODE: Final = {
    0: _request("AuthenticationOk", 0),
    2: _request("AuthenticationKerberosV5", 2),
    3: _request("AuthenticationCleartextPassword", 3),
    5: _request("AuthenticationMD5Password", 5, "salt" / c.Bytes(4)),
    6: _request("AuthenticationSCMCredential", 6),
    7: _request("AuthenticationGSS", 7),
    8: _request("AuthenticationGSSContinue", 8, "data" / REST),
    9: _request("AuthenticationSSPI", 9),
    10: _request("AuthenticationSASL", 10, "mechanisms" / closed_by_nul(NONEMPTY)),
    11: _request("AuthenticationSASLContinue", 11, "data" / REST),
    12: _request("AuthenticationSASLFinal", 12, "data" / REST),
}

MESSAGES: Final = by_name(*_BY_CODE.values())


def parse(body: bytes) -> Any:
    """Read an authentication request; `code` tells which. RemoteProtocolError for an unknown code."""
    try:
        code = int(_CODE.parse(body))
    except c.ConstructError as error:
        raise RemoteProtocolError("invalid authentication message") from error
    message = _BY_CODE.get(code)
    if message is None:
        raise RemoteProtocolError(f"authentication method {code} is not supported")
    return message.parse(body)
