"""SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL speaks it, for both sides of the exchange.

    client                                      server
    gs2 header, n=, r=<client nonce>       ->
                                           <-   r=<client nonce><server nonce>, s=<salt>, i=<iterations>
    c=<gs2 header, binding>, r=, p=<proof> ->
                                           <-   v=<server signature>

The salted password is expensive (PBKDF2) and depends on password, salt and iterations alone; everything of
one exchange is a few HMACs over the messages exchanged. So a *verifier* (what a server keeps) and *keys*
(what a client derives) are values that are computed once and kept by the caller; no exchange computes them.

The messages are ours and not scramp's, because libpq leaves the user name empty (``n=,``) and PostgreSQL
allows fewer than 4096 iterations; scramp refuses both. Its SASLprep and its certificate hashes are used,
and the tests hold our exchanges against its.

A peer's numbers are bounded before they cost anything: nonces, salts, iterations.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from scramp import ScramException
from scramp.core import CBindData
from scramp.utils import saslprep

from protocol.errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

SCRAM: Final = "SCRAM-SHA-256"
SCRAM_PLUS: Final = "SCRAM-SHA-256-PLUS"
ITERATIONS: Final = 4096
MAX_ITERATIONS: Final = 1_000_000  # a third of a second of one core; PostgreSQL's default is 4096
KEY_LENGTH: Final = 32

_NONCE_BYTES: Final = 18
_MAX_NONCE: Final = 1024
_MAX_SALT: Final = 1024
_BINDING: Final = "p=tls-server-end-point"


class WrongPassword(Exception):
    """The exchange was well formed and proved that the peer does not know the password."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """What a server keeps instead of the password: enough to check a proof, not to make one."""

    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """What a client derives from its password for one salt and number of iterations."""

    client_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def verifier(self, salt: bytes, iterations: int) -> Verifier:
        """The server's half of the same password."""
        return Verifier(iterations, salt, hashlib.sha256(self.client_key).digest(), self.server_key)


def derive(password: str, salt: bytes, iterations: int) -> Keys:
    """Derive the keys from a password: about 0.4 ms for each 1000 iterations; other threads run meanwhile."""
    salted = hashlib.pbkdf2_hmac("sha256", prepare(password), salt, iterations)
    return Keys(_mac(salted, b"Client Key"), _mac(salted, b"Server Key"))


def prepare(password: str) -> bytes:
    """Normalise by SASLprep; a password that it prohibits is taken as it is, as PostgreSQL does."""
    try:
        return (saslprep(password) or password).encode()
    except ScramException:
        return password.encode()


def endpoint_hash(certificate: bytes) -> bytes | None:
    """The channel binding tls-server-end-point of a DER certificate; None when RFC 5929 defines none."""
    try:
        return bytes(CBindData.from_der(certificate))
    except (ScramException, ValueError, TypeError):
        return None


def nonce(random: Callable[[int], bytes]) -> str:
    """One side's half of a nonce, from ``random(n)`` bytes."""
    return b64encode(random(_NONCE_BYTES)).decode()


