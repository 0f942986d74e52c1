"""Forebay as its users run it: a process with a configuration file, watched from outside.

At the end of a test it must be alive, leave with status 0 when asked to, and have logged no traceback.
Most are forked from a process that has made its imports, which is ten times faster than a start from nothing;
with FOREBAY_TEST_DEV=1 all start from nothing, in Python's development mode. With FOREBAY_TEST_PROGRAM they are that
program: another build, such as .venv-compiled/bin/forebay.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import http.client
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import psutil

from proxy.demo import children
from tests.support.nursery import Nursery
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from proxy.demo.children import Child
    from tests.support.postgres import Cluster

_ROOT: Final = Path(__file__).resolve().parents[2]
_START: Final = 60.0  # seconds
_SAMPLE: Final = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_TROUBLE: Final = ("Traceback (most recent call last)", "was never retrieved", "was never awaited")

Settings = dict[str, Any]


@functools.cache
def _nursery() -> Nursery:
    """The one that all tests of this process share."""
    nursery = Nursery()
    atexit.register(nursery.close)
    return nursery


def to_toml(settings: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """A TOML text; nested mappings become tables."""
    lines = [f"[{'.'.join(map(_key, path))}]"] if path else []
    lines += [f"{_key(k)} = {_value(v)}" for k, v in settings.items() if not isinstance(v, dict)]
    lines += [to_toml(v, (*path, k)) for k, v in settings.items() if isinstance(v, dict)]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _key(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Settings:
    """`base` with `over` on top, table by table."""
    result: Settings = dict(base)
    for name, value in over.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


class Forebay:
    """One process; start() and ready() it, stop() it in the end."""

    host: Final = "127.0.0.1"

    def __init__(
        self, home: Path, settings: Mapping[str, Any], user: str, password: str, program: str | None = None
    ) -> None:
        self._program = program or os.environ.get("FOREBAY_TEST_PROGRAM", "")
        self.user = user
        self.password = password
        self.port = free_port()
        self.http_port = free_port()
        self.config = home / "forebay.toml"
        self.log_file = home / "forebay.log"
        self._home = home
        self._settings = merged(
            {"listen": f"{self.host}:{self.port}", "http": f"{self.host}:{self.http_port}"}, settings
        )
        self._child: Child | None = None

    @classmethod
    def before(cls, cluster: Cluster, home: Path, settings: Mapping[str, Any]) -> Forebay:
        """In front of every database of a cluster, for its superuser."""
        login = f"{cluster.superuser}:{cluster.password}@{cluster.host}:{cluster.port}"
        every = {"databases": {"*": {"url": f"postgresql://{login}"}}}
        return cls(home, merged(every, settings), cluster.superuser, cluster.password)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Change the file; a running process sees it after a SIGHUP."""
        self._settings = merged(self._settings, settings)
        self.config.write_text(to_toml(self._settings))

    def start(self) -> None:
        """Launch it; ready() or wait_ready() says when it can be used. In the main thread only."""
        if os.environ.get("FOREBAY_TEST_DEV", "") == "1":
            self.start_from_nothing("-X", "dev")
            return
        if self._program:
            self.start_from_nothing()
            return
        self.configure({})
        self._child = _nursery().spawn(["serve", str(self.config)], home=self._home, log=self.log_file)

    def start_from_nothing(self, *options: str) -> None:
        """Launch it as users do, perhaps with options of the interpreter. In the main thread only."""
        self.configure({})
        env = {"PATH": os.defpath, "HOME": str(self._home)}
        if self._program:
            argv = [str(Path(self._program).absolute()), "serve", str(self.config)]
        else:
            argv = [sys.executable, *options, "-m", "proxy", "serve", str(self.config)]
            env["PYTHONPATH"] = str(_ROOT)
        self._child = children.spawn(argv, env=env, cwd=self._home, log=self.log_file, on_our_death=signal.SIGKILL)

    def wait_ready(self, path: str = "/readyz") -> None:
        """Block until it is ready; AssertionError with its log when it is not in time."""
        deadline = time.monotonic() + _START
        while not self._answers(path):
            assert self.alive, f"forebay left with {self._status()}:\n{self.log()}"
            assert time.monotonic() < deadline, f"forebay is not ready:\n{self.log()}"
            time.sleep(0.01)

    async def ready(self, path: str = "/readyz") -> None:
        """As wait_ready(), for tests whose event loop serves the upstream side."""
        await asyncio.to_thread(self.wait_ready, path)

    def _answers(self, path: str) -> bool:
        try:
            return self.get(path)[0] == 200
        except OSError:
            return False

    def get(self, path: str, timeout: float = 10.0) -> tuple[int, str]:
        """Status and text of a page of its HTTP side."""
        connection = http.client.HTTPConnection(self.host, self.http_port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name that carry these labels; 0.0 when there is none."""
        total = 0.0
        for found, written, value in _SAMPLE.findall(self.get("/metrics")[1]):
            if found == name and labels.items() <= dict(_LABEL.findall(written)).items():
                total += float(value)
        return total

    def dsn(self, database: str, user: str = "", password: str = "", **options: str) -> str:
        """A libpq URL; without a user the one of the configuration."""
        user, password = (user, password) if user else (self.user, self.password)
        options = {"sslmode": "disable", **options}
        return (
            f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{self.host}:{self.port}"
            f"/{quote(database, safe='')}?{urlencode(options, quote_via=quote)}"
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._child is not None
        self._child.send_signal(number)

    def reload(self, result: str = "ok") -> None:
        """Let it read its configuration again; AssertionError when it does not end as said."""
        before = self.metric("forebay_config_reloads_total", result=result)
        self.signal(signal.SIGHUP)
        deadline = time.monotonic() + _START
        while self.metric("forebay_config_reloads_total", result=result) == before:
            assert time.monotonic() < deadline, f"no reload:\n{self.log()}"
            time.sleep(0.05)

    def log(self) -> str:
        """Everything that it has written so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    @property
    def process(self) -> psutil.Process:
        """The process, for its memory and its clock."""
        assert self._child is not None
        return psutil.Process(self._child.pid)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.poll() is None

    def _status(self) -> int | None:
        return self._child.poll() if self._child is not None else None

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for its own end; the exit status."""
        assert self._child is not None
        return self._child.wait(timeout)

    def stop(self) -> int:
        """Ask it to leave (SIGTERM, again after a while); the exit status."""
        assert self._child is not None
        term = (signal.SIGTERM, 10.0)
        return children.stop(self._child, [term, term])

    def verify(self) -> None:
        """It still runs, leaves when asked to, and has nothing to hide in its log."""
        assert self.alive, f"forebay died with {self._status()}:\n{self.log()[-8_000:]}"
        status = self.stop()
        self.verify_log()
        assert status == 0, f"forebay left with {status}:\n{self.log()[-8_000:]}"

    def verify_log(self) -> None:
        """No traceback was logged."""
        trouble = [line for line in self.log().splitlines() if any(word in line for word in _TROUBLE)]
        assert not trouble, "\n".join(trouble[:10])


@contextlib.contextmanager
def forebay_before(cluster: Cluster, **settings: Any) -> Iterator[Forebay]:
    """A ready Forebay in front of a cluster; verified at the end."""
    with tempfile.TemporaryDirectory(prefix="forebay-test-") as home:
        proxy = Forebay.before(cluster, Path(home), settings)
        proxy.start()
        try:
            proxy.wait_ready()
            yield proxy
            proxy.verify()
        finally:
            proxy.stop()


@contextlib.asynccontextmanager
async def forebay(
    settings: Mapping[str, Any], user: str, password: str, *, ready: str = "/readyz"
) -> AsyncIterator[Forebay]:
    """A Forebay with any configuration; verified at the end."""
    with tempfile.TemporaryDirectory(prefix="forebay-test-") as home:
        proxy = Forebay(Path(home), settings, user, password)
        proxy.start()
        try:
            await proxy.ready(ready)
            yield proxy
            await asyncio.to_thread(proxy.verify)
        finally:
            await asyncio.to_thread(proxy.stop)
