"""Fixtures and profiles of all tests.

`postgres`   one embedded cluster for the whole run; do not stop it: take `own_postgres` for that
`database`   a fresh database in it, dropped at the end of the test
`own_postgres`  a cluster that the tests of one module may restart, kill and pause

A test marked `every_loop` runs once on asyncio's own event loop and once on uvloop.
"""

from __future__ import annotations

import asyncio
import gc
import os
from typing import TYPE_CHECKING

import hypothesis
import pytest
import uvloop

from tests.support.postgres import Cluster, cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

hypothesis.settings.register_profile("fast", max_examples=60, deadline=None)
hypothesis.settings.register_profile("deep", max_examples=5_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def pytest_configure(config: pytest.Config) -> None:
    """Make our own markers known."""
    config.addinivalue_line("markers", "every_loop: run on asyncio's own event loop and on uvloop")


def pytest_collection_finish() -> None:
    """Nobody need look again and again for garbage among thousands of collected tests: a fifth of the time."""
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both event loops for tests that asked for them."""
    if item.get_closest_marker("every_loop") is None:
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """The cluster that all tests share."""
    with cluster() as shared:
        yield shared


@pytest.fixture
def database(postgres: Cluster) -> Iterator[str]:
    """The name of a fresh database."""
    name = postgres.create_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Cluster]:
    """A cluster for the tests of this module alone."""
    with cluster() as own:
        yield own
