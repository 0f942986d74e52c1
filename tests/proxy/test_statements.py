"""Statements find each text's own shape, whichever short way leads there."""

from __future__ import annotations

import pytest

from proxy.statements import Statements
from stats.digests import DigestStats


@pytest.fixture
def statements() -> Statements:
    return Statements(DigestStats)


def test_texts_that_differ_in_numbers_share_what_is_known(statements: Statements) -> None:
    known = [statements.get(b"SELECT a FROM t WHERE id = %d" % number) for number in (1, 2, 3, 10, 99, 10)]
    assert all(one is known[0] for one in known)


def test_digits_in_names_are_not_numbers(statements: Statements) -> None:
    for table, number in ((1, 7), (1, 8), (1, 9), (2, 7), (2, 8), (3, 9)):
        known = statements.get(b"SELECT a FROM t%d WHERE id = %d" % (table, number))
        assert [name.name for name in known.facts.reads] == [f"t{table}"]


def test_a_number_that_may_not_be_an_integer_is_another_shape(statements: Statements) -> None:
    for text in (
        b"SELECT 1234567890",
        b"SELECT 9999999999",
        b"SELECT 1e5",
        b"SELECT 2e5",
        b"SELECT 0x1",
        b"SELECT 0x2",
    ):
        assert statements.get(text) is statements.get(text)
    assert statements.get(b"SELECT 1e5") is not statements.get(b"SELECT 125")


def test_literals_that_matter_are_kept_apart(statements: Statements) -> None:
    first, second = (statements.get(b"SELECT a FROM t ORDER BY %d" % number) for number in (1, 2))
    assert first is second or first.facts.literals_matter


def test_the_table_of_masks_is_bounded() -> None:
    statements = Statements(DigestStats, limit=8)
    for length in range(1, 10):
        for other in range(1, 10):
            text = b"SELECT %s, %s" % (b"1" * length, b"2" * other)
            assert statements.get(text).facts.kind.value == "select"
    assert len(statements) <= 8
