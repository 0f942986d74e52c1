"""PREPARE, EXECUTE and DEALLOCATE of SQL by clients that never get the same server twice: as PostgreSQL itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest

from tests.integration.rotating import Both
from tests.integration.worded import SCHEMA, same, use, whole
from tests.support import frames
from tests.support.forebay import forebay_before
from tests.support.frames import SYNC, bind, close, describe, execute, parse, query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.integration.rotating import Step
    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster


@pytest.fixture(scope="module")
def rotating(postgres: Cluster) -> Iterator[Forebay]:
    with forebay_before(postgres, pool={"size": 4, "min_size": 2, "rotate": True}, cache={"mode": "off"}) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def kept(postgres: Cluster, shared_database: str) -> str:
    """The database, with what these tests need in it."""
    postgres.execute(SCHEMA, database=shared_database)
    return shared_database


@pytest.fixture
def both(postgres: Cluster, rotating: Forebay, kept: str) -> Both:
    postgres.execute("TRUNCATE kept", database=kept)
    return Both(postgres, rotating, kept)


def errors(answers: Sequence[Sequence[tuple[str, bytes]]]) -> list[str]:
    return [frames.fields(body)["C"] for answer in answers for tag, body in answer if tag == "E"]


async def test_names_go_with_their_client(both: Both) -> None:
    steps: list[Step] = [
        (0, query("PREPARE p AS SELECT $1::int + 1")),
        (1, query("PREPARE p(text) AS SELECT $1 || '!'")),
    ]
    steps += [(client, query(f"EXECUTE p({number})")) for number in range(6) for client in (0, 1)]
    steps += [(0, query("DEALLOCATE p")), (0, query("EXECUTE p(1)")), (1, query("EXECUTE p('x')"))]
    assert errors(await same(both, *steps)) == ["26000"]


async def test_one_set_of_names(both: Both) -> None:
    found = await same(
        both,
        "PREPARE s (int) AS SELECT $1 AS n",
        use("s", "5") + SYNC,
        describe("S", "s") + SYNC,
        parse("SELECT 1", "s") + SYNC,
        close("S", "s") + SYNC,
        "EXECUTE s(1)",
        parse("SELECT $1::int * 2", "w") + SYNC,
        "EXECUTE w(21)",
        "PREPARE w AS SELECT 1",
        "DEALLOCATE w",
        use("w", "1") + SYNC,
        parse("SELECT 'again'", "w") + use("w") + SYNC,
    )
    assert errors(found) == ["42P05", "26000", "42P05", "26000"]


async def test_the_habits_of_drivers(both: Both) -> None:
    await same(
        both,
        parse("SELECT $1::text", "pdo_stmt_00000001") + SYNC,
        use("pdo_stmt_00000001", "x") + SYNC,
        "DEALLOCATE pdo_stmt_00000001",
        use("pdo_stmt_00000001", "x") + SYNC,
        parse("SELECT 1", "_auto0") + SYNC,
        parse("SELECT 2", "_auto1") + SYNC,
        "DEALLOCATE ALL",
        "EXECUTE _auto0",
        parse("SELECT 3", "_auto0") + SYNC,
        use("_auto0") + SYNC,
        "DISCARD ALL",
        use("_auto0") + SYNC,
        query("DISCARD ALL") + parse("SELECT 'behind it'", "b") + SYNC,
        use("b") + SYNC,
    )


@pytest.mark.parametrize(
    "text",
    [
        "EXECUTE nowhere",
        "PREPARE p AS SELECT 2",
        "PREPARE   p   AS   SELECT no_such_column",
        "PREPARE ünïcödé AS SELECT 'é', nothing",
        "PREPARE q(int) AS SELECT $2",
        "PREPARE q AS SELECT $1",
        "PREPARE q AS SELECT * FROM missing",
        "PREPARE q(no_such_type) AS SELECT $1",
        "PREPARE q(varchar(0)) AS SELECT $1",
        "PREPARE AS SELECT 1",
        "EXECUTE p",
        "EXECUTE p(1, 2)",
        "EXECUTE p(nothing)",
        "EXECUTE p((SELECT 1))",
        "EXECUTE p('x'::int)",
        "EXECUTE p('x')",
        "EXECUTE p(1 +)",
        "EXECUTE p(no_function(1))",
        "/* ü */ EXECUTE\n\tp ( nothing )",
        'EXECUTE"p"(nothing)',
        "EXECUTE U&\"!0070\" UESCAPE '!' (nothing)",
        "EXPLAIN EXECUTE p(nothing)",
        "EXPLAIN (FORMAT nothing) EXECUTE p(1)",
        "CREATE TEMP TABLE p AS EXECUTE p(nothing)",
        "DEALLOCATE nowhere",
        "DEALLOCATE PREPARE nowhere",
        "EXECUTE divides(0)",
        f"DEALLOCATE {'x' * 70}",
    ],
)
async def test_errors_are_word_for_word_with_their_position(both: Both, text: str) -> None:
    steps = ["PREPARE p(int) AS SELECT $1", "PREPARE divides(int) AS SELECT 1 / $1", text, "EXECUTE p(1)"]
    inside = ["BEGIN", text, "EXECUTE p(2)", "PREPARE p AS SELECT 1", "DEALLOCATE p", "ROLLBACK", "EXECUTE p(3)"]
    found = await same(both, *steps, *inside)
    assert errors(found), "else it is no test"


@pytest.mark.parametrize(
    ("made", "used"),
    [
        ('PREPARE "Quoted ""name""" AS SELECT 1', 'EXECUTE "Quoted ""name"""'),
        ("PREPARE Folded AS SELECT 1", "EXECUTE FOLDED"),
        ("PREPARE folded AS SELECT 1", 'EXECUTE "folded"'),
        ('PREPARE U&"\\0061b" AS SELECT 1', "EXECUTE ab"),
        ("PREPARE ab AS SELECT 1", "EXECUTE U&\"!0061b\" UESCAPE '!'"),
        ("PREPARE ünïcödé AS SELECT 'ü'", "EXECUTE ünïcödé;"),
        ("-- first\nPREPARE /* a */ c /* b */ AS /* d */ SELECT 1 -- end", "/* x */ EXECUTE -- y\n c"),
        ("PREPARE execute AS SELECT 1;", " EXECUTE execute ; "),
        (
            "PREPARE prepare (int, pg_catalog.text[], varchar(3)) AS SELECT $1, $2, $3",
            "EXECUTE prepare(1, '{a}', 'abcd')",
        ),
        (
            'PREPARE t (timestamp(3), numeric(5, 2), "char") AS SELECT $1, $2, $3',
            "EXECUTE t('2020-01-01', 1.2345, 'x')",
        ),
        ("PREPARE v AS VALUES (1, $1::text), (2, 'b')", "EXECUTE v($$dollar$$)"),
        ("PREPARE w AS WITH x AS (SELECT 1 AS a) SELECT a FROM x", "EXECUTE w"),
        ("PREPARE forebay_1 AS SELECT 'theirs'", "EXECUTE forebay_1"),
        ("PREPARE i AS INSERT INTO kept VALUES ($1, $2) RETURNING word", "EXECUTE i(1, lower('A'))"),
        ("PREPARE e AS SELECT 1", "EXPLAIN (COSTS off) EXECUTE e"),
    ],
)
async def test_names_and_texts_of_every_kind(both: Both, made: str, used: str) -> None:
    name = made.split()[1] if made.startswith("PREPARE U&") else ""
    found = await same(both, made, used, made, (1, query(used)), "BEGIN", used, "ROLLBACK", (1, query(made)), used)
    assert name or len(errors(found)) >= 2


