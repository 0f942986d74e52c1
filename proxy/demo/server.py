"""Forebay in front of the shop: a subprocess of `forebay serve` with a configuration file of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from proxy.demo import children

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from proxy.demo.shop import Login

POOL_SIZE: Final = 8
SLOW: Final = "50ms"
_GRACE: Final = 5.0  # seconds to drain after SIGTERM; nobody is connected any more by then
_STARTUP: Final = 30.0


class ForebayError(Exception):
    """Forebay did not start; the message ends with what it said."""


def configuration(port: int, http_port: int, upstream: str, database: str) -> str:
    """The TOML of the demo; `upstream` is the shop's URL at PostgreSQL."""
    # JSON's quoted strings without control characters are TOML's too
    return "\n".join(
        [
            f'listen = "127.0.0.1:{port}"',
            f'http = "127.0.0.1:{http_port}"',
            "",
            f"[databases.{database}]",
            f"url = {json.dumps(upstream)}",
            'pool_mode = "transaction"',
            f"pool_size = {POOL_SIZE}",
            "",
            "[cache]",
            'mode = "auto"',
            "",
            "[stats]",
            f'slow = "{SLOW}"',
            "",
            "[log]",
            'level = "warning"',
            "",
        ]
    )


def _environment() -> dict[str, str]:
    """Ours, without what would override the file, and with this Forebay importable from any directory."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("FOREBAY_")}
    here = str(Path(__file__).resolve().parents[2])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [here, env.get("PYTHONPATH")]))
    return env


class Forebay:
    """One running Forebay and where it listens."""

    def __init__(self, home: Path, login: Login) -> None:
        self.home = home
        self.login = login
        self.log = home / "forebay.log"
        self.port = 0
        self.http_port = 0
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """What the application connects to: only host and port differ from the database's own."""
        return self.url(self.login.database)

    @property
    def http(self) -> str:
        """The address of /metrics, /api/status and the page, without a slash at its end."""
        return f"http://127.0.0.1:{self.http_port}"

    def url(self, database: str) -> str:
        """A libpq URL through Forebay."""
        return f"postgresql://{self.login.user}:{self.login.password}@127.0.0.1:{self.port}/{database}"

    def start(self, upstream: str) -> None:
        """Write the configuration and start; `wait_ready` says when clients may come."""
        self.port, self.http_port = children.free_port(), children.free_port()
        config = self.home / "forebay.toml"
        config.touch(mode=0o600)
        config.write_text(configuration(self.port, self.http_port, upstream, self.login.database))
        self._child = children.spawn(
            [sys.executable, "-m", "proxy", "serve", str(config)],
            env=_environment(),
            cwd=self.home,
            log=self.log,
        )

    async def wait_ready(self, timeout: float = _STARTUP) -> None:
        """Wait for /readyz; raises ForebayError when Forebay ends or the time is over."""
        assert self._child is not None
        deadline = time.monotonic() + timeout
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
            while self._child.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with http.get(f"{self.http}/readyz") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.05)
        raise ForebayError(f"Forebay did not get ready:\n{children.tail(self.log)}")

    def stop(self) -> None:
        """Drain, then end; harmless when stopped."""
        if self._child is not None:
            children.stop(self._child, [(signal.SIGTERM, _GRACE), (signal.SIGINT, 1.0)])
            self._child = None


@contextlib.contextmanager
def running(forebay: Forebay, upstream: str) -> Iterator[Forebay]:
    """A started Forebay, stopped at the end."""
    forebay.start(upstream)
    try:
        yield forebay
    finally:
        forebay.stop()
