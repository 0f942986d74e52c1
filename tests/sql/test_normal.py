"""Normalized texts and digests show no literal; hints are read from comments only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql.analyse import analyse
from sql.facts import Bypass, Hint


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("SELECT  'a',1, 1.5 ,$1", "SELECT ?,?, ? ,$1"),
        ("SELECT -- secret\n 1 /* secret */", "SELECT ?"),
        ("ALTER ROLE x PASSWORD 'secret'", "ALTER ROLE x PASSWORD ?"),
        ("SET a = 'secret'", "SET a = ?"),
        ("DO $x$ secret $x$", "DO ?"),
        ("SELECT E'secret', B'1', X'1f', U&'secret'", "SELECT ?, ?, ?, ?"),
        ("COPY t FROM 'secret' DELIMITER 's'", "COPY t FROM ? DELIMITER ?"),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS ?",
        ),
        ('SELECT "é" FROM t', 'SELECT "é" FROM t'),
        ("nonsense 'secret'", "<unparsed>"),
    ],
)
def test_normalized(text: str, shape: str) -> None:
    assert analyse(text).normalized == shape


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=3, max_size=20))
def test_no_string_shows(value: str) -> None:
    quoted = "Q7Z" + value.replace("'", "''")
    for text in (f"SELECT '{quoted}'", f"NOTIFY x, '{quoted}'", f"SELECT U&'{quoted}'", f"SELECT E'{quoted}'"):
        assert "Q7Z" not in analyse(text).normalized


def test_digest() -> None:
    one, other = analyse("SELECT * FROM t WHERE a = 1"), analyse("select * from t where a = 'x'")
    assert one.digest == other.digest != analyse("SELECT * FROM u WHERE a = 1").digest
    assert len(one.digest) == 16
    assert analyse("nonsense").digest == "0" * 16


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("/* forebay: cache */ SELECT 1", Hint(True)),
        ("SELECT 1 /*forebay:  cache ttl=30s*/", Hint(True, 30.0)),
        ("/* forebay: cache ttl=1.5m */ SELECT 1", Hint(True, 90.0)),
        ("/* forebay: cache ttl=250ms */ SELECT 1", Hint(True, 0.25)),
        ("/* forebay: cache ttl=2h */ SELECT 1", Hint(True, 7200.0)),
        ("/* forebay: cache */ SELECT 1 /* forebay: nocache */", Hint(False)),
        ("SELECT '/* forebay: cache */'", None),
        ("-- /* forebay: cache */\nSELECT 1", None),
        ("/* forebay: cash */ SELECT 1", None),
        ("/* forebay: cache ttl=soon */ SELECT 1", None),
        ("SELECT 1", None),
    ],
)
def test_hint(text: str, hint: Hint | None) -> None:
    facts = analyse(text)
    assert facts.hint == hint
    assert facts.bypass is (Bypass.HINT if hint == Hint(False) else None)
