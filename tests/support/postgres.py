"""A real PostgreSQL for tests: the demo's embedded cluster, plus what tests do to it.

The wheel is built without TLS: tests of TLS to a server put `tls_front` before it.
Start clusters in the main thread only: the kernel ends a child when the *thread* that made it ends.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote, urlencode

import psutil
import psycopg
from psycopg import sql

from proxy.demo.postgres import Postgres, PostgresError, unprivileged, workspace
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.demo.children import Account

_SETTINGS: Final = {
    "max_connections": "200",
    "wal_level": "logical",
    "max_prepared_transactions": "20",
    "autovacuum": "off",  # its locks and its cancels would come when they like
}
_ATTEMPTS: Final = 5

StopMode = Literal["smart", "fast", "immediate"]
_STOP_SIGNALS: Final = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class Cluster(Postgres):
    """One throw-away cluster on a port that stays the same over restarts; the superuser is `postgres`."""

    host: Final = "127.0.0.1"

    def __init__(self, home: Path, account: Account | None = None, **settings: str) -> None:
        super().__init__(home, account, **{**_SETTINGS, **settings})
        self._numbers = itertools.count(1)

    @property
    def psql(self) -> Path:
        """The psql of this server's version."""
        return self.bin / "psql"

    @property
    def pgbench(self) -> Path:
        """The pgbench of this server's version."""
        return self.bin / "pgbench"

    def start(self, timeout: float = 60.0) -> None:
        """Start on this cluster's port; the first start finds one."""
        if self.port:
            super().start(timeout)
            return
        for attempt in range(1, _ATTEMPTS + 1):
            self.port = free_port()
            try:
                super().start(timeout)
            except PostgresError:
                if attempt == _ATTEMPTS:
                    raise
            else:
                return

    def shutdown(self, mode: StopMode = "fast", timeout: float = 30.0) -> None:
        """Stop as pg_ctl would in that mode; harder when it takes longer than `timeout` seconds."""
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(_STOP_SIGNALS[mode])
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout)
        self.stop()

    def restart(self, mode: StopMode = "fast") -> None:
        """shutdown() and start(): the same port, the same data."""
        self.shutdown(mode)
        self.start()

    def kill_9(self) -> None:
        """Kill the postmaster with SIGKILL; its children have left when this returns."""
        if self._child is None:
            return
        orphans = [psutil.Process(pid) for pid in self.processes()[1:]]
        self._child.kill()
        self._child.wait()
        self._child = None
        psutil.wait_procs(orphans, timeout=10)  # each sees that the postmaster is gone and leaves
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Every process stopped in its tracks: connections are accepted by the kernel alone."""
        processes = self.processes()
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def processes(self) -> list[int]:
        """The postmaster and its children."""
        if self.pid is None:
            return []
        postmaster = psutil.Process(self.pid)
        return [self.pid, *(child.pid for child in postmaster.children(recursive=True))]

    def dsn(self, database: str = "postgres", user: str = "", password: str = "", **options: str) -> str:
        """A libpq URL; without a user the superuser."""
        user, password = (user, password) if user else (self.superuser, self.password)
        options = {"sslmode": "disable", **options}
        return (
            f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{self.host}:{self.port}"
            f"/{quote(database, safe='')}?{urlencode(options, quote_via=quote)}"
        )

    def execute(self, statement: str, *parameters: object, database: str = "postgres") -> list[Any]:
        """Run one statement as superuser in a connection of its own, autocommitted; its rows, if any."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str = "") -> str:
        """A new empty database; its name."""
        name = name or f"test_{next(self._numbers)}"
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return name

    def drop_database(self, name: str) -> None:
        """Drop it, whoever is connected."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def create_role(self, name: str, password: str, options: str = "LOGIN") -> None:
        """A role with a password, kept as SCRAM secret."""
        role, secret = sql.Identifier(name), sql.Literal(password)
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))
            connection.execute(sql.SQL("CREATE ROLE {} WITH {} PASSWORD {}").format(role, sql.SQL(options), secret))


@contextlib.contextmanager
def cluster(**settings: str) -> Iterator[Cluster]:
    """A started cluster of one's own; stopped and removed at the end."""
    account = unprivileged()
    with workspace(account) as home:
        new = Cluster(home, account, **settings)
        new.create()
        new.start()
        try:
            yield new
        finally:
            new.shutdown("immediate")
