"""Date words, compared with what PostgreSQL itself makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from sql.words import has_date_word, text_parameter_unsafe

if TYPE_CHECKING:
    from tests.support.postgres import Cluster

_MOVING = [
    "now",
    "NOW",
    "  now  ",
    "today",
    "Tomorrow",
    "yesterday",
    "today 12:00",
    "12:00 today",
    "today12:00",
    "yesterday,04:05",
    "'now'",
]
_FIXED = ["2020-01-01", "epoch", "infinity", "-infinity", "J2451187", "1999-01-08 allballs", "20200101T040506"]


@pytest.mark.parametrize("text", [*_MOVING, "[now,tomorrow)", "{now}", "(1,now)", "1now2"])
def test_date_words_are_found(text: str) -> None:
    assert has_date_word(text)
    assert text_parameter_unsafe(text.encode())


@pytest.mark.parametrize("text", [*_FIXED, "snow", "nowhere", "knowledge", "todays", "", "tomorrowland"])
def test_other_texts_are_not(text: str) -> None:
    assert not has_date_word(text)
    assert not text_parameter_unsafe(text.encode())


def test_every_word_that_postgresql_knows_is_known(postgres: Cluster) -> None:
    """Whatever short word a date accepts must name the same day always, or be found."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        for word in ("now", "today", "tomorrow", "yesterday", "epoch", "infinity", "current", "never", "invalid"):
            for text in (word, f"{word} 00:00", f"1,{word}"):
                try:
                    row = connection.execute(
                        "SELECT %s::text::timestamp - now()::timestamp BETWEEN '-3 days' AND '3 days'", (text,)
                    ).fetchone()
                except psycopg.DataError:
                    continue
                assert row is not None
                assert not row[0] or has_date_word(text)
