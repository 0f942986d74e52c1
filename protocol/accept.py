"""A client gets in: from its first byte up to AuthenticationOk. Bytes in, bytes and a verdict out.

    OPENING  --SSLRequest-->      S: START_TLS, then ``encrypted`` and OPENING again;  N: OPENING again
             --GSSENCRequest-->   N: OPENING again
             --CancelRequest-->   CANCEL
             --StartupMessage-->  a rule; then the secret, at once or after ASK and ``found``; then
                                  trust, cert, peer: ADMITTED, else a challenge: PROVING
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
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Final, assert_never

from protocol import build, frontend, scram, tags
from protocol.errors import ProtocolError, RemoteProtocolError
from protocol.policy import LATER, Certificate, Method, Policy, Rule, Visitor
from protocol.scram import ServerExchange, WrongPassword
from protocol.secrets import Keyed, Plain, Scram, Secret, md5_response
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


@dataclass(frozen=True, slots=True)
class ClientLogin:
    """Who came in, and what it asked for."""

    user: str
    database: str
    parameters: dict[str, str]  # as sent, without user, database, replication and _pq_ options
    protocol_minor: int
    tls: bool
    replication: str | None  # the parameter's value; None when it is absent or says no
    secret: Secret | None = field(default=None, repr=False)  # what it has shown, as far as it can be shown again


@dataclass(frozen=True, slots=True)
class Terms:
    """What the connection is, and what it may do. ``endpoint``: our certificate's hash, None: no -PLUS.

    ``address`` None: a unix socket, whose peer's name ``system_user`` knows, or None.
    """

    tls_offered: bool = False
    tls_required: bool = False
    endpoint: bytes | None = field(default=None, repr=False)
    startup_limit: int = LIMIT
    message_limit: int = MESSAGE_LIMIT
    address: str | None = None
    system_user: Callable[[], str | None] = lambda: None


class Verdict(Enum):
    """What to do after the bytes to send are sent."""

    READ = "wait for more bytes"
    ASK = "find out the secret of .login, then call found()"
    START_TLS = "start the TLS handshake, then call encrypted()"
    CANCEL = "deliver .cancel, then close"
    ADMITTED = "hand over to .login with .leftover"
    REFUSED = "close"


class _State(Enum):
    OPENING = 1
    ASKING = 2
    PASSWORD = 3
    MD5 = 4
    SASL = 5
    SASL_FIRST = 6
    SASL_FINAL = 7
    OVER = 8


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
        self._rule = Rule(policy.method)
        self._certificate: str | None = None  # the name in a certificate that was verified; "": it has none

    @property
    def leftover(self) -> bytes:
        """What came behind the login."""
        return bytes(self._buffer)

    @property
    def opening(self) -> bool:
        """Whether the StartupMessage is still to come."""
        return self._state is _State.OPENING

    def encrypted(self, certificate: str | None = None) -> None:
        """Everything from now on comes through TLS. ``certificate``: the name in the client's, once it is verified."""
        self._tls = self._tls_asked = self._gss_asked = True
        self._certificate = certificate

    def found(self, secret: Secret | None) -> tuple[bytes, Verdict]:
        """After ASK: the secret, None for an unknown user. As `receive`."""
        login = self.login
        if self._state is not _State.ASKING or login is None:
            raise ValueError("nothing was asked")
        self._secret = secret
        try:
            sent, verdict = self._challenge(login.user)
        except RemoteProtocolError as error:
            return self._refuse(error, tell=True)
        return (sent, verdict) if verdict is not None else self._receive(bytearray(sent))

    def receive(self, data: bytes) -> tuple[bytes, Verdict]:
        """Take what has arrived; returns what to send and what to do then."""
        self._buffer += data
        return self._receive(bytearray())

    def _receive(self, sent: bytearray) -> tuple[bytes, Verdict]:
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
        self._judge_visitor(self.login)
        secret = self._policy.lookup(user, database)
        if secret is LATER:
            self._state = _State.ASKING
            return sent, Verdict.ASK
        self._secret = secret
        challenge, verdict = self._challenge(user)
        return sent + challenge, verdict

    def _judge_visitor(self, login: ClientLogin) -> None:
        physical = login.replication is not None and login.replication.lower() != "database"
        visitor = Visitor(login.user, login.database, self._terms.address, self._tls, physical)
        rule = self._policy.rule_of(visitor)
        if rule is None:
            raise RemoteProtocolError(f"no HBA entry for {visitor}", _NOT_AUTHORIZED)
        if rule.method is Method.REJECT:
            raise RemoteProtocolError(f"an HBA entry rejects {visitor}", _NOT_AUTHORIZED)
        self._rule = rule
        signed = rule.method is Method.CERT or rule.certificate is not Certificate.NONE
        named = rule.method is Method.CERT or rule.certificate is Certificate.OF_USER
        if signed and self._certificate is None:
            raise RemoteProtocolError("connection requires a valid client certificate", _NOT_AUTHORIZED)
        if named and not (self._certificate and rule.may_be(self._certificate, login.user)):
            raise self._not_vouched("certificate", login.user)
        name = self._terms.system_user() if rule.method is Method.PEER else None
        if rule.method is Method.PEER and not (name and rule.may_be(name, login.user)):
            raise self._not_vouched("peer", login.user)

    def _not_vouched(self, how: str, user: str) -> RemoteProtocolError:
        return RemoteProtocolError(f'{how} authentication failed for user "{user}"', _NOT_AUTHORIZED)

    # The proof

    def _challenge(self, user: str) -> tuple[bytes, Verdict | None]:
        method = self._rule.method
        unknown = self._secret in (None, Plain(""))  # whom no password fits
        if method is Method.MD5 and (self._policy.unknown_as_scram if unknown else isinstance(self._secret, Scram)):
            method = Method.SCRAM
        match method:
            case Method.TRUST:
                return self._admit(b"", self._secret) if self._secret is not None else self._wrong(user)
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
            case Method.CERT | Method.PEER:
                if self._secret is None and self._policy.listed:
                    raise self._not_vouched("certificate" if method is Method.CERT else "peer", user)
                return self._admit(b"", self._secret)
            case Method.REJECT:
                raise ValueError("refused before")
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
                return self._judge(right and password is not None, Plain(password or ""), user)
            case _State.MD5:
                expected = md5_response(self._policy.verifiers.md5(user, self._secret), self._salt)
                response = (_password(body) or "").encode()
                return self._judge(hmac.compare_digest(response, expected.encode()), self._secret, user)
            case _State.SASL:
                return self._sasl_initial(body, user)
            case _State.SASL_FIRST:
                return self._sasl_first(body)
            case _State.SASL_FINAL:
                return self._sasl_final(body, user)
            case _State.OPENING | _State.ASKING | _State.OVER:
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
            exchange = self._scram()
            proof = exchange.final(data)
        except WrongPassword:
            return self._wrong(user)
        shown = self._secret
        if isinstance(shown, Scram) and exchange.client_key is not None:
            shown = Keyed(shown.verifier, exchange.client_key)
        return self._admit(build.authentication_sasl_final(proof), shown)

    def _scram(self) -> ServerExchange:
        if self._exchange is None:
            raise RemoteProtocolError("no SASL exchange has begun")
        return self._exchange

    def _judge(self, right: bool, shown: Secret | None, user: str) -> tuple[bytes, Verdict | None]:
        return self._admit(b"", shown) if right else self._wrong(user)

    def _admit(self, proof: bytes, shown: Secret | None) -> tuple[bytes, Verdict | None]:
        self._state = _State.OVER
        if self.login is not None:
            self.login = replace(self.login, secret=shown)
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
