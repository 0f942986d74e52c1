"""The configuration as values: one frozen model per section, every key with its meaning and its default.

Keys that only make sense together are checked in agreement.py, which sees the whole. Times are seconds (float),
sizes bytes (int), however they were written. For timeouts and limits 0 means off, as in PgBouncer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from proxy.options import (
    DEFAULT_PORT,
    Address,
    Addresses,
    AddressOrOff,
    Allowed,
    Duration,
    Names,
    OptionalName,
    OptionalPath,
    Size,
    Switch,
    Text,
    Url,
    Whole,
    absent,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PoolMode = Literal["transaction", "session", "statement"]
Sequences = Literal["share", "pin"]
AuthMethod = Literal["trust", "password", "md5", "scram-sha-256", "cert"]
TlsMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

CONSOLE_NAMES: Final = ("forebay", "pgbouncer")  # databases that are the admin console
AUTH_QUERY: Final = (
    "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END"
    " FROM pg_authid WHERE rolname = $1 AND rolcanlogin"
)
ANY: Final = "*"  # the entry of [databases] for every name that has none


def _one_process(workers: int) -> int:
    if workers > 1:
        raise absent("more than one process")
    return workers


def _no_redis(url: str) -> str:
    if url:
        raise absent("a store shared through Redis")
    return url


def _only_strict(consistency: object) -> object:
    if consistency == "bounded":
        raise absent("bounded consistency")
    return consistency


class Section(BaseModel):
    """What all sections share: values never change, and a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Database(Section):
    """One name that clients may ask for, and the server behind it."""

    url: Url = Field(description="Where the server is; without a database name, the one that the client asked for.")
    pool_mode: PoolMode | None = Field(None, description="This database's `pool.mode`.")
    defer_begin: Switch | None = Field(None, description="Its `pool.defer_begin`.")
    pool_size: Annotated[Whole, Field(ge=1, le=10000)] | None = Field(None, description="Its `pool.size`.")
    min_pool_size: Annotated[Whole, Field(ge=0, le=10000)] | None = Field(None, description="Its `pool.min_size`.")
    reserve_pool_size: Annotated[Whole, Field(ge=0, le=10000)] | None = Field(
        None, description="Its `pool.reserve_size`."
    )
    max_db_connections: Annotated[Whole, Field(ge=0)] | None = Field(None, description="Its `pool.max_db_connections`.")
    max_clients: Annotated[Whole, Field(ge=0)] | None = Field(None, description="Its `limits.clients_per_database`.")
    query_user: OptionalName = Field(None, description="Its `auth.query_user`.")
    query: Text | None = Field(None, description="Its `auth.query`.")
    query_database: OptionalName = Field(None, description="Its `auth.query_database`.")


class Pool(Section):
    """How server connections are shared; a pool is one (database, user)."""

    mode: PoolMode = Field("transaction", description="For how long a client holds a server connection.")
    size: Annotated[Whole, Field(ge=1, le=10000)] = Field(20, description="Server connections of one pool.")
    min_size: Annotated[Whole, Field(ge=0, le=10000)] = Field(0, description="Connections kept open when idle.")
    reserve_size: Annotated[Whole, Field(ge=0, le=10000)] = Field(
        0, description="Connections beyond `pool.size` for clients that waited `pool.reserve_timeout`."
    )
    reserve_timeout: Duration = Field(5.0, description="Wait in the queue before the reserve is used.")
    idle_timeout: Duration = Field(600.0, description="An idle connection is closed after this; 0 = never.")
    lifetime: Duration = Field(3600.0, description="A connection is replaced at this age once free; 0 = never.")
    lifetime_jitter: Annotated[float, Field(ge=0, le=1), Allowed("a fraction")] = Field(
        0.1, description="Part of the lifetime by which connections differ, so that they do not end together."
    )
    connect_timeout: Duration = Field(15.0, description="Opening and logging in to a server; 0 = no limit.")
    max_db_connections: Annotated[Whole, Field(ge=0)] = Field(
        0, description="Server connections of all pools of one database together; 0 = no limit."
    )
    max_user_connections: Annotated[Whole, Field(ge=0)] = Field(
        0, description="Server connections of all pools that log in as one user; 0 = no limit."
    )
    queue_notice: Duration = Field(
        5.0, description="A client that has waited this long for a server is told so in a NOTICE; 0 = never."
    )
    queue_timeout: Duration = Field(120.0, description="A client waits this long for a server; 0 = no limit.")
    check_after_idle: Duration = Field(
        30.0, description="A connection that was idle this long is tried before use; 0 = always."
    )
    cancel_timeout: Duration = Field(10.0, description="Passing a cancel request to a server; 0 = no limit.")
    dns_ttl: Duration = Field(
        15.0, description="How often it is looked whether names of servers lead elsewhere; 0 = never."
    )
    retry_delay: Duration = Field(0.1, description="First pause after a failed connection; it then doubles.")
    retry_max: Duration = Field(5.0, description="Longest pause between attempts to connect.")
    sequences: Sequences = Field(
        "share",
        description="`pin`: a session keeps its server connection once it has written rows or called `nextval` or"
        " `setval`, so that `currval` and `lastval` work in the next transaction.",
    )
    defer_begin: Switch = Field(
        False,
        description="Mode `transaction`: a BEGIN alone is answered at once and sent with the statement that follows it."
        " `now()` and what the transaction sees are then of that statement's time.",
    )
    rotate: Switch = Field(
        False, description="For tests: every transaction gets another server connection than the last."
    )