async def test_in_transactions(both: Both) -> None:
    await same(
        both,
        "BEGIN",
        "PREPARE p(int) AS INSERT INTO kept VALUES ($1, 'x') RETURNING id",
        "EXECUTE p(1)",
        "SAVEPOINT s",
        "EXECUTE p(1)",
        "EXECUTE p(2)",
        "ROLLBACK TO s",
        "EXECUTE p(2)",
        "PREPARE q AS SELECT count(*) FROM kept",
        "EXECUTE q",
        "ROLLBACK",
        "EXECUTE q",
        "EXECUTE p(3)",
        "EXECUTE q",
        "BEGIN",
        "DEALLOCATE q",
        "ROLLBACK",
        "EXECUTE q",
        "BEGIN",
        "DEALLOCATE ALL",
        "EXECUTE p(4)",
        "COMMIT",
    )


async def test_sent_without_waiting(both: Both) -> None:
    await same(
        both,
        query("PREPARE p AS SELECT 1") + query("EXECUTE p") + query("DEALLOCATE p") + query("EXECUTE p"),
        query("PREPARE p AS SELECT 2") + use("p") + SYNC + query("EXECUTE p") + query("SELECT 3"),
        query("BEGIN") + query("EXECUTE no") + query("EXECUTE p") + query("ROLLBACK") + query("EXECUTE p"),
        query("BEGIN") + query("SELECT 1/0") + query("DEALLOCATE p") + query("ROLLBACK") + query("EXECUTE p"),
        parse("SELECT 4", "q") + query("EXECUTE q") + use("q") + SYNC,
        parse("INSERT INTO kept VALUES (7)") + bind() + execute() + query("EXECUTE p") + query("SELECT id FROM kept"),
        parse("INSERT INTO kept VALUES (8)") + bind() + execute() + query("EXECUTE no") + query("SELECT id FROM kept"),
        close("S", "q")
        + query("EXECUTE p")
        + query("PREPARE q AS SELEC 1")
        + query("PREPARE q AS SELECT 1")
        + use("q")
        + SYNC,
    )