class ServerExchange:
    """The server's side of one login. ``endpoint`` is our certificate's hash when the mechanism was -PLUS."""

    def __init__(self, verifier: Verifier, nonce: str, *, plus: bool, endpoint: bytes | None) -> None:
        self._verifier = verifier
        self._nonce = nonce
        self._plus = plus
        self._endpoint = endpoint  # None: we did not offer -PLUS
        self._header = ""
        self._bare = ""
        self._first = ""
        self.client_key: bytes | None = None  # what the proof revealed, once it is right: see Keys

    def first(self, data: bytes) -> bytes:
        """Answer the client's first message; RemoteProtocolError when it is malformed."""
        flag, _, rest = _text(data).partition(",")
        authorization, comma, bare = rest.partition(",")
        if not comma:
            raise _malformed()
        if authorization:
            raise RemoteProtocolError("client uses authorization identity, but it is not supported", "0A000")
        self._check_flag(flag)
        self._header = f"{flag},,"
        self._bare = bare
        if bare.startswith("m="):
            raise RemoteProtocolError("client requires an unsupported SCRAM extension", "0A000")
        attributes = bare.split(",")
        if len(attributes) < 2 or not attributes[0].startswith("n=") or not attributes[1].startswith("r="):
            raise _malformed()
        self._nonce = _checked_nonce(attributes[1][2:]) + self._nonce
        salt = b64encode(self._verifier.salt).decode()
        self._first = f"r={self._nonce},s={salt},i={self._verifier.iterations}"
        return self._first.encode()

    def _check_flag(self, flag: str) -> None:
        if self._plus:
            if flag != _BINDING:
                raise _malformed()
        elif flag == "y" and self._endpoint is not None:
            # The client saw no offer of -PLUS although we made one: somebody in between removed it.
            raise RemoteProtocolError("SCRAM channel binding negotiation error")
        elif flag not in ("n", "y"):
            raise _malformed()

    def final(self, data: bytes) -> bytes:
        """Check the client's proof and answer with ours; WrongPassword or RemoteProtocolError."""
        text = _text(data)
        unproved, comma, proof_text = text.rpartition(",p=")
        attributes = unproved.split(",")
        if not comma or len(attributes) < 2:
            raise _malformed()
        binding = self._header.encode() + (self._endpoint or b"" if self._plus else b"")
        if attributes[0] != f"c={b64encode(binding).decode()}":
            raise RemoteProtocolError("SCRAM channel binding check failed")
        if attributes[1] != f"r={self._nonce}":
            raise RemoteProtocolError("invalid SCRAM response: nonce does not match")
        proof = _base64(proof_text)
        if len(proof) != KEY_LENGTH:
            raise _malformed()
        message = f"{self._bare},{self._first},{unproved}".encode()
        client_key = _xor(proof, _mac(self._verifier.stored_key, message))
        if not hmac.compare_digest(hashlib.sha256(client_key).digest(), self._verifier.stored_key):
            raise WrongPassword
        self.client_key = client_key
        return b"v=" + b64encode(_mac(self._verifier.server_key, message))


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the keys must be derived with."""

    salt: bytes
    iterations: int


class ClientExchange:
    """The client's side of one login. ``endpoint`` is the server certificate's hash, None without -PLUS.

    ``unoffered``: we could bind but the server did not offer it; the flag lets it notice a downgrade.
    """

    def __init__(self, nonce: str, *, endpoint: bytes | None, unoffered: bool) -> None:
        self._nonce = nonce
        self._endpoint = endpoint
        self._header = (_BINDING if endpoint is not None else "y" if unoffered else "n") + ",,"
        self._bare = f"n=,r={nonce}"
        self._challenge = ""
        self._signature = b""

    def first(self) -> bytes:
        """The first message. The user's name is empty: the server takes the StartupMessage's."""
        return (self._header + self._bare).encode()

    def challenge(self, data: bytes) -> Challenge:
        """Read the server's challenge; RemoteProtocolError when it is malformed or asks for too much."""
        self._challenge = _text(data)
        attributes = self._challenge.split(",")
        if len(attributes) < 3 or [a[:2] for a in attributes[:3]] != ["r=", "s=", "i="]:
            raise _malformed()
        nonce = _checked_nonce(attributes[0][2:])
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise RemoteProtocolError("invalid SCRAM response: nonce does not match")
        self._nonce = nonce
        salt = _base64(attributes[1][2:])
        if not 1 <= len(salt) <= _MAX_SALT:
            raise _malformed()
        return Challenge(salt, _checked_iterations(attributes[2][2:]))

    def final(self, keys: Keys) -> bytes:
        """The proof that we know the password."""
        binding = b64encode(self._header.encode() + (self._endpoint or b"")).decode()
        unproved = f"c={binding},r={self._nonce}"
        message = f"{self._bare},{self._challenge},{unproved}".encode()
        stored_key = hashlib.sha256(keys.client_key).digest()
        proof = b64encode(_xor(keys.client_key, _mac(stored_key, message))).decode()
        self._signature = _mac(keys.server_key, message)
        return f"{unproved},p={proof}".encode()

    def verify(self, data: bytes) -> None:
        """Check the server's proof: WrongPassword when it does not know the password either."""
        text = _text(data)
        if text.startswith("e="):
            raise RemoteProtocolError("the server ended the SCRAM exchange with an error")
        if not text.startswith("v="):
            raise _malformed()
        if not hmac.compare_digest(_base64(text[2:].partition(",")[0]), self._signature):
            raise WrongPassword


def _text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise _malformed() from None
    if "\0" in text:
        raise _malformed()
    return text


def _checked_nonce(nonce: str) -> str:
    if not 1 <= len(nonce) <= _MAX_NONCE or not all("!" <= char <= "~" for char in nonce):
        raise _malformed()
    return nonce


def _checked_iterations(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or int(text) < 1:
        raise _malformed()
    if int(text) > MAX_ITERATIONS:
        raise RemoteProtocolError(f"the server asks for {text} SCRAM iterations; at most {MAX_ITERATIONS} are done")
    return int(text)


def _base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _malformed() from None


def _malformed() -> RemoteProtocolError:
    return RemoteProtocolError("malformed SCRAM message")


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
