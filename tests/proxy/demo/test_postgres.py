"""The embedded cluster: who runs it, where it lives, how it starts and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil
import pytest

from proxy.demo import children, postgres
from proxy.demo.postgres import Postgres, PostgresError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def created() -> Iterator[Postgres]:
    """A cluster of a test's own, not started."""
    account = postgres.unprivileged()
    with postgres.workspace(account) as home:
        made = Postgres(home, account)
        made.create()
        yield made
        made.stop()


async def _ask(cluster: Postgres, password: str, question: str) -> Any:
    connection = await asyncpg.connect(cluster.url(cluster.superuser, password, "postgres"), timeout=20)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def test_a_cluster_runs_needs_a_password_and_restarts(created: Postgres) -> None:
    """On the loopback interface, by SCRAM, on the same port again."""
    with postgres.running(created):
        port, pid = created.port, created.pid
        assert pid is not None
        assert psutil.Process(pid).uids().effective != 0
        question = "SELECT rolpassword FROM pg_authid WHERE rolname = current_user"
        secret = asyncio.run(_ask(created, created.password, question))
        assert secret.startswith("SCRAM-SHA-256$")
        with pytest.raises(asyncpg.InvalidPasswordError):
            asyncio.run(_ask(created, "guess", "SELECT 1"))
        sockets = psutil.Process(pid).net_connections()
        assert {found.laddr.ip for found in sockets if found.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    assert created.pid is None
    assert not psutil.pid_exists(pid)
    with postgres.running(created):
        assert created.port == port


def test_a_crash_leaves_a_cluster_that_starts_again(created: Postgres) -> None:
    """The file of the dead server does not pass for the new one's."""
    created.start()
    assert created.pid is not None
    orphans = psutil.Process(created.pid).children()
    os.kill(created.pid, signal.SIGKILL)
    created.kill()
    assert psutil.wait_procs(orphans, timeout=20)[1] == []
    assert (created.data / "postmaster.pid").exists()
    created.start()
    assert asyncio.run(_ask(created, created.password, "SELECT 1")) == 1


def test_an_exception_stops_the_server(created: Postgres) -> None:
    """And goes on its way."""
    seen: list[int | None] = []

    def work() -> None:
        with postgres.running(created):
            seen.append(created.pid)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    (pid,) = seen
    assert pid is not None
    assert not psutil.pid_exists(pid)


def test_a_server_that_cannot_start_says_why(created: Postgres) -> None:
    """The end of its log is in the message; a second attempt is for a taken port alone."""
    created._settings = {"shared_buffers": "nonsense"}
    with pytest.raises(PostgresError, match="shared_buffers"):
        created.start()
    assert created.pid is None


def test_a_port_that_somebody_took_is_not_the_end(created: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between finding a free port and using it anything may happen."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], children.free_port()]
        offers = iter(ports)
        monkeypatch.setattr(children, "free_port", lambda: next(offers))
        created.start()
    assert created.port == ports[1]


def test_a_failing_initdb_says_why() -> None:
    """Its output is in the message."""
    account = postgres.unprivileged()
    with postgres.workspace(account) as home:
        broken = Postgres(home, account)
        broken.superuser = "pg_not_allowed"
        with pytest.raises(PostgresError, match="pg_"):
            broken.create()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_binaries_out_of_reach_are_copied(tmp_path: Path) -> None:
    """A virtual environment in root's home is closed to everybody else."""
    account = postgres.unprivileged()
    assert account is not None
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "pginstall").symlink_to(postgres.binaries())
    with postgres.workspace(account) as home:
        cluster = Postgres(home, account)
        cluster._root = closed / "pginstall"
        cluster.create()
        assert cluster.bin.is_relative_to(home)
        with postgres.running(cluster):
            assert cluster.pid is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_a_workspace_is_where_the_other_user_can_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed TMPDIR is passed over; for ourselves it is good enough."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(closed))
    with postgres.workspace(None) as own:
        assert own.parent == closed
    with postgres.workspace(postgres.unprivileged()) as home:
        assert home.parent != closed
        (home / "file").touch()
    assert not home.exists()
    assert not own.exists()
