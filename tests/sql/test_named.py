"""Where a text names a prepared statement: by the bytes, however it is written."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql.facts import Kind
from sql.named import Named, named


def found(text: str) -> Named:
    place = named(text.encode())
    assert place is not None, text
    return place


@pytest.mark.parametrize(
    ("text", "kind", "name", "written"),
    [
        ("PREPARE p AS SELECT 1", Kind.PREPARE, "p", "p"),
        ("prepare FOLDED(int) as select $1", Kind.PREPARE, "folded", "FOLDED"),
        ('PREPARE "Quoted ""x""" AS SELECT 1', Kind.PREPARE, 'Quoted "x"', '"Quoted ""x"""'),
        ("/* ü */ -- é\nEXECUTE\n ünïcödé(1)", Kind.EXECUTE, "ünïcödé", "ünïcödé"),
        ('EXECUTE U&"\\0061b"(1)', Kind.EXECUTE, "ab", 'U&"\\0061b"'),
        ("EXECUTE U&\"!0061b\" UESCAPE '!' (1)", Kind.EXECUTE, "ab", "U&\"!0061b\" UESCAPE '!'"),
        ("EXECUTE execute", Kind.EXECUTE, "execute", "execute"),
        (";;EXECUTE p;", Kind.EXECUTE, "p", "p"),
        ("EXPLAIN (ANALYZE, COSTS off) EXECUTE p(1)", Kind.EXPLAIN, "p", "p"),
        ("EXPLAIN CREATE TABLE execute (a) AS EXECUTE p", Kind.EXPLAIN, "p", "p"),
        ("CREATE TEMP TABLE execute AS EXECUTE p(1) WITH NO DATA", Kind.DDL, "p", "p"),
        ("DEALLOCATE p", Kind.DEALLOCATE, "p", "p"),
        ("DEALLOCATE PREPARE P", Kind.DEALLOCATE, "p", "P"),
        ("DEALLOCATE prepare", Kind.DEALLOCATE, "prepare", "prepare"),
        ('DEALLOCATE "all"', Kind.DEALLOCATE, "all", '"all"'),
    ],
)
def test_the_name_is_found(text: str, kind: Kind, name: str, written: str) -> None:
    place = found(text)
    data = text.encode()
    assert (place.kind, place.name.decode(), data[place.start : place.end].decode()) == (kind, name, written)
    assert text[place.ahead : place.ahead + place.width] == written
    assert found(place.renamed(data, b"forebay_7").decode()).name == b"forebay_7"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT 1",
        "EXECUTE a; EXECUTE a",
        "DEALLOCATE ALL",
        "EXECUTE",
        "PREPARE p AS SELEC",
        "CREATE TABLE t AS SELECT 1",
        "EXPLAIN SELECT 1",
        f"EXECUTE {'x' * 64}",
        "EXECUTE \0",
    ],
)
def test_there_is_none(text: str) -> None:
    assert named(text.encode()) is None
    assert named(text.encode() + b"\xff") is None


@pytest.mark.parametrize(
    ("types", "oids", "path"),
    [
        ("", [], False),
        ("(int, bigint, text)", [23, 20, 25], True),
        ("(int, varchar(3), numeric(5, 2), timestamp(3), bit(4))", [23, 1043, 1700, 1114, 1560], False),
        ("(int[], text[][], pg_catalog.uuid, uuid)", [1007, 1009, 2950, 2950], True),
        ("(pg_catalog.uuid)", [2950], False),
        ('("char", char, timestamptz)', [18, 1042, 1184], True),
        ("(mood)", None, False),
        ("(int, public.text)", None, False),
        ("(varchar(0))", None, False),
        ("(numeric(5, 6))", None, False),
        ("(SETOF int)", None, False),
        ("(text(3))", None, True),
    ],
)
def test_types_are_those_of_the_server(types: str, oids: list[int] | None, path: bool) -> None:
    place = found(f"PREPARE p {types} AS SELECT 1")
    assert place.types == (None if oids is None else struct.pack(f">{len(oids)}I", *oids))
    assert oids is None or place.path == path


@given(st.text(st.sampled_from("ü \n"), max_size=5), st.sampled_from(["p", "ÄÖ", '"a b"', "as_"]), st.booleans())
def test_what_is_prepared_keeps_its_place(gap: str, name: str, commented: bool) -> None:
    gap = f" /*{gap}*/ " if commented else " " * (1 + len(gap))
    text = f"PREPARE{gap}{name}{gap}(varchar(3)){gap}AS{gap}SELECT 'ü' AS as_;"
    body = found(text).body.decode()
    assert len(body) == len(text)
    assert body.lstrip() == "SELECT 'ü' AS as_;"
    assert text.endswith(body.lstrip())
