"""Targets: each test runs against PostgreSQL itself, which proves what is right, and through Forebay."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from tests.integration.target import Target
from tests.support.forebay import Forebay, forebay_before

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import Cluster


@pytest.fixture(scope="session")
def proxy(postgres: Cluster) -> Iterator[Forebay]:
    """One Forebay with the default configuration before the shared cluster."""
    if importlib.util.find_spec("proxy.app") is None:
        pytest.skip("proxy/app.py is not written yet")
    with forebay_before(postgres, pool={"size": 10}, timeouts={"login": "5s"}) as started:
        yield started


@pytest.fixture(params=["direct", "forebay"])
def target(request: pytest.FixtureRequest, postgres: Cluster, database: str) -> Target:
    """A fresh database, reached both ways."""
    started = request.getfixturevalue("proxy") if request.param == "forebay" else None
    return Target(postgres, started, database)


@pytest.fixture
def through(proxy: Forebay, postgres: Cluster, database: str) -> Target:
    """A fresh database, reached through Forebay only."""
    return Target(postgres, proxy, database)
