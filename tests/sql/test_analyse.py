"""Facts of a table of statements; the kinds, what a session is to remember, and that nothing raises."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql.analyse import LONGEST, analyse, analyse_bytes
from sql.facts import (
    Bypass,
    Call,
    Cast,
    Event,
    Isolation,
    Kind,
    Name,
    Pin,
    SettingChange,
    Source,
    Write,
)

_KINDS: Final = {
    Kind.EMPTY: ["", "  ", ";", "-- x", "/* x */ ;;"],
    Kind.UNKNOWN: ["nonsense", "SELECT 'a", "SELECT 1 FROM", "SELECT '\0'", "\ud800"],
    Kind.MULTI: ["SELECT 1; SELECT 2", "BEGIN; COMMIT"],
    Kind.SELECT: ["SELECT 1", "VALUES (1)", "TABLE t", "(SELECT 1)", "WITH x AS (SELECT 1) SELECT 1", "SELECT 1;"],
    Kind.INSERT: ["INSERT INTO t VALUES (1)", "WITH x AS (SELECT 1) INSERT INTO t SELECT 1"],
    Kind.UPDATE: ["UPDATE t SET a = 1"],
    Kind.DELETE: ["DELETE FROM t"],
    Kind.MERGE: ["MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE"],
    Kind.COPY_FROM: ["COPY t FROM STDIN", "COPY t FROM '/x'"],
    Kind.COPY_TO: ["COPY t TO STDOUT", "COPY (SELECT 1) TO STDOUT"],
    Kind.TRUNCATE: ["TRUNCATE t"],
    Kind.BEGIN: ["BEGIN", "START TRANSACTION", "BEGIN ISOLATION LEVEL SERIALIZABLE"],
    Kind.COMMIT: ["COMMIT", "END", "COMMIT AND CHAIN"],
    Kind.ROLLBACK: ["ROLLBACK", "ABORT"],
    Kind.SAVEPOINT: ["SAVEPOINT a"],
    Kind.RELEASE: ["RELEASE a", "RELEASE SAVEPOINT a"],
    Kind.ROLLBACK_TO: ["ROLLBACK TO a"],
    Kind.PREPARE_TRANSACTION: ["PREPARE TRANSACTION 'g'"],
    Kind.COMMIT_PREPARED: ["COMMIT PREPARED 'g'"],
    Kind.ROLLBACK_PREPARED: ["ROLLBACK PREPARED 'g'"],
    Kind.SET: ["SET a = 1", "SET LOCAL a = 1", "SET ROLE x", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"],
    Kind.RESET: ["RESET a", "RESET ALL"],
    Kind.SET_TRANSACTION: ["SET TRANSACTION READ ONLY", "SET TRANSACTION SNAPSHOT 'x'"],
    Kind.SHOW: ["SHOW a", "SHOW ALL"],
    Kind.DISCARD: ["DISCARD ALL", "DISCARD PLANS"],
    Kind.SET_CONSTRAINTS: ["SET CONSTRAINTS ALL IMMEDIATE"],
    Kind.PREPARE: ["PREPARE p AS SELECT 1"],
    Kind.EXECUTE: ["EXECUTE p", "EXECUTE p (1)"],
    Kind.DEALLOCATE: ["DEALLOCATE p", "DEALLOCATE ALL"],
    Kind.DECLARE: ["DECLARE c CURSOR FOR SELECT 1"],
    Kind.FETCH: ["FETCH c", "MOVE 1 FROM c"],
    Kind.CLOSE: ["CLOSE c", "CLOSE ALL"],
    Kind.LISTEN: ["LISTEN c"],
    Kind.UNLISTEN: ["UNLISTEN c", "UNLISTEN *"],
    Kind.NOTIFY: ["NOTIFY c, 'x'"],
    Kind.LOCK: ["LOCK t"],
    Kind.EXPLAIN: ["EXPLAIN SELECT 1", "EXPLAIN ANALYZE DELETE FROM t"],
    Kind.CALL: ["CALL p()"],
    Kind.DO: ["DO 'x'"],
    Kind.LOAD: ["LOAD 'x'"],
    Kind.MAINTENANCE: ["VACUUM", "ANALYZE t", "CHECKPOINT"],
    Kind.DDL: [
        "CREATE TABLE x (id int)",
        "CREATE TABLE x AS SELECT 1",
        "SELECT 1 INTO x",
        "ALTER TABLE x ADD y int",
        "DROP TABLE x",
        "GRANT SELECT ON t TO u",
        "CREATE INDEX ON t (a)",
        "REFRESH MATERIALIZED VIEW x",
        "COMMENT ON TABLE t IS 'x'",
        "ALTER SYSTEM SET a = 1",
        "REINDEX TABLE t",
        "CLUSTER t",
    ],
}


@pytest.mark.parametrize(("text", "kind"), [(text, kind) for kind, texts in _KINDS.items() for text in texts])
def test_kind(text: str, kind: Kind) -> None:
    facts = analyse(text)
    assert facts.kind is kind
    assert (facts.bypass is None) == (kind is Kind.SELECT)


def test_every_kind_is_tested() -> None:
    assert set(_KINDS) == set(Kind)


_DETAILS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("BEGIN", {"begins": True, "ends": False, "can_commit": False, "isolation": None, "read_only": None}),
    (
        "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY, NOT DEFERRABLE",
        {"isolation": Isolation.REPEATABLE_READ, "read_only": True, "deferrable": False},
    ),
    ("BEGIN READ WRITE", {"read_only": False}),
    ("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED", {"isolation": Isolation.READ_UNCOMMITTED, "settings": ()}),
    ("COMMIT AND CHAIN", {"begins": True, "ends": True, "chain": True, "can_commit": True}),
    ("ROLLBACK", {"begins": False, "ends": True, "chain": False, "can_commit": False}),
    ("PREPARE TRANSACTION 'g'", {"ends": True, "can_commit": True, "name": "g"}),
    ("COMMIT PREPARED 'g'", {"can_commit": True, "ends": False, "name": "g"}),
    ("ROLLBACK TO SAVEPOINT s", {"name": "s", "ends": False}),
    ("BEGIN; DELETE FROM t; COMMIT", {"begins": True, "ends": True, "can_commit": True, "bypass": Bypass.MULTI}),
    ("CALL p()", {"can_commit": True, "taints": True, "opaque": True}),
    ("SET timezone TO 'UTC'", {"settings": (SettingChange("timezone", "UTC"),)}),
    ('SET "DateStyle" = ISO, DMY', {"settings": (SettingChange("datestyle", "iso, dmy"),)}),
    ("SET LOCAL work_mem = 64", {"settings": (SettingChange("work_mem", "64", True),)}),
    ("SET x.y = 1.5", {"settings": (SettingChange("x.y", "1.5"),)}),
    ("SET TIME ZONE -7", {"settings": (SettingChange("timezone", "-7"),)}),
    ("SET TIME ZONE LOCAL", {"settings": (SettingChange("timezone", None),)}),
    ("SET TIME ZONE INTERVAL '1' HOUR", {"settings": (), "taints": True}),
    ('SET search_path = a, "B c", "$user"', {"settings": (SettingChange("search_path", 'a, "B c", "$user"'),)}),
    ("SET search_path = pg_temp, public", {"pins": (Pin.TEMP_TABLE,)}),
    ("SET a TO DEFAULT", {"settings": (SettingChange("a", None),)}),
    ("RESET a", {"settings": (SettingChange("a", None),)}),
    ("RESET ALL", {"settings": (SettingChange("*", None),)}),
    ("SET ROLE x", {"settings": (SettingChange("role", "x"),), "pins": (Pin.SET_ROLE,)}),
    ("SET ROLE NONE", {"settings": (SettingChange("role", "none"),)}),
    ("RESET ROLE", {"settings": (SettingChange("role", None),), "pins": ()}),
    ("SET SESSION AUTHORIZATION x", {"settings": (SettingChange("session_authorization", "x"),)}),
    (
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE",
        {
            "settings": (
                SettingChange("default_transaction_isolation", "serializable"),
                SettingChange("default_transaction_read_only", "off"),
            ),
            "isolation": None,
        },
    ),
    (
        "SELECT set_config('A.b', 'x', true), pg_catalog.set_config('c', 'y', false)",
        {"settings": (SettingChange("a.b", "x", True), SettingChange("c", "y")), "taints": False},
    ),
    ("SELECT set_config('a', 'x', false) FROM t", {"settings": (), "taints": True, "literals_matter": True}),
    ("SELECT set_config('a', 'x', false), 1", {"settings": (), "taints": True}),
    ("SELECT set_config($1, 'x', false)", {"settings": (), "taints": True}),
    ("SELECT set_config('a', NULL, false)", {"settings": (), "taints": True}),
    ("INSERT INTO t SELECT set_config('a', 'x', false)", {"settings": (), "taints": True}),
    ("SELECT pg_advisory_lock(1)", {"pins": (Pin.ADVISORY_LOCK,)}),
    ("SELECT pg_advisory_xact_lock(1)", {"pins": ()}),
    ("SELECT pg_advisory_unlock_all()", {"unpins": (Pin.ADVISORY_LOCK,)}),
    ("SELECT pg_advisory_unlock_all() FROM t", {"unpins": ()}),
    ("SELECT nextval('s'), lastval()", {"pins": (Pin.SEQUENCE, Pin.SEQUENCE_READ)}),
    ("SELECT setseed(0)", {"pins": (Pin.SEED,)}),
    ("LISTEN c", {"pins": (Pin.LISTEN,), "name": "c"}),
    ("UNLISTEN *", {"unpins": (Pin.LISTEN,), "name": None}),
    ("UNLISTEN c", {"unpins": (), "name": "c"}),
    ("LOAD 'x'", {"pins": (Pin.LOAD,), "taints": True}),
    ("PREPARE p AS SELECT 1", {"pins": (Pin.PREPARE,), "name": "p"}),
    ("DEALLOCATE ALL", {"unpins": (Pin.PREPARE,), "name": None}),
    ("DEALLOCATE p", {"unpins": (), "name": "p"}),
    ("DECLARE c CURSOR FOR SELECT 1", {"pins": (), "name": "c"}),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT pg_advisory_lock(1)", {"pins": (Pin.ADVISORY_LOCK, Pin.HOLD_CURSOR)}),
    ("CLOSE ALL", {"unpins": (Pin.HOLD_CURSOR,), "name": None}),
    ("DISCARD TEMP", {"unpins": (Pin.TEMP_TABLE,), "name": "temp"}),
    ("CREATE TEMP TABLE x (a int)", {"pins": (Pin.TEMP_TABLE,), "opaque": False}),
    ("CREATE TABLE pg_temp.x (a int)", {"pins": (Pin.TEMP_TABLE,)}),
    ("CREATE TEMP VIEW x AS SELECT 1", {"pins": (Pin.TEMP_TABLE,)}),
    ("CREATE TEMP SEQUENCE x", {"pins": (Pin.TEMP_TABLE,)}),
    ("CREATE TEMP TABLE x AS SELECT 1", {"pins": (Pin.TEMP_TABLE,), "opaque": False}),
    ("CREATE TEMP TABLE x AS EXECUTE p", {"pins": (Pin.TEMP_TABLE,), "opaque": True}),
    ("SELECT 1 INTO TEMP x", {"pins": (Pin.TEMP_TABLE,), "bypass": Bypass.INTO}),
    ("CREATE TABLE x (a int)", {"pins": (), "opaque": True}),
    ("nonsense", {"pins": (Pin.UNKNOWN,), "taints": True, "opaque": True, "can_commit": True}),
    ("EXPLAIN ANALYZE SELECT pg_advisory_lock(1)", {"analyze": True, "pins": (Pin.ADVISORY_LOCK,)}),
    ("EXPLAIN (ANALYZE 0) SELECT 1", {"analyze": False}),
    ("EXPLAIN (ANALYZE off) SELECT 1", {"analyze": False}),
    ("EXPLAIN (COSTS, ANALYZE) SELECT 1", {"analyze": True}),
    ("SELECT 1", {"literals_matter": False, "backslash": False}),
    ("SET a = 1", {"literals_matter": True}),
    ("SELECT 'a\\b'", {"backslash": True}),
    (
        "SELECT a.b, f(x, 1), c.d::date, s.op(*) FROM s.t a, u",
        {
            "reads": {Name("s", "t"), Name(None, "u")},
            "functions": {Call(Name(None, "f"), 2), Call(Name("s", "op"), 0)},
            "casts": {Cast(Name(None, "date"), Source.COLUMN, "d")},
            "attributes": {"b", "d"},
            "derived": False,
        },
    ),
    (
        "INSERT INTO t SELECT 1 FROM u ON CONFLICT (a) DO UPDATE SET b = 1",
        {"reads": {Name(None, "u")}, "writes": {Write(Name(None, "t"), frozenset({Event.INSERT, Event.UPDATE}))}},
    ),
    ("SELECT 1 WHERE a OPERATOR(s.+%) b ORDER BY c USING ~~>", {"operators": {"+%", "~~>"}}),
    ("SELECT x < ANY (SELECT 1), x IN (SELECT 2)", {"operators": {"<"}}),
    ("WITH c AS (SELECT 1) SELECT * FROM c", {"ctes": {"c"}, "reads": {Name(None, "c")}, "derived": True}),
    ("SELECT 1 FROM other.public.t", {"opaque": True, "bypass": Bypass.UNKNOWN_RELATION}),
    (
        "SELECT f(a => 1, VARIADIC b) OVER (ORDER BY g(1))",
        {"functions": {Call(Name(None, "f"), 2), Call(Name(None, "g"), 1, Source.LITERAL)}},
    ),
]


@pytest.mark.parametrize(("text", "details"), _DETAILS)
def test_details(text: str, details: dict[str, Any]) -> None:
    facts = analyse(text)
    assert {name: getattr(facts, name) for name in details} == details


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SELECT * FROM t FOR SHARE", Bypass.LOCKING),
        ("SELECT (SELECT 1 FROM t FOR UPDATE)", Bypass.LOCKING),
        ("SELECT current_user", Bypass.VOLATILE_FUNCTION),
        ("SELECT 'Today'", Bypass.DATE_WORD),
        ("SELECT E'\\x6eow'", Bypass.DATE_WORD),
        ("SELECT $$now$$", Bypass.DATE_WORD),
        ("SELECT U&'\\006eow'", Bypass.DATE_WORD),
        ("SELECT 'to'\n'day'", Bypass.DATE_WORD),
        ("SELECT json_value('{}', '$.a')", Bypass.UNSUPPORTED),
        ("SELECT * FROM json_table('[]', '$[*]' COLUMNS (a int)) x", Bypass.UNSUPPORTED),
        ("SELECT * FROM ROWS FROM (f(1)) AS t", None),
        ("WITH x AS (UPDATE t SET a = 1 RETURNING 1) SELECT 1", Bypass.CTE_WRITE),
        ("SELECT (WITH x AS (SELECT ctid FROM t) SELECT 1 FROM x)", Bypass.SYSTEM_COLUMN),
    ],
)
def test_reasons_that_the_text_shows(text: str, reason: Bypass | None) -> None:
    assert analyse(text).bypass is reason


def test_inner_statements() -> None:
    prepared = analyse("PREPARE p AS DELETE FROM t").inner
    assert prepared is not None
    assert prepared.kind is Kind.DELETE
    assert [part.kind for part in analyse("BEGIN; SELECT 1; COMMIT").statements] == [
        Kind.BEGIN,
        Kind.SELECT,
        Kind.COMMIT,
    ]


def test_a_tree_that_is_too_deep_is_classified_only() -> None:
    deep = "+".join(["1"] * 500)
    facts = analyse(f"SELECT {deep}")
    assert (facts.kind, facts.opaque, facts.bypass, facts.pins) == (Kind.SELECT, True, Bypass.UNPARSED, ())
    assert analyse(f"INSERT INTO t SELECT {deep};").kind is Kind.INSERT
    assert analyse(f"SELECT {deep}, pg_advisory_lock(1)").pins == (Pin.UNKNOWN,)
    assert analyse(f"SELECT {deep} INTO TEMP x").pins == (Pin.UNKNOWN,)
    assert analyse(f"SELECT {deep}; COMMIT").kind is Kind.UNKNOWN
    assert analyse(f"CREATE TABLE x AS SELECT {deep}").kind is Kind.UNKNOWN


def test_a_text_that_is_too_long_is_classified_only() -> None:
    facts = analyse("INSERT INTO t VALUES " + ",".join(["('x')"] * (LONGEST // 5)))
    assert (facts.kind, facts.opaque, facts.pins) == (Kind.INSERT, True, ())


def test_bytes_that_are_not_utf8_are_unknown() -> None:
    assert analyse_bytes("SELECT 'é'".encode()).kind is Kind.SELECT
    facts = analyse_bytes("SELECT 'é'".encode("latin-1"))
    assert (facts.kind, facts.pins) == (Kind.UNKNOWN, (Pin.UNKNOWN,))


@given(st.text(alphabet=st.sampled_from("SELECT FROMt*;'\"$\\1a(),:=-/\n\0é"), max_size=60) | st.text())
def test_no_text_raises(text: str) -> None:
    assert analyse(text).kind in Kind


@given(st.binary(max_size=40))
def test_no_bytes_raise(text: bytes) -> None:
    assert analyse_bytes(text).kind in Kind


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("DROP DATABASE IF EXISTS a", ("a",)),
        ("CREATE DATABASE a", ("template1",)),
        ('CREATE DATABASE a ENCODING "UTF8" TEMPLATE "B"', ("B",)),
        ("ALTER DATABASE a RENAME TO b", ("a",)),
        ("ALTER DATABASE a SET TABLESPACE b", ("a",)),
        ("ALTER DATABASE a SET work_mem = '1MB'", ()),
        ("ALTER TABLE a RENAME TO b", ()),
        ("CREATE DATABASE a; DROP DATABASE b", ("template1", "b")),
    ],
)
def test_databases_that_must_be_free_of_others(text: str, names: tuple[str, ...]) -> None:
    assert analyse(text).vacates == names
