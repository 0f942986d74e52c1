"""A users_file of SCRAM verifiers alone: clients log in, and Forebay logs in as them without their passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest

from protocol import scram
from tests.support.forebay import Forebay, forebay_before

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgres import Cluster

PASSWORD = "pass through"


def verifier(postgres: Cluster, user: str) -> str:
    secret: str = postgres.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", user)[0][0]
    return secret


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory, postgres: Cluster) -> Path:
    for name in ("keyed", "other", "trusted"):
        postgres.create_role(name, PASSWORD)
    file = tmp_path_factory.mktemp("users") / "userlist.txt"
    file.write_text("".join(f'"{name}" "{verifier(postgres, name)}"\n' for name in ("keyed", "other", "trusted")))
    return file


@pytest.fixture(scope="module")
def through(postgres: Cluster, users: Path) -> Iterator[Forebay]:
    databases = {"*": {"url": f"postgresql://{postgres.host}:{postgres.port}"}}
    with forebay_before(postgres, databases=databases, auth={"users_file": str(users)}) as started:
        yield started


def who(proxy: Forebay, user: str, password: str = PASSWORD) -> Any:
    with psycopg.connect(proxy.dsn("postgres", user, password)) as connection:
        row = connection.execute("SELECT session_user::text").fetchone()
    return row[0] if row is not None else None


async def test_both_drivers_come_through_as_themselves(through: Forebay) -> None:
    assert who(through, "keyed") == "keyed"
    assert who(through, "other") == "other"
    connection = await asyncpg.connect(through.dsn("postgres", "keyed", PASSWORD), timeout=30)
    assert await connection.fetchval("SELECT session_user::text") == "keyed"
    await connection.close()


def test_a_wrong_password_opens_nothing(through: Forebay, postgres: Cluster) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        who(through, "keyed", "guess")


def test_keys_outlive_a_reload_and_their_connections(through: Forebay, postgres: Cluster) -> None:
    assert who(through, "keyed") == "keyed"
    with psycopg.connect(through.dsn("postgres", "keyed", PASSWORD), autocommit=True) as connection:
        through.configure({"pool": {"size": 7}})
        through.reload()
        pids = postgres.execute(
            "SELECT pid, pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'keyed'"
        )
        assert pids
        assert who(through, "keyed") == "keyed"  # by then it has been noticed that they are gone
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        assert row[0] not in [pid for pid, _ in pids]


def test_a_new_secret_on_the_server_is_named(through: Forebay, postgres: Cluster, users: Path) -> None:
    postgres.create_role("moved", PASSWORD)
    old = verifier(postgres, "moved")
    postgres.execute(f"ALTER ROLE moved PASSWORD '{PASSWORD}'")  # the same password with another salt
    assert verifier(postgres, "moved") != old
    users.write_text(users.read_text() + f'"moved" "{old}"\n')
    through.reload()
    with pytest.raises(psycopg.OperationalError, match="salt and iterations differ"):
        who(through, "moved")
    users.write_text(users.read_text().replace(old, verifier(postgres, "moved")))
    through.reload()
    assert who(through, "moved") == "moved"


def test_a_client_that_shows_nothing_opens_nothing(postgres: Cluster, users: Path) -> None:
    databases = {"*": {"url": f"postgresql://{postgres.host}:{postgres.port}"}}
    auth = {"users_file": str(users), "method": "trust"}
    with (
        forebay_before(postgres, databases=databases, auth=auth) as proxy,
        pytest.raises(psycopg.OperationalError, match="no client has logged in with SCRAM yet"),
    ):
        who(proxy, "trusted")


def test_a_password_in_clear_text_does_as_well(postgres: Cluster, users: Path) -> None:
    databases = {"*": {"url": f"postgresql://{postgres.host}:{postgres.port}"}}
    auth = {"users_file": str(users), "method": "password"}
    with forebay_before(postgres, databases=databases, auth=auth) as proxy:
        assert who(proxy, "other") == "other"


def test_a_url_with_a_user_takes_its_password_from_the_users_file(postgres: Cluster, tmp_path: Path) -> None:
    postgres.create_role("worker", "works")
    keys = scram.derive("mine", b"0123456789abcdef", 4096)
    file = tmp_path / "userlist.txt"
    file.write_text('"worker" "works"\n"client" "mine"\n')
    assert keys.client_key
    databases = {"*": {"url": f"postgresql://worker@{postgres.host}:{postgres.port}"}}
    with forebay_before(postgres, databases=databases, auth={"users_file": str(file)}) as proxy:
        assert who(proxy, "client", "mine") == "worker"
