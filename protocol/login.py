"""We get into a server: from the StartupMessage up to its first ReadyForQuery. Bytes in, bytes out.

    STARTUP  --v-->  STARTUP (the server speaks an older minor version)
             --R: password, md5-->  ANSWERED          --R: Ok-->  GREETING
             --R: SASL-->  CHALLENGE  --R: Continue-->  PROOF  --R: Final-->  ANSWERED
             --R: Ok-->  GREETING
    GREETING --S, K-->  collected                     --Z-->  READY

The server is not trusted: it may be another program, or somebody in between. So each state takes the
messages above and no others, one method of proof is done once, a SCRAM exchange must end with the server's
own proof before its Ok counts, and messages, the login as a whole, nonces, salts and iterations are
bounded. Every field of its errors may be missing. Notices are passed over.

A SCRAM exchange needs keys that are expensive to derive. The machine says for what in ``derivation``; the
caller derives them (or knows them already) and goes on with ``derived``. Keys that a client's own proof gave
us (secrets.Keyed) need no derivation, and fit only the salt and iterations that they were made with."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from protocol import backend, build, scram, tags
from protocol.errors import ProtocolError, RemoteProtocolError
from protocol.scram import Challenge, ClientExchange, Keys, WrongPassword
from protocol.secrets import Keyed, Md5, Plain, Scram, Secret, md5_hash, md5_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MESSAGE_LIMIT: Final = 65_536
TOTAL_LIMIT: Final = 1_048_576
MINOR: Final = 2

_CANNOT_PROVE: Final = "28000"
_CANCEL_KEY_BEFORE_3_2: Final = 4


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are to the server. ``parameters`` go into the StartupMessage behind user and database."""

    user: str
    database: str
    secret: Secret | None = field(default=None, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Channel:
    """What the login runs through. ``endpoint``: the server certificate's hash, if it has one to bind to."""

    tls: bool = False
    endpoint: bytes | None = None


@dataclass(frozen=True, slots=True)
class Derivation:
    """Keys that are needed to go on."""

    password: str = field(repr=False)
    salt: bytes
    iterations: int


class ServerRefused(ProtocolError):
    """The server ended the login with an ErrorResponse; ``sqlstate`` and ``message`` are its own.

    ``authenticated``: it had accepted our proof before. ``detail`` and ``hint`` are empty when not given.
    """

    def __init__(self, fields: Mapping[str, str], *, authenticated: bool) -> None:
        super().__init__(fields.get("M", "the server gave no reason"), _sqlstate(fields.get("C", "")))
        self.detail = fields.get("D", "")
        self.hint = fields.get("H", "")
        self.authenticated = authenticated


class CannotProve(ProtocolError):
    """The server asks for a proof that cannot be made from the secret that is configured."""

    def __init__(self, message: str) -> None:
        super().__init__(message, _CANNOT_PROVE)


class _State(Enum):
    STARTUP = auto()
    CHALLENGE = auto()
    PROOF = auto()
    ANSWERED = auto()
    GREETING = auto()
    READY = auto()


class Login:
    """One login. ``random(n)`` gives n random bytes; ``minor`` is the version asked for, later agreed on."""

    def __init__(
        self, identity: Identity, channel: Channel, random: Callable[[int], bytes], *, minor: int = MINOR
    ) -> None:
        self.minor = minor
        self.parameters: dict[str, str] = {}
        self.pid = 0
        self.key = b""
        self.derivation: Derivation | None = None
        self._identity = identity
        self._channel = channel
        self._random = random
        self._state = _State.STARTUP
        self._buffer = bytearray()
        self._total = 0
        self._exchange: ClientExchange | None = None
        self._negotiated = False

    @property
    def ready(self) -> bool:
        """Whether the server waits for the first query."""
        return self._state is _State.READY

    @property
    def leftover(self) -> bytes:
        """What came behind the ReadyForQuery."""
        return bytes(self._buffer)

    def start(self) -> bytes:
        """The StartupMessage."""
        who = self._identity
        own = {"user": who.user, "database": who.database}
        return build.startup((3, self.minor), {**who.parameters, **own})

    def receive(self, data: bytes) -> bytes:
        """Take what has arrived; returns what to send. A ProtocolError (see above) ends the login."""
        self._buffer += data
        sent = bytearray()
        while not self.ready and self.derivation is None:
            message = self._message()
            if message is None:
                break
            sent += self._read(*message)
        return bytes(sent)

    def derived(self, keys: Keys) -> bytes:
        """Go on with the keys for ``derivation``; returns what to send."""
        self.derivation = None
        self._state = _State.PROOF
        return build.sasl_response(self._scram().final(keys)) + self.receive(b"")

    def _message(self) -> tuple[int, bytes] | None:
        if len(self._buffer) < 5:
            return None
        length = int.from_bytes(self._buffer[1:5], "big")
        if not 4 <= length <= MESSAGE_LIMIT:
            raise RemoteProtocolError("the server sent a message of an impossible length during login")
        if len(self._buffer) <= length:
            return None
        self._total += length
        if self._total > TOTAL_LIMIT:
            raise RemoteProtocolError("the server sent too much during login")
        tag, body = self._buffer[0], bytes(self._buffer[5 : length + 1])
        del self._buffer[: length + 1]
        return tag, body

    def _read(self, tag: int, body: bytes) -> bytes:
        state = self._state
        if tag == tags.ERROR_RESPONSE:
            raise ServerRefused(_fields(body), authenticated=state is _State.GREETING)
        if tag == tags.NOTICE_RESPONSE:
            return b""
        if tag == tags.NEGOTIATE_VERSION and state is _State.STARTUP and not self._negotiated:
            self._negotiate(backend.parse(tag, body))
            return b""
        if tag == tags.AUTHENTICATION and state is not _State.GREETING:
            return self._authentication(backend.parse(tag, body))
        if state is _State.GREETING:
            self._greeting(tag, body)
            return b""
        raise RemoteProtocolError(f"the server sent a message of type {tag} during login")

    def _negotiate(self, message: Any) -> None:
        if message.major != 3 or message.minor > self.minor or message.unknown_options:
            raise RemoteProtocolError("the server negotiates a protocol version that we did not ask for")
        self._negotiated = True
        self.minor = int(message.minor)

    def _greeting(self, tag: int, body: bytes) -> None:
        message = backend.parse(tag, body)
        if tag == tags.PARAMETER_STATUS:
            self.parameters[_decode(message.name)] = _decode(message.value)
        elif tag == tags.BACKEND_KEY_DATA:
            if self.minor < MINOR and len(message.key) != _CANCEL_KEY_BEFORE_3_2:
                raise RemoteProtocolError("the server sent a long cancel key in a version that has none")
            self.pid, self.key = int(message.pid), bytes(message.key)
        elif tag == tags.READY_FOR_QUERY and message.status == ord("I"):
            self._state = _State.READY
        else:
            raise RemoteProtocolError(f"the server sent a message of type {tag} behind the login")

    # Proofs

    def _authentication(self, request: Any) -> bytes:
        code = int(request.code)
        state = self._state
        if code == 0 and state in (_State.STARTUP, _State.ANSWERED):
            self._state = _State.GREETING
            return b""
        if code == 3 and state is _State.STARTUP:
            self._state = _State.ANSWERED
            return build.password(self._password("its password in clear text"))
        if code == 5 and state is _State.STARTUP:
            self._state = _State.ANSWERED
            return build.password(md5_response(self._md5(), bytes(request.salt)))
        if code == 10 and state is _State.STARTUP:
            return self._sasl([bytes(name) for name in request.mechanisms])
        if code == 11 and state is _State.CHALLENGE:
            return self._challenged(self._scram().challenge(bytes(request.data)))
        if code == 12 and state is _State.PROOF:
            try:
                self._scram().verify(bytes(request.data))
            except WrongPassword:
                raise RemoteProtocolError("the server does not know the password that it asked for") from None
            self._state = _State.ANSWERED
            return b""
        if code in (0, 3, 5, 10, 11, 12):
            raise RemoteProtocolError("the server sent authentication messages out of order")
        raise CannotProve(f"the server asks for authentication method {code}, which is not supported")

    def _sasl(self, offered: list[bytes]) -> bytes:
        endpoint = None
        mechanism = scram.SCRAM
        if scram.SCRAM_PLUS.encode() in offered:
            if not self._channel.tls:
                raise RemoteProtocolError("the server offers channel binding on a connection without TLS")
            if self._channel.endpoint is not None:
                endpoint, mechanism = self._channel.endpoint, scram.SCRAM_PLUS
        if mechanism.encode() not in offered:
            raise CannotProve("the server offers no SASL mechanism that is supported")
        if not isinstance(self._identity.secret, Keyed):
            self._password("SCRAM")
        # We could have bound but were not offered to: the flag tells the server, which knows whether it did.
        unoffered = self._channel.endpoint is not None and endpoint is None
        self._exchange = ClientExchange(scram.nonce(self._random), endpoint=endpoint, unoffered=unoffered)
        self._state = _State.CHALLENGE
        return build.sasl_initial(mechanism, self._exchange.first())

    def _challenged(self, challenge: Challenge) -> bytes:
        secret = self._identity.secret
        if not isinstance(secret, Keyed):
            self.derivation = Derivation(self._password("SCRAM"), challenge.salt, challenge.iterations)
            return b""
        verifier = secret.verifier
        if (challenge.salt, challenge.iterations) != (verifier.salt, verifier.iterations):
            raise CannotProve(
                "the server keeps another SCRAM secret of this user than we do: same password or not, salt and"
                " iterations differ, and then what the client showed us is no proof there"
            )
        self._state = _State.PROOF
        return build.sasl_response(self._scram().final(Keys(secret.client_key, verifier.server_key)))

    def _scram(self) -> ClientExchange:
        if self._exchange is None:
            raise RemoteProtocolError("the server sent authentication messages out of order")
        return self._exchange

    def _password(self, what: str) -> str:
        match self._identity.secret:
            case Plain(password) if password:
                return password
            case None:
                raise CannotProve("the server asks for a password and none is configured")
            case Scram():
                raise CannotProve(
                    f"the server asks for {what}, but of this user only a SCRAM secret is known,"
                    " and no client has logged in with SCRAM yet"
                )
            case _:
                raise CannotProve(f"the server asks for {what}, but the configured secret is not the password itself")

    def _md5(self) -> str:
        secret = self._identity.secret
        if isinstance(secret, Md5):
            return secret.hash
        return md5_hash(self._password("MD5"), self._identity.user)


def _fields(body: bytes) -> dict[str, str]:
    # An error that is itself malformed still ends the login; what cannot be read of it is left out.
    try:
        report = backend.parse(tags.ERROR_RESPONSE, body).fields
    except RemoteProtocolError:
        return {}
    return {chr(code): _decode(value) for code, value in report}


def _sqlstate(code: str) -> str:
    if len(code) == 5 and code.isascii() and code.isalnum():
        return code
    return "08P01"


def _decode(text: bytes) -> str:
    # The encoding is the server's choice until client_encoding is settled; what matters is ASCII in all.
    return bytes(text).decode("utf-8", "replace")
