"""A whole pgbouncer.ini in our words.

What PgBouncer does by default and we do not is said in the new file, so that it means the same as the old one.
The cache is off in it, as PgBouncer has none. Nothing that decides who may come in is ever made weaker: what is not
available becomes SCRAM. What cannot be carried over is a remark.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.pgbouncer import settings, values
from proxy.pgbouncer.databases import Common, translate_database
from proxy.pgbouncer.login import translate_login
from proxy.pgbouncer.parse import Entry, beside, read_pairs
from proxy.pgbouncer.values import Translation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.pgbouncer.parse import Ini

SECTIONS: Final = ("pgbouncer", "databases", "users", "peers")

_PORT: Final = "6432"
_DEFAULT: Final = "PgBouncer's default"
_CLIENT_TLS: Final = {
    "client_tls_cert_file": "tls.cert",
    "client_tls_key_file": "tls.key",
    "client_tls_ca_file": "tls.client_ca",
}
_SERVER_TLS: Final = {
    "server_tls_ca_file": "sslrootcert",
    "server_tls_cert_file": "sslcert",
    "server_tls_key_file": "sslkey",
}


def translate(ini: Ini, file: Path, base: Path) -> Translation:
    """Everything that was read from ``file``, for a configuration whose paths are relative to ``base``."""
    into = Translation(base.absolute())
    entries = ini.get("pgbouncer", {})
    _listen(entries, into)
    common = _servers(entries, file, into)
    for entry in ini.get("databases", {}).values():
        translate_database(entry, common, into)
    _simple(entries, into)
    _pool(entries, into)
    translate_login(entries, ini.get("databases", {}), file, into)
    for name, key in _CLIENT_TLS.items():
        if name in entries and entries[name].value:
            into.say(key, into.path(beside(Path(entries[name].value), file)), name)
    into.say("cache.mode", "off", 'PgBouncer has no cache; "auto" turns it on, see docs/caching.md')
    _users(ini.get("users", {}), into)
    for entry in ini.get("peers", {}).values():
        into.remark(entry.place, f"[peers] {entry.name}", f"no equivalent: {settings.NONE['peer_id']}")
    for section in ini:
        if section not in SECTIONS:
            into.remark(file.name, f"[{section}]", "is no section of PgBouncer; left out")
    return into


def _simple(entries: Mapping[str, Entry], into: Translation) -> None:
    silent = {name: Entry(name, value, "") for name, value in settings.DEFAULTS.items() if name not in entries}
    for name, entry in {**silent, **entries}.items():
        if name in settings.EQUIVALENT:
            key, read = settings.EQUIVALENT[name]
            try:
                into.say(key, read(entry.value), name if entry.place else _DEFAULT)
            except ValueError as error:
                into.remark(entry.place, name, f"is left out: {error}")
        elif name in settings.NONE:
            into.remark(entry.place, name, f"no equivalent: {settings.NONE[name]}")
        elif name not in settings.TOGETHER:
            into.remark(entry.place, name, "is no setting of PgBouncer that is known; left out")


def _listen(entries: Mapping[str, Entry], into: Translation) -> None:
    port = entries["listen_port"].value if "listen_port" in entries else _PORT
    places: list[str] = []
    if "listen_addr" in entries:
        for address in values.names(entries["listen_addr"].value):
            places.append(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
            if address == "*":
                text = "only IPv4 addresses: for IPv6, too, put [::] beside it in listen"
                into.remark(entries["listen_addr"].place, "listen_addr = *", text)
    directory = entries["unix_socket_dir"].value if "unix_socket_dir" in entries else "/tmp"
    if directory.startswith("@"):
        text = "no equivalent: sockets in the abstract namespace; use a directory"
        into.remark(entries["unix_socket_dir"].place, "unix_socket_dir", text)
    elif directory:
        places.append(f"unix:{directory}" + (f":{port}" if port != _PORT else ""))
    said = [name for name in ("listen_addr", "listen_port", "unix_socket_dir") if name in entries]
    if places:
        into.say("listen", ", ".join(places), ", ".join(said) or _DEFAULT)


def _servers(entries: Mapping[str, Entry], file: Path, into: Translation) -> Common:
    tls: list[tuple[str, str]] = []
    if "server_tls_sslmode" in entries:
        mode = entries["server_tls_sslmode"]
        try:
            tls.append(("sslmode", settings.tls_mode(mode.value)))
        except ValueError as error:
            tls.append(("sslmode", "verify-full"))
            into.remark(mode.place, mode.name, f"{error}; verify-full is taken")
    for name, word in _SERVER_TLS.items():
        if name in entries and entries[name].value:
            # Not relative to our file: the url is read by itself.
            tls.append((word, str(beside(Path(entries[name].value), file).absolute())))
    directory = entries["unix_socket_dir"].value if "unix_socket_dir" in entries else "/tmp"
    return Common(directory or "/tmp", tuple(tls))


def _pool(entries: Mapping[str, Entry], into: Translation) -> None:
    for name, key in (("server_lifetime", "lifetime"), ("reserve_pool_timeout", "reserve_timeout")):
        _seconds(entries.get(name), f"pool.{key}", into)
    if "server_lifetime" in entries and into.said.get(("pool", "lifetime")) is not None:
        # Connections that began together may end together, as they do there.
        into.say("pool.lifetime_jitter", 0, "server_lifetime")
    if _is_zero(entries.get("server_lifetime")):
        text = "0 (use a connection once) has no equivalent; the default is taken"
        into.remark(entries["server_lifetime"].place, "server_lifetime", text)
        for key in ("lifetime", "lifetime_jitter"):
            into.said.pop(("pool", key), None)
    if _is_zero(entries.get("reserve_pool_timeout")):
        into.said.pop(("pool", "reserve_timeout"), None)
        into.say("pool.reserve_size", 0, "reserve_pool_timeout = 0")
    retry = entries.get("server_login_retry")
    if retry is not None and not _is_zero(retry):
        _seconds(retry, "pool.retry_max", into)
        if ("pool", "retry_max") in into.said and float(retry.value) < 0.1:
            _seconds(retry, "pool.retry_delay", into)
    verbose = entries.get("verbose")
    if verbose is not None and verbose.value.strip() not in ("", "0"):
        into.say("log.level", "debug", "verbose")


def _seconds(entry: Entry | None, key: str, into: Translation) -> None:
    if entry is None:
        return
    try:
        into.say(key, values.seconds(entry.value), entry.name)
    except ValueError as error:
        into.remark(entry.place, entry.name, f"is left out: {error}")


def _is_zero(entry: Entry | None) -> bool:
    return entry is not None and entry.value.strip("0.") == "" and "0" in entry.value


def _users(entries: Mapping[str, Entry], into: Translation) -> None:
    for entry in entries.values():
        try:
            words = read_pairs(entry.value)
        except ValueError as error:
            into.remark(entry.place, f"[users] {entry.name}", f"is left out: {error}")
            continue
        for word in words:
            text = settings.NOT_OF_A_USER.get(word)
            told = f"no equivalent: {text}" if text else "is no setting of a user that is known; left out"
            into.remark(entry.place, f"[users] {entry.name}: {word}", told)
