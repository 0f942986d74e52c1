from __future__ import annotations

import pytest

from protocol.hbalines import LineError
from protocol.ident import parse_ident

TEXT = """
# who may be whom
staff   bob          robert
staff   "Ann Other"  ann
staff   root         all
staff   joe          "all"
mail    /^(.*)@example\\.com$   \\1
mail    /^boss@                 admin
mail    "/literal"              slash
"""


@pytest.mark.parametrize(
    ("name", "system", "user", "fits"),
    [
        ("staff", "bob", "robert", True),
        ("staff", "bob", "bob", False),
        ("staff", "Ann Other", "ann", True),
        ("staff", "root", "anybody", True),
        ("staff", "joe", "anybody", False),
        ("staff", "joe", "all", True),
        ("mail", "eve@example.com", "eve", True),
        ("mail", "eve@example.com", "adam", False),
        ("mail", "eve@example.com.evil", "eve", False),
        ("mail", "boss@anywhere", "admin", True),
        ("mail", "boss@anywhere", "boss", False),
        ("mail", "/literal", "slash", True),
        ("mail", "", "", False),
    ],
)
def test_maps(name: str, system: str, user: str, fits: bool) -> None:
    assert parse_ident(TEXT, "ident")[name](system, user) is fits


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a b", "must be a map's name"),
        ("a b c d", "must be a map's name"),
        ("a b c,d", "must be a map's name"),
        ("a /( b", "/(: is no regular expression"),
        ("a /x \\1", "/x: has no group"),
        ("a b +role", "+role: groups"),
        ("a b /x", "/x: groups, expressions"),
        ('a "b c', "a quote is not closed"),
    ],
)
def test_a_line_that_is_not_understood_is_named(line: str, told: str) -> None:
    with pytest.raises(LineError) as caught:
        parse_ident("x y z\n" + line, "auth.ident_file")
    assert str(caught.value).startswith("auth.ident_file, line 2: ")
    assert told in str(caught.value)
