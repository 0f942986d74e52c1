"""Any conversation about prepared statements of SQL is the same directly and through Forebay, to the byte."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.integration.rotating import Both
from tests.integration.worded import SCHEMA, same, use
from tests.support.forebay import forebay_before
from tests.support.frames import SYNC, close, describe, parse, query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.rotating import Step
    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster


@pytest.fixture(scope="module", params=[False, True], ids=["at once", "BEGIN deferred"])
def rotating(request: pytest.FixtureRequest, postgres: Cluster) -> Iterator[Forebay]:
    pool = {"size": 4, "min_size": 2, "rotate": True, "defer_begin": request.param}
    with forebay_before(postgres, pool=pool, cache={"mode": "off"}) as proxy:
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


_TEXTS = (
    "PREPARE {0} AS SELECT 1 AS one",
    "PREPARE {0}(int) AS SELECT $1, {1}",
    "PREPARE {0} (text, int) AS INSERT INTO loose VALUES ($2, $1) RETURNING *",
    "PREPARE {0} AS SELECT count(*) FROM loose",
    "PREPARE {0}(mood) AS SELECT $1",
    "PREPARE {0} AS SELECT nothing",
    "EXECUTE {0}",
    "EXECUTE {0}({1})",
    "/* ü */ EXECUTE {0}('happy', {1});",
    "EXECUTE {0}(nothing)",
    "EXPLAIN (COSTS off) EXECUTE {0}({1})",
    "DEALLOCATE {0}",
    "EXECUTE {0}; EXECUTE {0}",
    "SELECT {1}; DEALLOCATE {0}",
)
_NAMES = ("a", "B", '"B"', "b", "forebay_1")
_OTHERS = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s", "DEALLOCATE ALL", "SELECT 1/0", "SELEC")


def conversation(chance: random.Random) -> list[Step]:
    """Three clients; every kind of statement that matters here, alone and several at once."""

    def text() -> bytes:
        if chance.randrange(4) == 0:
            return query(chance.choice(_OTHERS))
        # what several statements in one text do keeps the server, which is not what is to be seen most of the time
        texts = _TEXTS if chance.randrange(8) == 0 else _TEXTS[:4] + _TEXTS[5:12]
        wanted = chance.choice(texts)
        names = _NAMES[:-1] if wanted in _TEXTS[12:] else _NAMES
        return query(wanted.format(chance.choice(names), chance.randrange(6)))

    def batch() -> bytes:
        name = chance.choice(("a", "b", "B", ""))
        kind = chance.randrange(5)
        if kind == 0:
            return parse(chance.choice(("SELECT 2", "SELECT $1::int", "SELEC")), name) + SYNC
        if kind == 1:
            return describe("S", name) + SYNC
        if kind == 2:
            return close("S", name) + SYNC
        return use(name, *["1"] * chance.randrange(2)) + SYNC

    steps: list[Step] = []
    for _ in range(80):
        said = [text() if chance.randrange(3) else batch() for _ in range(chance.choice((1, 1, 1, 2, 3)))]
        steps.append((chance.randrange(3), b"".join(said)))
    return steps + [(client, query("ROLLBACK")) for client in range(3)]


@pytest.mark.parametrize("seed", range(12))
async def test_any_conversation_is_the_same_both_ways(both: Both, seed: int) -> None:
    await same(both, *conversation(random.Random(seed)), clients=3, pins=None)
