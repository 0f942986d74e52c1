"""Who may come in, and what each must show: the words in which accept.py is told.

A *rule* is chosen for each visitor before anything is looked up, so that it cannot depend on who exists. Under most
rules the visitor then proves to know a secret; under ``CERT`` and ``PEER`` somebody else vouches for a name (whoever
signed the certificate, or this machine's kernel), and the rule says whether that name may be the user.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocol.secrets import Secret, Verifiers


class Method(Enum):
    """How clients prove who they are; the values are those of the configuration and of HBA files."""

    TRUST = "trust"
    PASSWORD = "password"
    MD5 = "md5"
    SCRAM = "scram-sha-256"
    CERT = "cert"
    PEER = "peer"
    REJECT = "reject"


class Certificate(Enum):
    """What else a rule asks for; the values are those of HBA files."""

    NONE = "no-verify"
    SIGNED = "verify-ca"
    OF_USER = "verify-full"


class Later(Enum):
    """What a look-up says when it takes longer: Accept asks for the secret with Verdict.ASK."""

    LATER = "later"


LATER: Final = Later.LATER


def same(system: str, user: str) -> bool:
    """Whether a name is the user's, when no map says otherwise."""
    return system == user


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who wants to come in, and from where. ``address`` None: through a unix socket."""

    user: str
    database: str
    address: str | None
    tls: bool
    replication: bool = False  # physical: it names no database

    def __str__(self) -> str:
        place = f'host "{self.address}"' if self.address is not None else 'host "[local]"'
        how = "" if self.address is None else ", TLS" if self.tls else ", no encryption"
        return f'{place}, user "{self.user}", database "{self.database}"{how}'


@dataclass(frozen=True, slots=True)
class Rule:
    """What a visitor must show. ``may_be(name, user)``: whether somebody vouched for by that name may be the user."""

    method: Method
    certificate: Certificate = Certificate.NONE
    may_be: Callable[[str, str], bool] = same


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may come in. ``lookup(user, database)`` gives the secret, None for an unknown user or database, or LATER.

    ``rule`` chooses for each visitor, None refuses; without it ``method`` holds for all. ``unknown_as_scram``: under
    method md5, treat unknown users as if they had a SCRAM secret. Right when most users have one; else they differ
    from the unknown ones in the kind of challenge. ``listed``: whether a user who is vouched for must be known, too.
    """

    method: Method
    lookup: Callable[[str, str], Secret | Later | None]
    verifiers: Verifiers
    unknown_as_scram: bool = False
    listed: bool = True
    rule: Callable[[Visitor], Rule | None] | None = None

    def rule_of(self, visitor: Visitor) -> Rule | None:
        """What this visitor must show; None: nothing would do."""
        return Rule(self.method) if self.rule is None else self.rule(visitor)
