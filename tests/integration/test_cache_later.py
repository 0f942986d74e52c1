"""A database that is not there yet, or no more: its catalog is looked for again, ever more seldom, and found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.caching import Caching
from tests.integration.target import Target
from tests.support.forebay import forebay_before
from tests.support.patience import eventually

if TYPE_CHECKING:
    from tests.support.postgres import Cluster


async def test_a_database_made_later_is_cached(postgres: Cluster) -> None:
    name = "made_later"
    with forebay_before(postgres, databases={name: {"url": postgres.dsn(name)}}) as proxy:
        await eventually(lambda: f'database "{name}" does not exist' in proxy.log())
        try:
            postgres.create_database(name)
            postgres.execute("CREATE TABLE t (v int); INSERT INTO t VALUES (1)", database=name)
            caching = Caching(Target(postgres, proxy, name))
            async with caching.target.wire() as reader:
                assert await caching.cached_rows(reader, "SELECT sum(v) FROM t") == [("1",)]
            assert proxy.log().count("cannot be read") == 1
        finally:
            postgres.drop_database(name)
