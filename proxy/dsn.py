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
URL_FORM: Final = "postgresql://user:password@host:port/database?sslmode=prefer"

_KNOWN: Final = (
    *("host", "port", "user", "password", "dbname", "application_name", "options", "connect_timeout"),
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslnegotiation"),
)
# libpq keywords whose listed values ask for nothing that Forebay would not do.
_GRANTED: Final[Mapping[str, tuple[str, ...]]] = {
    "channel_binding": ("disable", "prefer"),
    "gssencmode": ("disable", "prefer"),
    "load_balance_hosts": ("disable",),
    "target_session_attrs": ("any",),
}
_PAIR: Final = re.compile(r"\s*([A-Za-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)+)|(?=\s|$))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """One PostgreSQL server, a login, perhaps a database. Its repr and text never show the password."""

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
    connect_timeout: float | None = None  # seconds; None: pool.connect_timeout

    def __str__(self) -> str:
        """The URL without its password, for logs and `SHOW`."""
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        user = f"{quote(self.user, safe='')}@" if self.user is not None else ""
        database = quote(self.database or "", safe="")
        return f"postgresql://{user}{host}:{self.port}/{database}?sslmode={self.sslmode}"

    @property
    def is_unix(self) -> bool:
        """Whether the server is reached through a unix socket in the directory `host`."""
        return self.host.startswith("/")


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
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::(.*))?", place)
    if found is None:
        raise ValueError("the host is not well formed (an IPv6 address stands in brackets)")
    if found[1]:
        fields["host"] = _decode(found[1].strip("[]"))
    if found[2]:
        fields["port"] = found[2]
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
    host = fields.get("host") or "localhost"
    if "," in host:
        raise ValueError("several hosts in one URL are not available in this version")
    if any(char.isspace() for char in host) or ("/" in host and not host.startswith("/")):
        raise ValueError("the host is not well formed")
    return ServerUrl(
        host=host,
        port=_port(fields.get("port") or "5432"),
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
    )


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
