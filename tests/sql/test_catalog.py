"""The probe changes whenever a definition does, and stays when only rows do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from sql.catalog_sql import PROBE
from tests.sql.schema import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import Cluster

_SETUP: Final = """
CREATE TABLE a (id int PRIMARY KEY, x text);
CREATE TABLE b (id int, a int);
CREATE TABLE p (k int) PARTITION BY LIST (k);
CREATE TABLE p1 (k int);
CREATE TABLE h (id int);
CREATE TYPE e AS ENUM ('one');
CREATE DOMAIN d AS int;
CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE VIEW v AS SELECT 1 AS one;
"""
_DEFINITIONS: Final = [
    "ALTER TABLE a ADD y int",
    "ALTER TABLE a DROP x",
    "ALTER TABLE a RENAME TO renamed",
    "ALTER TABLE a RENAME x TO y",
    "ALTER TABLE a ALTER x SET DEFAULT 'x'",
    "ALTER TABLE a ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE a SET UNLOGGED",
    "ALTER TABLE a OWNER TO pg_monitor",
    "ALTER TABLE a ADD CHECK (id > 0)",
    "ALTER TABLE b ADD FOREIGN KEY (a) REFERENCES a ON DELETE CASCADE",
    "ALTER TABLE p ATTACH PARTITION p1 DEFAULT",
    "ALTER TABLE b INHERIT h",
    "CREATE TRIGGER t AFTER INSERT ON a FOR EACH ROW EXECUTE FUNCTION tf()",
    "CREATE RULE r AS ON INSERT TO a DO INSTEAD NOTHING",
    "CREATE POLICY o ON a USING (true)",
    "CREATE INDEX ON a (lower(x))",
    "CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2'",
    "CREATE FUNCTION f(text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "ALTER FUNCTION f(int) VOLATILE",
    "CREATE OR REPLACE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "DROP FUNCTION f(int)",
    "CREATE AGGREGATE ag(int) (SFUNC = int4pl, STYPE = int)",
    "REVOKE EXECUTE ON FUNCTION pg_catalog.lower(text) FROM PUBLIC",
    "CREATE OPERATOR === (RIGHTARG = int, FUNCTION = f)",
    "CREATE CAST (e AS int) WITH INOUT",
    "CREATE OR REPLACE VIEW v AS SELECT 2 AS one",
    "ALTER TYPE e ADD VALUE 'two'",
    "ALTER DOMAIN d ADD CHECK (VALUE > 0)",
    "CREATE TYPE c AS (a int)",
    "CREATE COLLATION cc (provider = libc, locale = 'C')",
    "CREATE SCHEMA s",
    "CREATE SEQUENCE sq",
    "CREATE TABLE n (id int)",
    "DROP TABLE a",
    "GRANT SELECT ON a TO PUBLIC",
    "GRANT SELECT (id) ON a TO PUBLIC",
    "GRANT USAGE ON SCHEMA public TO pg_monitor",
    "CREATE ROLE probed",
    "ALTER ROLE CURRENT_USER SET work_mem = '5MB'",
    "GRANT pg_read_all_data TO pg_monitor",
]
_ROWS: Final = [
    "INSERT INTO a VALUES (1, 'x')",
    "UPDATE a SET x = 'y'",
    "DELETE FROM a",
    "TRUNCATE a",
    "ANALYZE a",
    "CREATE TEMP TABLE t1 (id int PRIMARY KEY, a int DEFAULT f(1), e e)",
    "CREATE TEMP VIEW t2 AS SELECT 1",
]


@pytest.fixture
def connection(postgres: Cluster, database: str) -> Iterator[psycopg.Connection]:
    """A session on a database with something of everything."""
    with psycopg.connect(postgres.dsn(database), autocommit=True) as opened:
        opened.execute(_SETUP.encode())
        yield opened


def _probe(connection: psycopg.Connection) -> str:
    rows = connection.execute(PROBE.encode()).fetchall()
    assert len(rows) == 1
    assert isinstance(rows[0][0], str)
    return rows[0][0]


def test_definitions_change_the_probe(connection: psycopg.Connection) -> None:
    connection.autocommit = False
    for statement in _DEFINITIONS:
        before = _probe(connection)
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
            assert _probe(connection) != before, statement
        assert _probe(connection) == before, statement


@pytest.mark.parametrize(
    ("statement", "undo"),
    [
        ("ALTER TABLE a DISABLE TRIGGER t", "ALTER TABLE a ENABLE TRIGGER t"),
        ("DROP TRIGGER t ON a", ""),
        ("ALTER ROLE probe_role BYPASSRLS", ""),
        ("ALTER DATABASE {} SET work_mem = '5MB'", "ALTER DATABASE {} RESET work_mem"),
        ("REVOKE probe_role FROM postgres", ""),
        ("ALTER TYPE e RENAME VALUE 'one' TO 'uno'", ""),
    ],
)
def test_committed_changes_of_another_session_show(
    connection: psycopg.Connection, postgres: Cluster, database: str, statement: str, undo: str
) -> None:
    postgres.execute("CREATE TRIGGER t AFTER INSERT ON a FOR EACH ROW EXECUTE FUNCTION tf()", database=database)
    postgres.create_role("probe_role", "x")
    postgres.execute("GRANT probe_role TO postgres")
    before = _probe(connection)
    postgres.execute(statement.format(database), database=database)
    after = _probe(connection)
    if undo:
        postgres.execute(undo.format(database), database=database)
    postgres.execute("DROP ROLE probe_role")
    assert after != before


def test_rows_and_temporary_tables_do_not(connection: psycopg.Connection) -> None:
    connection.execute(b"CREATE TEMP TABLE makes_the_schema (id int)")
    before = _probe(connection)
    for statement in _ROWS:
        connection.execute(statement.encode())
        assert _probe(connection) == before, statement


def test_a_plain_role_can_probe(postgres: Cluster, database: str) -> None:
    postgres.create_role("plain_role", "x")
    with psycopg.connect(postgres.dsn(database, "plain_role", "x"), autocommit=True) as opened:
        assert _probe(opened)
    postgres.execute("DROP ROLE plain_role")


async def test_the_snapshot_holds_its_epoch(postgres: Cluster, database: str) -> None:
    postgres.execute(_SETUP, database=database)
    one, same = await snapshot(postgres, database), await snapshot(postgres, database)
    assert one.epoch == same.epoch
    postgres.execute("ALTER TABLE a ADD y int", database=database)
    other = await snapshot(postgres, database)
    assert other.epoch != one.epoch
    assert set(other.relations["public", "a"].columns) == {"id", "x", "y"}
    assert (
        other.database
        == postgres.execute("SELECT oid FROM pg_database WHERE datname = %s", database, database=database)[0][0]
    )
