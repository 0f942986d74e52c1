"""The kinds of value that configuration keys have: how each is read, and what is allowed, in words.

The words serve twice: behind every error about a key, and in the reference page. So they cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from proxy import units
from proxy.dsn import URL_FORM, ServerUrl, parse_dsn

DEFAULT_PORT: Final = 6432
ADDRESS_FORM: Final = '"HOST:PORT" or "unix:/directory" (also "unix:/directory:PORT")'


@dataclass(frozen=True, slots=True)
class Allowed:
    """What values a key takes, as the end of the sentence "must be ..."; `secret` ones are never repeated."""

    text: str
    short: str = ""  # for a page that explains the form elsewhere
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """A place to listen: TCP, or a unix socket whose file has the name that libpq looks for."""

    host: str  # empty for a unix socket
    port: int
    directory: str = ""

    @property
    def is_unix(self) -> bool:
        """Whether this is a unix socket."""
        return bool(self.directory)

    @property
    def socket_path(self) -> str:
        """The socket's file; only for unix sockets."""
        return f"{self.directory.rstrip('/')}/.s.PGSQL.{self.port}"

    def __str__(self) -> str:
        if self.is_unix:
            return f"unix:{self.directory}" + (f":{self.port}" if self.port != DEFAULT_PORT else "")
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: object) -> Address:
    """Read one listening address; ValueError with the allowed form otherwise."""
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise ValueError(f"must be {ADDRESS_FORM}")
    text = value.strip()
    if text.startswith("unix:"):
        return _unix_address(text.removeprefix("unix:"))
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"must be {ADDRESS_FORM}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address must stand in brackets, like [::1]:6432")
    if any(char.isspace() or char in "/@," for char in host):
        raise ValueError(f"must be {ADDRESS_FORM}")
    return Address(host="0.0.0.0" if host in {"", "*"} else host, port=_port(port))


def _unix_address(text: str) -> Address:
    directory, colon, port = text.rpartition(":")
    if not (colon and port.isdigit()):
        directory, port = text, str(DEFAULT_PORT)
    if not directory.startswith("/"):
        raise ValueError('a unix socket needs an absolute directory, like "unix:/run/forebay"')
    address = Address(host="", port=_port(port), directory=directory)
    if len(address.socket_path.encode()) > 107:
        raise ValueError("the unix socket's path is longer than the 107 bytes that the system allows")
    return address


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= 65535):
        raise ValueError("the port must be a number from 0 to 65535 (0 = any free one)")
    return int(text)


def _addresses(value: object) -> tuple[Address, ...]:
    parts = [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not parts:
        raise ValueError(f"must be {ADDRESS_FORM}, several with commas between them")
    return tuple(parse_address(part) for part in parts)


def _address_or_off(value: object) -> Address | None:
    if value is None or value == "":
        return None
    address = parse_address(value)
    if address.is_unix:
        raise ValueError('must be "HOST:PORT", or "" for off')
    return address


def _server_url(value: object) -> ServerUrl:
    if isinstance(value, ServerUrl):
        return value
    if not isinstance(value, str):
        raise ValueError(f"must be a text like {URL_FORM}")
    return parse_dsn(value)


def _whole(value: object) -> int:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value.strip()[:18])
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


def _switch(value: object) -> bool:
    words: dict[object, bool] = {
        "true": True,
        "on": True,
        "yes": True,
        "false": False,
        "off": False,
        "no": False,
    }
    answer = value if isinstance(value, bool) else words.get(value.lower()) if isinstance(value, str) else None
    if answer is None:
        raise ValueError("must be true or false")
    return answer


def _path(value: object) -> Path | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str | Path):
        raise ValueError("must be a path")
    return Path(value)


def _names(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("must be a list of names, or one text with commas between them")
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def absent(what: str) -> PydanticCustomError:
    """The error for what the design has and this version has not."""
    return PydanticCustomError("absent", "{text}", {"text": f"{what} is not available in this version"})


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value


def _name(value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError("must be a name")
    return value


Text = Annotated[str, BeforeValidator(_text), Allowed("a text")]
OptionalName = Annotated[str | None, BeforeValidator(_name), Allowed("a name")]
Duration = Annotated[float, BeforeValidator(units.duration), Allowed(units.DURATION_FORM, "a duration")]
Size = Annotated[int, BeforeValidator(units.size), Allowed(units.SIZE_FORM, "a size")]
Whole = Annotated[int, BeforeValidator(_whole), Allowed("a whole number")]
Switch = Annotated[bool, BeforeValidator(_switch), Allowed("true or false")]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(_addresses), Allowed(ADDRESS_FORM)]
AddressOrOff = Annotated[Address | None, BeforeValidator(_address_or_off), Allowed('"HOST:PORT", or "" for off')]
Url = Annotated[ServerUrl, BeforeValidator(_server_url), Allowed(URL_FORM, secret=True)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names), Allowed("a list of names")]
OptionalPath = Annotated[Path | None, BeforeValidator(_path), Allowed("a path, relative to the configuration file")]
