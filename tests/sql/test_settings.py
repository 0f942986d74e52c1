"""What set_config does to a session, as far as the text shows it."""

from __future__ import annotations

import pytest

from sql.analyse import analyse
from sql.facts import Pin


@pytest.mark.parametrize(
    ("text", "pinned", "taints"),
    [
        ("SELECT set_config('a.b', 'x', false)", False, False),
        ("SELECT set_config($1, $2, false)", True, True),
        ("SELECT set_config('a.b', $1, false)", True, True),
        ("SELECT pg_catalog.set_config('a.b', $1, $2)", True, True),
        ("SELECT set_config('a.b', $1, true)", False, True),
        ("SELECT set_config('a.b', $1, true), set_config('a.c', 'x', true)", False, True),
        ("SELECT set_config('a.b', $1, true), set_config('a.c', 'x', false)", True, True),
        ("SELECT set_config('a.b', x, true) FROM t", True, True),
        ("SELECT set_config('a.b', set_config('a.c', $1, false), true)", True, True),
    ],
)
def test_a_setting_that_cannot_be_followed_keeps_the_server(text: str, pinned: bool, taints: bool) -> None:
    facts = analyse(text)
    assert (Pin.UNKNOWN in facts.pins, facts.taints) == (pinned, taints)
