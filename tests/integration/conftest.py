"""Targets: each test runs against PostgreSQL itself, which proves what is right, and through Forebay.

The database is shared by the tests of a module, which therefore name their tables apart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.integration.desk import USERS, until
from tests.integration.desk import connect as at_desk
from tests.integration.target import Target
from tests.support.forebay import Forebay, forebay_before

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import psycopg

    from tests.support.postgres import Cluster


@pytest.fixture(scope="session")
def proxy(postgres: Cluster) -> Iterator[Forebay]:
    """One Forebay before the shared cluster, as it comes."""
    with forebay_before(postgres, pool={"size": 10}) as started:
        yield started


@pytest.fixture(scope="session")
def rotating_proxy(postgres: Cluster) -> Iterator[Forebay]:
    """The same, but every transaction gets another server connection than the last."""
    with forebay_before(postgres, pool={"size": 10, "min_size": 4, "rotate": True}) as started:
        yield started


@pytest.fixture(scope="module")
def shared_database(postgres: Cluster) -> Iterator[str]:
    """A database for one module."""
    name = postgres.create_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture(params=["direct", "forebay"])
def target(request: pytest.FixtureRequest, postgres: Cluster, shared_database: str) -> Target:
    """The module's database, reached both ways."""
    fixtures = {"direct": None, "forebay": "proxy", "rotating": "rotating_proxy"}
    name = fixtures[request.param]
    started = request.getfixturevalue(name) if name else None
    return Target(postgres, started, shared_database)


@pytest.fixture
def through(proxy: Forebay, postgres: Cluster, shared_database: str) -> Target:
    """The module's database, reached through Forebay only."""
    return Target(postgres, proxy, shared_database)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is opened here is closed at the end of the test."""
    async with AsyncExitStack() as opened_here:
        yield opened_here


Connect = Callable[[], Awaitable[asyncpg.Connection]]


@pytest.fixture
async def connect(target: Target) -> AsyncIterator[Connect]:
    """Opens connections of asyncpg; what a failed test left open is closed."""
    opened: list[asyncpg.Connection] = []

    async def connect() -> asyncpg.Connection:
        opened.append(await asyncpg.connect(target.dsn(), timeout=30))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.terminate()


@pytest.fixture(scope="module")
def users_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PgBouncer's userlist.txt."""
    path = tmp_path_factory.mktemp("console") / "userlist.txt"
    path.write_text("".join(f'"{user}" "{password}"\n' for user, password in USERS.items()))
    return path


@pytest.fixture(scope="module")
def desk(postgres: Cluster, users_file: Path) -> Iterator[Forebay]:
    """A Forebay whose console `boss` rules and `watcher` watches; one client fills it up."""
    auth = {"users_file": str(users_file), "admin_users": ["boss"], "stats_users": ["watcher"]}
    with forebay_before(postgres, auth=auth, limits={"clients": 2}, stats={"slow": "50ms"}) as started:
        yield started


@pytest.fixture
def nobody_is_left(desk: Forebay) -> None:
    """The clients of the last test are gone: one more would not be let in."""
    until(lambda: desk.metric("forebay_clients") == 0)


@pytest.fixture
def console(desk: Forebay) -> Iterator[psycopg.Connection[Any]]:
    """The console of `boss`."""
    with at_desk(desk, "boss") as connection:
        yield connection
