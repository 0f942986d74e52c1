"""Statements that need a database for themselves: what Forebay keeps there without need must not be in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.patience import eventually

if TYPE_CHECKING:
    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster

_OURS = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name LIKE %s"


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("dropped", "DROP DATABASE dropped"),
        ("copied", 'CREATE DATABASE "Made of it" TEMPLATE copied'),
        ("renamed", "ALTER DATABASE renamed RENAME TO another"),
        ("moved", "ALTER DATABASE moved SET TABLESPACE pg_default"),
    ],
)
async def test_nobody_is_in_the_way(proxy: Forebay, postgres: Cluster, name: str, statement: str) -> None:
    """Neither pooled connections nor the one that watches the catalog, as soon as no client uses them."""
    postgres.create_database(name)
    try:
        async with await psycopg.AsyncConnection.connect(proxy.dsn(name), autocommit=True) as connection:
            await connection.execute("CREATE TABLE here (a int)")
            await eventually(lambda: postgres.execute(_OURS, name, "forebay catalog") == [(1,)])
        async with await psycopg.AsyncConnection.connect(proxy.dsn("postgres"), autocommit=True) as connection:
            await connection.execute(statement.encode())
    finally:
        for made in (name, "another", "Made of it"):
            postgres.drop_database(made)


async def test_who_uses_it_is_in_the_way(proxy: Forebay, postgres: Cluster) -> None:
    """As on a direct connection."""
    name = postgres.create_database("used")
    try:
        async with (
            await psycopg.AsyncConnection.connect(proxy.dsn(name)) as user,
            await psycopg.AsyncConnection.connect(proxy.dsn("postgres"), autocommit=True) as other,
        ):
            await user.execute("SELECT pg_backend_pid()")
            with pytest.raises(psycopg.errors.ObjectInUse):
                await other.execute(b"DROP DATABASE used")
            await user.execute("SELECT 1")
    finally:
        postgres.drop_database(name)
