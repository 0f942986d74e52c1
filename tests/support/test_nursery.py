"""Forked Forebays are like started ones."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.nursery import Nursery
from tests.support.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nursery import Nursling


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


async def serving(nursery: Nursery, home: Path, name: str) -> Nursling:
    """A child that runs until it is ended."""
    log = home / name
    where = ["--url", "postgresql://a:b@127.0.0.1:1/x", "--listen", "127.0.0.1:0", "--http", ""]
    child = nursery.spawn(["serve", *where], home=home, log=log)
    await eventually(lambda: log.exists() and "serving" in log.read_text())
    return child


def test_the_status_and_the_log_are_its_own(nursery: Nursery, tmp_path: Path) -> None:
    """One child after the other, and side by side."""
    logs = [tmp_path / "wrong", tmp_path / "version"]
    wrong = nursery.spawn(["nonsense"], home=tmp_path, log=logs[0])
    version = nursery.spawn(["--version"], home=tmp_path, log=logs[1])
    assert (version.wait(30), wrong.wait(30)) == (0, 2)
    assert (version.poll(), wrong.poll()) == (0, 2)
    assert "nonsense" in logs[0].read_text()
    assert logs[1].read_text().startswith("forebay ")


async def test_it_runs_apart(nursery: Nursery, tmp_path: Path) -> None:
    """In a session and a directory of its own, and its sibling's end is not its own."""
    first, second = [await serving(nursery, tmp_path, name) for name in ("first", "second")]
    for child in (first, second):
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.01)
        assert child.poll() is None
        assert os.getsid(child.pid) == child.pid
        assert psutil.Process(child.pid).cwd() == str(tmp_path)
    first.send_signal(signal.SIGKILL)
    assert first.wait(30) == -signal.SIGKILL
    first.send_signal(signal.SIGTERM)  # once more does no harm
    assert second.poll() is None
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0


async def test_it_does_not_outlive_the_nurse(nursery: Nursery, tmp_path: Path) -> None:
    child = await serving(nursery, tmp_path, "log")
    found = psutil.Process(child.pid)
    nurse = found.parent()
    assert nurse is not None
    nurse.kill()
    assert child.wait(30) == -signal.SIGKILL
    assert psutil.wait_procs([found], timeout=30)[1] == []
