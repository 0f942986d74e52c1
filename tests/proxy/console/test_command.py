from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.console.command import Command, CommandError, Verb, parse, split


def one(text: str) -> Command:
    """The one command of a text."""
    (words,) = split(text)
    return parse(words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SHOW POOLS", Command(Verb.SHOW, "pools")),
        ("  show\n pools ; ", Command(Verb.SHOW, "pools")),
        ("/* a job's */ SHOW -- all of them\n Pools;", Command(Verb.SHOW, "pools")),
        ("show digests 5", Command(Verb.SHOW, "digests", limit=5)),
        ("reload", Command(Verb.RELOAD)),
        ("PAUSE", Command(Verb.PAUSE)),
        ("pause Shop", Command(Verb.PAUSE, "Shop")),
        ('RESUME "my ""own"" db"', Command(Verb.RESUME, 'my "own" db')),
        ("RECONNECT 'it''s'", Command(Verb.RECONNECT, "it's")),
        ("KILL shop", Command(Verb.KILL, "shop")),
        ("kill_client 17", Command(Verb.KILL_CLIENT, "17")),
        ("SHUTDOWN", Command(Verb.SHUTDOWN)),
        ("shutdown WAIT_FOR_CLIENTS", Command(Verb.SHUTDOWN, "wait_for_clients")),
        ("Forebay Purge", Command(Verb.PURGE, tag="FOREBAY PURGE")),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", Command(Verb.BEGIN, tag="BEGIN")),
        ("start transaction read only", Command(Verb.BEGIN, tag="BEGIN")),
        ("ROLLBACK", Command(Verb.END, tag="ROLLBACK")),
        ("DISCARD ALL", Command(Verb.NOTHING, tag="DISCARD ALL")),
        ("SET extra_float_digits = 3", Command(Verb.NOTHING, tag="SET")),
        ("SET extra_float_digits=3", Command(Verb.NOTHING, tag="SET")),
        ("set session application_name TO 'a; b'", Command(Verb.NOTHING, tag="SET")),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Command(Verb.NOTHING, tag="SET")),
        ("SET TIME ZONE 'UTC'", Command(Verb.NOTHING, tag="SET")),
    ],
)
def test_commands(text: str, expected: Command) -> None:
    assert one(text) == expected


@pytest.mark.parametrize(
    ("text", "sqlstate"),
    [
        ("SELECT 1", "42601"),
        ("show", "42601"),
        ("show pools 5", "42601"),
        ("show digests five", "42601"),
        ("show digests -5", "42601"),
        ("reload everything", "42601"),
        ("pause a b", "42601"),
        ("kill", "42601"),
        ("kill_client", "42601"),
        ("shutdown now", "42601"),
        ("forebay", "42601"),
        ("forebay purge all", "42601"),
        ("commit prepared 'x'", "42601"),
        ("=", "42601"),
        ("SET default_pool_size = 50", "0A000"),
        ("SUSPEND", "0A000"),
        ("disable shop", "0A000"),
    ],
)
def test_what_is_no_command_says_where_the_commands_are(text: str, sqlstate: str) -> None:
    with pytest.raises(CommandError) as caught:
        one(text)
    assert caught.value.sqlstate == sqlstate
    assert "SHOW" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ['PAUSE "shop', "PAUSE 'shop", "'"])
def test_quotes_must_end(text: str) -> None:
    with pytest.raises(CommandError, match="does not end") as caught:
        split(text)
    assert caught.value.sqlstate == "42601"


def test_statements_are_split_outside_of_quotes_only() -> None:
    assert split("SHOW POOLS;; PAUSE 'a;b' ;SET x=\"a;b\"; ; ") == [
        ("SHOW", "POOLS"),
        ("PAUSE", "a;b"),
        ("SET", "x", "=", "a;b"),
    ]
    assert split(" ; -- nothing\n /* at all */ ;") == []


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    message = ""
    try:
        for words in split(text):
            parse(words)
    except CommandError as error:
        message = error.message
    assert len(message) < 200
