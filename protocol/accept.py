"""A client gets in: from its first byte up to AuthenticationOk. Bytes in, bytes and a verdict out.

    OPENING  --SSLRequest-->      S: START_TLS, then ``encrypted`` and OPENING again;  N: OPENING again
             --GSSENCRequest-->   N: OPENING again
             --CancelRequest-->   CANCEL
             --StartupMessage-->  trust: ADMITTED, else a challenge: PROVING
    PROVING  --'p' messages-->    more challenges, then ADMITTED or REFUSED

Rules that hold everywhere:
- Each request comes at most once, and the StartupMessage too: once it is read, nothing changes who the
  client is.
- Whatever is behind an encryption request in the same bytes was not encrypted; somebody may have put it
  there, and the connection is refused.
- Nothing is kept for a length that was only claimed: startup packets and messages have limits that are
  looked at first. Until the client has proved who it is, only 'p' messages are read.
- Why a login fails does not show who or what exists: an unknown user or database, a missing secret and one
  that the method cannot use all go through the whole exchange and end like a wrong password.

A SCRAM secret under method md5 means a SCRAM exchange, as in PgBouncer: there is no other way to check it.
Bytes behind the last message of the login are ``leftover``, for whoever takes the connection over.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, assert_never

from protocol import build, frontend, scram, tags
from protocol.errors import ProtocolError, RemoteProtocolError
from protocol.scram import ServerExchange, WrongPassword
from protocol.secrets import Scram, Secret, Verifiers, md5_response
from protocol.startup import (
    LIMIT,
    CancelRequest,
    GSSENCRequest,
    NotPostgres,
    SSLRequest,
    StartupMessage,
    first_length,
    read_first,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MESSAGE_LIMIT: Final = 65_536
NEWEST_MINOR: Final = 2

_NOT_AUTHORIZED: Final = "28000"
_WRONG_PASSWORD: Final = "28P01"


class Method(Enum):
    """How clients prove who they are; the values are those of the configuration."""

    TRUST = "trust"
    PASSWORD = "password"
    MD5 = "md5"
    SCRAM = "scram-sha-256"
    CERT = "cert"


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may come in. ``lookup(user, database)`` gives the secret, None for an unknown user or database.

    ``unknown_as_scram``: under method md5, treat unknown users as if they had a SCRAM secret. Right when most
    users have one; else they differ from the unknown ones in the kind of challenge.
    """

    method: Method
    lookup: Callable[[str, str], Secret | None]
    verifiers: Verifiers
    unknown_as_scram: bool = False

    def __post_init__(self) -> None:
        if self.method is Method.CERT:
            raise ValueError("client certificates as the way to log in are not available in this version")


@dataclass(frozen=True, slots=True)
class ClientLogin:
    """Who came in, and what it asked for."""

    user: str
    database: str
    parameters: dict[str, str]  # as sent, without user, database, replication and _pq_ options
    protocol_minor: int
    tls: bool
    replication: str | None  # the parameter's value; None when it is absent or says no


@dataclass(frozen=True, slots=True)
class Terms:
    """What the connection is, and what it may do. ``endpoint``: our certificate's hash, None: no -PLUS."""

    tls_offered: bool = False
    tls_required: bool = False
    endpoint: bytes | None = field(default=None, repr=False)
    startup_limit: int = LIMIT
    message_limit: int = MESSAGE_LIMIT


class Verdict(Enum):
    """What to do after the bytes to send are sent."""

    READ = "wait for more bytes"
    START_TLS = "start the TLS handshake, then call encrypted()"
    CANCEL = "deliver .cancel, then close"
    ADMITTED = "hand over to .login with .leftover"
    REFUSED = "close"


class _State(Enum):
    OPENING = 1
    PASSWORD = 2
    MD5 = 3
    SASL = 4
    SASL_FIRST = 5
    SASL_FINAL = 6
    OVER = 7


