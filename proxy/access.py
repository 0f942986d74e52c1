"""Who may come in, and as whom a pool logs in to its server: from the configuration to secrets, targets and limits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pool.connect import Target
from pool.hosts import Role
from pool.plan import PoolLimits
from pool.tls import ServerTls, TlsError, server_tls
from protocol.errors import RemoteProtocolError
from protocol.hba import parse_hba
from protocol.hbalines import LineError
from protocol.ident import parse_ident
from protocol.policy import LATER, Method, Policy, Rule
from protocol.secrets import Plain, Scram, Verifiers
from protocol.startup import split_options
from protocol.userlist import UserlistError, parse_userlist
from proxy.auth_query import Question
from proxy.clients import ClientLimits
from proxy.edge import EdgeSettings
from proxy.keyring import Keyring
from proxy.sections import ANY
from proxy.tls import client_tls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from protocol.policy import Later, Visitor
    from protocol.secrets import Secret
    from proxy.config import Config
    from proxy.dsn import ServerUrl
    from proxy.edge import Asker


class Access:
    """One configuration's logins. Reads the files that it names: raises one of ``UNUSABLE``.

    ``before``: the one that it replaces; what has to outlive a reload goes on.
    """

    def __init__(self, config: Config, before: Access | None = None) -> None:
        self.config = config
        file = config.auth.users_file
        self._users: dict[str, Secret] | None = (
            parse_userlist(_text(file, "auth.users_file")) if file is not None else None
        )
        # One for the process: fake salts stay the same, and so do the keys that clients have shown.
        self.verifiers: Verifiers = before.verifiers if before is not None else Verifiers(os.urandom(32))
        self.keyring: Keyring = before.keyring if before is not None else Keyring()
        self._rule = _rule(config)
        self._tls: dict[ServerUrl, ServerTls] = {}
        self._client_tls = client_tls(
            config.tls.mode, _path(config.tls.cert), _path(config.tls.key), _path(config.tls.client_ca)
        )
        for entry in config.databases.values():
            self._server_tls(entry.url)

    def edge(self, asker: Asker | None = None) -> EdgeSettings:
        """What new clients meet; ``asker`` is needed if secrets are asked of servers."""
        config = self.config
        users = self._users or {}
        return EdgeSettings(
            policy=Policy(
                method=Method(config.auth.method),
                rule=self._rule,
                listed=self._users is not None or self._asks,
                lookup=self.secret,
                verifiers=self.verifiers,
                unknown_as_scram=self._asks or 2 * sum(map(_is_scram, users.values())) > len(users),
            ),
            tls=self._client_tls,
            login_timeout=config.timeouts.login,
            startup_limit=config.limits.startup,
            asker=asker,
        )

    @property
    def _asks(self) -> bool:
        return any(self.config.query_user_of(name) is not None for name in (*self.config.databases, ""))

    def secret(self, user: str, database: str) -> Secret | Later | None:
        """What a client must prove to know; None for an unknown user, LATER if there is a question for it.

        An unknown database makes no difference before the login is over: whoever may not come in anywhere must not
        learn which names there are.
        """
        known = self._known(user, database)
        return LATER if known is None and self.question(database) is not None else known

    def _known(self, user: str, database: str) -> Secret | None:
        if self._users is not None:
            return self._users.get(user)
        password = self.config.password_in_url(database, user)
        if password is None and (database in CONSOLE or self.config.database(database) is None):
            urls = (self.config.password_in_url(name, user) for name in self.config.databases)
            password = next((found for found in urls if found is not None), None)
        return Plain(password) if password is not None else None

    def question(self, database: str) -> Question | None:
        """How to ask for the secrets of users who want this database; None: it is not asked.

        For a database that is not there, or the console, it is asked wherever it can be: see `secret`.
        """
        config = self.config
        entry = config.database(database) if database not in CONSOLE else None
        user = config.query_user_of(database) if entry is not None else config.auth.query_user
        if user is None:
            return None
        place = (entry.query_database if entry is not None else None) or config.auth.query_database
        if place is None:
            place = database if entry is not None else next(iter(config.databases))
        there = config.database(place)
        if there is None or (place == ANY and there.url.database is None):
            return None
        url = there.url
        secret = (self._users or {}).get(user)
        password = secret.password if isinstance(secret, Plain) else None
        if password is None and url.user == user and url.password is not None:
            password = url.password.get_secret_value()
        return Question(
            url=url,
            user=user,
            database=url.database or place,
            query=(entry.query if entry is not None else None) or config.auth.query,
            password=password,
            timeout=url.connect_timeout or config.pool.connect_timeout or 60.0,
        )

    def own_login(self, database: str, user: str) -> tuple[str, str | None]:
        """Name and password for our own questions on behalf of a pool: its own if it has one, else query_user's."""
        target = self.target(database, user)
        if isinstance(target.secret, Plain):
            return target.user, target.secret.password
        question = self.question(database) if target.secret is not None else None
        return (question.user, question.password) if question is not None else (target.user, None)

    @property
    def users(self) -> frozenset[str]:
        """Everybody who may come in."""
        if self._users is not None:
            return frozenset(self._users)
        urls = (entry.url for entry in self.config.databases.values())
        return frozenset(url.user for url in urls if url.user is not None)

    @property
    def admins(self) -> frozenset[str]:
        """Who may do everything on the console."""
        named = self.config.auth.admin_users
        if named is not None:
            return frozenset(named)
        return self.users if self._users is None else frozenset()

    @property
    def watchers(self) -> frozenset[str]:
        """Who may look at the console."""
        return frozenset(self.config.auth.stats_users)

    def target(self, database: str, user: str) -> Target:
        """Where a client's pool connects, and as whom. The database must be configured."""
        entry = self.config.database(database)
        if entry is None:
            raise KeyError(database)
        url = entry.url
        secret: Secret | None = Plain(url.password.get_secret_value()) if url.password is not None else None
        if url.user is None:
            secret = self.keyring.best(database, user, (self._users or {}).get(user, secret))
        elif secret is None:
            secret = (self._users or {}).get(url.user)
        parameters = {"application_name": url.application_name} if url.application_name else {}
        if url.options:
            parameters["options"] = url.options
        return Target(
            host=url.host,
            port=url.port,
            user=url.user or user,
            database=url.database or database,
            secret=secret,
            tls=self._server_tls(url),
            parameters=parameters,
            connect_timeout=url.connect_timeout or self.config.pool.connect_timeout or 3600.0,
            others=url.others,
            role=Role(url.target_session_attrs),
            shuffled=url.load_balance_hosts == "random",
        )

    def options(self, database: str) -> dict[str, str]:
        """The settings that its url asks for, by lower-case name."""
        entry = self.config.database(database)
        if entry is None or not entry.url.options:
            return {}
        try:
            return {name.lower(): value for name, value in split_options(entry.url.options).items()}
        except RemoteProtocolError:  # the server will say what it thinks of them
            return {"options": entry.url.options}

    def _server_tls(self, url: ServerUrl) -> ServerTls:
        if url.is_unix:
            return server_tls("disable")
        if url not in self._tls:
            self._tls[url] = server_tls(
                url.sslmode,
                root=url.sslrootcert,
                cert=url.sslcert,
                key=url.sslkey,
                negotiation=url.sslnegotiation,
            )
        return self._tls[url]

    def pool_limits(self, database: str) -> PoolLimits:
        """The limits of a pool of this database."""
        pool = self.config.pool_of(database)
        return PoolLimits(
            size=pool.size,
            min_size=pool.min_size,
            reserve_size=pool.reserve_size,
            reserve_timeout=pool.reserve_timeout,
            idle_timeout=pool.idle_timeout,
            lifetime=pool.lifetime,
            lifetime_jitter=pool.lifetime_jitter,
            connect_timeout=pool.connect_timeout,
            queue_timeout=pool.queue_timeout,
            check_after_idle=pool.check_after_idle,
            cancel_timeout=pool.cancel_timeout or 3600.0,
            retry_delay=pool.retry_delay,
            retry_max=pool.retry_max,
            rotate=pool.rotate,
        )

    def client_limits(self) -> ClientLimits:
        """The limits on clients."""
        limits, timeouts = self.config.limits, self.config.timeouts
        return ClientLimits(
            clients=limits.clients,
            clients_per_user=limits.clients_per_user,
            clients_per_database=limits.clients_per_database,
            message=limits.message,
            notifications=limits.notifications,
            queue_notice=self.config.pool.queue_notice,
            query=timeouts.query,
            idle_in_transaction=timeouts.idle_in_transaction,
            client_idle=timeouts.client_idle,
        )


