"""A view is what its definition is: each is asked for by name, and judged as the statement behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from sql.analyse import analyse
from sql.facts import Bypass
from sql.reach import reach
from sql.views import Views
from tests.sql.schema import names, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sql.catalog import Catalog
    from sql.reach import Reach
    from tests.support.postgres import Cluster

_SCHEMA: Final = """
CREATE SCHEMA app;
CREATE TABLE t (id int, a int, b text, made timestamptz, at time);
CREATE TABLE u (id int, b text);
CREATE TABLE app.t (id int, b text);
CREATE TABLE "Odd ""name" (id int);
CREATE TABLE ranged (id int, k int) PARTITION BY RANGE (k);
CREATE TABLE ranged_1 PARTITION OF ranged FOR VALUES FROM (0) TO (10);
CREATE TABLE regs (id int, c regclass);
CREATE UNLOGGED TABLE unlogged (id int);
CREATE TABLE secret (id int); ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE TABLE ruled (id int); CREATE RULE r AS ON INSERT TO ruled DO ALSO INSERT INTO u VALUES (1);
CREATE MATERIALIZED VIEW kept AS SELECT id, now() AS made FROM t;
CREATE MATERIALIZED VIEW kept_regs AS SELECT c FROM regs;
CREATE FUNCTION pure(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION app.lower(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT random()::text';
CREATE FUNCTION near(int, int) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT $1 = $2 FROM u LIMIT 1';
CREATE OPERATOR ~~~ (LEFTARG = int, RIGHTARG = int, FUNCTION = near);
"""

_KEPT: Final[dict[str, set[str]]] = {
    "SELECT id, b FROM t": {"t"},
    "SELECT id, t.b, u.b AS other FROM t JOIN u USING (id)": {"t", "u"},
    "SELECT b FROM t UNION SELECT b FROM app.t": {"t", "app.t"},
    "WITH w AS (SELECT max(id) AS id FROM u) SELECT a, (SELECT id FROM w) FROM t": {"t", "u"},
    "WITH RECURSIVE w AS (SELECT id FROM t UNION SELECT id + 1 FROM w WHERE id < 9) SELECT * FROM w": {"t"},
    "SELECT t.id, x.b FROM t LEFT JOIN LATERAL (SELECT b FROM u WHERE u.id = t.a LIMIT 1) x ON true": {"t", "u"},
    "SELECT id, sum(a) OVER (PARTITION BY b ORDER BY id), upper(b) || 'x', made::date FROM t": {"t"},
    "SELECT count(*) FILTER (WHERE a > 1) FROM t GROUP BY ROLLUP (b) HAVING max(id) > 0": {"t"},
    'SELECT id AS "select" FROM "Odd ""name"': {'Odd "name'},
    "SELECT * FROM ranged": {"ranged", "ranged_1"},
    "SELECT * FROM kept": {"kept"},
    "SELECT id FROM t WHERE made > 'now'": {"t"},  # that is a constant since the view was made
    "VALUES (1), ((SELECT max(id) FROM t))": {"t"},
}
_NOT_KEPT: Final = {
    "SELECT 1 AS x": Bypass.NO_RELATION,
    "SELECT id, now() FROM t": Bypass.VOLATILE_FUNCTION,
    "SELECT id, current_user FROM t": Bypass.VOLATILE_FUNCTION,
    "SELECT id, at AT TIME ZONE 'UTC' FROM t": Bypass.UNKNOWN_TYPE,  # a timetz
    "SELECT (at AT TIME ZONE 'UTC')::text FROM t": Bypass.VOLATILE_FUNCTION,
    "SELECT id, 'now'::text::timestamptz FROM t": Bypass.DATE_WORD,
    "SELECT b::date FROM t": Bypass.VOLATILE_CAST,
    "SELECT pure(a) FROM t": Bypass.UNKNOWN_FUNCTION,
    "SELECT app.lower(b) FROM t": Bypass.UNKNOWN_FUNCTION,
    "SELECT id FROM t WHERE a ~~~ 1": Bypass.UNKNOWN_OPERATOR,
    "SELECT c FROM regs": Bypass.UNKNOWN_TYPE,
    "SELECT id FROM regs": Bypass.UNKNOWN_TYPE,
    "SELECT c FROM kept_regs": Bypass.UNKNOWN_TYPE,
    "SELECT relname FROM pg_class": Bypass.SYSTEM_CATALOG,
    "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM information_schema.tables)": Bypass.SYSTEM_CATALOG,
    "SELECT * FROM secret": Bypass.ROW_SECURITY,
    "SELECT * FROM unlogged": Bypass.UNLOGGED,
    "SELECT * FROM ruled": Bypass.VIEW,
    "SELECT ctid FROM t": Bypass.SYSTEM_COLUMN,
    "SELECT id FROM t TABLESAMPLE system (10)": Bypass.TABLESAMPLE,
}


@pytest.fixture(scope="module")
def views(postgres: Cluster) -> Iterator[Catalog]:
    """A catalog with one view for every definition, and one over each."""
    database = postgres.create_database()
    made = [
        f"CREATE VIEW v{number} AS {text}; CREATE VIEW over_v{number} AS SELECT * FROM v{number}"
        for number, text in enumerate([*_KEPT, *_NOT_KEPT])
    ]
    for text in (_SCHEMA, *made):
        postgres.execute(text, database=database)
    postgres.execute(
        "SET search_path = app, public, pg_catalog;"
        "CREATE VIEW app.own AS SELECT id FROM t; CREATE VIEW app.lowered AS SELECT lower(b) FROM t",
        database=database,
    )
    yield asyncio.run(snapshot(postgres, database))
    postgres.drop_database(database)


def _reach(text: str, catalog: Catalog, *path: str) -> Reach:
    return reach(analyse(text), catalog, path or ("public",), "somebody")


@pytest.mark.parametrize("over", ["", "over_"])
@pytest.mark.parametrize(("number", "text"), list(enumerate(_KEPT)), ids=list(_KEPT))
def test_a_view_reads_what_its_definition_reads(number: int, text: str, over: str, views: Catalog) -> None:
    found = _reach(f"SELECT * FROM {over}v{number}", views)
    assert found.bypass is None
    assert names(views, found.reads) == _KEPT[text]
    assert found.writes == frozenset()


@pytest.mark.parametrize("over", ["", "over_"])
@pytest.mark.parametrize(("number", "text"), list(enumerate(_NOT_KEPT, len(_KEPT))), ids=list(_NOT_KEPT))
def test_a_view_is_kept_no_more_than_its_definition(number: int, text: str, over: str, views: Catalog) -> None:
    assert _reach(f"SELECT count(*) FROM {over}v{number}", views).bypass is _NOT_KEPT[text]


def test_names_mean_what_they_meant_when_the_view_was_made(views: Catalog) -> None:
    assert names(views, _reach("SELECT * FROM app.own", views).reads) == {"app.t"}
    assert _reach("SELECT * FROM app.lowered", views).bypass is Bypass.UNKNOWN_FUNCTION


def test_the_statement_over_a_view_is_judged_too(views: Catalog) -> None:
    assert names(views, _reach("SELECT * FROM v0, app.t", views).reads) == {"t", "app.t"}
    assert _reach("SELECT now() FROM v0", views).bypass is Bypass.VOLATILE_FUNCTION
    assert _reach("SELECT * FROM v0 FOR UPDATE", views).bypass is Bypass.LOCKING
    assert _reach("SELECT made::date FROM kept", views).bypass is None
    assert _reach("SELECT b::date FROM v0", views).bypass is Bypass.VOLATILE_CAST


@pytest.mark.parametrize(
    "text",
    ["INSERT INTO v0 VALUES (1)", "UPDATE v0 SET b = 'x'", "DELETE FROM over_v0", "REFRESH MATERIALIZED VIEW kept"],
)
def test_a_write_to_a_view_may_write_anything(text: str, views: Catalog) -> None:
    assert _reach(text, views).writes is None


def test_a_definition_that_cannot_be_read_proves_nothing() -> None:
    texts = {1: "SELECT 1 FROM t", 2: "SELECT GRAPH_TABLE (x MATCH y)", 3: "", 4: None, 5: "DELETE FROM t"}
    found = Views([{"oid": oid, "definition": text} for oid, text in texts.items()])
    assert [oid for oid in (*texts, 6) if found.facts(oid) is not None] == [1]


async def test_views_as_deep_as_anybody_likes(postgres: Cluster, database: str) -> None:
    layers = ["CREATE TABLE t (id int); CREATE VIEW v0 AS SELECT * FROM t"]
    layers += [f"CREATE VIEW v{n} AS SELECT a.id FROM v{n - 1} a, v{n - 1} b" for n in range(1, 12)]
    layers += [f"CREATE VIEW v{n} AS SELECT * FROM v{n - 1}" for n in range(12, 60)]
    for text in layers:
        postgres.execute(text, database=database)
    catalog = await snapshot(postgres, database)
    assert _reach("SELECT * FROM v59", catalog).bypass is Bypass.VIEW
    catalog = await snapshot(postgres, database)
    assert names(catalog, _reach("SELECT * FROM v25", catalog).reads) == {"t"}
