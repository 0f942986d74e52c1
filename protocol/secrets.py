"""What is known of a user's password, and the answers that follow from it without giving anything away.

A secret is the password itself, PostgreSQL's md5 of password and user name, or a SCRAM verifier: the three
forms of `pg_authid.rolpassword` and of PgBouncer's userlist.

A user without a secret must look like one with a wrong password. So he gets a verifier that nobody can
satisfy, and always the same one: its salt is derived from his name by a key of this process. Salts for
plain passwords are derived in the same way, so that it does not show either whether a name is known in one
database only. An empty password is no password: it fits nobody, as in PostgreSQL.

Deriving a verifier costs a millisecond or more; `Verifiers` does it once for a user and password, not once
a login."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from protocol import scram
from protocol.scram import Verifier

_MD5: Final = re.compile(r"md5[0-9a-f]{32}")
_VERIFIER: Final = re.compile(
    r"SCRAM-SHA-256\$([1-9][0-9]{0,9}):([A-Za-z0-9+/]+=*)\$([A-Za-z0-9+/]{43}=):([A-Za-z0-9+/]{43}=)"
)
_SALT_LENGTH: Final = 16
_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Plain:
    """The password itself."""

    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Md5:
    """``md5`` and 32 hexadecimal digits: the MD5 of password and user name."""

    hash: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Scram:
    """A SCRAM-SHA-256 verifier."""

    verifier: Verifier = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keyed:
    """A verifier, and the key that a client's proof revealed: enough to log in wherever the verifier is the same.

    A verifier alone checks proofs and makes none. But a proof is the client's key, masked with what the verifier
    knows; whoever checks it has that key from then on. It fits servers that keep the same salt and iterations.
    """

    verifier: Verifier = field(repr=False)
    client_key: bytes = field(repr=False)


Secret = Plain | Md5 | Scram | Keyed


def parse_secret(text: str) -> Secret:
    """Tell the three forms apart as PostgreSQL does: neither hash nor verifier means a password."""
    if _MD5.fullmatch(text):
        return Md5(text)
    if found := _VERIFIER.fullmatch(text):
        try:
            salt, stored, server = (b64decode(part, validate=True) for part in found.groups()[1:])
        except ValueError:
            return Plain(text)
        return Scram(Verifier(int(found[1]), salt, stored, server))
    return Plain(text)


def md5_hash(password: str, user: str) -> str:
    """What PostgreSQL stores for password_encryption = md5."""
    return "md5" + _md5(password.encode() + user.encode())


def md5_response(stored: str, salt: bytes) -> str:
    """The answer to AuthenticationMD5Password, from the stored form."""
    return "md5" + _md5(stored[3:].encode() + salt)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class Verifiers:
    """Checks passwords, and keeps what is expensive to derive. ``key``: random, secret to this process."""

    def __init__(self, key: bytes, kept: int = _KEPT) -> None:
        self._key = key
        self._kept = kept
        self._verifiers: OrderedDict[tuple[str, str], Verifier] = OrderedDict()
        self._proved: OrderedDict[bytes, None] = OrderedDict()

    def verifier(self, user: str, secret: Secret | None) -> Verifier:
        """What a SCRAM exchange is held against; md5 and no secret give one that never fits."""
        match secret:
            case Scram(verifier) | Keyed(verifier):
                return verifier
            case Plain(password) if password:
                return self._derived(user, password)
            case _:
                return self._unsatisfiable(user)

    def md5(self, user: str, secret: Secret | None) -> str:
        """The stored form that an MD5 response is held against; no secret gives one that never fits."""
        match secret:
            case Md5(stored):
                return stored
            case Plain(password) if password:
                return md5_hash(password, user)
            case _:
                return "md5" + self._tag(b"md5", user)[:16].hex()

    def is_password(self, user: str, secret: Secret | None, password: str) -> bool:
        """Whether a password sent in clear text is the right one."""
        match secret:
            case Scram(verifier) | Keyed(verifier):
                return self._fits(verifier, password)
            case Plain(known) if known:
                return hmac.compare_digest(password.encode(), known.encode())
            case _:
                return hmac.compare_digest(md5_hash(password, user), self.md5(user, secret))

    def _derived(self, user: str, password: str) -> Verifier:
        verifier = self._verifiers.get((user, password))
        if verifier is None:
            salt = self._tag(b"salt", user)[:_SALT_LENGTH]
            verifier = scram.derive(password, salt, scram.ITERATIONS).verifier(salt, scram.ITERATIONS)
            self._verifiers[user, password] = verifier
            if len(self._verifiers) > self._kept:
                self._verifiers.popitem(last=False)
        return verifier

    def _unsatisfiable(self, user: str) -> Verifier:
        salt = self._tag(b"salt", user)[:_SALT_LENGTH]
        return Verifier(scram.ITERATIONS, salt, self._tag(b"stored", user), self._tag(b"server", user))

    def _fits(self, verifier: Verifier, password: str) -> bool:
        # A password that fitted is known again by a keyed hash, which costs a thousandth.
        seen = self._tag(b"proved" + verifier.stored_key, password)
        if seen in self._proved:
            return True
        keys = scram.derive(password, verifier.salt, verifier.iterations)
        fits = hmac.compare_digest(hashlib.sha256(keys.client_key).digest(), verifier.stored_key)
        if fits:
            self._proved[seen] = None
            if len(self._proved) > self._kept:
                self._proved.popitem(last=False)
        return fits

    def _tag(self, purpose: bytes, text: str) -> bytes:
        return hmac.digest(self._key, purpose + b"\0" + text.encode(), "sha256")
