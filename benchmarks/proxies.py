"""The candidates: each listens on a free loopback port and says how much CPU time and memory it has used."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from proxy.demo import children
from proxy.demo.postgres import unprivileged, workspace
from tests.support.forebay import Forebay
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREPARED_SINCE: Final = (1, 21)
_START: Final = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class Upstream:
    """The PostgreSQL that everything is measured against."""

    host: str
    port: int
    user: str
    password: str
    database: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where to connect; `process` is None for PostgreSQL itself, whose CPU time is not counted."""

    name: str
    port: int
    host: str = "127.0.0.1"
    process: psutil.Process | None = None
    forebay: Forebay | None = None
    prepares: bool = True  # whether protocol-level prepared statements work

    def cpu(self) -> float:
        """Seconds of CPU time used so far."""
        if self.process is None:
            return 0.0
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> int:
        """Resident bytes."""
        return int(self.process.memory_info().rss) if self.process else 0

    def hits(self) -> tuple[float, float]:
        """Answers from the cache, and all answers, so far."""
        if self.forebay is None:
            return 0.0, 0.0
        name = "forebay_cache_requests_total"
        return self.forebay.metric(name, result="hit"), self.forebay.metric(name)


def find_pgbouncer(path: str = "") -> str | None:
    """The program: as given, from $PGBOUNCER, on PATH, or where Debian puts it."""
    wanted = path or os.environ.get("PGBOUNCER", "")
    return shutil.which(wanted or "pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


def pgbouncer_version(program: str) -> tuple[int, ...]:
    """(1, 25, 2)."""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(part) for part in found.groups()) if found else (0,)


@contextlib.contextmanager
def pgbouncer(program: str, upstream: Upstream, pool_size: int, *, trust: bool = False) -> Iterator[Candidate]:
    """PgBouncer in transaction mode, as another user when we are root."""
    version = pgbouncer_version(program)
    prepares = version >= _PREPARED_SINCE
    account = unprivileged()
    with workspace(account) as home:
        port = free_port()
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "trust" if trust else "scram-sha-256",
            "auth_file": home / "userlist.txt",
            "pool_mode": "transaction",
            "default_pool_size": pool_size,
            "max_client_conn": 6_000,
            "ignore_startup_parameters": "extra_float_digits",
            "server_tls_sslmode": "disable",
            "log_connections": 0,
            "log_disconnections": 0,
            **({"max_prepared_statements": 200} if prepares else {}),
        }
        login = f"host={upstream.host} port={upstream.port} user={upstream.user} password={upstream.password}"
        lines = ["[databases]", f"* = {login}", "[pgbouncer]", *(f"{k} = {v}" for k, v in settings.items())]
        (home / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        (home / "userlist.txt").write_text(f'"{upstream.user}" "{upstream.password}"\n')
        child = children.spawn(
            [program, str(home / "pgbouncer.ini")],
            env={"PATH": os.defpath},
            cwd=home,
            log=home / "pgbouncer.log",
            account=account,
        )
        try:
            _wait_for(port, child, home / "pgbouncer.log")
            name = "pgbouncer " + ".".join(map(str, version))
            yield Candidate(name, port, process=psutil.Process(child.pid), prepares=prepares)
        finally:
            children.stop(child, [(signal.SIGTERM, 3.0), (signal.SIGINT, 3.0)])


def _wait_for(port: int, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        if child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"pgbouncer did not start:\n{children.tail(log)}")
        time.sleep(0.05)


@contextlib.contextmanager
def forebay(
    name: str, upstream: Upstream, pool_size: int, cache: str, *, trust: bool = False, program: str | None = None
) -> Iterator[Candidate]:
    """Forebay in transaction mode; `cache` is the cache's mode, `program` another build than this checkout."""
    url = f"postgresql://{upstream.user}:{upstream.password}@{upstream.host}:{upstream.port}?sslmode=disable"
    settings = {
        "databases": {"*": {"url": url}},
        "pool": {"size": pool_size},
        "cache": {"mode": cache},
        "auth": {"method": "trust" if trust else "scram-sha-256"},
    }
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as home:
        started = Forebay(Path(home), settings, upstream.user, upstream.password, program)
        started.start()
        try:
            started.wait_ready()
            yield Candidate(name, started.port, process=started.process, forebay=started)
        finally:
            started.stop()
