"""The fast lexer cuts where libpg_query's scanner cuts, and texts of one template have equal Facts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from postgast import PgQueryError, parse, pg_query_pb2, scan

from sql.analyse import analyse
from sql.template import has_digits, masked, plain_template, template

if TYPE_CHECKING:
    from random import Random

_MARKS: Final = {pg_query_pb2.SCONST: b"\x01", pg_query_pb2.ICONST: b"\x02", pg_query_pb2.FCONST: b"\x03"}

_PIECES: Final = st.sampled_from(
    [
        "select", "from", "where", "a", "t1", "t2.b", "é", '"q"', '"it\'s"', '"x""y"', "e", "U", "n", "x", "b", "E",
        "'str'", "'it''s'", "''", "'é'", "'a\nb'", "'--'", "'$$'", "'/*'", "'\"'", "'today'", "'snow'", "'\\'",
        "1", "42", "007", "999999999", "1234567890", "1.5", ".5", "1.", "1e5", "1.5e-3", "0x1f", "1_000", "1e", "1x",
        "$1", "$2", "$$", "$x$", "a$1", "--", "/*", "*/", "::", ":", ",", "(", ")", "[", "]", "=", "-", "+", "->",
        "->>", "@>", "?", "&", "U&", "~", ".", "..", "\n", "\t", ";", "\\", "\x01", "\x02", "'", '"', "now()",
    ]
)  # fmt: skip
_TEXTS: Final = st.lists(st.tuples(_PIECES, st.sampled_from(["", " ", "\n"])), max_size=12).map(
    lambda parts: "".join(piece + blank for piece, blank in parts)
)


@given(_TEXTS)
@example("select 'a'\n'b'")
@example("select e'a', t1.a, 'x'")
@example("select 1 -- 'a\n, 2 -- b'")
def test_cuts_are_those_of_the_scanner(text: str) -> None:
    found = template(text.encode())
    assume(found is not None)
    assume(not re.search(r"\w\.\d", text))  # `t1.5` is kept as it is: no SQL, but harmless
    try:
        tokens = scan(text).tokens
    except PgQueryError:
        with pytest.raises(PgQueryError):
            parse(text)  # no shape of such a text is ever a statement
        return
    encoded, expected, end = text.encode(), [], 0
    for token in tokens:
        expected += [encoded[end : token.start], _MARKS.get(token.token, encoded[token.start : token.end])]
        end = token.end
    expected.append(encoded[end:])
    assert found == b"".join(expected)


_SHAPES: Final = [
    "SELECT * FROM t WHERE id = {i}",
    "SELECT {s}, {i}, {f}, -{i}, {s}::text FROM t LIMIT {i} OFFSET {i}",
    "SELECT a::date, {s}::timestamptz, date {s}, interval {s} day FROM t1, s.t2",
    "SELECT f({i}, {s}), g({f}) FROM t WHERE a IN ({i}, {i}) AND b BETWEEN {s} AND {s} ORDER BY {i}",
    "SELECT count(*) FROM t GROUP BY {i} HAVING max(a) > {f}",
    'SELECT x[{i}:{i}], a->{s}, a ->> {i} FROM t WHERE a @> {s} AND "q" = $1 + {i}',
    "WITH c AS (SELECT {i} AS n) SELECT * FROM c WHERE n < {i} FOR UPDATE",
    "VALUES ({i}, {s}), ({i}, {s})",
    "INSERT INTO t (a, b) VALUES ({i}, {s}) ON CONFLICT (a) DO UPDATE SET b = {s}",
    "UPDATE t SET a = {f}, b = {s} WHERE id = {i}",
    "DELETE FROM t WHERE a LIKE {s}",
    "SELECT nextval({s}), pg_advisory_lock({i})",
    "SELECT set_config({s}, {s}, false)",
    "SET x = {s}",
    "SET x TO {i}",
    "EXPLAIN (ANALYZE {i}) SELECT 1",
    "EXPLAIN SELECT {i}",
    "PREPARE TRANSACTION {s}",
    "COPY t FROM {s}",
    "SELECT {i}; SELECT {s}",
    "BEGIN; UPDATE t SET a = {i}; COMMIT",
    "DECLARE c CURSOR FOR SELECT {i}",
    "NOTIFY c, {s}",
    "CREATE TABLE x (a varchar({i}) DEFAULT {s})",
    "SET TIME ZONE {i}",
]
_STRINGS: Final = st.one_of(
    st.sampled_from(["'today'", "'now'", "'on'", "'off'", "'a''b'", "''", "'x\n'", "'1'"]),
    st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_characters="'"), max_size=8).map(
        "'{}'".format
    ),
)
_INTEGERS: Final = st.integers(0, 10**11).map(str)
_FLOATS: Final = st.sampled_from(["1.5", ".5", "1.", "1e5", "0.0", "12.5e-3"])


@st.composite
def _filled(draw: st.DrawFn) -> tuple[str, str]:
    shape = draw(st.sampled_from(_SHAPES))
    return _fill(draw, shape), _fill(draw, shape)


def _fill(draw: st.DrawFn, shape: str) -> str:
    kinds = {"{s}": _STRINGS, "{i}": _INTEGERS, "{f}": _FLOATS}
    return re.sub(r"\{[sif]\}", lambda match: draw(kinds[match[0]]), shape)


@given(_filled())
def test_texts_of_one_template_have_equal_facts(texts: tuple[str, str]) -> None:
    one, other = texts
    shared = template(one.encode())
    assume(shared is not None and shared == template(other.encode()))
    first, second = analyse(one), analyse(other)
    assert first.literals_matter == second.literals_matter
    assert first.literals_matter or first == second


@pytest.mark.parametrize("shape", _SHAPES)
def test_plain_literals_share_a_template(shape: str) -> None:
    one = shape.replace("{s}", "'a'").replace("{i}", "1").replace("{f}", "1.5")
    other = shape.replace("{s}", "'b''c'").replace("{i}", "22").replace("{f}", ".5")
    assert template(one.encode()) == template(other.encode()) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT 1", "SELECT '1'"),
        ("SELECT 1", "SELECT 1.0"),
        ("SELECT 1", "SELECT  1"),
        ("SELECT a IN (1, 2)", "SELECT a IN (1)"),
        ("SELECT $1", "SELECT $2"),
        ("SELECT t1.a", "SELECT t2.a"),
        ('SELECT "a1"', 'SELECT "a2"'),
        ("SELECT a1", "SELECT a2"),
        ("SELECT 1", "SELECT -1"),
        ("SELECT 1", "SELECT NULL"),
        ("SELECT 1 LIMIT 1", "SELECT 1 LIMIT ALL"),
    ],
)
def test_what_differs_in_more_than_literals_keeps_apart(one: str, other: str) -> None:
    first, second = template(one.encode()), template(other.encode())
    assert first is not None
    assert second is not None
    assert first != second


@pytest.mark.parametrize(
    "text",
    [
        "SELECT E'a'",
        "SELECT 'a\\'",
        "SELECT U&'a'",
        'SELECT u&"a"',
        "SELECT B'1'",
        "SELECT x'1'",
        "SELECT $$a$$",
        "SELECT $a$a$a$",
        "SELECT 1 -- a",
        "SELECT /* a */ 1",
        "SELECT 'to'\n'day'",
        "SELECT 'today'",
        "SELECT 1234567890",
        "SELECT 0x1f",
        "SELECT 1_000",
        "SELECT 1a",
        "SELECT 'a",
        "SELECT '\x01'",
        "SELECT '\0'",
    ],
)
def test_what_is_not_plain_has_no_template(text: str) -> None:
    assert template(text.encode()) is None


_PLAIN_PIECES: Final = st.sampled_from(
    [
        *(
            "select",
            "t1",
            "t2",
            "_3",
            "a",
            "4x",
            "1e5",
            "0x1f",
            "1_000",
            "5",
            "6",
            "42",
            "17",
            "123456789",
            "987654321",
        ),
        *("1234567890", ",", "(", ")", "=", "*", ";", "+", "\x02", "\x01", "\0", "'x'", "1.5", "$1", "\xe9"),
    ]
)


@given(st.lists(_PLAIN_PIECES, max_size=8), st.sampled_from(["", " "]), st.randoms(use_true_random=False))
@example(["1234567890"], "", None)
def test_texts_with_digits_in_the_same_places_have_one_template_unless_digits_are_left(
    pieces: list[str], blank: str, random: Random | None
) -> None:
    text = blank.join(pieces).encode("latin-1")
    other = bytes(ord(str(random.randrange(10))) if random and 48 <= byte <= 57 else byte for byte in text)
    assert masked(text) == masked(other)
    shape, others = plain_template(text), plain_template(other)
    assert (shape is None) == (others is None)
    if shape is not None and not has_digits(shape):
        assert shape == others


def test_only_plain_texts_have_a_mask_without_zero_of_another() -> None:
    for byte in range(256):
        text = bytes((97, byte, 32))
        assert (b"\0" in masked(text)) == (plain_template(text) is None)
