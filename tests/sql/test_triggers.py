"""What triggers write: foreseen from the catalog, and held against what the server locks when they run."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from sql.analyse import analyse
from sql.reach import Reach, reach
from tests.sql.schema import names, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sql.catalog import Catalog
    from tests.support.postgres import Cluster


def _function(name: str, body: str, options: str = "") -> str:
    return f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql {options} AS $body${body}$body$;\n"


def _watched(name: str, body: str, when: str = "AFTER INSERT", level: str = "ROW", options: str = "") -> str:
    """A table with a trigger of its own."""
    return (
        f"CREATE TABLE {name} (id int, n int DEFAULT 0, at timestamptz);"
        + _function(f"{name}_f", body, options)
        + f"CREATE TRIGGER {name}_t {when} ON {name} FOR EACH {level} EXECUTE FUNCTION {name}_f();\n"
    )


_LOG: Final = "INSERT INTO log VALUES (TG_OP || to_jsonb(NEW)::text)"
_SETUP: Final = "".join(
    (
        "CREATE SCHEMA app; CREATE TABLE log (line text); CREATE TABLE app.log (line text);"
        "CREATE TABLE other (id int);"
        "CREATE TABLE sums (id int PRIMARY KEY, n int DEFAULT 0); INSERT INTO sums VALUES (1), (2), (3);"
        "CREATE TABLE columns (id int); CREATE TABLE twin (id int); CREATE TABLE app.twin (id int);"
        "CREATE FUNCTION reads() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM public.other';"
        "CREATE FUNCTION spills() RETURNS int LANGUAGE plpgsql"
        " AS $$ BEGIN INSERT INTO public.other VALUES (1); RETURN 1; END $$;"
        "CREATE FUNCTION spills(log) RETURNS int LANGUAGE plpgsql"
        " AS $$ BEGIN INSERT INTO public.other VALUES (1); RETURN 1; END $$;",
        # understood
        _watched("audited", f"BEGIN {_LOG}; RETURN NULL; END", "AFTER INSERT OR UPDATE OR DELETE"),
        _watched("counted", "BEGIN UPDATE sums SET n = n + 1 WHERE id = NEW.id; RETURN NULL; END"),
        _watched("touched", "BEGIN NEW.at := now(); NEW.n = NEW.n + 1; RETURN NEW; END", "BEFORE INSERT OR UPDATE"),
        _watched("refused", "BEGIN DELETE FROM other; RETURN NULL; END", "BEFORE INSERT"),
        _watched("first", "BEGIN INSERT INTO second VALUES (NEW.id); RETURN NULL; END"),
        _watched("second", "BEGIN INSERT INTO third VALUES (NEW.id); RETURN NULL; END"),
        _watched("third", "BEGIN IF NEW.id < 9 THEN INSERT INTO first VALUES (9); END IF; RETURN NULL; END"),
        _watched("raising", "BEGIN RAISE DEBUG 'x %', (SELECT reads()) USING HINT = upper('x'); RETURN NULL; END"),
        _watched(
            "catching",
            "BEGIN DELETE FROM sums; RAISE EXCEPTION 'x'; EXCEPTION WHEN OTHERS THEN"
            " INSERT INTO other VALUES (1); RETURN NULL; END",
        ),
        _watched(
            "looping",
            "DECLARE r record; n int; BEGIN FOR r IN SELECT * FROM sums LOOP UPDATE other SET id = r.n; END LOOP;"
            " FOREACH n IN ARRAY ARRAY[1, 2] LOOP INSERT INTO sums VALUES (n + 10); END LOOP; RETURN NULL; END",
        ),
        _watched(
            "choosing",
            "BEGIN CASE NEW.id WHEN 1 THEN DELETE FROM other; ELSE DELETE FROM sums; END CASE; RETURN NULL; END",
        ),
        _watched("performing", "BEGIN PERFORM reads(); PERFORM pg_notify('x', 'y'); RETURN NULL; END"),
        _watched(
            "answering",
            "DECLARE n int; BEGIN INSERT INTO other VALUES (1) RETURNING id INTO n;"
            " WITH d AS (DELETE FROM sums RETURNING id) SELECT max(id) INTO n FROM d; RETURN NULL; END",
        ),
        _watched("ambiguous", "BEGIN DELETE FROM twin; RETURN NULL; END"),
        _watched("exact", "BEGIN DELETE FROM app.twin; RETURN NULL; END"),
        _watched("plain_word", "BEGIN DELETE FROM columns; RETURN NULL; END"),
        _watched("defined", f"BEGIN {_LOG}; RETURN NULL; END", options="SECURITY DEFINER SET search_path = app"),
        _watched(
            "merging", "BEGIN MERGE INTO sums s USING other o ON s.id = o.id WHEN MATCHED THEN DELETE; RETURN NULL; END"
        ),
        _watched("emptying", "BEGIN TRUNCATE other; RETURN NULL; END"),
        _watched("emptied", "BEGIN DELETE FROM other; RETURN NULL; END", "BEFORE TRUNCATE", "STATEMENT"),
        _watched(
            "cursing",
            "DECLARE c CURSOR FOR SELECT id FROM sums FOR UPDATE; BEGIN FOR r IN c LOOP"
            " UPDATE sums SET n = 2 WHERE CURRENT OF c; END LOOP; RETURN NULL; END",
        ),
        "CREATE TABLE batched (id int);",
        _function(
            "batch", "BEGIN INSERT INTO sums SELECT id + 20 FROM fresh JOIN fresh f USING (id); RETURN NULL; END"
        ),
        "CREATE TRIGGER t AFTER INSERT ON batched REFERENCING NEW TABLE AS fresh"
        " FOR EACH STATEMENT EXECUTE FUNCTION batch();",
        "CREATE TABLE mother (id int PRIMARY KEY); CREATE TABLE daughter (id int REFERENCES mother ON DELETE CASCADE);"
        "CREATE TRIGGER t AFTER DELETE ON daughter FOR EACH ROW EXECUTE FUNCTION counted_f();"
        "INSERT INTO mother VALUES (1), (2); INSERT INTO daughter VALUES (1);",
        _watched("orphaning", "BEGIN DELETE FROM mother; RETURN NULL; END"),
        "CREATE TABLE late (id int);",
        "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION counted_f();",
        "CREATE TABLE parted (id int, k int) PARTITION BY LIST (k);"
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);"
        "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);"
        "INSERT INTO parted VALUES (1, 1);"
        "CREATE TRIGGER t AFTER DELETE ON parted FOR EACH ROW EXECUTE FUNCTION counted_f();"
        "CREATE TRIGGER u AFTER INSERT ON parted_2 FOR EACH ROW EXECUTE FUNCTION refused_f();",
        "CREATE TABLE careful (id int, s text);"
        "CREATE TRIGGER t AFTER INSERT ON careful FOR EACH ROW WHEN (upper(NEW.s) = 'X' AND reads() >= 0)"
        " EXECUTE FUNCTION refused_f();",
        "CREATE TABLE disabled (id int);"
        "CREATE TRIGGER t AFTER INSERT ON disabled FOR EACH ROW EXECUTE FUNCTION refused_f();"
        "ALTER TABLE disabled DISABLE TRIGGER t;",
        "CREATE TABLE quiet_update (id int);"
        "CREATE TRIGGER t BEFORE UPDATE ON quiet_update FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger();",
        "CREATE TABLE twice (id int);"
        "CREATE TRIGGER t AFTER INSERT ON twice FOR EACH ROW EXECUTE FUNCTION counted_f();"
        "CREATE TRIGGER u AFTER INSERT ON twice FOR EACH STATEMENT EXECUTE FUNCTION refused_f();",
        # not understood
        _watched("dynamic", "BEGIN EXECUTE 'DELETE FROM other'; RETURN NULL; END"),
        _watched("calling", "BEGIN PERFORM spills(); RETURN NULL; END"),
        _watched("row_calling", "DECLARE r log; BEGIN PERFORM r.spills; RETURN NULL; END"),
        _watched("assigning", "BEGIN NEW.n := spills(); RETURN NEW; END", "BEFORE INSERT"),
        _watched("hiding", "DECLARE r record := ROW(spills()); BEGIN RETURN NEW; END", "BEFORE INSERT"),
        _watched("setting", "BEGIN PERFORM set_config('a.b', 'x', true); RETURN NULL; END"),
        _watched("defining", "BEGIN CREATE TEMP TABLE x (id int); RETURN NULL; END"),
        _watched("missing", "BEGIN DELETE FROM nowhere; RETURN NULL; END"),
        _watched("to_opaque", "BEGIN INSERT INTO dynamic VALUES (1); RETURN NULL; END"),
        _watched("to_catalog", "BEGIN DELETE FROM pg_description; RETURN NULL; END"),
        _watched("last", "BEGIN RETURN NULL; END"),
        "CREATE TABLE mixed (id int);"
        "CREATE TRIGGER t AFTER INSERT ON mixed FOR EACH ROW EXECUTE FUNCTION counted_f();"
        "CREATE TRIGGER u AFTER INSERT ON mixed FOR EACH ROW EXECUTE FUNCTION dynamic_f();"
        "CREATE TRIGGER v AFTER INSERT ON mixed FOR EACH ROW EXECUTE FUNCTION last_f();",
        "CREATE VIEW shown AS SELECT * FROM other;",
        _watched("to_view", "BEGIN INSERT INTO shown VALUES (1); RETURN NULL; END"),
        "CREATE TRIGGER t INSTEAD OF DELETE ON shown FOR EACH ROW EXECUTE FUNCTION refused_f();",
        "CREATE TABLE careless (id int);"
        "CREATE TRIGGER t AFTER INSERT ON careless FOR EACH ROW WHEN (spills() > 0) EXECUTE FUNCTION raising_f();",
        "CREATE TABLE whens (id int);"
        "CREATE TRIGGER t AFTER INSERT ON whens FOR EACH ROW WHEN (set_config('a.b', 'x', true) = 'x')"
        " EXECUTE FUNCTION raising_f();",
        "CREATE TABLE careless_parts (id int) PARTITION BY LIST (id);"
        "CREATE TABLE careless_part PARTITION OF careless_parts DEFAULT;"
        "CREATE TRIGGER t AFTER INSERT ON careless_parts FOR EACH ROW WHEN (spills() > 0)"
        " EXECUTE FUNCTION raising_f();",
    )
)

_UNDERSTOOD: Final[dict[str, tuple[set[str], set[str]]]] = {  # -> foreseen, and of that what this time is not locked
    "INSERT INTO audited VALUES (1)": ({"audited", "log", "app.log"}, {"app.log"}),
    "UPDATE audited SET id = 2": ({"audited", "log", "app.log"}, {"log", "app.log"}),
    "TRUNCATE audited": ({"audited"}, set()),
    "INSERT INTO counted VALUES (1)": ({"counted", "sums"}, set()),
    "DELETE FROM counted": ({"counted"}, set()),
    "INSERT INTO touched VALUES (1)": ({"touched"}, set()),
    "INSERT INTO refused VALUES (1)": ({"refused", "other"}, set()),
    "COPY refused FROM STDIN": ({"refused", "other"}, {"other"}),
    "INSERT INTO first VALUES (1)": ({"first", "second", "third"}, set()),
    "INSERT INTO raising VALUES (1)": ({"raising"}, set()),
    "INSERT INTO catching VALUES (1)": ({"catching", "sums", "other"}, {"sums"}),
    "INSERT INTO looping VALUES (1)": ({"looping", "sums", "other"}, set()),
    "INSERT INTO choosing VALUES (1)": ({"choosing", "sums", "other"}, {"sums"}),
    "INSERT INTO performing VALUES (1)": ({"performing"}, set()),
    "INSERT INTO answering VALUES (1)": ({"answering", "sums", "other"}, set()),
    "INSERT INTO ambiguous VALUES (1)": ({"ambiguous", "twin", "app.twin"}, {"app.twin"}),
    "INSERT INTO exact VALUES (1)": ({"exact", "app.twin"}, set()),
    "INSERT INTO plain_word VALUES (1)": ({"plain_word", "columns"}, set()),
    "INSERT INTO defined VALUES (1)": ({"defined", "log", "app.log"}, {"log"}),
    "INSERT INTO merging VALUES (1)": ({"merging", "sums"}, set()),
    "INSERT INTO emptying VALUES (1)": ({"emptying", "other"}, set()),
    "TRUNCATE emptied": ({"emptied", "other"}, set()),
    "TRUNCATE emptied CASCADE": ({"emptied", "other"}, set()),
    "INSERT INTO emptied VALUES (1)": ({"emptied"}, set()),
    "INSERT INTO cursing VALUES (1)": ({"cursing", "sums"}, set()),
    "INSERT INTO batched VALUES (1)": ({"batched", "sums"}, set()),
    "DELETE FROM mother": ({"mother", "daughter", "sums"}, set()),
    "INSERT INTO orphaning VALUES (1)": ({"orphaning", "mother", "daughter", "sums"}, set()),
    "INSERT INTO late VALUES (1)": ({"late", "sums"}, set()),
    "DELETE FROM parted": ({"parted", "parted_1", "parted_2", "sums"}, set()),
    "UPDATE parted SET k = 2": ({"parted", "parted_1", "parted_2", "sums", "other"}, set()),
    "INSERT INTO parted_1 VALUES (1, 1)": ({"parted", "parted_1"}, {"parted"}),
    "INSERT INTO careful VALUES (1, 'x')": ({"careful", "other"}, set()),
    "INSERT INTO twice VALUES (1)": ({"twice", "sums", "other"}, set()),
    "INSERT INTO disabled VALUES (1)": ({"disabled"}, set()),
    "UPDATE quiet_update SET id = 1": ({"quiet_update"}, set()),
    "WITH w AS (DELETE FROM mother RETURNING id) INSERT INTO counted SELECT id FROM w": (
        {"mother", "daughter", "counted", "sums"},
        set(),
    ),
}
_UNKNOWN: Final = [
    "INSERT INTO dynamic VALUES (1)",
    "INSERT INTO calling VALUES (1)",
    "INSERT INTO row_calling VALUES (1)",
    "INSERT INTO assigning VALUES (1)",
    "INSERT INTO hiding VALUES (1)",
    "INSERT INTO setting VALUES (1)",
    "INSERT INTO defining VALUES (1)",
    "INSERT INTO missing VALUES (1)",
    "INSERT INTO to_opaque VALUES (1)",
    "INSERT INTO to_catalog VALUES (1)",
    "INSERT INTO to_view VALUES (1)",
    "INSERT INTO mixed VALUES (1)",
    "DELETE FROM shown",
    "INSERT INTO careless VALUES (1)",
    "INSERT INTO whens VALUES (1)",
    "INSERT INTO careless_parts VALUES (1)",
    "INSERT INTO careless_part VALUES (1)",
]


@pytest.fixture(scope="module")
def triggered_database(postgres: Cluster) -> Iterator[str]:
    name = postgres.create_database()
    postgres.execute(_SETUP, database=name)
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def triggered(postgres: Cluster, triggered_database: str) -> Catalog:
    return asyncio.run(snapshot(postgres, triggered_database))


def _reach(text: str, catalog: Catalog) -> Reach:
    return reach(analyse(text), catalog, ("$user", "public"), "postgres")


def _written(text: str, catalog: Catalog) -> set[str] | None:
    found = _reach(text, catalog)
    assert (found.ddl, found.taints) == (found.writes is None, found.writes is None)
    return None if found.writes is None else names(catalog, found.writes)


@pytest.mark.parametrize("text", _UNDERSTOOD)
def test_what_triggers_write_is_foreseen_and_locked(
    text: str, postgres: Cluster, triggered_database: str, triggered: Catalog
) -> None:
    foreseen, unlocked = _UNDERSTOOD[text]
    assert _written(text, triggered) == foreseen
    with psycopg.connect(postgres.dsn(triggered_database)) as connection:
        with connection.cursor() as cursor:
            if text.startswith("COPY"):
                with cursor.copy(text.encode()):
                    pass
            else:
                cursor.execute(text.encode())
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            locks = cursor.execute(
                "SELECT DISTINCT l.relation FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
                " WHERE pid = pg_backend_pid() AND relation >= 16384 AND relkind IN ('r', 'p')"
                " AND l.mode LIKE '%Exclusive%'"
            ).fetchall()
        connection.rollback()
    assert names(triggered, frozenset(oid for (oid,) in locks)) == foreseen - unlocked


@pytest.mark.parametrize("text", _UNKNOWN)
def test_triggers_that_are_not_understood_may_write_anything(text: str, triggered: Catalog) -> None:
    assert _written(text, triggered) is None


def test_only_the_triggers_for_an_event_count(triggered: Catalog) -> None:
    assert _written("DELETE FROM dynamic", triggered) == {"dynamic"}
    assert _written("INSERT INTO shown VALUES (1)", triggered) is None


@pytest.mark.parametrize(
    "extra",
    [
        "CREATE OR REPLACE FUNCTION refused_f() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN EXECUTE 'SELECT 1'; RETURN NULL; END $$",
        "CREATE DOMAIN noisy AS int CHECK (spills() > VALUE)",
        "CREATE FUNCTION spilled(int, int) RETURNS int LANGUAGE sql AS 'SELECT spills()';"
        "CREATE OPERATOR + (LEFTARG = int, RIGHTARG = int, FUNCTION = spilled)",
        "CREATE FUNCTION to_int(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';"
        "CREATE CAST (text AS int) WITH FUNCTION to_int(text) AS ASSIGNMENT",
        "ALTER TABLE other ADD CHECK (spills() > 0)",
        "ALTER TABLE other ADD c int DEFAULT spills()",
        "CREATE RULE r AS ON DELETE TO other DO ALSO NOTIFY x",
    ],
)
async def test_what_a_trigger_relies_on_may_change(extra: str, postgres: Cluster, database: str) -> None:
    postgres.execute(_SETUP, database=database)
    assert _written("INSERT INTO refused VALUES (1)", await snapshot(postgres, database)) is not None
    postgres.execute(extra, database=database)
    assert _written("INSERT INTO refused VALUES (1)", await snapshot(postgres, database)) is None


async def test_the_shop_of_the_demo_is_understood(postgres: Cluster, database: str) -> None:
    postgres.execute((files("proxy.demo") / "schema.sql").read_text(), database=database)
    catalog = await snapshot(postgres, database)
    assert _written("INSERT INTO orders (user_id) VALUES ($1)", catalog) == {"orders", "audit_log"}
    assert _written("UPDATE products SET price = 1 WHERE id = $1", catalog) == {"products", "audit_log"}
    assert _written("DELETE FROM orders WHERE id = $1", catalog) == {"orders", "order_items", "audit_log"}
    assert _written("UPDATE inventory SET quantity = 1", catalog) == {"inventory"}