CONSOLE = ("forebay", "pgbouncer")


UNUSABLE = (OSError, UserlistError, LineError, TlsError)
"""What is wrong with a file that the configuration names."""


def _rule(config: Config) -> Callable[[Visitor], Rule | None] | None:
    auth = config.auth
    maps = (
        parse_ident(_text(auth.ident_file, "auth.ident_file"), "auth.ident_file") if auth.ident_file is not None else {}
    )
    if auth.hba_file is None:
        if auth.ident_map is None:
            return None
        if auth.ident_map not in maps:
            raise LineError("auth.ident_file", 1, f'there is no map "{auth.ident_map}" here or in any other line')
        mapped = Rule(Method.CERT, may_be=maps[auth.ident_map])
        return lambda visitor: mapped
    directory = auth.hba_file.parent
    text = _text(auth.hba_file, "auth.hba_file")
    hba = parse_hba(text, "auth.hba_file", maps, lambda name: (directory / name).read_text("utf-8"))
    if hba.certified is not None and (config.tls.client_ca is None or config.tls.mode == "disable"):
        raise LineError("auth.hba_file", hba.certified, "certificates need tls.client_ca, and TLS that is on")
    return hba.rule_of


def _text(path: Path, key: str) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise OSError(f"{key}: is not UTF-8 text") from None


def _is_scram(secret: Secret) -> bool:
    return isinstance(secret, Scram)


def _path(path: object) -> str | None:
    return None if path is None else str(path)
