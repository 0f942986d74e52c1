"""Every setting of [pgbouncer], as of PgBouncer 1.25: its equivalent, or why it has none and what to do.

``EQUIVALENT`` holds those that are one key here; ``NONE`` those that are none. What takes more than one setting to
translate is in ``TOGETHER`` and done in translate.py and login.py. A test holds the three apart and complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.pgbouncer import values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TLS_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
POOL_MODES: Final = ("session", "transaction", "statement")

Reader = tuple[str, "Callable[[str], values.Value]"]

pool_mode = values.one_of(*POOL_MODES)
tls_mode = values.one_of(*TLS_MODES)

EQUIVALENT: Final[Mapping[str, Reader]] = {
    "pool_mode": ("pool.mode", pool_mode),
    "default_pool_size": ("pool.size", values.number),
    "min_pool_size": ("pool.min_size", values.number),
    "reserve_pool_size": ("pool.reserve_size", values.number),
    "max_db_connections": ("pool.max_db_connections", values.number),
    "max_user_connections": ("pool.max_user_connections", values.number),
    "query_wait_notify": ("pool.queue_notice", values.seconds),
    "server_idle_timeout": ("pool.idle_timeout", values.seconds),
    "server_connect_timeout": ("pool.connect_timeout", values.seconds),
    "server_check_delay": ("pool.check_after_idle", values.seconds),
    "query_wait_timeout": ("pool.queue_timeout", values.seconds),
    "dns_max_ttl": ("pool.dns_ttl", values.time_to_live),
    "cancel_wait_timeout": ("pool.cancel_timeout", values.seconds),
    "query_timeout": ("timeouts.query", values.seconds),
    "client_login_timeout": ("timeouts.login", values.seconds),
    "client_idle_timeout": ("timeouts.client_idle", values.seconds),
    "idle_transaction_timeout": ("timeouts.idle_in_transaction", values.seconds),
    "max_client_conn": ("limits.clients", values.number),
    "max_db_client_connections": ("limits.clients_per_database", values.number),
    "max_user_client_connections": ("limits.clients_per_user", values.number),
    "max_packet_size": ("limits.message", values.message_size),
    "admin_users": ("auth.admin_users", values.names),
    "stats_users": ("auth.stats_users", values.names),
    "client_tls_sslmode": ("tls.mode", tls_mode),
}

DEFAULTS: Final[Mapping[str, str]] = {
    "pool_mode": "session",
    "max_client_conn": "100",
    "client_tls_sslmode": "disable",
}
"""PgBouncer's defaults that are not ours: said in the new file when the old one says nothing."""

TOGETHER: Final = frozenset(
    {
        *("listen_addr", "listen_port", "unix_socket_dir"),
        *("auth_type", "auth_file", "auth_hba_file", "auth_ident_file", "auth_user", "auth_query", "auth_dbname"),
        *("client_tls_cert_file", "client_tls_key_file", "client_tls_ca_file"),
        *("server_tls_sslmode", "server_tls_ca_file", "server_tls_cert_file", "server_tls_key_file"),
        *("server_lifetime", "server_login_retry", "reserve_pool_timeout", "verbose"),
    }
)

_SUPERVISOR: Final = "a supervisor (systemd, a container) does this; Forebay runs in the foreground"
_STANDARD_ERROR: Final = "log lines go to standard error; let the supervisor put them where they belong"
_LOGGED: Final = "log.level decides which lines are written"
_METRICS: Final = "figures are in the metrics at /metrics, counted from the start, not averaged over a period"
_SOCKETS: Final = "set for the system (sysctl); Forebay sets keepalive and leaves buffers to the kernel"
_NAMES: Final = "names are looked up by the system's resolver at each new connection"
_CIPHERS: Final = "TLS 1.2 and later with OpenSSL's ciphers; restrict them in the system's openssl.cnf"
_ONE_PROCESS: Final = "this version is one process"
_SETTINGS_FOLLOW: Final = "not needed: every setting follows its session"
_RESET: Final = "not needed: what a session left behind is known, and cleaned before another one comes"

