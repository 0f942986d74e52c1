"""What goes to a server, and what waits, before a statement may be used there by who was told of it."""

from __future__ import annotations

from typing import Final

import pytest

from pool.prepared import Presence
from protocol.replies import BIND, CLOSE, DESCRIBE_STATEMENT, EXECUTE, FORWARD, PARSE, SWALLOW, SYNC
from tests.proxy.test_uplink import READY, Talk, new_server
from tests.support import frames
from tests.support.frames import FLUSH, bind, close, describe, execute, parse

TEXT: Final = "SELECT * FROM t WHERE x = $1"
INT: Final = frames.frame("t", b"\0\1\0\0\0\x17")
LONG: Final = frames.frame("t", b"\0\1\0\0\0\x14")
NARROW: Final = frames.row_description("x")
WIDE: Final = frames.row_description("x", "y")
PARSED: Final = frames.frame("1")
AHEAD: Final = [(PARSE, SWALLOW), (DESCRIBE_STATEMENT, SWALLOW)]
USE: Final = bind("1", statement="mine") + execute() + frames.SYNC
UP: Final = bind("1", statement="forebay_1") + execute() + frames.SYNC


def talking() -> Talk:
    """A client whose statements have results."""
    talk = Talk()
    talk.every = talk.texts.get(TEXT.encode())
    return talk


def prepared(talk: Talk, description: bytes = INT + NARROW) -> None:
    """The first Parse of all is described to us as well."""
    said = talk.say(parse(TEXT, "mine") + frames.SYNC)
    assert said == parse(TEXT, "forebay_1") + describe("S", "forebay_1") + frames.SYNC
    assert talk.hear(PARSED + description + READY) == PARSED + READY


def moved(talk: Talk) -> None:
    """Its next turn is on a server of the same pool that has nothing."""
    talk.uplink.open = False
    old = talk.server
    talk.server = new_server()
    talk.server.pool = old.pool


def waits(talk: Talk, data: bytes) -> bytes:
    """What goes ahead; nothing of it has been used, and nothing is until there is an answer."""
    up, used, _ = talk.uplink.forward(data, talk.server)
    assert used == 0
    assert talk.uplink.stalled
    assert talk.uplink.forward(data, talk.server)[:2] == (b"", 0), "whatever else has come meanwhile"
    return up


def test_what_is_there_is_used_at_once() -> None:
    talk = talking()
    prepared(talk)
    assert talk.say(USE) == UP


def test_elsewhere_it_is_looked_at_first() -> None:
    talk = talking()
    prepared(talk)
    moved(talk)
    assert waits(talk, USE) == parse(TEXT, "forebay_1", [23]) + describe("S", "forebay_1") + FLUSH
    assert talk.queue() == AHEAD
    assert talk.executed == []
    assert talk.hear(PARSED + INT) == b""
    assert talk.uplink.forward(USE, talk.server)[:2] == (b"", 0)
    assert talk.hear(NARROW) == b""
    assert talk.say(USE) == UP


def test_what_has_changed_is_refused_and_closed() -> None:
    talk = talking()
    prepared(talk)
    for _ in range(2):
        moved(talk)
        waits(talk, USE)
        assert talk.hear(PARSED + INT + WIDE) == b""
        said = talk.say(USE)
        assert said.startswith(close("S", "forebay_1"))
        assert talk.queue() == [(CLOSE, SWALLOW), (BIND, SWALLOW), (BIND, FORWARD), (EXECUTE, FORWARD), (SYNC, FORWARD)]
        heard = talk.hear(frames.frame("3") + frames.error_response("26000", "no such statement") + READY)
        assert b"RRevalidateCachedQuery\0" in heard
        assert heard.endswith(READY)
        assert talk.server.statements.presence(talk.uplink.statements[b"mine"], 99) is Presence.ABSENT


def test_other_parameters_are_another_statement_too() -> None:
    talk = talking()
    prepared(talk)
    moved(talk)
    waits(talk, USE)
    talk.hear(PARSED + LONG + NARROW)
    assert talk.say(USE) != UP


def test_the_failure_of_what_went_ahead_is_the_clients() -> None:
    talk = talking()
    prepared(talk)
    moved(talk)
    waits(talk, USE)
    error = frames.error_response("42P01", "relation does not exist")
    assert talk.hear(error) == error
    assert talk.say(USE).endswith(frames.SYNC)
    assert talk.queue() == [(SYNC, FORWARD)]
    talk.hear(READY)
    waits(talk, USE)


