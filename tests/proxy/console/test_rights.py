from __future__ import annotations

import pytest

from proxy.console.command import Command, CommandError, Verb
from proxy.console.rights import MAY, TABLES, Role, check
from proxy.console.shows import LIMITED, SHOWS

HARMLESS = {Verb.SHOW, Verb.BEGIN, Verb.END, Verb.NOTHING}


def test_every_verb_and_every_table_is_listed() -> None:
    assert set(MAY) == set(Verb)
    assert set(TABLES) == {*SHOWS, *LIMITED, "help"}


@pytest.mark.parametrize("verb", list(Verb))
def test_who_may_do_what(verb: Verb) -> None:
    command = Command(verb, "pools")
    check(command, Role.ADMIN)
    if verb in HARMLESS:
        check(command, Role.STATS)
    else:
        with pytest.raises(CommandError) as caught:
            check(command, Role.STATS)
        assert caught.value.sqlstate == "42501"


@pytest.mark.parametrize("verb", list(Verb))
def test_who_is_no_longer_anybody_may_do_nothing(verb: Verb) -> None:
    with pytest.raises(CommandError) as caught:
        check(Command(verb, "pools"), None)
    assert caught.value.sqlstate == "42501"


@pytest.mark.parametrize("role", list(Role))
def test_a_table_that_is_not_listed_is_no_command(role: Role) -> None:
    with pytest.raises(CommandError) as caught:
        check(Command(Verb.SHOW, "secrets"), role)
    assert caught.value.sqlstate == "42601"
