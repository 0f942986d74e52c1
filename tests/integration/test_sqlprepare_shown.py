"""What looks at prepared statements, or executes them, without naming them as EXECUTE does: as PostgreSQL itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.rotating import Both
from tests.integration.worded import SCHEMA, same, use
from tests.support import frames
from tests.support.forebay import forebay_before
from tests.support.frames import SYNC, bind, describe, execute, parse, query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster

LIST = "SELECT name, statement, parameter_types, from_sql FROM pg_prepared_statements ORDER BY name"
NAMES = "SELECT name, from_sql FROM pg_catalog.pg_prepared_statement() ORDER BY name"
RUNS = """
CREATE FUNCTION runs(text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE found text; BEGIN EXECUTE $1 INTO found; RETURN found; END $$;
CREATE PROCEDURE does(text) LANGUAGE plpgsql AS $$ BEGIN EXECUTE $1; END $$;
"""


@pytest.fixture(scope="module")
def rotating(postgres: Cluster) -> Iterator[Forebay]:
    with forebay_before(postgres, pool={"size": 4, "min_size": 2, "rotate": True}, cache={"mode": "off"}) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def kept(postgres: Cluster, shared_database: str) -> str:
    """The database, with what these tests need in it."""
    postgres.execute(SCHEMA + RUNS, database=shared_database)
    return shared_database


@pytest.fixture
def both(postgres: Cluster, rotating: Forebay, kept: str) -> Both:
    return Both(postgres, rotating, kept)


def errors(answers: Sequence[Sequence[tuple[str, bytes]]]) -> list[str]:
    return [frames.fields(body)["C"] for answer in answers for tag, body in answer if tag == "E"]


async def test_a_session_sees_its_own_and_nobody_elses(both: Both) -> None:
    await same(
        both,
        *[(1, query(f"PREPARE theirs_{number} AS SELECT {number}")) for number in range(8)],
        *[(1, query(f"EXECUTE theirs_{number}")) for number in range(8)],
        LIST,
        NAMES,
        LIST,
    )
    await same(
        both,
        "PREPARE mine(int) AS\n  SELECT $1 AS n",
        (1, query("PREPARE mine AS SELECT 'other'")),
        LIST,
        "EXECUTE mine(1)",
        "PREPARE later AS SELECT 2",
        LIST,
        (1, query("EXECUTE mine")),
        (1, query(NAMES)),
        "DEALLOCATE mine",
        LIST,
        "PREPARE mine AS SELECT 3",
        "EXECUTE mine",
        "DEALLOCATE ALL",
        LIST,
        "PREPARE mine AS SELECT 4",
        "EXECUTE mine",
        pins=2,
    )


async def test_in_a_transaction(both: Both) -> None:
    await same(
        both,
        "BEGIN",
        "PREPARE p AS SELECT * FROM kept",
        "INSERT INTO kept VALUES (1, 'x')",
        LIST,
        "EXECUTE p",
        "ROLLBACK",
        "EXECUTE p",
        LIST,
        pins=1,
    )


async def test_those_of_the_protocol(both: Both) -> None:
    await same(
        both,
        parse("SELECT $1::int + 1", "s") + SYNC,
        use("s", "5") + SYNC,
        "PREPARE p AS SELECT 1",
        LIST,
        use("s", "6") + SYNC,
        "EXECUTE s(7)",
        "EXECUTE p",
        frames.close("S", "s") + SYNC + query(LIST),
        pins=1,
    )


async def test_asked_by_the_protocol(both: Both) -> None:
    """What PREPARE made is in the list as if Parse had made it."""
    asked = parse("SELECT name FROM pg_prepared_statements ORDER BY 1") + bind() + describe("P") + execute() + SYNC
    await same(both, (1, query("PREPARE theirs AS SELECT 1")), (1, query("EXECUTE theirs")), asked, asked)
    await same(
        both,
        parse("SELECT 1", "s") + SYNC,
        "PREPARE p AS SELECT 1",
        query("SELECT 1") + parse("SELECT 2", "t") + SYNC + query("SELECT 2") + use("t") + SYNC,
        asked,
        use("s") + SYNC,
        "EXECUTE p",
        "EXECUTE t",
        pins=None,
    )
    await same(both, parse(NAMES, "itself") + SYNC, use("itself") + SYNC, use("itself") + SYNC, pins=1)


async def test_one_that_has_become_invalid_is_in_nobodys_way(both: Both) -> None:
    """It is not in the list either: that is where it differs from PostgreSQL."""
    steps = ["CREATE TABLE gone (a int)", "PREPARE q AS SELECT a FROM gone", "PREPARE p AS SELECT 1", "DROP TABLE gone"]
    found = await same(
        both,
        *steps,
        "SELECT 'q', runs('EXECUTE p')",
        "BEGIN",
        "SELECT 'q', runs('EXECUTE p')",
        "SELECT count(*) > 0 FROM pg_prepared_statements",
        "COMMIT",
        "EXECUTE p",
        "EXECUTE q",
        pins=1,
    )
    assert errors(found) == ["42P01"]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT runs('EXECUTE p')",
        "SELECT runs($$execute P$$)",
        "DO $$ BEGIN EXECUTE 'EXECUTE p'; END $$",
        "CALL does('EXECUTE p')",
        "SELECT 1; SELECT runs('EXECUTE p')",
        "SELECT runs('DEALLOCATE p')",
    ],
)
async def test_executed_by_what_a_text_calls(both: Both, text: str) -> None:
    await same(both, "PREPARE p AS SELECT 'prepared'", text, text, "EXECUTE p", "SELECT 1", "EXECUTE p", pins=1)
    await same(both, "PREPARE p AS SELECT 1", "BEGIN", text, "EXECUTE p", "ROLLBACK", "EXECUTE p", pins=1)
    await same(both, "PREPARE p AS SELECT 1", query("SELECT 1") + query(text) + query("EXECUTE p"), pins=1)
    await same(both, "PREPARE p AS SELECT 1", parse("SELECT 1") + bind() + execute() + query(text), "EXECUTE p", pins=1)


async def test_names_in_quotes(both: Both) -> None:
    text = """SELECT runs('EXECUTE "My Name"')"""
    await same(both, """PREPARE "My Name" AS SELECT 'prepared'""", text, text, pins=1)


async def test_what_says_no_name_keeps_no_server(both: Both) -> None:
    await same(
        both,
        "PREPARE p AS SELECT 1",
        "SELECT runs('SELECT 1')",
        "SELECT count(*) FROM kept AS p",
        "DO 'BEGIN END'",
        "DEALLOCATE p",
        "SELECT runs('SELECT ''p''')",
        parse("SELECT 1", "s") + SYNC,
        "SELECT runs('SELECT ''s''')",
        "EXECUTE s",
    )


async def test_all_are_forgotten_behind_a_look_at_a_sequence(both: Both) -> None:
    await same(
        both,
        "CREATE SEQUENCE looked_at",
        "PREPARE p AS SELECT 1",
        *["EXECUTE p"] * 8,  # now all servers have it
        query("SELECT nextval('looked_at'); SELECT lastval(); DEALLOCATE ALL") + use("p") + SYNC,
        "EXECUTE p",
        "DISCARD SEQUENCES",
        "DROP SEQUENCE looked_at",
        pins=None,
    )
