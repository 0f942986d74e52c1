from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from proxy.cli import status_of
from proxy.config import Config, ConfigError
from proxy.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

URL = "postgresql://app:s3cret@127.0.0.1:1/shop"


class Served:
    """What `serve` handed to the application, which does not run here."""

    config: Config
    reload: Callable[[], Config]
    answer: int | OSError = 0

    def run(self, config: Config, reload: Callable[[], Config]) -> int:
        self.config, self.reload = config, reload
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    found = Served()
    monkeypatch.setattr(import_module("proxy.app"), "run", found.run)
    monkeypatch.setattr("proxy.logs.setup", lambda *_: None)
    for name in [name for name in os.environ if name.startswith("FOREBAY_")]:
        monkeypatch.delenv(name)
    return found


def test_every_flag_reaches_its_key(served: Served) -> None:
    arguments = ["--url", URL, "--listen", "h:1", "--http", "", "--workers", "1", "--pool-size", "3"]
    arguments += ["--pool-mode", "session", "--cache", "hinted", "--set", "pool.min_size=2", "--set", "stats.slow=1s"]
    assert status_of(["serve", *arguments]) == 0
    config = served.config
    assert (list(config.databases), str(config.listen[0]), config.http) == (["shop"], "h:1", None)
    assert (config.pool.size, config.pool.mode, config.cache.mode) == (3, "session", "hinted")
    assert (config.pool.min_size, config.stats.slow) == (2, 1.0)


def test_a_reload_reads_the_file_and_the_environment_again(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[pool]\nsize = 5")
    assert status_of(["serve", str(file), "--url", URL]) == 0
    file.write_text("[pool]\nsize = 6")
    monkeypatch.setenv("FOREBAY_POOL__MODE", "session")
    config = served.reload()
    assert (served.config.pool.size, config.pool.size, config.pool.mode) == (5, 6, "session")
    file.write_text("[pool]\nsize = 'x'")
    with pytest.raises(ConfigError, match=r"pool\.size"):
        served.reload()


def test_the_applications_status_is_ours(served: Served) -> None:
    served.answer = 1
    assert status_of(["serve", "--url", URL]) == 1


def test_an_error_of_the_system_is_one_line(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.answer = OSError(98, "Address already in use")
    assert status_of(["serve", "--url", URL]) == 1
    assert capsys.readouterr().err == "forebay: Address already in use\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["serve"], "databases: at least one is needed"),
        (["serve", "--url", URL, "--workers", "2"], "workers (from the command line): "),
        (["serve", "--url", URL, "--redis", "redis://:s3cret@h"], "cache.redis (from the command line): "),
        (["serve", "--url", "http://s3cret"], "url (from the command line): must look like"),
        (["serve", "--url", URL, "--set", "size"], "--set needs KEY=VALUE"),
        (["serve", "--url", URL, "--set", "pool.siez=1"], "did you mean size?"),
        (["serve", "none.toml"], "none.toml: cannot be read: No such file or directory"),
        (["serve", "--bogus"], "No such option"),
        (["serf"], "No such command"),
        (["top", "--interval", "0"], "Invalid value for '--interval'"),
        (["demo", "--seconds", "-1"], "Invalid value for '--seconds'"),
    ],
)
def test_an_operators_mistake_is_one_line_and_status_2(
    served: Served, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert status_of(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("forebay: ")
    assert line in said.err
    assert "s3cret" not in said.err


def test_the_demo_is_asked_for_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def shown(*given: object) -> int:
        asked.append(given)
        return 7

    monkeypatch.setattr(import_module("proxy.demo.main"), "run", shown)
    assert status_of(["demo", "--seconds", "2.5", "--no-view"]) == 7
    assert status_of(["demo"]) == 7
    assert asked == [(2.5, False), (None, True)]


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("proxy.top"), "run", interrupted)
    assert status_of(["top"]) == 130


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "proxy", "--version"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == f"forebay {VERSION}\n"


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of([]) == 2
    assert "serve" in capsys.readouterr().err
