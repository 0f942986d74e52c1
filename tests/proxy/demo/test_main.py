"""The whole demo as a program: it runs, ends in every way it may be ended, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import pytest

from proxy.demo import children, summary

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = Path(children.__file__).resolve().parents[2]
_PROGRAM: Final = "import sys; from proxy.demo.main import run; sys.exit(run({seconds}, view=False))"
_PATIENCE: Final = 100.0


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for temporary files that any user may enter; what a demo left there can be seen."""
    made = Path(tempfile.mkdtemp(prefix="demo-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


class Demo:
    """A demo in a process of its own, with an empty home and as little else as possible."""

    def __init__(self, place: Path, seconds: float | None) -> None:
        home = place / "home"
        home.mkdir()
        self.temporary = place / "tmp"
        self.temporary.mkdir()
        self.temporary.chmod(0o755)
        self._errors = place / "stderr"
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM.format(seconds=seconds)],
                cwd=home,
                env={
                    "PATH": os.defpath,
                    "HOME": str(home),
                    "TMPDIR": str(self.temporary),
                    "PYTHONPATH": str(_ROOT),
                    "FOREBAY_LISTEN": "127.0.0.1:1",  # must not reach the demo's Forebay
                },
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def said(self) -> str:
        """Everything on standard error so far."""
        return self._errors.read_text()

    def wait_for(self, words: str) -> None:
        """Until it says that."""
        command = f"until grep -q '{words}' '{self._errors}'; do sleep 0.05; done"
        with subprocess.Popen(["/bin/sh", "-c", command]) as waiting:
            assert waiting.wait(_PATIENCE) == 0

    def end(self) -> tuple[int, str]:
        """Wait for its end: exit status and standard output."""
        output, _ = self.process.communicate(timeout=_PATIENCE)
        return self.process.returncode, output

    def left_processes(self) -> list[psutil.Process]:
        """Whoever was started for this demo and lives."""
        return [
            found
            for found in psutil.process_iter(["cmdline"])
            if any(str(self.temporary) in word for word in found.info["cmdline"] or ())
        ]

    def left_files(self) -> list[str]:
        """Whatever is in its temporary directory and in its home."""
        places = (self.temporary, self.temporary.parent / "home")
        return [str(found) for place in places for found in place.rglob("*")]


@contextlib.contextmanager
def _demo(place: Path, seconds: float | None) -> Iterator[Demo]:
    demo = Demo(place, seconds)
    try:
        yield demo
    finally:
        demo.process.kill()
        demo.process.communicate()
        psutil.wait_procs(demo.left_processes(), timeout=20)


def test_an_unattended_demo_prints_its_summary(place: Path) -> None:
    """Statements were answered, some of them from the cache, none of them wrong."""
    with _demo(place, seconds=4) as demo:
        status, output = demo.end()
        found = summary.parse(output)
        assert (status, found.get("errors"), found.get("stale")) == (0, "0", "0"), demo.said() + output
        assert 4 <= float(found["seconds"]) < 20
        assert int(found["queries"]) > 200
        assert int(found["hits"]) > 0
        assert 0 < float(found["hit_rate"]) <= 1
        assert float(found["p50_ms"]) <= float(found["p95_ms"])
        assert float(found["server_p50_ms"]) > 0
        assert found["metrics_url"].startswith("http://127.0.0.1:")
        assert all("=" in line for line in output.splitlines())
        assert demo.left_processes() == []
        assert demo.left_files() == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_open_shop(place: Path, signum: signal.Signals) -> None:
    """The summary is printed, and a second signal changes nothing."""
    with _demo(place, seconds=None) as demo:
        demo.wait_for("Ctrl-C stops and removes everything")
        demo.process.send_signal(signum)
        demo.process.send_signal(signum)
        status, output = demo.end()
        assert summary.parse(output)["errors"] == "0", demo.said()
        assert status in (0, 1)  # 1: it was not open long enough for a single answer
        assert demo.left_processes() == []
        assert demo.left_files() == []


@pytest.mark.parametrize("words", ["start PostgreSQL", "fill the shop: users"])
def test_a_signal_while_preparing_undoes_it(place: Path, words: str) -> None:
    """Nothing is printed for scripts, nothing is left."""
    with _demo(place, seconds=5) as demo:
        demo.wait_for(words)
        demo.process.send_signal(signal.SIGTERM)
        assert demo.end() == (130, ""), demo.said()
        assert demo.left_processes() == []
        assert demo.left_files() == []


def test_a_killed_demo_takes_its_children_along(place: Path) -> None:
    """Nobody can clean up after SIGKILL, but nothing keeps running."""
    with _demo(place, seconds=None) as demo:
        demo.wait_for("start PostgreSQL")
        started = demo.left_processes()
        assert started
        demo.process.kill()
        assert psutil.wait_procs(started, timeout=20)[1] == []
