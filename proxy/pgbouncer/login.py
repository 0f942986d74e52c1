"""How clients log in: auth_type and its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.pgbouncer.parse import Entry, beside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.pgbouncer.values import Translation

METHODS: Final = {"trust": "trust", "plain": "password", "md5": "md5", "scram-sha-256": "scram-sha-256"}
SAFE: Final = "scram-sha-256"

_ABSENT: Final = {
    "any": f'no equivalent: clients must log in; auth.method is "{SAFE}"',
    "ldap": f'no equivalent: auth.method is "{SAFE}"; clients need a secret in auth.users_file',
    "pam": f'no equivalent: auth.method is "{SAFE}"; clients need a secret in auth.users_file',
    "cert": f'client certificates as the way to log in are not available in this version; auth.method is "{SAFE}"',
    "hba": f'an HBA file is not available in this version; auth.method is "{SAFE}" for everybody',
}
_NOT_YET: Final = ("auth_hba_file", "auth_ident_file", "auth_user", "auth_query", "auth_dbname")


def translate_login(entries: Mapping[str, Entry], file: Path, into: Translation) -> None:
    """The auth_ settings of [pgbouncer], which stood in ``file``."""
    kind = entries.get("auth_type", Entry("auth_type", "md5", ""))
    method = METHODS.get(kind.value.lower())
    if method is None:
        text = _ABSENT.get(kind.value.lower(), f'is no auth_type that is known; auth.method is "{SAFE}"')
        into.remark(kind.place, kind.name, text)
    into.say("auth.method", method or SAFE, kind.name if kind.place else "PgBouncer's default")
    if "auth_file" in entries and entries["auth_file"].value:
        into.say("auth.users_file", into.path(beside(Path(entries["auth_file"].value), file)), "auth_file")
    for name in _NOT_YET:
        if name in entries and entries[name].value:
            into.remark(entries[name].place, name, "no equivalent in this version")
