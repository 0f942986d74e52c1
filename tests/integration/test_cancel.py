"""Cancel requests: for the client, the end of the connection that brought one says that the server has been told."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.target import Target
from tests.support import frames
from tests.support.forebay import forebay
from tests.support.frames import query
from tests.support.patience import eventually
from tests.support.toxic import toxic
from tests.support.wire import Wire

if TYPE_CHECKING:
    from tests.support.postgres import Cluster

_RUNNING: Final = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"


async def test_it_lasts_until_the_server_has_been_told(postgres: Cluster) -> None:
    """A driver asks again as soon as it has ended; what it asks then must not be hit."""
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(toxic(postgres.port))
        url = f"postgresql://{postgres.superuser}:{postgres.password}@127.0.0.1:{relay.port}?sslmode=disable"
        settings = {"databases": {"*": {"url": url}}, "cache": {"mode": "off"}}
        proxy = await stack.enter_async_context(forebay(settings, postgres.superuser, postgres.password))
        wire = await stack.enter_async_context(Target(postgres, proxy, "postgres").wire())
        await wire.ask(query("SELECT 1"))
        wire.write(query("SELECT pg_sleep(60)"))
        await eventually(lambda: postgres.execute(_RUNNING) == [(1,)])
        canceller = await Wire.open(proxy.host, proxy.port)
        stack.push_async_callback(canceller.close)
        relay.blackhole(True)
        canceller.write(frames.cancel_request(wire.pid, wire.key))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(canceller.reader.read(1), 0.5)
        relay.blackhole(False)
        assert await canceller.rest() == []
        assert frames.errors(await wire.until("Z")) == ["57014"]
        assert await wire.value("SELECT 2") == "2"
