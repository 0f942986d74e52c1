"""What the client hears of a text in which we have written another name."""

from __future__ import annotations

import pytest

from proxy.retelling import Retelling
from sql.named import named
from tests.support import frames

READY = frames.frame("Z", b"I")
TEXT = "/* ü */ EXECUTE p ( nothing )"
SENT = TEXT.replace("p", '"forebay_7"')


def retelling() -> Retelling:
    place = named(TEXT.encode())
    assert place is not None
    return Retelling(place, b"forebay_7", len(SENT))


def error(position: int, message: str = "no", sqlstate: str = "42703") -> bytes:
    return frames.frame("E", f"SERROR\0C{sqlstate}\0M{message}\0P{position}\0\0".encode())


@pytest.mark.parametrize("word", ["EXECUTE", "(", "nothing", ")"])
def test_positions_are_those_of_the_clients_text(word: str) -> None:
    told = retelling()
    assert told.passing(error(SENT.index(word) + 1) + READY) == error(TEXT.index(word) + 1) + READY
    assert told.over


def test_a_position_within_the_name_is_where_it_begins() -> None:
    assert retelling().passing(error(SENT.index("forebay") + 3)) == error(TEXT.index("p ") + 1)


def test_positions_in_the_prepared_statement_stay() -> None:
    for other in (error(len(SENT) + 2), error(20, sqlstate="42P01")):
        assert retelling().passing(other) == other


def test_the_name_is_the_clients() -> None:
    said = 'wrong number of parameters for prepared statement "{}"'
    heard = retelling().passing(error(1, said.format("forebay_7")))
    assert heard == error(1, said.format("p"))


def test_rows_pass_in_pieces_and_the_next_answer_untouched() -> None:
    said = frames.row_description("a") + frames.data_row("E" * 100) + error(30, '"forebay_7"') + READY
    for cut in range(20, 110):
        told = retelling()
        head = told.passing(said[:cut]) if cut > len(frames.row_description("a")) + 5 else b""
        rest = told.passing(said[len(head) :] if head else said)
        assert (head + rest).endswith(error(20, '"p"') + READY)
    assert told.over
    assert told.passing(error(30, '"forebay_7"')) == error(30, '"forebay_7"')
