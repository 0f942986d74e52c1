"""`forebay check`: tries every server that the configuration names, and says which guarantees hold.

Only what was seen or follows from the configuration is said. A server that cannot be tried (no user of its
own in the url) is named as such instead of passed over.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import asyncpg

from proxy.access import UNUSABLE, Access
from proxy.logs import escape
from proxy.problems import ConfigError, Problem
from proxy.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config import Config
    from proxy.dsn import ServerUrl

_LOOK: Final = """
select current_setting('server_version') as version,
       pg_is_in_recovery() as replica,
       current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int as places,
       coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false) as tls
"""
_DEFAULT_TIMEOUT: Final = 15.0
_ANY_DATABASE: Final = "postgres"  # tried when the url leaves the database to the client


@dataclass(frozen=True, slots=True)
class Seen:
    """What a server said of itself."""

    version: str
    replica: bool
    places: int
    tls: bool


async def run(config: Config, say: Callable[[str], None]) -> int:
    """Check everything and say it line by line; 0 when every server that could be tried answered, else 1.

    ConfigError when a file that the configuration names cannot be used.
    """
    try:
        Access(config)
    except UNUSABLE as error:
        raise ConfigError([Problem("configuration", str(error))]) from error
    say("configuration: valid")
    say(f"listen: {', '.join(map(str, config.listen))}; http: {config.http or 'off'}")
    failed = False
    replicas: list[str] = []
    for name, entry in config.databases.items():
        where = f"databases.{name}: {entry.url}"
        if entry.url.user is None:
            say(escape(f"{where}: not tried, as the url names no user"))
            continue
        found = await look(entry.url, config.pool.connect_timeout or _DEFAULT_TIMEOUT)
        if isinstance(found, str):
            failed = True
            say(escape(f"{where}: FAILED: {found}"))
            continue
        say(escape(f"{where}: {_told(found)}"))
        if found.replica:
            replicas.append(name)
        size = config.pool_of(name).size + config.pool_of(name).reserve_size
        if size > found.places:
            say(f"  warning: one pool may open {size} connections, the server has room for {found.places}")
    for line in guarantees(config, replicas):
        say(escape(line))
    return 1 if failed else 0


async def look(url: ServerUrl, timeout: float) -> Seen | str:
    """Log in to a server and ask what it is; a text says why that failed."""
    try:
        connection: Any = await asyncpg.connect(
            _dsn(url),
            password=url.password.get_secret_value() if url.password else None,
            direct_tls=url.sslnegotiation == "direct",
            timeout=url.connect_timeout or timeout,
            statement_cache_size=0,
        )
    except TimeoutError:
        return f"no answer within {format_duration(url.connect_timeout or timeout)}"
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return _reason(error)
    try:
        row = await connection.fetchrow(_LOOK)
        return Seen(row["version"], row["replica"], row["places"], row["tls"])
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return _reason(error)
    finally:
        connection.terminate()


def guarantees(config: Config, replicas: list[str]) -> list[str]:
    """What Forebay promises under this configuration, one line each."""
    lines = [f"pooling: {config.pool.mode} mode, {config.pool.size} connections for each database and user"]
    cache = config.cache
    ttl = format_duration(cache.ttl)
    if cache.mode == "off":
        return [*lines, "cache: off; every answer comes from the server"]
    lines.append(
        f"cache: {cache.consistency}, one process, memory store of {format_size(cache.memory)};"
        " no answer is older than the last write acknowledged through this Forebay"
    )
    lines.append(f"cache: writes that bypass Forebay are bounded by ttl {ttl}")
    lines += [
        f"cache: databases.{name} is a replica: its writes come past Forebay, so they count as such"
        for name in replicas
    ]
    return lines


def _reason(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    return (os.strerror(number) if number else str(error)) or type(error).__name__


def _told(found: Seen) -> str:
    role = "replica" if found.replica else "primary"
    return f"PostgreSQL {found.version}, {role}, TLS {'on' if found.tls else 'off'}"


def _dsn(url: ServerUrl) -> str:
    """The url as asyncpg reads it, without the password."""
    options = {
        "host": ",".join(host for host, _ in url.hosts),
        "port": ",".join(str(port) for _, port in url.hosts),
        "target_session_attrs": url.target_session_attrs,
        "user": url.user,
        "database": url.database or _ANY_DATABASE,
        "sslmode": url.sslmode,
        "sslrootcert": url.sslrootcert,
        "sslcert": url.sslcert,
        "sslkey": url.sslkey,
        "application_name": "forebay check",
    }
    return "postgresql://?" + urlencode({k: v for k, v in options.items() if v is not None}, quote_via=quote)
