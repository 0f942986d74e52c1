"""What the admin console does when it is told: kill, reconnect, pause and resume, reload, shut down."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest
from psycopg import errors

from tests.integration.desk import connect, table, until, worker
from tests.support.forebay import Forebay, forebay_before

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import Cluster

pytestmark = pytest.mark.usefixtures("nobody_is_left")


def test_kill_client(desk: Forebay, console: psycopg.Connection[Any]) -> None:
    with worker(desk) as client:
        client.execute("SELECT 1")
        console.execute(f"KILL_CLIENT {client.info.backend_pid}".encode())
        with pytest.raises(errors.AdminShutdown):
            client.execute("SELECT 1")
    with pytest.raises(errors.UndefinedObject):
        console.execute("KILL_CLIENT 1")
    with pytest.raises(errors.InvalidParameterValue):
        console.execute("KILL_CLIENT me")


def test_reconnect(desk: Forebay, console: psycopg.Connection[Any]) -> None:
    with worker(desk) as client:
        before = client.execute("SELECT pg_backend_pid()").fetchall()
        assert client.execute("SELECT pg_backend_pid()").fetchall() == before
        client.execute("BEGIN")
        client.execute("SELECT 1")
        console.execute("RECONNECT postgres")
        assert [row["close_needed"] for row in table(console, "SHOW SERVERS") if row["state"] == "active"] == [1]
        assert client.execute("SELECT pg_backend_pid()").fetchall() == before  # the transaction keeps it
        client.execute("COMMIT")
        assert client.execute("SELECT pg_backend_pid()").fetchall() != before


def our_servers(cluster: Cluster) -> int:
    """What the server itself has of the client that is called so."""
    found = cluster.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'paused'")
    return int(found[0][0])


class Background:
    """A command that takes its time, in a thread of its own."""

    def __init__(self, connection: psycopg.Connection[Any], command: str) -> None:
        self._connection = connection
        self._command = command
        self.error: psycopg.Error | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self._connection.execute(self._command.encode())
        except psycopg.Error as error:
            self.error = error

    @property
    def running(self) -> bool:
        """Whether it has not been answered."""
        return self._thread.is_alive()

    def wait(self) -> None:
        """Until it has been answered."""
        self._thread.join(20)
        assert not self.running

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self._connection.cancel_safe(timeout=5)
            self._thread.join(20)


def test_pause_waits_for_leases_and_clients_wait_for_resume(
    desk: Forebay, postgres: Cluster, console: psycopg.Connection[Any]
) -> None:
    with connect(desk, "clerk", "postgres", application_name="paused") as client, connect(desk, "boss") as other:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        assert our_servers(postgres) == 1
        with Background(console, "PAUSE postgres") as pausing:
            until(lambda: table(other, "SHOW DATABASES")[0]["paused"])
            assert client.execute("SELECT 2").fetchall() == [(2,)]  # its transaction goes on
            assert pausing.running
            client.execute("COMMIT")
            pausing.wait()
        assert pausing.error is None
        until(lambda: our_servers(postgres) == 0)
        assert [row for row in table(other, "SHOW SERVERS") if row["database"] == "postgres"] == []

        with Background(client, "SELECT 3") as waiting:
            until(lambda: table(other, "SHOW POOLS")[0]["cl_waiting"])
            assert table(other, "SHOW CLIENTS")[0]["state"] == "waiting"
            with pytest.raises(errors.ObjectNotInPrerequisiteState):
                other.execute("PAUSE postgres")
            other.execute("RESUME postgres")
            waiting.wait()
        assert waiting.error is None
        assert client.execute("SELECT 4").fetchall() == [(4,)]
        with pytest.raises(errors.ObjectNotInPrerequisiteState):
            other.execute("RESUME postgres")


def test_a_pause_of_everything_can_be_cancelled_but_stays(desk: Forebay, console: psycopg.Connection[Any]) -> None:
    with worker(desk) as client, connect(desk, "watcher") as other:
        client.execute("BEGIN")
        client.execute("SELECT 1")
        with Background(console, "PAUSE") as pausing:
            until(lambda: table(other, "SHOW STATE")[1]["value"] == "yes")
            assert pausing.running
            console.cancel_safe()
            pausing.wait()
        assert isinstance(pausing.error, errors.QueryCanceled)
        assert table(other, "SHOW STATE")[1]["value"] == "yes"
        console.execute("RESUME")
        client.execute("COMMIT")
        assert client.execute("SELECT 2").fetchall() == [(2,)]


def test_kill_closes_a_database_until_resume(desk: Forebay, console: psycopg.Connection[Any]) -> None:
    with worker(desk) as client:
        client.execute("SELECT 1")
        console.execute("KILL postgres")
        with pytest.raises(errors.AdminShutdown):
            client.execute("SELECT 1")
    assert table(console, "SHOW SERVERS") == []
    console.execute("RESUME postgres")
    with worker(desk) as client:
        assert client.execute("SELECT 2").fetchall() == [(2,)]


def test_reload(postgres: Cluster, users_file: Path) -> None:
    """A bad file is told and changes nothing; a good one may take away even the console."""
    auth = {"users_file": str(users_file), "admin_users": ["boss"]}
    with forebay_before(postgres, auth=auth) as started, connect(started, "boss") as console:

        def pool_size() -> str:
            return str({row["key"]: row["value"] for row in table(console, "SHOW CONFIG")}["pool.size"])

        good = started.config.read_text()
        started.configure({"pool": {"size": 5}})
        console.execute("RELOAD")
        assert pool_size() == "5"
        started.config.write_text(good + "\n[nonsense]\nkey = 1\n")
        with pytest.raises(errors.ConfigFileError, match="nonsense"):
            console.execute("RELOAD")
        assert pool_size() == "5"
        started.configure({"auth": {"admin_users": ["clerk"], "stats_users": ["boss"]}})
        console.execute("RELOAD")
        with pytest.raises(errors.InsufficientPrivilege):
            console.execute("RELOAD")
        assert pool_size() == "5"
        with connect(started, "clerk") as other:
            other.execute("RELOAD")


@pytest.mark.parametrize("mode", ["", "WAIT_FOR_SERVERS", "WAIT_FOR_CLIENTS"])
def test_shutdown(postgres: Cluster, tmp_path: Path, mode: str) -> None:
    """Clients are told now, after their transactions, or never; the console stays until the end."""
    started = Forebay.before(postgres, tmp_path, {})
    started.start()
    try:
        started.wait_ready()
        with (
            psycopg.connect(started.dsn("forebay"), autocommit=True) as console,
            psycopg.connect(started.dsn("postgres"), autocommit=True) as client,
        ):
            told: list[str | None] = []
            console.add_notice_handler(lambda diagnostic: told.append(diagnostic.sqlstate))
            client.execute("BEGIN")
            client.execute("SELECT 1")
            console.execute(f"SHUTDOWN {mode}".encode())
            if not mode:
                with pytest.raises(errors.AdminShutdown):
                    client.execute("SELECT 2")
            else:
                client.execute("SELECT 2")
                assert table(console, "SHOW VERSION")
                client.execute("COMMIT")
            if mode == "WAIT_FOR_CLIENTS":
                assert client.execute("SELECT 3").fetchall() == [(3,)]
                assert len(table(console, "SHOW CLIENTS")) == 1
                client.close()
            assert started.wait() == 0
            with pytest.raises(psycopg.OperationalError) as end:
                console.execute("SHOW VERSION")
            # libpq takes an error for a notice that comes with the end of the answer before
            assert "57P01" in (end.value.sqlstate, *told)
        started.verify_log()
    finally:
        if started.alive:
            started.stop()