@pytest.mark.parametrize("text", ["EXECUTE q", "PREPARE r AS SELECT 1", "DEALLOCATE q", "DEALLOCATE ALL"])
async def test_a_query_that_the_server_skips(both: Both, text: str) -> None:
    async with both.wires(both.direct, 1) as (direct,), both.wires(both.through, 1) as (through,):
        for data in (parse("SELECT 4", "q") + SYNC, parse("SELECT 5", "q") + query(text) + SYNC, query("EXECUTE q")):
            assert list(map(whole, await through.ask(data))) == list(map(whole, await direct.ask(data)))


async def test_what_is_not_understood_keeps_the_server(both: Both) -> None:
    await same(both, "PREPARE p(mood) AS SELECT $1", "EXECUTE p('sad')", "EXECUTE p('sad')", pins=1)
    await same(both, "PREPARE p AS SELECT 1", "EXECUTE p; EXECUTE p", "EXECUTE p", "DEALLOCATE p", "EXECUTE p", pins=1)
    await same(both, "PREPARE p AS SELECT 1; EXECUTE p", "EXECUTE p", "PREPARE p AS SELECT 2", "EXECUTE p", pins=1)
    await same(
        both,
        "PREPARE p AS SELECT 1",
        "PREPARE p(mood) AS SELECT $1",
        "EXECUTE p",
        use("p") + SYNC,
        "DEALLOCATE ALL",
        pins=1,
    )
    await same(
        both,
        "PREPARE p AS SELECT 1",
        "DEALLOCATE p; SELECT 2",
        "EXECUTE p",
        "PREPARE p AS SELECT 3",
        "EXECUTE p",
        "DEALLOCATE ALL",
        "PREPARE p AS SELECT 4",
        "EXECUTE p",
        pins=1,
    )
    long = "x" * 200_000
    await same(both, "PREPARE p(text) AS SELECT length($1)", f"EXECUTE p('{long}')", "EXECUTE p('x')", pins=2)


