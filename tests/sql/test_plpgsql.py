"""Bodies of trigger functions: every SQL text in them is found, and what is not understood makes them unknown."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

import postgast
import pytest

import sql.plpgsql
from sql.facts import Event, Name, Write
from sql.plpgsql import body

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNDERSTOOD: Final[dict[str, tuple[set[str], set[str]]]] = {  # -> tables written, functions called
    "BEGIN RETURN NULL; END": (set(), set()),
    "BEGIN NEW.at := now(); RETURN NEW; END": (set(), {"now"}),
    "BEGIN NEW.a[(f1() = 1)::int] := f2(b => 1); RETURN NEW; END": (set(), {"f1", "f2"}),
    "BEGIN NEW.at = clock_timestamp(); NEW.a[lower(OLD.b)] := upper('x'); RETURN NEW; END": (
        set(),
        {"clock_timestamp", "lower", "upper"},
    ),
    "DECLARE n int := f1(); m text DEFAULT f2(); k int = f3(); j CONSTANT int NOT NULL := f4(); l ALIAS FOR n;"
    " BEGIN RETURN NEW; END": (set(), {"f1", "f2", "f3", "f4"}),
    "<<a>> DECLARE n numeric(10, 2); r record; t log%ROWTYPE; c log.line%TYPE; p pair;"
    " BEGIN DECLARE r int := f1(); BEGIN RETURN f2(TG_OP, TG_ARGV[0], TG_NARGS, TG_RELID); END; END a": (
        set(),
        {"f1", "f2"},
    ),
    "BEGIN INSERT INTO log VALUES (TG_TABLE_NAME, TG_WHEN, TG_LEVEL, TG_NAME, TG_RELNAME, TG_TABLE_SCHEMA);"
    " RETURN NULL; END": ({"log"}, set()),
    "DECLARE n int; BEGIN INSERT INTO log VALUES (1) RETURNING f1(a) INTO STRICT n; SELECT f2(x) INTO n FROM t;"
    " WITH d AS (DELETE FROM u RETURNING a) SELECT * INTO n FROM d; RETURN NULL; END": ({"log", "u"}, {"f1", "f2"}),
    "BEGIN IF f1() THEN DELETE FROM a; ELSIF f2() THEN DELETE FROM b; ELSE DELETE FROM c; END IF; RETURN NULL; END": (
        {"a", "b", "c"},
        {"f1", "f2"},
    ),
    "BEGIN CASE f1() WHEN 1, f2() THEN DELETE FROM a; ELSE DELETE FROM b; END CASE;"
    " CASE WHEN f3() THEN DELETE FROM c; END CASE; RETURN NULL; END": ({"a", "b", "c"}, {"f1", "f2", "f3"}),
    "DECLARE r record; n int; BEGIN LOOP EXIT WHEN f1(); DELETE FROM a; CONTINUE WHEN f2(); END LOOP;"
    " WHILE f3() LOOP DELETE FROM b; END LOOP; FOR i IN REVERSE f4() .. f5() BY f6() LOOP DELETE FROM c; END LOOP;"
    " FOR r IN SELECT f7() LOOP DELETE FROM d; END LOOP; FOREACH n IN ARRAY f8() LOOP DELETE FROM e; END LOOP;"
    " FOR r IN DELETE FROM f RETURNING x LOOP NULL; END LOOP; RETURN NULL; END": (
        {"a", "b", "c", "d", "e", "f"},
        {f"f{i}" for i in range(1, 9)},
    ),
    "DECLARE c CURSOR (a int) FOR SELECT f1(a) FROM t; d refcursor; n int; BEGIN OPEN c(f2()); FETCH c INTO n;"
    " FETCH RELATIVE f3() FROM c INTO n; MOVE c; UPDATE t SET a = 1 WHERE CURRENT OF c; CLOSE c;"
    " OPEN d FOR SELECT f4(); FOR r IN c(f5()) LOOP DELETE FROM b; END LOOP; RETURN NULL; END": (
        {"t", "b"},
        {f"f{i}" for i in range(1, 6)},
    ),
    "DECLARE n int; t text; BEGIN RAISE NOTICE 'x % %', f1(), n USING HINT = f2(); ASSERT f3(), f4();"
    " GET DIAGNOSTICS n = ROW_COUNT; PERFORM f5(n); RETURN NULL;"
    " EXCEPTION WHEN unique_violation OR SQLSTATE '22012' THEN GET STACKED DIAGNOSTICS t = MESSAGE_TEXT;"
    " DELETE FROM a; RAISE; WHEN OTHERS THEN DELETE FROM b; RETURN f6(SQLERRM); END": (
        {"a", "b"},
        {f"f{i}" for i in range(1, 7)},
    ),
    "#variable_conflict use_column\nBEGIN -- INSERT INTO x\n MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE;"
    " TRUNCATE d, e; NOTIFY z; PERFORM nextval('s'); RETURN NULL; END": ({"a", "d", "e"}, {"nextval"}),
    "BEGIN NEW.s := regexp_replace(NEW.s, '\\s+{1}', ' '); RETURN NEW; END": (set(), {"regexp_replace"}),
}
_UNKNOWN: Final = [
    "",
    "nonsense",
    "BEGIN SELECT FROM WHERE; END",
    "BEGIN EXECUTE 'DELETE FROM a'; RETURN NULL; END",
    "DECLARE r record; BEGIN FOR r IN EXECUTE 'DELETE FROM a RETURNING x' LOOP END LOOP; RETURN NULL; END",
    "DECLARE c refcursor; BEGIN OPEN c FOR EXECUTE 'SELECT f()'; RETURN NULL; END",
    "BEGIN CALL p(); RETURN NULL; END",
    "BEGIN DO $$ BEGIN END $$; RETURN NULL; END",
    "BEGIN COMMIT; RETURN NULL; END",
    "BEGIN ROLLBACK; RETURN NULL; END",
    "BEGIN RETURN QUERY SELECT 1; END",
    "BEGIN CREATE TABLE x (id int); RETURN NULL; END",
    "BEGIN CREATE TEMP TABLE x AS SELECT 1; RETURN NULL; END",
    "BEGIN ALTER TABLE a DISABLE TRIGGER ALL; RETURN NULL; END",
    "BEGIN REFRESH MATERIALIZED VIEW v; RETURN NULL; END",
    "BEGIN SET LOCAL search_path = x; RETURN NULL; END",
    "BEGIN RESET ALL; RETURN NULL; END",
    "BEGIN PERFORM set_config('a.b', 'x', true); RETURN NULL; END",
    "BEGIN NEW.a := set_config('a.b', 'x', true); RETURN NEW; END",
    "BEGIN IF set_config('a.b', 'x', true) = 'x' THEN RETURN NEW; END IF; RETURN NULL; END",
    "BEGIN PERFORM pg_advisory_lock(1); RETURN NULL; END",
    "BEGIN PERFORM pg_advisory_unlock_all(); RETURN NULL; END",
    "BEGIN PERFORM setseed(0.5); RETURN NULL; END",
    "BEGIN SET CONSTRAINTS ALL IMMEDIATE; RETURN NULL; END",
    "BEGIN LOCK TABLE a; RETURN NULL; END",
    "BEGIN LISTEN x; RETURN NULL; END",
    "BEGIN INSERT INTO pg_temp.a VALUES (1); RETURN NULL; END",
    "BEGIN INSERT INTO other.public.a VALUES (1); RETURN NULL; END",
    # a string that ends elsewhere with standard_conforming_strings off
    "BEGIN NEW.a := '\\'; DELETE FROM b; NEW.a := '\\'; RETURN NEW; END",
    # default values that the tree leaves out
    "DECLARE r record := f(); BEGIN RETURN NULL; END",
    "DECLARE r pair DEFAULT f(); BEGIN RETURN NULL; END",
    "DECLARE r pair = f(); n int := 1; BEGIN RETURN NULL; END",
    "BEGIN DECLARE r record := f(); BEGIN RETURN NULL; END; END",
    "DECLARE n int; DECLARE r record := f(); BEGIN RETURN NULL; END",
    "DECLARE r record := (SELECT cursor FROM f()); BEGIN RETURN NULL; END",
    "DECLARE n int := (SELECT begin FROM t); r record := f(); BEGIN RETURN NULL; END",
    "DECLARE r record := f(); c CURSOR FOR SELECT 1; BEGIN RETURN NULL; END",
    "BEGIN NEW.a := (SELECT declare FROM t); DECLARE r record := f(); BEGIN RETURN NULL; END; END",
    "BEGIN SELECT declare INTO NEW.a FROM t; DECLARE r record := f(); BEGIN RETURN NULL; END; END",
]


@pytest.mark.parametrize("source", _UNDERSTOOD)
def test_every_text_of_a_body_is_found(source: str) -> None:
    texts = body(source)
    assert texts is not None
    writes, functions = _UNDERSTOOD[source]
    assert {write.target.name for facts in texts for write in facts.writes} == writes
    assert {call.function.name for facts in texts for call in facts.functions} == functions


@pytest.mark.parametrize("source", _UNKNOWN)
def test_what_is_not_understood_is_unknown(source: str) -> None:
    assert body(source) is None


def test_events_and_schemas_are_kept() -> None:
    texts = body("BEGIN INSERT INTO a.b VALUES (1) ON CONFLICT (i) DO UPDATE SET i = 2; RETURN NULL; END")
    assert texts is not None
    assert [write for facts in texts for write in facts.writes] == [
        Write(Name("a", "b"), frozenset({Event.INSERT, Event.UPDATE}))
    ]


def test_a_body_that_is_too_long_is_unknown() -> None:
    assert body("BEGIN RETURN NULL; END" + " " * 1000) is not None
    assert body("BEGIN RETURN NULL; END" + " " * 200_000) is None


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary that holds a node, by kind."""
    if isinstance(tree, list):
        for element in tree:
            yield from _nodes(element)
    elif isinstance(tree, dict):
        if any(key.startswith("PLpgSQL_") for key in tree):
            yield tree
        for value in tree.values():
            yield from _nodes(value)


