"""The admin console as its users reach it: psql, drivers, exporters; the right users and the wrong ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pg8000.native
import psycopg
import pytest
from psycopg import errors

from tests.integration.desk import USERS, connect, table, until, worker
from tests.integration.target import Target
from tests.integration.test_tools import run
from tests.proxy.console.test_pgbouncer import EXPECTED
from tests.support.forebay import Forebay, forebay_before

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import Cluster

pytestmark = pytest.mark.usefixtures("nobody_is_left")

TABLES: Final = (*EXPECTED, "cache", "digests", "pins", "slow")


@pytest.mark.parametrize("database", ["forebay", "pgbouncer"])
def test_psql(postgres: Cluster, proxy: Forebay, database: str) -> None:
    """Without a users_file the user of the url rules; psql shows everything and survives everything."""
    target = Target(postgres, proxy, database)
    script = "".join(f"SHOW {name};\n" for name in TABLES) + "SHOW HELP;\nSELECT 1;\nSHOW VERSION \\g\n"
    done = run(target, postgres.psql, "-X", "-A", stdin=script)
    assert done.returncode == 0, done.stderr
    for columns in EXPECTED.values():
        assert "|".join(columns.split()) in done.stdout.splitlines()
    assert "Console usage" in done.stderr
    assert 'ERROR:  invalid command "SELECT 1"' in done.stderr
    assert done.stderr.count("ERROR") == 1
    assert done.stdout.count("Forebay ") == 2
    assert run(target, postgres.psql, "-X", "-c", "RELOAD", "-c", "\\conninfo").returncode == 0


@pytest.mark.parametrize("name", TABLES)
def test_both_protocols_and_both_formats_say_the_same(console: psycopg.Connection[Any], name: str) -> None:
    command = f"SHOW {name}"
    with console.cursor() as cursor:
        simple = cursor.execute(command.encode()).description
    assert simple is not None
    cursor = console.execute(command.encode(), prepare=True)
    assert [column.name for column in cursor.description or ()] == [column.name for column in simple]
    if name not in ("clients", "servers", "stats", "stats_averages", "totals", "pools", "digests"):  # they change
        text = cursor.fetchall()
        assert console.execute(command.encode(), binary=True).fetchall() == text


def test_drivers_own_ways(desk: Forebay) -> None:
    """A transaction around everything, settings at the start, one protocol only."""
    with psycopg.connect(desk.dsn("forebay", "boss", USERS["boss"], application_name="way")) as connection:
        assert connection.execute("SHOW VERSION").fetchall()
        assert connection.info.transaction_status is psycopg.pq.TransactionStatus.INTRANS
        with pytest.raises(errors.SyntaxError):
            connection.execute("SELECT 1")
    eights = pg8000.native.Connection(
        "boss", host=desk.host, port=desk.port, database="forebay", password=USERS["boss"]
    )
    eights.run("SET extra_float_digits = 3")
    assert eights.run("SHOW STATE")[0] == ["active", "yes"]
    eights.close()


async def test_asyncpg(desk: Forebay) -> None:
    """Extended protocol and binary format throughout."""
    connection = await asyncpg.connect(desk.dsn("forebay", "boss", USERS["boss"]))
    try:
        assert connection.get_server_version().major == 18
        lists = {row["list"]: row["items"] for row in await connection.fetch("SHOW LISTS")}
        assert lists["dns_pending"] == 0
        totals = {row["name"]: row["value"] for row in await connection.fetch("SHOW TOTALS")}
        assert totals["total_client_bytes"] == 0
        assert await connection.execute("RELOAD") == "RELOAD"
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await connection.fetch("SELECT 1")
    finally:
        await connection.close()


def test_an_exporter_finds_numbers_and_labels(desk: Forebay) -> None:
    """What pgbouncer_exporter asks as a mere watcher, and the types that it insists on."""
    with worker(desk) as client, connect(desk, "watcher", "pgbouncer") as console:
        client.execute("SELECT 1")
        (pool,) = (row for row in table(console, "SHOW POOLS;") if row["database"] == "postgres")
        numbers = set(EXPECTED["pools"].split()) - {"database", "user", "pool_mode", "load_balance_hosts"}
        assert all(type(pool[name]) is int for name in numbers)
        assert (pool["cl_active"], pool["sv_idle"], pool["pool_mode"]) == (1, 1, "transaction")
        (database,) = (row for row in table(console, "SHOW DATABASES;") if row["name"] == "postgres")
        assert (type(database["port"]), database["current_client_connections"]) == (int, 1)
        (totals,) = (row for row in table(console, "SHOW STATS_TOTALS;") if row["database"] == "postgres")
        assert totals["query_count"] >= 1
        assert totals["query_time"] > 0
        assert {row["key"]: row["value"] for row in table(console, "SHOW CONFIG;")}["max_client_conn"] == "2"
        assert {row["list"]: row["items"] for row in table(console, "SHOW LISTS;")}["used_clients"] == 1


@pytest.mark.parametrize(
    "command", ["RELOAD", "PAUSE", "RESUME", "RECONNECT", "KILL postgres", "KILL_CLIENT 1", "SHUTDOWN", "FOREBAY PURGE"]
)
@pytest.mark.parametrize("prepare", [False, True])
def test_a_watcher_may_only_look(desk: Forebay, command: str, prepare: bool) -> None:
    with connect(desk, "watcher") as console:
        with pytest.raises(errors.InsufficientPrivilege):
            console.execute(command.encode(), prepare=prepare)
        assert table(console, "SHOW STATE")[1] == {"key": "paused", "value": "no"}


@pytest.mark.parametrize("database", ["forebay", "pgbouncer"])
def test_nobody_else_gets_in(desk: Forebay, database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        connect(desk, "clerk", database)
    for user, password in (("boss", "wrong"), ("nobody", "x")):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(desk.dsn(database, user, password))


def test_a_users_file_alone_makes_nobody_an_admin(postgres: Cluster, users_file: Path) -> None:
    with forebay_before(postgres, auth={"users_file": str(users_file)}) as started:
        for user in USERS:
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                connect(started, user)


def test_consoles_count_towards_nothing(desk: Forebay) -> None:
    """Two clients may come in: two do, with three consoles there before them."""
    consoles = [connect(desk, "boss") for _ in range(3)]
    try:
        with worker(desk), worker(desk):
            assert len(table(consoles[0], "SHOW CLIENTS")) == 2
            with pytest.raises(psycopg.OperationalError, match="too many clients"):
                connect(desk, "clerk", "postgres")
            assert table(consoles[2], "SHOW VERSION")
    finally:
        for connection in consoles:
            connection.close()
    assert desk.metric("forebay_clients", database="forebay") == 0


def test_no_password_is_shown(postgres: Cluster, console: psycopg.Connection[Any]) -> None:
    for name in TABLES:
        shown = repr(table(console, f"SHOW {name}"))
        assert postgres.password not in shown
        assert not any(password in shown for password in USERS.values() if password != "work")


def test_clients_servers_and_pins(desk: Forebay, console: psycopg.Connection[Any]) -> None:
    with connect(desk, "clerk", "postgres", application_name="pinned") as client:
        client.execute("CREATE TEMP TABLE pinned (a int)")
        (row,) = table(console, "SHOW CLIENTS")
        assert (row["user"], row["database"], row["state"]) == ("clerk", "postgres", "active")
        assert (row["application_name"], row["id"]) == ("pinned", client.info.backend_pid)
        assert (row["addr"], row["local_port"]) == (desk.host, desk.port)
        (server,) = (server for server in table(console, "SHOW SERVERS") if server["link"] == row["ptr"])
        assert (server["state"], server["ptr"], server["application_name"]) == ("active", row["link"], "pinned")
        pid = client.execute("SELECT pg_backend_pid()").fetchall()[0][0]
        assert server["remote_pid"] == pid
        (pin,) = table(console, "SHOW PINS")
        assert (pin["id"], pin["application_name"], pin["remote_pid"]) == (row["id"], "pinned", pid)
        assert "temp" in pin["reason"]
    until(lambda: table(console, "SHOW PINS") == [])


def test_slow_queries_digests_and_the_cache(desk: Forebay, console: psycopg.Connection[Any]) -> None:
    with worker(desk) as client:
        client.execute("SELECT pg_sleep(0.06), 'a secret'")
    row = table(console, "SHOW SLOW 1")[0]
    assert row["total_ms"] >= 50
    assert "pg_sleep" in row["query"]
    assert "a secret" not in repr(table(console, "SHOW SLOW") + table(console, "SHOW DIGESTS"))
    assert row["digest"] in {found["digest"] for found in table(console, "SHOW DIGESTS")}
    assert len(table(console, "SHOW DIGESTS 1")) == 1
    assert {"hits", "entries"} <= {found["name"] for found in table(console, "SHOW CACHE")}
    assert console.execute("FOREBAY PURGE").statusmessage == "FOREBAY PURGE"
