"""A reload that leads a name to another database: nothing of the old one may be answered any more."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import psycopg

from tests.support.forebay import forebay_before

if TYPE_CHECKING:
    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster

_READ = "SELECT v FROM place WHERE id = 1"


async def _hits(proxy: Forebay) -> float:
    return await asyncio.to_thread(proxy.metric, "forebay_cache_requests_total", database="moving", result="hit")


async def _read_until_cached(proxy: Forebay, client: psycopg.AsyncConnection[tuple[str]]) -> str:
    before = await _hits(proxy)
    for _ in range(400):
        row = await (await client.execute(_READ)).fetchone()
        if await _hits(proxy) > before and row is not None:
            return row[0]
        await asyncio.sleep(0.02)
    raise AssertionError("never cached")


async def test_a_url_that_leads_elsewhere_takes_the_answers_along(postgres: Cluster) -> None:
    """Old and new clients of the name read the new database, also what had been cached of the old one."""
    urls = {}
    for place in ("here", "there"):
        name = postgres.create_database()
        postgres.execute("CREATE TABLE place (id int PRIMARY KEY, v text)", database=name)
        postgres.execute(f"INSERT INTO place VALUES (1, '{place}')", database=name)
        urls[place] = postgres.dsn(name)
    with forebay_before(postgres, databases={"moving": {"url": urls["here"]}}) as proxy:
        old = await psycopg.AsyncConnection.connect(proxy.dsn("moving"), autocommit=True)
        async with old:
            assert await _read_until_cached(proxy, old) == "here"
            text = proxy.config.read_text()
            proxy.config.write_text(text.replace(urls["here"], urls["there"]))
            proxy.signal(signal.SIGHUP)
            for _ in range(400):
                if "reloaded" in proxy.log():
                    break
                await asyncio.sleep(0.02)
            assert await (await old.execute(_READ)).fetchone() == ("there",)
            new = await psycopg.AsyncConnection.connect(proxy.dsn("moving"), autocommit=True)
            async with new:
                assert await _read_until_cached(proxy, new) == "there"
