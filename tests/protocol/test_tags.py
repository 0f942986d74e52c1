"""Each direction's tags are the manual's letters, and the declarations use all of them."""

from __future__ import annotations

from protocol import backend, frontend, tags

FRONTEND = {
    "QUERY": "Q",
    "PARSE": "P",
    "BIND": "B",
    "DESCRIBE": "D",
    "EXECUTE": "E",
    "CLOSE": "C",
    "SYNC": "S",
    "FLUSH": "H",
    "FUNCTION_CALL": "F",
    "COPY_DATA": "d",
    "COPY_DONE": "c",
    "COPY_FAIL": "f",
    "TERMINATE": "X",
    "PASSWORD": "p",
}
BACKEND = {
    "COPY_DATA": "d",
    "COPY_DONE": "c",
    "AUTHENTICATION": "R",
    "BACKEND_KEY_DATA": "K",
    "PARAMETER_STATUS": "S",
    "READY_FOR_QUERY": "Z",
    "ERROR_RESPONSE": "E",
    "NOTICE_RESPONSE": "N",
    "NOTIFICATION": "A",
    "ROW_DESCRIPTION": "T",
    "DATA_ROW": "D",
    "COMMAND_COMPLETE": "C",
    "EMPTY_QUERY": "I",
    "PORTAL_SUSPENDED": "s",
    "PARSE_COMPLETE": "1",
    "BIND_COMPLETE": "2",
    "CLOSE_COMPLETE": "3",
    "NO_DATA": "n",
    "PARAMETER_DESCRIPTION": "t",
    "COPY_IN": "G",
    "COPY_OUT": "H",
    "COPY_BOTH": "W",
    "FUNCTION_CALL_RESPONSE": "V",
    "NEGOTIATE_VERSION": "v",
}


def test_tags_are_the_letters_of_the_manual() -> None:
    named = {name: chr(value) for name, value in vars(tags).items() if isinstance(value, int)}
    assert named == FRONTEND | BACKEND


def test_no_two_names_of_a_direction_share_a_letter() -> None:
    assert len(set(FRONTEND.values())) == len(FRONTEND)
    assert len(set(BACKEND.values())) == len(BACKEND)


def test_every_tag_has_a_declaration() -> None:
    assert {chr(m.tag) for m in frontend.MESSAGES.values() if m.tag} == set(FRONTEND.values())
    assert {chr(m.tag) for m in backend.MESSAGES.values() if m.tag} == set(BACKEND.values())
