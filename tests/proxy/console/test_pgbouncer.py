"""The tables that PgBouncer has, too: its columns, in its order, with its types."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxy.console import pgbouncer
from proxy.console.shows import SHOWS
from proxy.console.table import Type
from tests.proxy.console.still import POOL, SECRET, StillView, client, config, server

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.console.table import Value

SOCKET = (
    "type user database replication state addr port local_addr local_port connect_time request_time wait wait_us"
    " close_needed ptr link remote_pid tls application_name prepared_statements id"
)
TRAFFIC = "server_assignment_count xact_count query_count {} {} xact_time query_time wait_time"
STATEMENTS = "client_parse_count server_parse_count bind_count"
EXPECTED = {
    "version": "version",
    "state": "key value",
    "lists": "list items",
    "mem": "name size used free memtotal",
    "config": "key value default changeable",
    "dns_hosts": "hostname ttl addrs",
    "dns_zones": "zonename serial count",
    "totals": "name value",
    "clients": SOCKET,
    "servers": SOCKET,
    "databases": "name host port database force_user pool_size min_pool_size reserve_pool_size server_lifetime"
    " pool_mode load_balance_hosts max_connections current_connections max_client_connections"
    " current_client_connections paused disabled",
    "users": "name pool_size reserve_pool_size pool_mode max_user_connections current_connections"
    " max_user_client_connections current_client_connections",
    "pools": "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active sv_active_cancel"
    " sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode load_balance_hosts",
    "stats": "database "
    + " ".join(f"total_{name}" for name in f"{TRAFFIC.format('received', 'sent')} {STATEMENTS}".split())
    + " "
    + " ".join(f"avg_{name}" for name in f"{TRAFFIC.format('recv', 'sent')} {STATEMENTS}".split()),
    "stats_totals": f"database {TRAFFIC.format('bytes_received', 'bytes_sent')} {STATEMENTS}",
    "stats_averages": f"database {TRAFFIC.format('bytes_received', 'bytes_sent')}"
    " avg_client_parse_count avg_server_parse_count avg_bind_count",
}


def rows(name: str, view: StillView) -> list[Mapping[str, Value]]:
    """A table's rows by column."""
    show = SHOWS[name]
    names = [column.name for column in show.columns]
    return [dict(zip(names, row, strict=True)) for row in show.rows(view)]


@pytest.mark.parametrize("name", list(EXPECTED))
def test_columns(name: str) -> None:
    assert [column.name for column in SHOWS[name].columns] == EXPECTED[name].split()


FULL = StillView(
    pool_states=[POOL],
    client_states=[client(1, state="active"), client(2), client(3, "shop", "joe", state="waiting")],
    server_states=[server(4711, "active"), server(4712, outdated=True)],
)


@pytest.mark.parametrize("name", list(SHOWS))
def test_values_have_the_types_that_are_declared(name: str) -> None:
    show = SHOWS[name]
    for row in show.rows(FULL):
        assert len(row) == len(show.columns)
        for column, value in zip(show.columns, row, strict=True):
            fitting = str if column.type is Type.TEXT else int | float
            assert value is None or isinstance(value, fitting), (column.name, value)


def test_version_and_lists() -> None:
    assert rows("version", FULL) == [{"version": "Forebay 9.8.7"}]
    lists = {row["list"]: row["items"] for row in rows("lists", FULL)}
    assert lists["used_clients"] == 3
    assert lists["login_clients"] == 2
    assert lists["used_servers"] == 13 + 14 + 15 + 16 + 17
    assert (lists["databases"], lists["users"], lists["pools"]) == (1, 1, 1)
    assert rows("dns_hosts", FULL) == []


def test_state() -> None:
    states = {row["key"]: row["value"] for row in rows("state", StillView(paused_names=[None]))}
    assert states == {"active": "no", "paused": "yes", "suspended": "no"}
    states = {row["key"]: row["value"] for row in rows("state", StillView(paused_names=["shop"]))}
    assert states == {"active": "yes", "paused": "no", "suspended": "no"}


def test_pools() -> None:
    assert rows("pools", FULL) == [
        {
            "database": "shop",
            "user": "app",
            "cl_active": 11,
            "cl_waiting": 12,
            "cl_active_cancel_req": 1,
            "cl_waiting_cancel_req": 0,
            "sv_active": 13,
            "sv_active_cancel": 1,
            "sv_being_canceled": 14,
            "sv_idle": 15,
            "sv_used": 16,
            "sv_tested": 17,
            "sv_login": 18,
            "maxwait": 3,
            "maxwait_us": 250_000,
            "pool_mode": "transaction",
            "load_balance_hosts": None,
        }
    ]


def test_databases() -> None:
    view = replace(FULL, config=config(limits={"clients_per_database": 40}), paused_names=["shop"])
    (row,) = rows("databases", view)
    assert (row["name"], row["host"], row["port"], row["database"]) == ("shop", "db.example", 5433, "shop_live")
    assert (row["force_user"], row["pool_size"], row["server_lifetime"]) == ("app", 7, 3600)
    assert (row["current_connections"], row["current_client_connections"]) == (75, 3)
    assert (row["max_client_connections"], row["paused"], row["disabled"]) == (40, 1, 0)
    assert row["pool_mode"] is None
    assert SECRET not in repr(row)


def test_a_database_that_is_no_longer_configured_is_not_shown() -> None:
    assert [row["name"] for row in rows("databases", replace(FULL, database_names=["gone", "shop"]))] == ["shop"]


def test_clients() -> None:
    active, idle, waiting = rows("clients", FULL)
    assert (active["type"], active["id"], active["state"], active["link"]) == ("C", 1, "active", "0x51")
    assert (active["addr"], active["port"], active["local_port"]) == ("10.0.0.7", 40_001, 6432)
    assert (active["connect_time"], active["request_time"]) == ("2023-11-14 22:13:20 UTC", "2023-11-14 22:14:21 UTC")
    assert active["tls"] == "TLSv1.3/TLS_AES_256_GCM_SHA384"
    assert (idle["link"], idle["wait"], idle["wait_us"]) == ("", 0, 0)
    assert (waiting["user"], waiting["wait"], waiting["wait_us"]) == ("joe", 2, 250_000)


def test_servers() -> None:
    active, outdated = rows("servers", FULL)
    assert (active["type"], active["remote_pid"], active["link"], active["close_needed"]) == ("S", 4711, "0xc1", 0)
    assert (active["application_name"], active["prepared_statements"]) == ("till", 5)
    assert (outdated["state"], outdated["close_needed"]) == ("idle", 1)


def test_users() -> None:
    view = replace(FULL, user_names=["app", "joe"], config=config(limits={"clients_per_user": 9}))
    app, joe = rows("users", view)
    assert (app["current_connections"], app["current_client_connections"]) == (75, 2)
    assert (joe["current_connections"], joe["current_client_connections"]) == (0, 1)
    assert app["max_user_client_connections"] == 9


def test_moments_are_written_in_utc() -> None:
    assert pgbouncer.timestamp(0.9) == "1970-01-01 00:00:00 UTC"