class Accept:
    """One client. ``random(n)`` gives n random bytes."""

    def __init__(self, policy: Policy, terms: Terms, random: Callable[[int], bytes]) -> None:
        self.login: ClientLogin | None = None
        self.cancel: CancelRequest | None = None
        self.refusal: ProtocolError | None = None
        self._policy = policy
        self._terms = terms
        self._random = random
        self._state = _State.OPENING
        self._buffer = bytearray()
        self._tls = False
        self._tls_asked = False
        self._gss_asked = False
        self._secret: Secret | None = None
        self._salt = b""
        self._exchange: ServerExchange | None = None

    @property
    def leftover(self) -> bytes:
        """What came behind the login."""
        return bytes(self._buffer)

    @property
    def opening(self) -> bool:
        """Whether the StartupMessage is still to come."""
        return self._state is _State.OPENING

    def encrypted(self) -> None:
        """Everything from now on comes through TLS."""
        self._tls = self._tls_asked = self._gss_asked = True

    def receive(self, data: bytes) -> tuple[bytes, Verdict]:
        """Take what has arrived; returns what to send and what to do then."""
        self._buffer += data
        sent = bytearray()
        try:
            while True:
                answer, verdict = self._opening() if self._state is _State.OPENING else self._proving()
                sent += answer
                if verdict is not None:
                    return bytes(sent), verdict
        except NotPostgres as error:
            return self._refuse(error, tell=False)
        except RemoteProtocolError as error:
            return self._refuse(error, tell=True)

    def _refuse(self, error: ProtocolError, *, tell: bool) -> tuple[bytes, Verdict]:
        self._state = _State.OVER
        self._buffer.clear()
        self.refusal = error
        text = build.error_response(error.sqlstate, error.message, severity="FATAL") if tell else b""
        return text, Verdict.REFUSED

    # Before the StartupMessage

    def _opening(self) -> tuple[bytes, Verdict | None]:
        length = first_length(self._buffer, self._terms.startup_limit)
        if len(self._buffer) < length:
            return b"", Verdict.READ
        first = read_first(bytes(self._buffer[:length]), self._terms.startup_limit)
        if first is None:
            return b"", Verdict.READ
        del self._buffer[:length]
        match first:
            case SSLRequest():
                self._ask_once("SSL", self._tls_asked)
                self._tls_asked = True
                return (b"S", Verdict.START_TLS) if self._terms.tls_offered else (b"N", None)
            case GSSENCRequest():
                self._ask_once("GSSAPI encryption", self._gss_asked)
                self._gss_asked = True
                return b"N", None
            case CancelRequest():
                self._state = _State.OVER
                self.cancel = first
                return b"", Verdict.CANCEL
            case StartupMessage():
                return self._start(first)
            case _:
                assert_never(first)

    def _ask_once(self, what: str, asked: bool) -> None:
        if asked:
            raise RemoteProtocolError(f"unexpected {what} request")
        if self._buffer:
            raise RemoteProtocolError(f"received unencrypted data after {what} request")

    def _start(self, startup: StartupMessage) -> tuple[bytes, Verdict | None]:
        parameters = dict(startup.parameters)
        options = [name for name in parameters if name.startswith("_pq_.")]
        minor = min(startup.minor, NEWEST_MINOR)
        sent = b""
        if options or startup.minor > NEWEST_MINOR:
            sent = build.negotiate_protocol_version(minor, options)
        if self._terms.tls_required and not self._tls:
            raise RemoteProtocolError("TLS is required here, but the connection has no encryption", _NOT_AUTHORIZED)
        user = parameters.pop("user", "")
        if not user:
            raise RemoteProtocolError("no PostgreSQL user name specified in startup packet", _NOT_AUTHORIZED)
        database = parameters.pop("database", "") or user
        replication = _replication(parameters.pop("replication", None))
        for name in options:
            del parameters[name]
        self.login = ClientLogin(user, database, parameters, minor, self._tls, replication)
        self._secret = self._policy.lookup(user, database)
        challenge, verdict = self._challenge(user)
        return sent + challenge, verdict

    # The proof

    def _challenge(self, user: str) -> tuple[bytes, Verdict | None]:
        method = self._policy.method
        if method is Method.MD5 and (
            self._policy.unknown_as_scram if self._secret is None else isinstance(self._secret, Scram)
        ):
            method = Method.SCRAM
        match method:
            case Method.TRUST:
                return self._admit(b"") if self._secret is not None else self._wrong(user)
            case Method.PASSWORD:
                self._state = _State.PASSWORD
                return build.authentication_cleartext(), None
            case Method.MD5:
                self._state = _State.MD5
                self._salt = self._random(4)
                return build.authentication_md5(self._salt), None
            case Method.SCRAM:
                self._state = _State.SASL
                return build.authentication_sasl(self._mechanisms()), None
            case Method.CERT:
                raise ValueError("refused by Policy")
            case _:
                assert_never(method)

    def _mechanisms(self) -> Sequence[str]:
        return (scram.SCRAM_PLUS, scram.SCRAM) if self._endpoint() is not None else (scram.SCRAM,)

    def _endpoint(self) -> bytes | None:
        return self._terms.endpoint if self._tls else None

    def _proving(self) -> tuple[bytes, Verdict | None]:
        body = self._message()
        if body is None or self.login is None:
            return b"", Verdict.READ
        user = self.login.user
        match self._state:
            case _State.PASSWORD:
                password = _password(body)
                right = self._policy.verifiers.is_password(user, self._secret, password or "")
                return self._judge(right and password is not None, user)
            case _State.MD5:
                expected = md5_response(self._policy.verifiers.md5(user, self._secret), self._salt)
                response = (_password(body) or "").encode()
                return self._judge(hmac.compare_digest(response, expected.encode()), user)
            case _State.SASL:
                return self._sasl_initial(body, user)
            case _State.SASL_FIRST:
                return self._sasl_first(body)
            case _State.SASL_FINAL:
                return self._sasl_final(body, user)
            case _State.OPENING | _State.OVER:
                return b"", Verdict.REFUSED
            case _:
                assert_never(self._state)

    def _message(self) -> bytes | None:
        # The tag is looked at first: a Query in this place is refused before its length is read.
        if self._buffer and self._buffer[0] != tags.PASSWORD:
            raise RemoteProtocolError(f"expected password response, got message type {self._buffer[0]}")
        if len(self._buffer) < 5:
            return None
        length = int.from_bytes(self._buffer[1:5], "big")
        if not 4 <= length <= self._terms.message_limit:
            raise RemoteProtocolError("invalid message length")
        if len(self._buffer) <= length:
            return None
        body = bytes(self._buffer[5 : length + 1])
        del self._buffer[: length + 1]
        return body

    def _sasl_initial(self, body: bytes, user: str) -> tuple[bytes, Verdict | None]:
        initial = frontend.MESSAGES["SASLInitialResponse"].parse(body)
        mechanism = bytes(initial.mechanism).decode("ascii", "replace")
        if mechanism not in self._mechanisms():
            raise RemoteProtocolError("client selected an invalid SASL authentication mechanism")
        verifier = self._policy.verifiers.verifier(user, self._secret)
        nonce = scram.nonce(self._random)
        plus = mechanism == scram.SCRAM_PLUS
        self._exchange = ServerExchange(verifier, nonce, plus=plus, endpoint=self._endpoint())
        if initial.data is None:
            self._state = _State.SASL_FIRST
            return build.authentication_sasl_continue(b""), None
        return self._sasl_first(bytes(initial.data))

    def _sasl_first(self, data: bytes) -> tuple[bytes, Verdict | None]:
        self._state = _State.SASL_FINAL
        return build.authentication_sasl_continue(self._scram().first(data)), None

    def _sasl_final(self, data: bytes, user: str) -> tuple[bytes, Verdict | None]:
        try:
            proof = self._scram().final(data)
        except WrongPassword:
            return self._wrong(user)
        return self._admit(build.authentication_sasl_final(proof))

    def _scram(self) -> ServerExchange:
        if self._exchange is None:
            raise RemoteProtocolError("no SASL exchange has begun")
        return self._exchange

    def _judge(self, right: bool, user: str) -> tuple[bytes, Verdict | None]:
        return self._admit(b"") if right else self._wrong(user)

    def _admit(self, proof: bytes) -> tuple[bytes, Verdict | None]:
        self._state = _State.OVER
        return proof + build.authentication_ok(), Verdict.ADMITTED

    def _wrong(self, user: str) -> tuple[bytes, Verdict | None]:
        message = f'password authentication failed for user "{user}"'
        return self._refuse(RemoteProtocolError(message, _WRONG_PASSWORD), tell=True)


def _password(body: bytes) -> str | None:
    # None: bytes that are no UTF-8, which no secret of ours can match.
    try:
        return bytes(frontend.MESSAGES["PasswordMessage"].parse(body).password).decode()
    except UnicodeDecodeError:
        return None


def _replication(value: str | None) -> str | None:
    if value is None or not value:
        return None
    text = value.lower()
    no = text == "0" or "false".startswith(text) or "no".startswith(text) or (len(text) > 1 and "off".startswith(text))
    return None if no else value