def _parsed(source: str) -> tuple[Any, int]:
    trees: list[Any] = []

    def parse(text: str) -> Any:
        trees.append(postgast.parse_plpgsql(text))
        return trees[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sql.plpgsql, "parse_plpgsql", parse)
        assert body(source) is not None
    return trees[0], sum(1 for _ in _nodes(trees[0]))


@pytest.mark.parametrize("source", _UNDERSTOOD)
def test_no_kind_and_no_field_passes_unknown(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any node of another kind, or with another field, makes the body unknown."""
    tree, count = _parsed(source)
    for index in range(count):
        for change in ("kind", "field"):
            changed = copy.deepcopy(tree)
            node = [*_nodes(changed)][index]
            kind = next(iter(node))
            if change == "kind":
                node["PLpgSQL_stmt_new"] = {} if index % 2 else node.pop(kind)
            else:
                node[kind]["new_field"] = 1
            monkeypatch.setattr(sql.plpgsql, "parse_plpgsql", lambda _, result=changed: result)
            assert body(source) is None, (change, kind)


def test_a_text_that_is_to_be_read_in_a_new_way_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "BEGIN RETURN f(); END"
    tree, _ = _parsed(source)
    expression = next(node["PLpgSQL_expr"] for node in _nodes(tree) if "PLpgSQL_expr" in node)
    monkeypatch.setattr(sql.plpgsql, "parse_plpgsql", lambda _: tree)
    assert body(source) is not None
    expression["parseMode"] = 6
    assert body(source) is None