NONE: Final[Mapping[str, str]] = {
    "logfile": _STANDARD_ERROR,
    "syslog": _STANDARD_ERROR,
    "syslog_ident": _STANDARD_ERROR,
    "syslog_facility": _STANDARD_ERROR,
    "pidfile": _SUPERVISOR,
    "user": _SUPERVISOR,
    "service_name": _SUPERVISOR,
    "job_name": _SUPERVISOR,
    "conffile": "the file is named on the command line, or in FOREBAY_CONFIG",
    "log_connections": _LOGGED,
    "log_disconnections": _LOGGED,
    "log_pooler_errors": _LOGGED,
    "log_stats": _METRICS,
    "stats_period": _METRICS,
    "unix_socket_mode": "the socket's mode is 0777; protect its directory instead",
    "unix_socket_group": "the socket's mode is 0777; protect its directory instead",
    "server_round_robin": "the connection used last is lent first",
    "track_extra_parameters": _SETTINGS_FOLLOW,
    "ignore_startup_parameters": "not needed: all are passed on, and PostgreSQL says which it refuses",
    "disable_pqexec": "the simple protocol cannot be switched off; several statements in one text work there",
    "application_name_add_host": "SHOW CLIENTS has the address of each client; application_name is passed on as it is",
    "max_prepared_statements": "always on, with 200 statements on a server connection",
    "scram_iterations": "verifiers that are made of plain passwords have 4096 iterations",
    "auth_ldap_options": "LDAP is not available: use another auth_type",
    "server_reset_query": _RESET,
    "server_reset_query_always": _RESET,
    "server_check_query": "a connection that was idle is tried with an empty query",
    "server_fast_close": "in session mode connections end with their session; KILL closes clients at once",
    "transaction_timeout": "PostgreSQL 17 and later have transaction_timeout: ALTER ROLE ... SET transaction_timeout",
    "suspend_timeout": "there is no SUSPEND; timeouts.drain bounds a shutdown",
    "autodb_idle_timeout": "what is known of a database is kept until the end",
    "pool_idle_timeout": "what is known of a pool is kept until the end",
    "login_notify_message": "clients are not greeted with a notice",
    "dns_nxdomain_ttl": _NAMES,
    "dns_zone_check_period": _NAMES,
    "resolv_conf": _NAMES,
    "client_tls_protocols": _CIPHERS,
    "client_tls_ciphers": _CIPHERS,
    "client_tls13_ciphers": _CIPHERS,
    "client_tls_ecdhcurve": _CIPHERS,
    "client_tls_dheparams": _CIPHERS,
    "server_tls_protocols": _CIPHERS,
    "server_tls_ciphers": _CIPHERS,
    "server_tls13_ciphers": _CIPHERS,
    "pkt_buf": "not needed: messages stream through in parts",
    "sbuf_loopcnt": "not needed: messages stream through in parts",
    "listen_backlog": "1024, as far as the system (net.core.somaxconn) allows",
    "so_reuseport": _ONE_PROCESS,
    "peer_id": _ONE_PROCESS,
    "tcp_defer_accept": _SOCKETS,
    "tcp_socket_buffer": _SOCKETS,
    "tcp_keepalive": _SOCKETS,
    "tcp_keepcnt": _SOCKETS,
    "tcp_keepidle": _SOCKETS,
    "tcp_keepintvl": _SOCKETS,
    "tcp_user_timeout": _SOCKETS,
}

OF_A_DATABASE: Final[Mapping[str, Reader]] = {
    "pool_mode": ("pool_mode", pool_mode),
    "pool_size": ("pool_size", values.number),
    "min_pool_size": ("min_pool_size", values.number),
    "reserve_pool": ("reserve_pool_size", values.number),
    "reserve_pool_size": ("reserve_pool_size", values.number),
    "max_db_connections": ("max_db_connections", values.number),
    "max_db_client_connections": ("max_clients", values.number),
}
"""Keys of [databases.NAME]."""

IN_THE_URL: Final = frozenset(
    {
        *("host", "port", "dbname", "user", "password", "application_name"),
        *("load_balance_hosts", "target_session_attrs"),
        *("client_encoding", "datestyle", "timezone"),
    }
)

NOT_OF_A_DATABASE: Final[Mapping[str, str]] = {
    "connect_query": "there is none; ALTER ROLE ... SET or ALTER DATABASE ... SET gives connections their settings",
    "server_lifetime": "only pool.lifetime, for all",
    "query_wait_timeout": "only pool.queue_timeout, for all",
}

NOT_OF_A_USER: Final[Mapping[str, str]] = {
    "pool_mode": "pool modes are of databases: use databases.NAME.pool_mode",
    "pool_size": "pool sizes are of databases: use databases.NAME.pool_size",
    "reserve_pool_size": "pool sizes are of databases: use databases.NAME.reserve_pool_size",
    "max_user_connections": "only pool.max_user_connections, the same for all",
    "max_user_client_connections": "only limits.clients_per_user, the same for all",
    "query_timeout": "only timeouts.query, for all; or ALTER ROLE ... SET statement_timeout",
    "query_wait_timeout": "only pool.queue_timeout, for all",
    "idle_transaction_timeout": "only timeouts.idle_in_transaction, for all;"
    " or ALTER ROLE ... SET idle_in_transaction_session_timeout",
    "transaction_timeout": NONE["transaction_timeout"],
    "client_idle_timeout": "only timeouts.client_idle, for all; or ALTER ROLE ... SET idle_session_timeout",
}
