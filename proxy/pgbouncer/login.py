"""How clients log in: auth_type and its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.pgbouncer.parse import Entry, beside, read_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.pgbouncer.values import Translation

METHODS: Final = {
    "trust": "trust",
    "plain": "password",
    "md5": "md5",
    "scram-sha-256": "scram-sha-256",
    "cert": "cert",
}
HBA: Final = {"auth_hba_file": "auth.hba_file", "auth_ident_file": "auth.ident_file"}
SAFE: Final = "scram-sha-256"

_ABSENT: Final = {
    "any": f'no equivalent: clients must log in; auth.method is "{SAFE}"',
    "ldap": f'no equivalent: auth.method is "{SAFE}"; clients need a secret in auth.users_file',
    "pam": f'no equivalent: auth.method is "{SAFE}"; clients need a secret in auth.users_file',
}
QUERY: Final = {"auth_user": "query_user", "auth_query": "query", "auth_dbname": "query_database"}
FIXED_PATH: Final = "runs with search_path = pg_catalog here: write the schema before a function of yours"


def translate_login(
    entries: Mapping[str, Entry], databases: Mapping[str, Entry], file: Path, into: Translation
) -> None:
    """The auth_ settings of [pgbouncer], which stood in ``file``."""
    kind = entries.get("auth_type", Entry("auth_type", "md5", ""))
    method = METHODS.get(kind.value.lower())
    by_file = kind.value.lower() == "hba" and bool(_value(entries, "auth_hba_file"))
    if method is None and not by_file:
        text = _ABSENT.get(kind.value.lower(), f'is no auth_type that is known; auth.method is "{SAFE}"')
        into.remark(kind.place, kind.name, text)
    if not by_file:
        into.say("auth.method", method or SAFE, kind.name if kind.place else "PgBouncer's default")
    for name, key in HBA.items():
        if _value(entries, name) and by_file:
            into.say(key, into.path(beside(Path(entries[name].value), file)), name)
        elif _value(entries, name):
            into.remark(entries[name].place, name, "is left out: it has no effect without auth_type = hba")
    if "auth_file" in entries and entries["auth_file"].value:
        into.say("auth.users_file", into.path(beside(Path(entries["auth_file"].value), file)), "auth_file")
    asked = any(_says_auth_user(entry) for entry in databases.values()) or bool(_value(entries, "auth_user"))
    for name, key in QUERY.items():
        if name not in entries or not entries[name].value:
            continue
        if asked:
            into.say(f"auth.{key}", entries[name].value, name)
            if name == "auth_query":
                into.remark(entries[name].place, name, FIXED_PATH)
        else:
            into.remark(entries[name].place, name, "is left out: without auth_user nothing is asked")


def _value(entries: Mapping[str, Entry], name: str) -> str:
    return entries[name].value if name in entries else ""


def _says_auth_user(entry: Entry) -> bool:
    try:
        return bool(read_pairs(entry.value).get("auth_user"))
    except ValueError:
        return False
