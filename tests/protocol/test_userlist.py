from __future__ import annotations

import pytest

from protocol.secrets import Md5, Plain
from protocol.userlist import UserlistError, parse_userlist


def test_pgbouncers_format() -> None:
    text = (
        "; a comment\r\n"
        "\n"
        '"app" "secret"\r\n'
        '  "b""c"   "d""e" ignored "too"\n'
        '"hashed" "md5' + "0" * 32 + '"\n'
        '"trusted" ""\n'
        '"app" "the last counts"'
    )
    assert parse_userlist(text) == {
        "app": Plain("the last counts"),
        'b"c': Plain('d"e'),
        "hashed": Md5("md5" + "0" * 32),
        "trusted": Plain(""),
    }
    assert parse_userlist("\ufeff") == {}


@pytest.mark.parametrize("line", ['"app"', '"app" "secret', "app secret", '"" "x"', '"a" b', '"a" "\0"'])
def test_a_wrong_line_is_named_and_not_repeated(line: str) -> None:
    with pytest.raises(UserlistError) as caught:
        parse_userlist('"x" "y"\n' + line + "\n")
    assert caught.value.line == 2
    assert "secret" not in str(caught.value).replace('"user" "secret"', "")
