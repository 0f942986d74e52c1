"""The shop, loaded once for all tests of the demo."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from proxy.demo import shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.postgres import Cluster


@contextlib.contextmanager
def quietly(_name: str) -> Iterator[None]:
    """A step that nobody watches."""
    yield


@pytest.fixture(scope="session")
def shop_dsn(postgres: Cluster) -> Iterator[str]:
    """A whole shop, by the application's own role; tests may write, the workload's invariants still hold."""
    login = shop.Login(user="demo_app", database="demo_shop")
    asyncio.run(shop.create_database(postgres, login))
    dsn = postgres.url(login.user, login.password, login.database)
    asyncio.run(shop.load(dsn, quietly))
    yield dsn
    postgres.drop_database(login.database)


@pytest.fixture
async def connection(shop_dsn: str) -> AsyncIterator[Any]:
    """A connection to the shop."""
    opened = await asyncpg.connect(shop_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def undone(connection: Any) -> AsyncIterator[Any]:
    """A connection inside a transaction that is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