class Timeouts(Section):
    """How long clients may take; 0 = no limit."""

    login: Duration = Field(60.0, description="From the connection to the end of the login.")
    query: Duration = Field(0.0, description="One query on the server.")
    idle_in_transaction: Duration = Field(0.0, description="A client idle inside a transaction.")
    client_idle: Duration = Field(0.0, description="A client idle outside a transaction.")
    drain: Duration = Field(30.0, description="At shutdown, for open transactions to end.")


class Limits(Section):
    """What one process takes at most."""

    clients: Annotated[Whole, Field(ge=1)] = Field(10000, description="Client connections.")
    clients_per_user: Annotated[Whole, Field(ge=0)] = Field(0, description="Of one user; 0 = no limit.")
    clients_per_database: Annotated[Whole, Field(ge=0)] = Field(0, description="Of one database; 0 = no limit.")
    message: Annotated[Size, Field(ge=8192, le=2**30)] = Field(
        2**30, description="Longest message of a client, at most PostgreSQL's own 1GiB."
    )
    notifications: Annotated[Size, Field(ge=65536)] = Field(
        16 * 2**20,
        description="Notifications kept for a client that does not read, or has a transaction open; it is then closed.",
    )
    startup: Annotated[Size, Field(ge=512, le=10000)] = Field(
        10000, description="Longest startup message, at most PostgreSQL's own 10000 bytes."
    )


class Auth(Section):
    """How clients prove who they are."""

    method: AuthMethod = Field(
        "scram-sha-256",
        description="What a client must show; `trust` asks for nothing, `cert` for a certificate with its name.",
    )
    hba_file: OptionalPath = Field(
        None, description="In place of `method`: a file in the form of pg_hba.conf says what whom is asked for."
    )
    ident_file: OptionalPath = Field(
        None, description="Maps in the form of pg_ident.conf, for certificates and `peer`."
    )
    ident_map: OptionalName = Field(
        None, description="With method `cert`: the map of `ident_file` that holds; without it the names must be equal."
    )
    users_file: OptionalPath = Field(
        None, description="PgBouncer's userlist.txt; without it, the users and passwords of the urls."
    )
    query_user: OptionalName = Field(
        None,
        description="Logs in to ask for the secrets of users who are not in `users_file`; its own password is there,"
        " or in the url if that names this user. Without it nothing is asked.",
    )
    query: Text = Field(
        AUTH_QUERY,
        description="What it asks: one row of name and secret for the name `$1`. Runs with `search_path = pg_catalog`,"
        " so a function of yours needs its schema.",
    )
    query_database: OptionalName = Field(
        None, description="The entry of `databases` where it is asked; without it, the one that the client wants."
    )
    query_keep: Duration = Field(5.0, description="An answer counts for so long; 0 = ask at each login.")
    admin_users: Names | None = Field(
        None,
        description="Who may do everything on the admin console (database `forebay` or `pgbouncer`);"
        " without it, the users of the urls if there is no `users_file`, else nobody.",
    )
    stats_users: Names = Field((), description="Who may only look, with `SHOW`, on the admin console.")


class Tls(Section):
    """Encryption between clients and Forebay; towards servers it is a matter of their urls."""

    mode: TlsMode = Field("prefer", description="As libpq's sslmode, seen from the server's side.")
    cert: OptionalPath = Field(None, description="The certificate chain, PEM.")
    key: OptionalPath = Field(None, description="The certificate's private key, PEM.")
    client_ca: OptionalPath = Field(None, description="Authorities that sign client certificates, PEM.")


