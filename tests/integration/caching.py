"""What the tests of the cache have in common: seeing hits from outside, and asking PostgreSQL itself for the truth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from tests.support import frames

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.integration.target import Target
    from tests.support.wire import Wire

Rows = list[tuple[str | None, ...]]
_PATIENCE = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class Caching:
    """One database, seen through Forebay and past it."""

    target: Target

    @property
    def hits(self) -> float:
        """Answers given from the cache so far."""
        forebay = self.target.forebay
        assert forebay is not None
        return forebay.metric("forebay_cache_requests_total", database=self.target.database, result="hit")

    async def cached(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Ask until the answer came from the cache; that answer."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            before = self.hits
            answer = await ask()
            if self.hits > before:
                return answer
        raise AssertionError("never answered from the cache")

    async def cached_rows(self, wire: Wire, text: str, *values: str | None) -> Rows:
        """The same for the rows of a query; with values it is an extended one."""
        return list(await self.cached(lambda: rows(wire, text, *values)))

    async def asked_afresh(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """An answer that has to come from the server."""
        before = self.hits
        answer = await ask()
        assert self.hits == before, "answered from the cache"
        return answer

    async def never_cached(self, wire: Wire, text: str, *values: str | None) -> Rows:
        """Ask three times, with the catalog known: none of the answers may come from the cache."""
        await self.catalog_known(wire)
        for _ in range(2):
            await self.asked_afresh(lambda: rows(wire, text, *values))
        return list(await self.asked_afresh(lambda: rows(wire, text, *values)))

    async def catalog_known(self, wire: Wire) -> None:
        """Wait until something can be cached at all: a table named ``canary`` must be there."""
        await self.cached_rows(wire, "SELECT count(*) FROM public.canary")

    def truth(self, text: str) -> Rows:
        """What PostgreSQL says, as text."""
        with psycopg.connect(self.direct, autocommit=True) as connection:
            found = connection.execute(text.encode()).fetchall()
        return [tuple(None if value is None else str(value) for value in row) for row in found]

    def behind(self, *statements: str) -> None:
        """Change something behind Forebay's back."""
        with psycopg.connect(self.direct, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    @property
    def direct(self) -> str:
        """A libpq URL that goes past Forebay."""
        return self.target.cluster.dsn(self.target.database)

    @property
    def dsn(self) -> str:
        """A libpq URL that goes through Forebay."""
        return self.target.dsn()


async def rows(wire: Wire, text: str, *values: str | None) -> Rows:
    """The rows of a query, which must not fail."""
    messages = await wire.ask(frames.extended(text, *values) if values else frames.query(text))
    assert not frames.errors(messages), (text, [frames.fields(m.body) for m in messages if m.tag == "E"])
    return frames.rows(messages)
