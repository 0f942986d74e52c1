"""What a statement reads and writes, against a real catalog; and against what the server says it locked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from sql.analyse import analyse
from sql.facts import Bypass
from sql.reach import Reach, parameters_plain, reach
from tests.sql.schema import NOISY, SCHEMA, names, snapshot

if TYPE_CHECKING:
    from sql.catalog import Catalog
    from tests.support.postgres import Cluster

_PATH: Final = ("$user", "public")


def _reach(text: str, catalog: Catalog, path: tuple[str, ...] = _PATH) -> Reach:
    return reach(analyse(text), catalog, path, "postgres")


_CACHEABLE: Final = {
    "SELECT * FROM t WHERE id = 1": {"t"},
    "SELECT t.b, count(*) FROM t JOIN u USING (id) GROUP BY 1 ORDER BY 2 DESC LIMIT 3": {"t", "u"},
    "SELECT * FROM public.t x LEFT JOIN app.t y ON x.id = y.id": {"t", "app.t"},
    "SELECT id FROM t UNION ALL SELECT id FROM u": {"t", "u"},
    "WITH c AS (SELECT id FROM t) SELECT * FROM c, u": {"t", "u"},
    "WITH RECURSIVE c AS (SELECT 1 AS n UNION SELECT n + 1 FROM c, t WHERE n < 5) SELECT * FROM c": {"t"},
    "WITH u AS (SELECT id FROM t) SELECT * FROM u": {"t", "u"},
    "SELECT * FROM t WHERE id IN (SELECT id FROM u) AND EXISTS (SELECT 1 FROM app.only_app)": {
        "t",
        "u",
        "app.only_app",
    },
    "SELECT * FROM ranged": {"ranged", "ranged_1", "ranged_2", "ranged_2a"},
    "SELECT * FROM ranged_2": {"ranged_2", "ranged_2a"},
    "SELECT * FROM ranged_1": {"ranged_1"},
    "SELECT * FROM base": {"base", "derived"},
    "SELECT made::date, date_trunc('day', made), to_char(made, 'YYYY') FROM t": {"t"},
    "SELECT date(made) FROM t": {"t"},
    "SELECT extract(year FROM made), made AT TIME ZONE 'UTC' FROM t": {"t"},
    "SELECT * FROM t WHERE made > '2020-01-01' AND made < $1::timestamptz": {"t"},
    "SELECT * FROM t WHERE paint = 'red'::colour": {"t"},
    "SELECT age(made, made) FROM t": {"t"},
    "SELECT max(a), sum(a) FILTER (WHERE b LIKE 'x%'), array_agg(id ORDER BY id) FROM t": {"t"},
    "SELECT rank() OVER (PARTITION BY a ORDER BY id) FROM t": {"t"},
    "SELECT CASE a WHEN 1 THEN coalesce(b, 'x') ELSE nullif(b, 'y') END FROM t": {"t"},
    'SELECT b COLLATE "C" FROM t': {"t"},
    "TABLE t": {"t"},
    "SELECT id FROM bystander": {"bystander"},
}


@pytest.mark.parametrize("text", _CACHEABLE)
def test_a_proved_select_is_tagged_with_what_it_reads(text: str, catalog: Catalog) -> None:
    found = _reach(text, catalog)
    assert found.bypass is None
    assert names(catalog, found.reads) == _CACHEABLE[text]
    assert found.writes == frozenset()
    assert (found.ddl, found.taints) == (False, False)


_BYPASSED: Final = [
    ("SELECT 1", Bypass.NO_RELATION),
    ("SELECT * FROM nowhere", Bypass.UNKNOWN_RELATION),
    ("SELECT * FROM only_app", Bypass.UNKNOWN_RELATION),
    ("SELECT * FROM pg_class", Bypass.SYSTEM_CATALOG),
    ("SELECT * FROM information_schema.tables", Bypass.SYSTEM_CATALOG),
    ("SELECT * FROM counter", Bypass.NOT_A_TABLE),
    ("SELECT * FROM unlogged", Bypass.UNLOGGED),
    ("SELECT * FROM secret", Bypass.ROW_SECURITY),
    ("SELECT * FROM clocks", Bypass.UNKNOWN_TYPE),
    ("SELECT * FROM regs", Bypass.UNKNOWN_TYPE),
    ("SELECT now() FROM t", Bypass.VOLATILE_FUNCTION),
    ("SELECT current_date FROM t", Bypass.VOLATILE_FUNCTION),
    ("SELECT random() FROM t", Bypass.VOLATILE_FUNCTION),
    ("SELECT age(made) FROM t", Bypass.VOLATILE_FUNCTION),
    ("SELECT current_setting('a.b') FROM t", Bypass.VOLATILE_FUNCTION),
    ("SELECT nextval('counter') FROM t", Bypass.VOLATILE_FUNCTION),
    ("SELECT to_regclass('t') FROM t", Bypass.VOLATILE_FUNCTION),
    ("SELECT pg_table_size('t') FROM t", Bypass.VOLATILE_FUNCTION),
    ("SELECT t.pg_column_size FROM t", Bypass.VOLATILE_FUNCTION),
    ("SELECT at AT TIME ZONE 'UTC' FROM times", Bypass.VOLATILE_FUNCTION),
    ("SELECT pure(a) FROM t", Bypass.UNKNOWN_FUNCTION),
    ("SELECT upper(b) FROM t", Bypass.UNKNOWN_FUNCTION),
    ("SELECT app.count(*) FROM t", Bypass.UNKNOWN_FUNCTION),
    ("SELECT no_such(a) FROM t", Bypass.UNKNOWN_FUNCTION),
    ("SELECT t.whole FROM t", Bypass.UNKNOWN_FUNCTION),
    ("SELECT (t).whole FROM t", Bypass.UNKNOWN_FUNCTION),
    ("SELECT a ~~~ 1 FROM t", Bypass.UNKNOWN_OPERATOR),
    ("SELECT b @@ 'x' FROM t", Bypass.UNKNOWN_OPERATOR),
    ("SELECT b::date FROM t", Bypass.VOLATILE_CAST),
    ("SELECT date(b) FROM t", Bypass.VOLATILE_CAST),
    ("SELECT tstzrange(b) FROM t", Bypass.VOLATILE_CAST),
    ("SELECT u.made::timestamptz FROM u", Bypass.VOLATILE_CAST),
    ("SELECT made::date FROM t, u", Bypass.VOLATILE_CAST),
    ("SELECT made::date FROM (SELECT made::text FROM t) x", Bypass.VOLATILE_CAST),
    ("SELECT '12:00'::timetz FROM t", Bypass.VOLATILE_CAST),
    ("SELECT 't'::regclass FROM t", Bypass.VOLATILE_CAST),
    ("SELECT b::colour FROM t", Bypass.UNKNOWN_TYPE),
    ("SELECT 'x'::short FROM t", Bypass.UNKNOWN_TYPE),
    ("SELECT 'x'::nothing FROM t", Bypass.UNKNOWN_TYPE),
    ("SELECT * FROM t WHERE made > 'yesterday'", Bypass.DATE_WORD),
    ("SELECT * FROM t WHERE made <@ '[now,)'::tstzrange", Bypass.DATE_WORD),
    ("SELECT * FROM t FOR UPDATE", Bypass.LOCKING),
    ("SELECT * FROM t TABLESAMPLE system (10)", Bypass.TABLESAMPLE),
    ("SELECT ctid FROM t", Bypass.SYSTEM_COLUMN),
    ("SELECT t.xmin FROM t", Bypass.SYSTEM_COLUMN),
    ('SELECT b COLLATE "de_DE" FROM t', Bypass.COLLATION),
    ("WITH w AS (DELETE FROM t RETURNING id) SELECT * FROM w", Bypass.CTE_WRITE),
    ("SELECT xmlelement(name a) FROM t", Bypass.UNSUPPORTED),
    ("SELECT id FROM pg_temp.t", Bypass.TEMP),
    ("SELECT 1; SELECT 2", Bypass.MULTI),
    ("/* forebay: nocache */ SELECT * FROM t", Bypass.HINT),
    ("UPDATE t SET a = 1", Bypass.NOT_SELECT),
]


@pytest.mark.parametrize(("text", "reason"), _BYPASSED)
def test_what_is_not_proved_bypasses(text: str, reason: Bypass, catalog: Catalog) -> None:
    assert _reach(text, catalog).bypass is reason


_WRITES: Final[dict[str, set[str] | None]] = {
    "INSERT INTO t (id) VALUES (1)": {"t"},
    "INSERT INTO u (b) VALUES ('x') ON CONFLICT (id) DO UPDATE SET b = 'y'": {"u"},
    "UPDATE t SET a = 1 FROM u WHERE u.id = t.id": {"t"},
    "DELETE FROM app.t": {"app.t"},
    "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE": {"t"},
    "COPY t FROM STDIN": {"t"},
    "COPY t TO STDOUT": set(),
    "TRUNCATE t": {"t"},
    "TRUNCATE parent CASCADE": {"parent", "child", "grandchild", "bystander"},
    "TRUNCATE ranged CASCADE": {"ranged", "ranged_1", "ranged_2", "ranged_2a", "of_ranged", "of_leaf"},
    "INSERT INTO parent VALUES (1)": {"parent"},
    "DELETE FROM parent": {"parent", "child", "grandchild"},
    "UPDATE parent SET note = 'x'": {"parent"},
    "UPDATE child SET id = 9": {"child", "grandchild"},
    "INSERT INTO ranged VALUES (1, 1)": {"ranged", "ranged_1", "ranged_2", "ranged_2a"},
    "INSERT INTO ranged_2a VALUES (1, 11)": {"ranged", "ranged_2", "ranged_2a"},
    "DELETE FROM ranged_1": {"ranged", "ranged_1", "of_ranged"},
    "DELETE FROM ranged": {"ranged", "ranged_1", "ranged_2", "ranged_2a", "of_ranged", "of_leaf"},
    "UPDATE ranged SET k = 11": {"ranged", "ranged_1", "ranged_2", "ranged_2a", "of_ranged", "of_leaf"},
    "UPDATE base SET id = 1": {"base", "derived"},
    "INSERT INTO derived VALUES (1, 1)": {"base", "derived"},
    "INSERT INTO defaulted VALUES (1)": {"defaulted"},
    "INSERT INTO checked VALUES (1)": {"checked"},
    "WITH w AS (DELETE FROM t RETURNING id) INSERT INTO u (id) SELECT id FROM w": {"t", "u"},
    "WITH w AS (DELETE FROM t RETURNING id) SELECT * FROM w": {"t"},
    "EXPLAIN DELETE FROM t": set(),
    "EXPLAIN ANALYZE DELETE FROM parent": {"parent", "child", "grandchild"},
    "EXPLAIN (ANALYZE off) DELETE FROM t": set(),
    "DELETE FROM t; INSERT INTO u (b) VALUES ('x')": {"t", "u"},
    "DECLARE c CURSOR FOR SELECT * FROM t": set(),
    "PREPARE p AS DELETE FROM t": set(),
    "SELECT reads_log()": set(),
    "SELECT pure(1)": set(),
    "SELECT nextval('counter'), pg_advisory_lock(1), pg_sleep(0), random()": set(),
    "SELECT * FROM simple_view, over_view": set(),
    "SELECT * FROM secret": set(),
    "SELECT * FROM pg_class": set(),
    "LOCK t": set(),
    "VACUUM t": None,  # noisy_default and others are there
    "BEGIN": set(),
    "COMMIT": set(),
    "SET search_path = app": set(),
    "NOTIFY x": set(),
    "": set(),
    "CREATE TEMP TABLE x (id int)": set(),
    "CREATE TEMP TABLE x AS SELECT * FROM t": set(),
    "CREATE TEMP TABLE x AS SELECT writes_log()": None,
    "CREATE TEMP TABLE x AS EXECUTE p": None,
    "CREATE TABLE x AS SELECT * FROM t": None,
    "INSERT INTO watched VALUES (1)": {"watched", "log"},
    "DELETE FROM over_watched": {"over_watched", "under_watched", "log"},
    "INSERT INTO over_watched VALUES (1)": {"over_watched"},
    "INSERT INTO ruled VALUES (1)": None,
    "INSERT INTO simple_view VALUES (1, 'x')": None,
    "INSERT INTO noisy_default VALUES (1)": None,
    "INSERT INTO nowhere VALUES (1)": None,
    "INSERT INTO pg_temp.t VALUES (1)": None,
    "INSERT INTO t (id) SELECT writes_log()": None,
    "SELECT writes_log()": None,
    "SELECT hides_it()": None,
    "SELECT hides_deeper()": None,
    "SELECT builds_it()": None,
    "SELECT drop_it()": None,
    "EXPLAIN SELECT hides_it()": None,
    "SELECT no_such()": None,
    "SELECT query_to_xml('SELECT writes_log()', true, true, '')": None,
    "SELECT a FROM t ORDER BY writes_log()": None,
    "SELECT * FROM writes_log()": None,
    "SELECT t.spills FROM t": None,
    "SELECT (x).spills FROM t x": None,
    "SELECT t.whole FROM t": set(),
    "DO $$ BEGIN END $$": None,
    "CALL run()": None,
    "EXECUTE p": None,
    "COMMIT PREPARED 'g'": None,
    "REFRESH MATERIALIZED VIEW kept": None,
    "ALTER TABLE t ADD c int": None,
    "COPY t FROM PROGRAM 'x'": None,
    "nonsense": None,
}


@pytest.mark.parametrize("text", _WRITES)
def test_writes(text: str, catalog: Catalog) -> None:
    found = _reach(text, catalog)
    expected = _WRITES[text]
    assert (None if found.writes is None else names(catalog, found.writes)) == expected


@pytest.mark.parametrize(
    ("text", "ddl", "taints"),
    [
        ("SELECT writes_log()", True, True),
        ("INSERT INTO watched VALUES (1)", False, False),
        ("ALTER TABLE t ADD c int", True, False),
        ("DO $$ BEGIN END $$", True, True),
        ("SELECT set_config($1, 'x', false)", False, True),
        ("SELECT set_config('a.b', 'x', false)", False, False),
        ("INSERT INTO t (id) VALUES (1)", False, False),
        ("SELECT 1; SELECT writes_log()", True, True),
    ],
)
def test_unseen_code_may_define_and_change_the_session(text: str, ddl: bool, taints: bool, catalog: Catalog) -> None:
    found = _reach(text, catalog)
    assert (found.ddl, found.taints) == (ddl, taints)


def test_every_schema_of_the_path_counts(catalog: Catalog) -> None:
    found = _reach("SELECT * FROM t", catalog, ("app", "public"))
    assert names(catalog, found.reads) == {"t", "app.t"}
    assert names(catalog, _reach("SELECT * FROM t", catalog, ("app",)).reads) == {"app.t"}
    assert _reach("SELECT * FROM pg_class", catalog, ("public", "pg_catalog")).bypass is Bypass.SYSTEM_CATALOG


def test_user_in_the_path_is_the_current_role(catalog: Catalog) -> None:
    facts = analyse("SELECT * FROM mine")
    assert reach(facts, catalog, _PATH, "postgres").bypass is Bypass.UNKNOWN_RELATION
    assert names(catalog, reach(facts, catalog, _PATH, "someone").reads) == {"someone.mine"}


@pytest.mark.parametrize(
    "extra",
    [
        "CREATE FUNCTION from_text(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';"
        "CREATE CAST (text AS int) WITH FUNCTION from_text(text) AS IMPLICIT",
        "CREATE CAST (text AS timestamptz) WITH INOUT AS IMPLICIT",
        "CREATE FUNCTION same(int, int) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true';"
        "CREATE SCHEMA o; CREATE OPERATOR o.= (LEFTARG = int, RIGHTARG = int, FUNCTION = same)",
        "CREATE FUNCTION cmp(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 0';"
        "CREATE OPERATOR CLASS odd FOR TYPE int USING btree AS OPERATOR 3 =, FUNCTION 1 cmp(int, int)",
    ],
)
async def test_implicit_code_of_users_makes_nothing_cacheable(extra: str, postgres: Cluster, database: str) -> None:
    postgres.execute("CREATE TABLE t (id int)", database=database)
    before = await snapshot(postgres, database)
    assert _reach("SELECT id FROM t JOIN t u USING (id)", before).bypass is None
    postgres.execute(extra, database=database)
    after = await snapshot(postgres, database)
    found = _reach("SELECT id FROM t JOIN t u USING (id)", after)
    assert found.bypass in (Bypass.UNKNOWN_TYPE, Bypass.UNKNOWN_OPERATOR)


async def test_implicit_casts_that_write_are_foreseen(postgres: Cluster, database: str) -> None:
    postgres.execute(
        "CREATE TABLE t (id int); CREATE FUNCTION f(text) RETURNS int LANGUAGE plpgsql"
        " AS $$ BEGIN INSERT INTO t VALUES (1); RETURN 1; END $$;"
        "CREATE CAST (text AS int) WITH FUNCTION f(text) AS IMPLICIT",
        database=database,
    )
    assert _reach("SELECT abs('x'::text)", await snapshot(postgres, database)).writes is None


async def test_a_type_may_hide_behind_the_name_of_a_function(postgres: Cluster, database: str) -> None:
    """lower(x) is a cast, where x is no text and a type of that name is in sight."""
    postgres.execute("CREATE TABLE t (id int, c varchar); CREATE DOMAIN lower AS timestamptz", database=database)
    catalog = await snapshot(postgres, database)
    assert _reach("SELECT lower(c) FROM t", catalog).bypass is Bypass.UNKNOWN_TYPE
    assert _reach("SELECT upper(c) FROM t", catalog).bypass is None


async def test_a_cast_through_text_between_plain_types_is_harmless(postgres: Cluster, database: str) -> None:
    postgres.execute(
        "CREATE TYPE colour AS ENUM ('red'); CREATE CAST (varchar AS colour) WITH INOUT AS IMPLICIT;"
        "CREATE TABLE t (id int, c colour)",
        database=database,
    )
    assert _reach("SELECT * FROM t WHERE c = $1", await snapshot(postgres, database)).bypass is None


async def test_views_that_write_make_functions_suspect(postgres: Cluster, database: str) -> None:
    postgres.execute(SCHEMA + NOISY, database=database)
    catalog = await snapshot(postgres, database)
    assert _reach("SELECT * FROM over_noisy", catalog).writes is None
    assert _reach("SELECT reads_log()", catalog).writes is None  # it could read such a view
    assert _reach("SELECT * FROM simple_view", catalog).writes == frozenset()
    assert _reach("SELECT 1 !!! 2", catalog).writes is None
    assert _reach("SELECT * FROM noisy_operator", catalog).writes is None


async def test_a_view_that_runs_sql_or_sets_is_noisy(postgres: Cluster, database: str) -> None:
    postgres.execute(
        "CREATE VIEW v AS SELECT query_to_xml('SELECT 1', true, true, '');"
        "CREATE VIEW s AS SELECT set_config('a.b', 'x', false)",
        database=database,
    )
    catalog = await snapshot(postgres, database)
    assert _reach("SELECT * FROM v", catalog).writes is None
    assert _reach("SELECT * FROM s", catalog).taints


async def test_domains_that_run_code_are_noisy(postgres: Cluster, database: str) -> None:
    postgres.execute(
        "CREATE FUNCTION f(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN true; END $$;"
        "CREATE DOMAIN d AS int CHECK (f(VALUE)); CREATE TABLE t (id int, x d[]); CREATE TABLE u (id int);"
        "CREATE VIEW v AS SELECT id::d FROM u",
        database=database,
    )
    catalog = await snapshot(postgres, database)
    assert _reach("INSERT INTO t VALUES (1)", catalog).writes is None
    assert _reach("SELECT 1::d", catalog).writes is None
    assert _reach("SELECT d(1)", catalog).writes is None
    assert _reach("SELECT * FROM v", catalog).writes is None
    assert _reach("INSERT INTO u VALUES (1)", catalog).writes == frozenset({catalog.relations["public", "u"].oid})


async def test_extensions_leave_builtin_names_usable(postgres: Cluster, database: str) -> None:
    """citext brings its own max() and =, compiled and immutable: max(int) stays provable."""
    postgres.execute("CREATE EXTENSION citext; CREATE TABLE t (id int)", database=database)
    catalog = await snapshot(postgres, database)
    found = _reach("SELECT max(id) FROM t WHERE id = 1", catalog)
    assert (found.bypass, found.writes) == (None, frozenset())
    postgres.execute(
        "CREATE FUNCTION step(int, int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;"
        "CREATE AGGREGATE min(int) (SFUNC = step, STYPE = int)",
        database=database,
    )
    catalog = await snapshot(postgres, database)
    found = _reach("SELECT min(id) FROM t", catalog)
    assert (found.bypass, found.writes) == (Bypass.UNKNOWN_FUNCTION, None)


def test_declared_parameters(catalog: Catalog) -> None:
    int4, text, timestamptz, timetz, regclass = 23, 25, 1184, 1266, 2205
    assert parameters_plain((0, int4, text, timestamptz), catalog)
    assert not parameters_plain((int4, timetz), catalog)
    assert not parameters_plain((regclass,), catalog)


_ORACLE: Final = [
    *(text for text, expected in _WRITES.items() if expected and not re.match("COPY|MERGE", text)),
    *_CACHEABLE,
]


@pytest.mark.parametrize("text", _ORACLE)
def test_the_server_locks_nothing_that_was_not_foreseen(
    text: str, postgres: Cluster, rich_database: str, catalog: Catalog
) -> None:
    """pg_locks of the own backend is what the statement really touched."""
    found = _reach(text, catalog)
    with psycopg.connect(postgres.dsn(rich_database)) as connection:
        for row in (
            "INSERT INTO parent VALUES (51)",
            "INSERT INTO child VALUES (51, 51)",
            "INSERT INTO grandchild VALUES (1, 51)",
            "INSERT INTO ranged VALUES (51, 1)",
            "COMMIT",
        ):
            connection.execute(row.encode())
        try:
            runnable = text.replace("$1", "'2020-01-01'").encode()
            with connection.cursor() as cursor:
                cursor.execute(runnable)
                locks = cursor.execute(
                    "SELECT l.relation, l.mode LIKE '%Exclusive%' FROM pg_locks l JOIN pg_class c"
                    " ON c.oid = l.relation WHERE pid = pg_backend_pid() AND relation >= 16384"
                    " AND relkind IN ('r', 'p') AND l.mode <> 'RowShareLock'"
                ).fetchall()
        finally:
            connection.rollback()
            postgres.execute("TRUNCATE parent, ranged CASCADE", database=rich_database)
    writes = {oid for oid, exclusive in locks if exclusive}
    assert found.writes is not None
    assert writes <= found.writes
    if found.bypass is None:
        constraints = {parent for oid in found.reads for parent in catalog.parents.get(oid, ())}
        assert {oid for oid, _ in locks} <= found.reads | constraints  # a partition looks its bounds up