async def test_in_the_extended_protocol(both: Both) -> None:
    def extended(text: str) -> bytes:
        return parse(text) + describe("S") + bind() + describe("P") + execute() + SYNC

    await same(both, "PREPARE p AS SELECT 1 AS a", extended("EXECUTE p"), extended("EXECUTE p"), "EXECUTE p", pins=1)
    await same(both, "PREPARE p AS SELECT 1", extended("DEALLOCATE p"), "EXECUTE p", extended("DEALLOCATE p"))
    await same(both, extended("PREPARE p AS SELECT 1"), extended("EXECUTE p"), "EXECUTE p", "DEALLOCATE ALL", pins=1)
    await same(
        both,
        parse("EXECUTE p", "e") + SYNC,
        "PREPARE p AS SELECT 1",
        use("e") + SYNC,
        close("S", "p") + SYNC,
        use("e") + SYNC,
        pins=1,
    )
    await same(
        both, "PREPARE p AS SELECT 1", extended("EXPLAIN (COSTS off) EXECUTE p"), extended("DEALLOCATE ALL"), pins=1
    )


async def test_made_tables(both: Both) -> None:
    await same(
        both,
        "BEGIN",
        "PREPARE p(int) AS SELECT $1 AS a",
        "CREATE TABLE execute AS EXECUTE p(7)",
        "SELECT * FROM execute",
        "EXPLAIN (COSTS off) CREATE TABLE other AS EXECUTE p(1)",
        "ROLLBACK",
    )


async def test_a_result_that_changed_is_refused(both: Both) -> None:
    await same(
        both,
        "CREATE TABLE shape (a int)",
        "PREPARE p AS SELECT * FROM shape",
        "EXECUTE p",
        "EXECUTE p",
        "EXECUTE p",
        "ALTER TABLE shape ADD b int",
        "EXECUTE p",
        "EXECUTE p",
        "EXECUTE p",
        "DEALLOCATE p",
        "PREPARE p AS SELECT * FROM shape",
        "EXECUTE p",
        "EXECUTE p",
        "DROP TABLE shape",
        "EXECUTE p",
        "EXECUTE p",
        "EXECUTE p",
    )


async def test_settings_of_the_client(both: Both) -> None:
    await same(
        both,
        "SET client_encoding TO latin1",
        b"".join([query("PREPARE p AS SELECT 'é'".encode("latin1")), query("EXECUTE p"), query("EXECUTE p(nothing)")]),
        query("PREPARE é AS SELECT 1".encode("latin1")),
        query("EXECUTE é".encode("latin1")),
        pins=1,
    )
    await same(
        both,
        "SET standard_conforming_strings TO off",
        r"PREPARE p AS SELECT 'a\'', nothing",
        r"PREPARE p AS SELECT 'a\''",
        "EXECUTE p",
        pins=1,
    )


def test_client_side_cursors_of_psycopg(both: Both) -> None:
    with psycopg.connect(both.through.dsn(), autocommit=True) as connection:
        cursor = psycopg.ClientCursor(connection)
        cursor.execute("PREPARE word(int, text) AS INSERT INTO kept VALUES ($1, $2)")
        for number in range(5):
            cursor.execute("EXECUTE word(%s, %s)", (number, f"it's {number}"))
        assert cursor.execute("SELECT count(*) FROM kept").fetchone() == (5,)
        with pytest.raises(psycopg.errors.UniqueViolation):
            cursor.execute("EXECUTE word(%s, %s)", (1, "twice"))
        with pytest.raises(psycopg.errors.DuplicatePreparedStatement):
            cursor.execute("PREPARE word AS SELECT 1")
        cursor.execute("DEALLOCATE word")
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            cursor.execute("EXECUTE word(7, 'gone')")


async def test_asyncpg_executes_and_forgets_what_it_has_prepared(both: Both) -> None:
    connection = await asyncpg.connect(both.through.dsn())
    try:
        statement = await connection.prepare("SELECT $1::int + 1", name="plus")
        for number in range(4):
            assert await statement.fetchval(number) == number + 1
            assert await connection.execute(f"EXECUTE plus({number})") == "SELECT 1"
        assert await connection.execute("PREPARE more(int) AS SELECT $1 * 2") == "PREPARE"
        assert await connection.fetchval("EXECUTE more(4)") == 8
        await connection.execute("DEALLOCATE plus")
        with pytest.raises(asyncpg.InvalidSQLStatementNameError):
            await statement.fetchval(1)
    finally:
        connection.terminate()
