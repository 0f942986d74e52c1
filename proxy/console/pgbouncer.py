"""The tables that PgBouncer has, with its columns and their types (release 1.24).

What has no counterpart here is 0, NULL or empty as it would be there: no peers, no DNS cache, no limit on the server
connections of a database or user.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from proxy.console.table import columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.console.table import Row
    from proxy.console.view import Socket, View

VERSION = columns("version")
STATE = columns("key value")
LISTS = columns("list items:i")
DNS_HOSTS = columns("hostname ttl:b addrs")
DNS_ZONES = columns("zonename serial:b count:i")
MEM = columns("name size:i used:i free:i memtotal:b")
DATABASES = columns(
    "name host port:i database force_user pool_size:i min_pool_size:i reserve_pool_size:i server_lifetime:i"
    " pool_mode load_balance_hosts max_connections:i current_connections:i max_client_connections:i"
    " current_client_connections:i paused:i disabled:i"
)
USERS = columns(
    "name pool_size reserve_pool_size pool_mode max_user_connections:i current_connections:i"
    " max_user_client_connections:i current_client_connections:i"
)
POOLS = columns(
    "database user cl_active:i cl_waiting:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active:i"
    " sv_active_cancel:i sv_being_canceled:i sv_idle:i sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i"
    " pool_mode load_balance_hosts"
)
SOCKETS = columns(
    "type user database replication state addr port:i local_addr local_port:i connect_time request_time wait:i"
    " wait_us:i close_needed:i ptr link remote_pid:i tls application_name prepared_statements:i id:i"
)
"""Clients and servers look alike."""


def version(view: View) -> Iterator[Row]:
    """SHOW VERSION."""
    yield (f"Forebay {view.version}",)


def state(view: View) -> Iterator[Row]:
    """SHOW STATE."""
    paused = view.paused(None)
    yield ("active", "no" if paused else "yes")
    yield ("paused", "yes" if paused else "no")
    yield ("suspended", "no")


def databases(view: View) -> Iterator[Row]:
    """SHOW DATABASES; never a password."""
    config = view.config
    clients = Counter(client.database for client in view.clients())
    servers: Counter[str] = Counter()
    for pool in view.pools():
        servers[pool.database] += pool.servers
    for name in view.databases():
        entry = config.database(name)
        if entry is None:
            continue
        own = config.pool_of(name)
        yield (
            name,
            ",".join(host for host, _ in entry.url.hosts),
            entry.url.port,
            entry.url.database or name,
            entry.url.user,
            own.size,
            own.min_size,
            own.reserve_size,
            int(own.lifetime),
            entry.pool_mode,
            None,
            0,
            servers[name],
            config.max_clients_of(name),
            clients[name],
            int(view.paused(name)),
            0,
        )


def users(view: View) -> Iterator[Row]:
    """SHOW USERS."""
    clients = Counter(client.user for client in view.clients())
    servers: Counter[str] = Counter()
    for pool in view.pools():
        servers[pool.user] += pool.servers
    most = view.config.limits.clients_per_user
    for name in view.users():
        yield (name, None, None, None, 0, servers[name], most, clients[name])


def pools(view: View) -> Iterator[Row]:
    """SHOW POOLS."""
    for pool in view.pools():
        yield (
            *(pool.database, pool.user, pool.clients, pool.waiting, pool.cancels, 0),
            *(pool.active, pool.cancels, pool.being_canceled, pool.idle, pool.used, pool.tested, pool.opening),
            *_whole_and_micro(pool.longest_wait),
            *(pool.mode, None),
        )


def clients(view: View) -> Iterator[Row]:
    """SHOW CLIENTS."""
    for client in view.clients():
        yield (
            *("C", client.user, client.database, client.replication, client.state, *_ends(client.socket)),
            *(timestamp(client.connected), timestamp(client.requested), *_whole_and_micro(client.waited)),
            *(0, client.ptr, client.link, 0, client.socket.tls, client.application, client.statements, client.id),
        )


def servers(view: View) -> Iterator[Row]:
    """SHOW SERVERS; they have no number of their own but the server's process id."""
    for server in view.servers():
        yield (
            *("S", server.user, server.database, server.replication, server.state, *_ends(server.socket)),
            *(timestamp(server.connected), timestamp(server.requested), 0, 0, int(server.outdated)),
            *(server.ptr, server.link, server.pid, server.socket.tls, server.application, server.statements),
            server.pid,
        )


def lists(view: View) -> Iterator[Row]:
    """SHOW LISTS."""
    pools = view.pools()
    yield ("databases", len(view.databases()))
    yield ("users", len(view.users()))
    yield ("peers", 0)
    yield ("pools", len(pools))
    yield ("peer_pools", 0)
    yield ("free_clients", 0)
    yield ("used_clients", sum(1 for _ in view.clients()))
    yield ("login_clients", view.logging_in())
    yield ("free_servers", 0)
    alone = sum(1 for server in view.servers() if server.replication != "none")
    yield ("used_servers", sum(pool.servers for pool in pools) + alone)
    for name in ("dns_names", "dns_zones", "dns_queries", "dns_pending"):
        yield (name, 0)


def mem(view: View) -> Iterator[Row]:
    """SHOW MEM: what is counted in bytes here, which is the cache; ``free`` is how many more entries would fit."""
    cache = view.cache()
    size = cache.bytes // cache.entries if cache.entries else 0
    room = max(0, view.config.cache.memory - cache.bytes)
    yield ("cache", size, cache.entries, room // size if size else 0, cache.bytes)


def nothing(view: View) -> Iterator[Row]:
    """A table that is always empty here."""
    yield from ()


def timestamp(seconds: float) -> str:
    """Unix seconds, as PgBouncer writes moments."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _whole_and_micro(seconds: float) -> tuple[int, int]:
    return divmod(int(seconds * 1_000_000), 1_000_000)


def _ends(socket: Socket) -> tuple[str, int, str, int]:
    return socket.address, socket.port, socket.local_address, socket.local_port
