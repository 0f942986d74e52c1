"""Children end, in each of the ways that they have to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from proxy.demo import children

_ENV = {"PATH": os.defpath}
_STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


def _spawn(tmp_path: Path, *argv: str) -> subprocess.Popen[bytes]:
    return children.spawn(argv, env=_ENV, cwd=tmp_path, log=tmp_path / "log")


def test_a_child_is_asked_first(tmp_path: Path) -> None:
    """The polite signal is enough for most, and its output is kept."""
    child = _spawn(tmp_path, "/bin/sh", "-c", "echo one; echo two >&2; exec sleep 60")
    _wait_for(tmp_path / "log", "two")
    assert children.stop(child, [(signal.SIGTERM, 10.0)]) == -signal.SIGTERM
    assert children.tail(tmp_path / "log", lines=1) == "two"
    assert children.stop(child, [(signal.SIGTERM, 10.0)]) == -signal.SIGTERM  # once more does no harm


def test_a_stubborn_child_is_killed_with_its_own_children(tmp_path: Path) -> None:
    """What ignores the signals gets SIGKILL, its process group too."""
    child = _spawn(tmp_path, "/bin/sh", "-c", f"sleep 60 & {_STUBBORN}")
    _wait_for(tmp_path / "log", "ready")
    family = psutil.Process(child.pid).children()
    assert children.stop(child, [(signal.SIGTERM, 0.1)]) == -signal.SIGKILL
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_the_steps_are_taken_in_order(tmp_path: Path) -> None:
    """The second signal comes when the first was of no use."""
    child = _spawn(tmp_path, "/bin/sh", "-c", f"trap 'exit 7' INT; {_STUBBORN}")
    _wait_for(tmp_path / "log", "ready")
    assert children.stop(child, [(signal.SIGTERM, 0.1), (signal.SIGINT, 10.0)]) == 7


def test_the_terminal_does_not_reach_a_child(tmp_path: Path) -> None:
    """Ctrl-C goes to a process group: ours is not the child's."""
    child = _spawn(tmp_path, "/bin/sleep", "60")
    try:
        assert os.getpgid(child.pid) != os.getpgid(0)
    finally:
        children.stop(child, [(signal.SIGTERM, 10.0)])


_PARENT = """
import os, pwd, sys, time
from pathlib import Path
from proxy.demo import children
entry = pwd.getpwnam("nobody")
other = os.geteuid() == 0 and sys.argv[2] == "other"
account = children.Account(entry.pw_uid, entry.pw_gid) if other else None
child = children.spawn(["/bin/sleep", "60"], env={}, cwd=Path("/"), log=Path(sys.argv[1]), account=account)
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
@pytest.mark.parametrize("user", ["same", "other"])
def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path, user: str) -> None:
    """Also one that runs as another user: the kernel must be told after the change."""
    root = Path(children.__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path / "log"), user],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert psutil.wait_procs([child], timeout=10)[1] == []


def test_a_log_that_is_not_there_has_no_end(tmp_path: Path) -> None:
    """An error message is made of what there is."""
    assert children.tail(tmp_path / "nothing") == ""


def _wait_for(log: Path, word: str) -> None:
    with subprocess.Popen(
        ["/bin/sh", "-c", f"until grep -q {word} {log}; do sleep 0.02; done"], stderr=subprocess.DEVNULL
    ) as waiting:
        assert waiting.wait(30) == 0
