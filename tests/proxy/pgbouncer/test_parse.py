from __future__ import annotations

import string
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.pgbouncer.parse import read_ini, read_pairs
from proxy.problems import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.pgbouncer.parse import Ini


def read(path: Path, text: str) -> Ini:
    file = path / "p.ini"
    file.write_text(text)
    return read_ini(file)


def values(ini: Ini, section: str) -> dict[str, str]:
    return {name: entry.value for name, entry in ini[section].items()}


def test_sections_settings_comments(tmp_path: Path) -> None:
    ini = read(
        tmp_path,
        "\ufeff; a\n# b\n[databases]\r\n*=host=x ; no comment\n  a.b-c  =  v  \n"
        '"Od d ""n""" =\n[pgbouncer]\nx = #1\nx = 2\n[databases]\nlast = 1',
    )
    assert values(ini, "databases") == {"*": "host=x ; no comment", "a.b-c": "v", 'Od d "n"': "", "last": "1"}
    assert values(ini, "pgbouncer") == {"x": "2"}
    assert ini["pgbouncer"]["x"].place == "p.ini:9"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = 1", "p.ini:1: stands before the first [section]"),
        ("[pgbouncer]\n\nnothing", "p.ini:3: is neither"),
        ("[pgbouncer]\na b = 1", "p.ini:2: is neither"),
        ('[databases]\n"a = 1', "p.ini:2: is neither"),
        ("[databases]\n= 1", "p.ini:2: is neither"),
        ("[databases", "p.ini:1: stands before"),
        ("%include none.ini", "none.ini: cannot be read: No such file"),
        ("%include p.ini", "p.ini:1: includes are nested more than 10 deep"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert told in str(caught.value)


def test_text_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "p.ini").write_bytes(b"\xff\xfe[")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        read_ini(tmp_path / "p.ini")


def test_includes_go_on_in_the_section_and_leave_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.ini").write_text("b = 2\n%include c.ini")
    (tmp_path / "more" / "c.ini").write_text("[databases]\nd = 3")
    ini = read(tmp_path, "[pgbouncer]\na = 1\n%include more/a.ini\ne = 4")
    assert values(ini, "pgbouncer") == {"a": "1", "b": "2"}
    assert values(ini, "databases") == {"d": "3", "e": "4"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "more").mkdir()
    (elsewhere / "more" / "a.ini").write_text("b = from the working directory")
    monkeypatch.chdir(elsewhere)
    assert values(read(tmp_path, "[pgbouncer]\n%include more/a.ini"), "pgbouncer") == {
        "b": "from the working directory"
    }


def test_pairs() -> None:
    assert read_pairs("") == {}
    assert read_pairs("  host=a  port = 5 password='it''s = b' user=") == {
        "host": "a",
        "port": "5",
        "password": "it's = b",
        "user": "",
    }
    assert read_pairs("a='' b=x'y") == {"a": "", "b": "x'y"}


@pytest.mark.parametrize("text", ["host", "host=a b", "=a", "a='s3cret", "a='s3cret'b", "a='s3'''cret"])
def test_pairs_that_are_none(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_pairs(text)
    assert "s3" not in str(caught.value)


WORDS = st.text(string.ascii_lowercase + "_", min_size=1)
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")))


@given(st.dictionaries(WORDS, TEXTS))
def test_pairs_that_were_quoted_are_read_back(pairs: dict[str, str]) -> None:
    quoted = (f"{name}='{value.replace(chr(39), chr(39) * 2)}'" for name, value in pairs.items())
    assert read_pairs(" ".join(quoted)) == pairs
