"""One database with `SCHEMA`, loaded once; its tests must leave it as it was."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.sql.schema import SCHEMA, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sql.catalog import Catalog
    from tests.support.postgres import Cluster


@pytest.fixture(scope="session")
def rich_database(postgres: Cluster) -> Iterator[str]:
    """The name of a database with everything in it."""
    name = postgres.create_database()
    postgres.execute(SCHEMA, database=name)
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def catalog(postgres: Cluster, rich_database: str) -> Catalog:
    """The catalog of that database."""
    return asyncio.run(snapshot(postgres, rich_database))