def test_a_new_clients_parse_gets_what_there_is_now() -> None:
    old, new = talking(), talking()
    prepared(old)
    new.server.pool = old.server.pool
    message = parse(TEXT, "mine") + frames.SYNC
    assert waits(new, message) == parse(TEXT, "forebay_1") + describe("S", "forebay_1") + FLUSH
    new.hear(PARSED + INT + WIDE)
    assert new.say(message) == parse(TEXT, "forebay_2") + describe("S", "forebay_2") + frames.SYNC
    assert new.hear(PARSED + INT + WIDE + READY) == PARSED + READY
    assert new.say(USE) == UP.replace(b"forebay_1", b"forebay_2")


def test_a_new_clients_parse_of_what_has_not_changed() -> None:
    old, new = talking(), talking()
    prepared(old)
    new.server.pool = old.server.pool
    message = parse(TEXT, "mine") + frames.SYNC
    waits(new, message)
    new.hear(PARSED + INT + NARROW)
    assert new.say(message) == frames.SYNC
    assert new.hear(READY) == PARSED + READY
    assert new.say(USE) == UP


def test_two_first_parses_that_differ() -> None:
    """Both on their way at once: whoever is answered last cannot go on with what it was told, and says so itself."""
    first, second = talking(), talking()
    second.server.pool = first.server.pool
    for talk in (first, second):
        talk.say(parse(TEXT, "mine") + frames.SYNC)
    first.hear(PARSED + INT + NARROW + READY)
    second.hear(PARSED + INT + WIDE + READY)
    assert first.say(USE) == UP
    assert waits(second, USE).startswith(close("S", "forebay_1"))


def test_a_first_parse_that_could_not_be_described_is_made_again() -> None:
    talk = talking()
    talk.say(parse(TEXT, "mine") + frames.SYNC)
    error = frames.error_response("57014", "canceling statement due to user request")
    assert talk.hear(PARSED + error + READY) == PARSED + error + READY
    assert talk.say(USE).startswith(close("S", "forebay_1") + parse(TEXT, "forebay_1"))


@pytest.mark.parametrize("described", [True, False])
def test_the_unnamed_statement_is_looked_at_if_it_was_described(described: bool) -> None:
    talk = talking()
    talk.say(parse(TEXT) + (describe("S") if described else b"") + frames.SYNC)
    talk.hear(PARSED + (INT + NARROW if described else b"") + READY)
    use = bind("1") + execute() + frames.SYNC
    assert talk.say(use) == use, "it is there"
    talk.hear(frames.frame("2") + frames.frame("C", b"SELECT 0\0") + READY)
    moved(talk)
    if not described:
        assert talk.say(use) == parse(TEXT) + use
        return
    assert waits(talk, use) == parse(TEXT, "", [23]) + describe("S") + FLUSH
    talk.hear(PARSED + INT + NARROW)
    assert talk.say(use) == use
    talk.hear(frames.frame("2") + frames.frame("C", b"SELECT 0\0") + READY)
    moved(talk)
    waits(talk, use)
    talk.hear(PARSED + INT + WIDE)
    talk.say(use)
    assert talk.queue()[0] == (BIND, SWALLOW)


def test_another_clients_unnamed_statement_is_not_what_was_told() -> None:
    """The same text, parsed by somebody who had it not described."""
    told, other = talking(), talking()
    told.say(parse(TEXT) + describe("S") + frames.SYNC)
    told.hear(PARSED + INT + NARROW + READY)
    other.server.pool = told.server.pool
    other.say(parse(TEXT) + frames.SYNC)
    other.hear(PARSED + READY)
    told.server = other.server
    waits(told, bind("1") + execute() + frames.SYNC)


def test_what_is_skipped_anyway_does_not_wait() -> None:
    talk = talking()
    prepared(talk)
    moved(talk)
    talk.say(parse("SELEC"))
    talk.hear(frames.error_response("42601", "syntax error"))
    assert talk.say(USE).endswith(frames.SYNC)
    assert talk.queue() == [(SYNC, FORWARD)]


def test_what_borrows_its_result_is_never_compared() -> None:
    talk = Talk()
    assert talk.say(parse("FETCH 1 FROM c", "f")) == parse("FETCH 1 FROM c", "forebay_1")
    talk.say(frames.SYNC)
    talk.hear(PARSED + READY)
    moved(talk)
    assert talk.say(describe("S", "f")).startswith(parse("FETCH 1 FROM c", "forebay_1"))
