from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stats.redact import MAX_TEXT, MAX_VALUE, decode, describe_values, escape, label, redact


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("select a1, b.c2 from t3 where id = $1", "select a1, b.c2 from t3 where id = $1"),
        ("select 'secret', 42, 1.5e-7, .5, 0xFF", "select ?, ?, ?, ?, ?"),
        ("select 'it''s secret' , 'x'", "select ? , ?"),
        ("select E'secret', U&'secret', B'101', N'secret'", "select ?, ?, ?, ?"),
        ("select $$secret$$, $a$ sec$$ret $a$, 1", "select ?, ?, ?"),
        ("select 1 -- secret\n, \"Na'me\" /* it's secret */ from t", 'select ? , "Na\'me" from t'),
        ("select 'secret", "select ?"),
        ("select /* secret", "select"),
        ("select\n\t1", "select ?"),
        ("select col$1secret", "select col$1secret"),
    ],
)
def test_literals_and_comments_go_the_rest_stays(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        r"select 'a\' , secret='x', 'secret'",
        r"select E'a\'secret', 'secret'",
        "select /* a /* b */ secret */ 'secret'",
        r"""select "a\" , 'secret' """,
    ],
)
def test_where_lexing_is_doubtful_the_rest_is_dropped(text: str) -> None:
    shown = redact(text)
    assert "secret" not in shown
    assert shown.startswith("select")
    assert shown.endswith("?...")


@given(st.text(alphabet="ab1' \"$-/*\\\n;Ee", max_size=40))
def test_no_text_survives_inside_a_string(noise: str) -> None:
    quoted = "'" + noise.replace("'", "''") + "SECRET'"
    assert "SECRET" not in redact(f"select {quoted}")


@given(st.text(max_size=50))
def test_escaped_text_is_printable(text: str) -> None:
    assert escape(text, 100).isprintable()
    assert decode(text.encode("utf-8", "surrogatepass"), 100).isprintable()


def test_escapes_are_readable_and_bounded() -> None:
    assert escape("a\nb\x1b[31m\u202e", 50) == r"a\nb\x1b[31m\u202e"
    assert escape("x" * 100, 10) == "x" * 7 + "..."
    assert decode(b"\xff\x00a", 50) == r"\xff\x00a"
    assert len(decode("€".encode() * 100, 10)) == 10


@given(st.text(alphabet="a\\n\nx0\x00", max_size=8), st.text(alphabet="a\\n\nx0\x00", max_size=8))
def test_labels_of_two_names_differ(one: str, two: str) -> None:
    assert (label(one) == label(two)) == (one == two)
    assert label("shop") == "shop"


def test_labels_can_be_encoded() -> None:
    assert label("a\udc80").encode() == rb"a\udc80"


def test_parameters_are_shown_by_their_format() -> None:
    assert describe_values((), (b"it's", None)) == "$1 = 'it''s', $2 = NULL"
    assert describe_values((1,), (b"\x00\x01", b"abc")) == "$1 = <binary, 2 bytes>, $2 = <binary, 3 bytes>"
    assert describe_values((0, 1), (b"a\n", b"b")) == r"$1 = 'a\n', $2 = <binary, 1 bytes>"
    assert len(describe_values((), (b"x" * 10_000,))) < MAX_VALUE + 20
    assert len(describe_values((), (b"x",) * 60_000)) < 2 * MAX_TEXT