class Cache(Section):
    """Answers kept in memory."""

    mode: Literal["auto", "hinted", "off"] = Field(
        "auto", description="`hinted` caches only statements whose comment asks for it."
    )
    redis: Annotated[str, AfterValidator(_no_redis), Allowed('"" in this version', secret=True)] = Field(
        "", description="The store shared by several instances; not available in this version."
    )
    consistency: Annotated[Literal["strict"], BeforeValidator(_only_strict)] = Field(
        "strict", description="No answer is older than the last write acknowledged through Forebay."
    )
    ttl: Duration = Field(60.0, description="Longest life of an answer; bounds what writes past Forebay can do.")
    memory: Size = Field(128 * 2**20, description="All answers together.")
    max_entry: Size = Field(2**20, description="One answer; larger ones pass through.")
    probe: Duration = Field(1.0, description="How often the server's catalog is looked at for changes past Forebay.")


class StatsOptions(Section):
    """What is measured and kept of queries."""

    slow: Duration = Field(0.1, description="A query that takes this long is kept and logged; 0 = none.")
    digests: Annotated[Whole, Field(ge=1, le=1000000)] = Field(5000, description="Statement shapes kept at most.")
    log_parameters: Switch = Field(False, description="Show literals and parameters of slow queries unredacted.")


class Log(Section):
    """One line a record, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is written.")
    format: Literal["text", "json"] = Field("text", description="For people or for machines.")


class Config(Section):
    """A whole configuration, checked."""

    url: Url | None = Field(
        None,
        description="Short for a `[databases.NAME]` with this url, NAME being the database in it, or `*`.",
    )
    listen: Addresses = Field(
        (Address("127.0.0.1", DEFAULT_PORT),), description="Where clients connect; several with commas."
    )
    http: AddressOrOff = Field(
        Address("127.0.0.1", 9432),
        description="Metrics, health, and the page; has no login, so keep it private.",
    )
    workers: Annotated[Whole, Field(ge=1), AfterValidator(_one_process)] = Field(
        1, description="Processes; this version runs one."
    )
    databases: dict[str, Database] = Field(default_factory=dict, description="By the name that clients ask for.")
    pool: Pool = Pool()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    auth: Auth = Auth()
    tls: Tls = Tls()
    cache: Cache = Cache()
    stats: StatsOptions = StatsOptions()
    log: Log = Log()

    def database(self, name: str) -> Database | None:
        """The entry that serves clients who ask for `name`, or None when there is none."""
        return self.databases.get(name) or self.databases.get(ANY)

    def pool_of(self, name: str) -> Pool:
        """`[pool]` with what the database's own entry says instead."""
        entry = self.database(name)
        if entry is None:
            return self.pool
        own = {
            "mode": entry.pool_mode,
            "size": entry.pool_size,
            "min_size": entry.min_pool_size,
            "reserve_size": entry.reserve_pool_size,
            "max_db_connections": entry.max_db_connections,
            "defer_begin": entry.defer_begin,
        }
        return self.pool.model_copy(update={key: value for key, value in own.items() if value is not None})

    def max_clients_of(self, name: str) -> int:
        """Clients allowed on this database; 0 = no limit."""
        entry = self.database(name)
        if entry is None or entry.max_clients is None:
            return self.limits.clients_per_database
        return entry.max_clients

    def query_user_of(self, name: str) -> str | None:
        """Who asks for the secrets of users of database `name`, if anybody does."""
        entry = self.database(name)
        return (entry.query_user if entry is not None else None) or self.auth.query_user

    def password_in_url(self, name: str, user: str) -> str | None:
        """The password that logs `user` in to database `name` when there is no users_file."""
        entry = self.database(name)
        if entry is None or entry.url.user != user or entry.url.password is None:
            return None
        return entry.url.password.get_secret_value()


def files(config: Config) -> Mapping[str, Path]:
    """The files that the configuration names, by key."""
    named = {
        "auth.users_file": config.auth.users_file,
        "auth.hba_file": config.auth.hba_file,
        "auth.ident_file": config.auth.ident_file,
        "tls.cert": config.tls.cert,
        "tls.key": config.tls.key,
        "tls.client_ca": config.tls.client_ca,
    }
    return {key: path for key, path in named.items() if path is not None}
