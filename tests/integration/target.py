"""What a test talks to: PostgreSQL itself, or Forebay before it; and the others who must not notice."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from tests.support import frames
from tests.support.forebay import forebay
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AsyncExitStack

    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster


@dataclass(frozen=True, slots=True)
class Target:
    """One way to one database; `forebay` is None when the way is direct."""

    cluster: Cluster
    forebay: Forebay | None
    database: str

    @property
    def host(self) -> str:
        """Where to connect to."""
        return self.cluster.host

    @property
    def port(self) -> int:
        """Where to connect to."""
        return self.forebay.port if self.forebay else self.cluster.port

    @property
    def user(self) -> str:
        """Who logs in."""
        return self.cluster.superuser

    @property
    def password(self) -> str:
        """With what."""
        return self.cluster.password

    def dsn(self, **options: str) -> str:
        """A libpq URL."""
        options = {"sslmode": "disable", **options}
        return (
            f"postgresql://{self.user}:{quote(self.password)}@{self.host}:{self.port}/{self.database}"
            f"?{urlencode(options, quote_via=quote)}"
        )

    def settle(self) -> None:
        """End what a failed test may have left running in this database."""
        self.cluster.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'",
            database=self.database,
        )

    @contextlib.asynccontextmanager
    async def wire(self, *options: tuple[str, str]) -> AsyncIterator[Wire]:
        """A connection that is logged in; closed without a word at the end."""
        wire = await self.login(*options)
        try:
            yield wire
        finally:
            await wire.close()

    async def login(self, *options: tuple[str, str]) -> Wire:
        """A connection that is logged in; the caller closes it."""
        wire = await self.open()
        try:
            await wire.login(self.user, self.database, self.password, *options)
        except BaseException:
            await wire.close()
            raise
        return wire

    async def open(self) -> Wire:
        """A connection that has said nothing yet."""
        return await Wire.open(self.host, self.port)

    async def check(self) -> None:
        """A newcomer gets in and is served."""
        async with self.wire() as wire:
            assert await wire.value("SELECT 40 + 2") == "42"
            wire.write(frames.TERMINATE)

    @contextlib.asynccontextmanager
    async def undisturbed(self) -> AsyncIterator[None]:
        """Someone else works meanwhile, and gets every answer right; afterwards a newcomer is served too."""
        stop = asyncio.Event()
        served = 0

        async def work(wire: Wire) -> None:
            nonlocal served
            while not stop.is_set():
                served += 1
                assert await wire.value(f"SELECT 'bystander {served}'") == f"bystander {served}"
                messages = await wire.ask(frames.extended("SELECT $1::text", f"bystander {served}"))
                assert frames.rows(messages) == [(f"bystander {served}",)]
                await asyncio.sleep(0.005)

        async with self.wire() as wire:
            bystander = asyncio.create_task(work(wire))
            try:
                yield
            finally:
                stop.set()
                await bystander
            assert served
        await self.check()


async def behind(stack: AsyncExitStack, cluster: Cluster, **settings: Any) -> Target:
    """A Forebay of one's own, without a cache unless asked for; `stack` ends it."""
    login = f"{cluster.superuser}:{cluster.password}@{cluster.host}:{cluster.port}"
    every = {"databases": {"*": {"url": f"postgresql://{login}"}}, "cache": {"mode": "off"}, **settings}
    proxy = await stack.enter_async_context(forebay(every, cluster.superuser, cluster.password))
    return Target(cluster, proxy, "postgres")


async def refused(wire: Wire, *sqlstates: str) -> None:
    """The peer ends this connection, with one of these errors or without a word."""
    messages = await wire.rest()
    assert frames.tags(messages) in {"", "E"}, messages
    assert not messages or frames.errors(messages)[0] in sqlstates, frames.fields(messages[0].body)
