"""Where a server is and how to get into it: libpq's connection URL or `key=value` string, as a value.

The text holds a password, so no error ever repeats a part of it that could be one: a password with an
unescaped "/" or "@" moves everything behind it into another part. Errors name the part and the rule only.
What libpq offers and Forebay does not is refused by name, except where the wish is granted anyway.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import SecretStr

if TYPE_CHECKING:
    from collections.abc import Mapping

SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SSL_NEGOTIATIONS: Final = ("postgres", "direct")
SESSION_ATTRS: Final = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
BALANCES: Final = ("disable", "random")
URL_FORM: Final = "postgresql://user:password@host:port/database?sslmode=prefer"

_KNOWN: Final = (
    *("host", "port", "user", "password", "dbname", "application_name", "options", "connect_timeout"),
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslnegotiation"),
    *("target_session_attrs", "load_balance_hosts"),
)
# libpq keywords whose listed values ask for nothing that Forebay would not do.
_GRANTED: Final[Mapping[str, tuple[str, ...]]] = {
    "channel_binding": ("disable", "prefer"),
    "gssencmode": ("disable", "prefer"),
}
_PAIR: Final = re.compile(r"\s*([A-Za-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)+)|(?=\s|$))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """PostgreSQL servers to choose from, a login, perhaps a database. Its repr and text never show the password."""

    host: str = "localhost"  # a name or address; a directory (starts with "/") means a unix socket in it
    port: int = 5432
    user: str | None = None  # None: the user that the client logged in as
    password: SecretStr | None = None
    database: str | None = None  # None: the database that the client asked for
    sslmode: str = "prefer"
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None
    sslnegotiation: str = "postgres"
    application_name: str | None = None
    options: str | None = None
    connect_timeout: float | None = None  # seconds for each host; None: pool.connect_timeout
    others: tuple[tuple[str, int], ...] = ()  # further hosts, with their ports
    target_session_attrs: str = "any"
    load_balance_hosts: str = "disable"

    def __str__(self) -> str:
        """The URL without its password, for logs and `SHOW`."""
        place = ",".join(f"{_shown(host)}:{port}" for host, port in self.hosts)
        user = f"{quote(self.user, safe='')}@" if self.user is not None else ""
        database = quote(self.database or "", safe="")
        more = "" if self.target_session_attrs == "any" else f"&target_session_attrs={self.target_session_attrs}"
        return f"postgresql://{user}{place}/{database}?sslmode={self.sslmode}{more}"

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """All hosts with their ports."""
        return ((self.host, self.port), *self.others)

    @property
    def one_history(self) -> bool:
        """Whether all connections see the same commits: one host, or only ever the one that writes."""
        return not self.others or self.target_session_attrs in ("read-write", "primary")

    @property
    def is_unix(self) -> bool:
        """Whether every host is a directory with a unix socket in it."""
        return all(host.startswith("/") for host, _ in self.hosts)


def parse_dsn(text: str) -> ServerUrl:
    """Read a URL or a `key=value` string; ValueError says what is wrong without repeating the text."""
    text = text.strip()
    if not text:
        raise ValueError(f"is empty; must look like {URL_FORM}")
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("holds a control character")
    if text.startswith(("postgresql://", "postgres://")):
        return _build(_url_fields(text))
    if "://" in text or "=" not in text:
        raise ValueError(f"must look like {URL_FORM}")
    return _build(_pair_fields(text))


def _url_fields(text: str) -> dict[str, str]:
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("the host is not well formed (an IPv6 address stands in brackets)") from None
    if parts.fragment or "@" in parts.path:
        raise ValueError("write special characters of a user or password (such as / @ # ?) as %XX")
    fields: dict[str, str] = {}
    login, _, place = parts.netloc.rpartition("@")
    user, colon, password = login.partition(":")
    if user:
        fields["user"] = _decode(user)
    if colon:
        fields["password"] = _decode(password)
    places = [re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::(.*))?", one) for one in place.split(",")]
    found = [one for one in places if one is not None]
    if len(found) < len(places):
        raise ValueError("the host is not well formed (an IPv6 address stands in brackets)")
    if any(one[1] for one in found):
        fields["host"] = ",".join(_decode(one[1].strip("[]")) for one in found)
    if any(one[2] for one in found):
        fields["port"] = ",".join(one[2] or "" for one in found)
    if parts.path not in {"", "/"}:
        fields["dbname"] = _decode(parts.path[1:])
    try:
        more = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError("what follows the ? must be name=value&name=value") from None
    for name, value in more:
        jdbc = (name, value) == ("ssl", "true")  # libpq reads this JDBC spelling too
        fields["sslmode" if jdbc else name] = "require" if jdbc else value
    return fields


def _decode(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError("a % must be followed by two hexadecimal digits (write % itself as %25)")
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("the %XX codes must be UTF-8") from None
    if "\0" in decoded:
        raise ValueError("holds a zero byte")
    return decoded


def _pair_fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _PAIR.match(text, at)
        if found is None:
            raise ValueError("must be name=value pairs with spaces between them, values with spaces in single quotes")
        value = found[2] if found[2] is not None else found[3] or ""
        fields[found[1]] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        at = found.end()
        if at < len(text) and not text[at].isspace():
            raise ValueError("must be name=value pairs with spaces between them, values with spaces in single quotes")
    return fields


def _build(fields: dict[str, str]) -> ServerUrl:
    for name, value in fields.items():
        _check_name(name, value)
    password = fields.get("password")
    hosts = _hosts(fields.get("host") or "", fields.get("port") or "")
    return ServerUrl(
        host=hosts[0][0],
        port=hosts[0][1],
        others=tuple(hosts[1:]),
        user=fields.get("user") or None,
        password=SecretStr(password) if password else None,
        database=fields.get("dbname") or None,
        sslmode=_choice("sslmode", fields.get("sslmode") or "prefer", SSL_MODES),
        sslrootcert=fields.get("sslrootcert") or None,
        sslcert=fields.get("sslcert") or None,
        sslkey=fields.get("sslkey") or None,
        sslnegotiation=_choice("sslnegotiation", fields.get("sslnegotiation") or "postgres", SSL_NEGOTIATIONS),
        application_name=fields.get("application_name") or None,
        options=fields.get("options") or None,
        connect_timeout=_timeout(fields.get("connect_timeout") or "0"),
        target_session_attrs=_choice(
            "target_session_attrs", fields.get("target_session_attrs") or "any", SESSION_ATTRS
        ),
        load_balance_hosts=_choice("load_balance_hosts", fields.get("load_balance_hosts") or "disable", BALANCES),
    )


def _hosts(host: str, port: str) -> list[tuple[str, int]]:
    hosts = [name or "localhost" for name in host.split(",")]
    if any(char.isspace() for char in host) or any("/" in name and not name.startswith("/") for name in hosts):
        raise ValueError("the host is not well formed")
    ports = [_port(number or "5432") for number in port.split(",")]
    if len(ports) not in (1, len(hosts)):
        raise ValueError("there must be one port, or one for each host")
    return list(zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=True))


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else quote(host, safe="")


def _check_name(name: str, value: str) -> None:
    granted = _GRANTED.get(name)
    if granted is not None:
        if value not in granted:
            raise ValueError(f"{name} can only be {' or '.join(granted)} in this version")
    elif name not in _KNOWN:
        near = difflib.get_close_matches(name, _KNOWN, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(_KNOWN)}"
        raise ValueError(f"a connection parameter is not known: {hint}")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 65535):
        raise ValueError("the port must be a number from 1 to 65535 (write / @ : of a user or password as %XX)")
    return int(text)


def _timeout(text: str) -> float | None:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("connect_timeout must be a whole number of seconds")
    return float(text[:9]) or None


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}")
    return value
