"""The embedded cluster does what the other tests rely on."""

from __future__ import annotations

import asyncio
import subprocess
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.postgres import Cluster


def test_shared_cluster_asks_for_a_password(postgres: Cluster) -> None:
    """A wrong password is refused: authentication is really on."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.dsn(user="postgres", password="wrong"))
    assert postgres.execute("SHOW password_encryption") == [("scram-sha-256",)]


def test_fresh_database_is_empty(postgres: Cluster, database: str) -> None:
    """Every test has its own tables."""
    rows = postgres.execute(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace", database=database
    )
    assert rows == [(0,)]


def test_tools_of_the_wheel_run(postgres: Cluster) -> None:
    """psql and pgbench speak to the cluster."""
    done = subprocess.run(
        [postgres.psql, "-XAtc", "SELECT 6 * 7", postgres.dsn()], capture_output=True, check=True, text=True
    )
    assert done.stdout == "42\n"
    assert "PostgreSQL" in subprocess.check_output([postgres.pgbench, "--version"], text=True)


def test_restart_kill_and_pause_keep_the_data(own_postgres: Cluster) -> None:
    """A cluster comes back on its port with what was committed."""
    own_postgres.execute("CREATE TABLE kept AS SELECT 1 AS a")
    port = own_postgres.port
    ends: list[Callable[[], None]] = [
        partial(own_postgres.shutdown, "fast"),
        own_postgres.kill_9,
        partial(own_postgres.shutdown, "immediate"),
    ]
    for end in ends:
        end()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(own_postgres.dsn())
        own_postgres.start()
        assert own_postgres.port == port
    with own_postgres.paused(), pytest.raises(psycopg.errors.ConnectionTimeout):
        psycopg.connect(own_postgres.dsn(), connect_timeout=2)
    assert own_postgres.execute("SELECT a FROM kept") == [(1,)]


@pytest.mark.every_loop
async def test_every_loop() -> None:
    """The marker gives both kinds of loop."""
    assert type(asyncio.get_running_loop()).__module__ in {"uvloop", "asyncio.unix_events"}
