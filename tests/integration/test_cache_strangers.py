"""Who was writing already when a name's catalog is read for the first time: our own clients, or somebody unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from tests.integration.caching import Caching, rows
from tests.integration.target import Target
from tests.support import frames
from tests.support.forebay import forebay_before
from tests.support.patience import eventually

if TYPE_CHECKING:
    from tests.support.postgres import Cluster

_READ = "SELECT sum(v) FROM read"
_SCHEMA = "CREATE TABLE read (v int); INSERT INTO read VALUES (1); CREATE TABLE written (v int)"


async def test_a_transaction_by_another_name_is_no_strangers(postgres: Cluster, database: str) -> None:
    """A name that comes later keeps answers, and lets the first keep them, while that transaction is open."""
    postgres.execute(_SCHEMA, database=database)
    url = postgres.dsn(database)
    with forebay_before(postgres, databases={database: {"url": url}}) as proxy:
        first, second = Caching(Target(postgres, proxy, database)), Caching(Target(postgres, proxy, "second"))
        async with first.target.wire() as reader, first.target.wire() as writer:
            await first.cached_rows(reader, _READ)
            for text in ("BEGIN", "INSERT INTO written VALUES (1)", "UPDATE read SET v = 2"):
                assert not frames.errors(await writer.ask(frames.query(text)))
            proxy.configure({"databases": {"second": {"url": url}}})
            proxy.reload()
            async with second.target.wire() as other:
                assert await second.cached_rows(other, _READ) == [("1",)]
                assert await first.cached_rows(reader, _READ) == [("1",)]
                await writer.ask(frames.query("COMMIT"))
                assert await rows(other, _READ) == await rows(reader, _READ) == [("2",)]


async def test_a_stranger_that_writes_is_waited_for(postgres: Cluster, database: str) -> None:
    """Perhaps a Forebay that died had sent its COMMIT."""
    postgres.execute(_SCHEMA, database=database)
    with psycopg.connect(postgres.dsn(database)) as stranger:
        stranger.execute("UPDATE read SET v = 2")
        with forebay_before(postgres, databases={database: {"url": postgres.dsn(database)}}) as proxy:
            caching = Caching(Target(postgres, proxy, database))
            await eventually(lambda: f"catalog of {database} loaded" in proxy.log())
            async with caching.target.wire() as reader:
                for _ in range(3):
                    assert await caching.asked_afresh(lambda: rows(reader, _READ)) == [("1",)]
                stranger.commit()
                assert await rows(reader, _READ) == [("2",)]
                assert await caching.cached_rows(reader, _READ) == [("2",)]
