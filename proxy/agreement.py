"""Keys that only make sense together: what is wrong with a configuration whose every value is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.sections import CONSOLE_NAMES

if TYPE_CHECKING:
    from proxy.sections import Config, Tls


def checks(config: Config) -> list[tuple[str, str]]:
    """(key, what is wrong) for everything that only the keys together can show."""
    found = [*_pool_checks(config), *_tls_checks(config.tls), *_login_checks(config), *_query_checks(config)]
    found += _certificate_checks(config)
    if not config.databases:
        found.append(("databases", "at least one is needed: --url, FOREBAY_URL, or a [databases.NAME] with a url"))
    taken = [name for name in config.databases if name in CONSOLE_NAMES]
    found += [(f"databases.{name}", "the name is taken by the admin console; choose another") for name in taken]
    if config.cache.ttl == 0:
        found.append(("cache.ttl", 'must be longer than 0; cache.mode = "off" turns the cache off'))
    if config.cache.max_entry > config.cache.memory:
        found.append(("cache.max_entry", "must not be larger than cache.memory"))
    if config.cache.probe == 0 and config.cache.mode != "off":
        found.append(("cache.probe", "must be longer than 0 while the cache is on"))
    return found


def _pool_checks(config: Config) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if config.pool.min_size > config.pool.size:
        found.append(("pool.min_size", "must not be larger than pool.size"))
    if config.pool.retry_delay > config.pool.retry_max:
        found.append(("pool.retry_delay", "must not be longer than pool.retry_max"))
    if config.pool.retry_delay == 0:
        found.append(("pool.retry_delay", "must be longer than 0"))
    for name, entry in config.databases.items():
        own = config.pool_of(name)
        if own.min_size > own.size and (entry.min_pool_size, entry.pool_size) != (None, None):
            found.append((f"databases.{name}.min_pool_size", "must not be larger than the pool's size"))
    return found


def _tls_checks(tls: Tls) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if (tls.cert is None) != (tls.key is None):
        present, wanted = ("key", "cert") if tls.cert is None else ("cert", "key")
        found.append((f"tls.{wanted}", f"is needed with tls.{present}"))
    elif tls.cert is None and tls.mode in {"require", "verify-ca", "verify-full"}:
        found.append(("tls.cert", f'is needed (with tls.key) when tls.mode is "{tls.mode}"'))
    if tls.client_ca is None and tls.mode in {"verify-ca", "verify-full"}:
        found.append(("tls.client_ca", f'is needed when tls.mode is "{tls.mode}"'))
    return found


def _login_checks(config: Config) -> list[tuple[str, str]]:
    """Without a users_file nobody could log in to a database whose url names no user and password."""
    if config.auth.users_file is not None or config.auth.hba_file is not None or config.auth.method == "trust":
        return []
    return [
        (
            f"databases.{name}.url",
            "needs a user and a password, since there is no auth.users_file to log clients in with"
            ' (or set auth.method = "trust")',
        )
        for name, entry in config.databases.items()
        if (entry.url.user is None or entry.url.password is None) and config.query_user_of(name) is None
    ]


def _query_checks(config: Config) -> list[tuple[str, str]]:
    """A query is asked by somebody, somewhere."""
    found: list[tuple[str, str]] = []
    asking = config.auth.query_user is not None or any(entry.query_user for entry in config.databases.values())
    said = config.auth.model_fields_set & {"query", "query_database", "query_keep"}
    if not asking:
        found += [(f"auth.{key}", "has no effect without auth.query_user") for key in sorted(said)]
    places = {f"databases.{name}.query_database": entry.query_database for name, entry in config.databases.items()}
    for key, place in {"auth.query_database": config.auth.query_database, **places}.items():
        if place is not None and config.database(place) is None:
            found.append((key, f'"{place}" is no entry of databases'))
    for name, entry in config.databases.items():
        if config.query_user_of(name) is None and (entry.query is not None or entry.query_database is not None):
            found.append((f"databases.{name}.query_user", "is needed for the query (or auth.query_user)"))
    return found


def _certificate_checks(config: Config) -> list[tuple[str, str]]:
    """Names that others vouch for: what an HBA file, an ident file and method cert need of each other."""
    auth, tls = config.auth, config.tls
    found: list[tuple[str, str]] = []
    if auth.hba_file is not None and "method" in auth.model_fields_set:
        found.append(("auth.method", "is decided by auth.hba_file; leave one of them out"))
    if auth.ident_map is not None and (auth.ident_file is None or auth.method != "cert"):
        found.append(("auth.ident_map", 'has no effect without auth.ident_file and auth.method = "cert"'))
    if auth.ident_file is not None and auth.hba_file is None and auth.ident_map is None:
        found.append(("auth.ident_file", "has no effect without auth.hba_file or auth.ident_map"))
    if auth.method == "cert" and auth.hba_file is None:
        if tls.mode == "disable" or tls.cert is None:
            found.append(("auth.method", "cert needs TLS: tls.cert and tls.key, and a tls.mode that is not disable"))
        if tls.client_ca is None:
            found.append(("auth.method", "cert needs tls.client_ca, which says whose certificates count"))
    return found
