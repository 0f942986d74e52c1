from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from proxy.cli import status_of
from proxy.config import load

if TYPE_CHECKING:
    from pathlib import Path

INI = "[databases]\nshop = host=db user=app password=s3cret\n[pgbouncer]\nauth_file = users.txt\nlogfile = x\n"


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    (tmp_path / "users.txt").write_text('"a" "b"\n')
    file = tmp_path / "pgbouncer.ini"
    file.write_text(INI)
    return file


def test_a_file_that_serves(ini: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "forebay.toml"
    assert status_of(["import-pgbouncer", str(ini), "-o", str(new)]) == 0
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    config = load(new, {}, {})
    assert config.password_in_url("shop", "app") == "s3cret"
    assert config.auth.users_file == tmp_path / "users.txt"
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "forebay: pgbouncer.ini:5: logfile: no equivalent: log lines go to standard error; let the supervisor put"
        " them where they belong"
    ]
    assert status_of(["import-pgbouncer", str(ini), "-o", str(new)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert status_of(["import-pgbouncer", str(ini), "-o", str(tmp_path / "no" / "x.toml")]) == 2


def test_standard_output_and_paths_from_here(
    ini: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert status_of(["import-pgbouncer", str(ini)]) == 0
    assert 'users_file = "users.txt"' in capsys.readouterr().out
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert status_of(["import-pgbouncer", str(ini)]) == 0
    assert f'users_file = "{tmp_path}/users.txt"' in capsys.readouterr().out


def test_a_result_that_cannot_be_used_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "p.ini"
    file.write_text("[databases]\nshop = host=db port=x\n")
    assert status_of(["import-pgbouncer", str(file)]) == 1
    assert "cannot be used yet: databases.shop.url: the port must be a number" in capsys.readouterr().err


def test_files_that_it_names_are_read(ini: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hba.conf").write_text("host all all all md5\nhost all all all ldap\n")
    ini.write_text(INI + "auth_type = hba\nauth_hba_file = hba.conf\n")
    assert status_of(["import-pgbouncer", str(ini)]) == 1
    assert "cannot be used yet: auth.hba_file, line 2: ldap: no such method" in capsys.readouterr().err


def test_an_ini_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["import-pgbouncer", str(tmp_path / "none.ini")]) == 2
    assert capsys.readouterr().err == f"forebay: {tmp_path}/none.ini: cannot be read: No such file or directory\n"
    assert status_of(["import-pgbouncer"]) == 2
