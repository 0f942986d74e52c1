"""The shop's visitors: many connections, each doing one thing after the other as fast as it is answered.

About nineteen of twenty statements read. Popularity is Zipf-like: a few products and users get most of the
visits, as in any shop, which is what makes a cache worth having. Every visitor has its own seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from proxy.demo import queries, shop
from proxy.demo.tally import Revisions, Tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

CONNECTIONS: Final = 16
FAILURES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a statement on a connection that the server has just ended
    OSError,
    TimeoutError,
)
"""What asyncpg raises when a statement or a connection fails."""

_STATEMENT_TIMEOUT: Final = 60.0
_PAUSE: Final = 0.25  # before a visitor whose connection was lost tries again
_LAST_WORD: Final = 10.0  # for statements under way when the workload ends
_TERMS: Final = (
    "oak lamp",
    "steel",
    "folding chair",
    "copper kettle",
    "quiet saw",
    "linen -tent",
    "round shelf",
)


class Popularity:
    """Picks 1..size, the few popular ones far more often than the rest; fixed, so all visitors agree."""

    def __init__(self, size: int, exponent: float) -> None:
        self._size = size
        self._stride = next(step for step in range(size // 3, size) if _coprime(step, size))
        self._weights = list(accumulate(rank**-exponent for rank in range(1, size + 1)))
        self._ranks = range(size)

    def pick(self, rng: random.Random) -> int:
        """One of 1..size; neighbours in popularity are far apart, so they share no category and no page."""
        rank = rng.choices(self._ranks, cum_weights=self._weights)[0]
        return rank * self._stride % self._size + 1


def _coprime(left: int, right: int) -> bool:
    while right:
        left, right = right, left % right
    return left == 1


class SoldOutError(Exception):
    """Not enough stock for the order: the transaction is rolled back."""


class Visitor:
    """One connection's worth of visits. What it knows of other visitors is in `tally` and `revisions`."""

    def __init__(self, workload: Workload, connection: Any, seed: int) -> None:
        self._workload = workload
        self._tally = workload.tally
        self._revisions = workload.revisions
        self._connection = connection
        self._rng = random.Random(seed)
        chances: list[tuple[Callable[[], Awaitable[None]], float]] = [
            (self.product_page, 40.0),
            (self.category_page, 18.0),
            (self.category_tree, 10.0),
            (self.user_by_email, 12.0),
            (self.order_history, 10.0),
            (self.search, 4.0),
            (self.audit_trail, 0.3),
            (self.report, 0.04),
            (self.place_order, 1.2),
            (self.restock, 1.2),
            (self.reprice, 0.15),
        ]
        self.acts = [act for act, _ in chances]
        self._weights = list(accumulate(weight for _, weight in chances))

    async def act(self) -> None:
        """One visit; raises one of FAILURES."""
        await self._rng.choices(self.acts, cum_weights=self._weights)[0]()

    async def product_page(self) -> None:
        """A product, then its stock."""
        product = self._workload.products.pick(self._rng)
        floor = self._revisions.floor("product", product)
        self._check("product", product, floor, await self._read(queries.PRODUCT, product))
        await self._stock(product)

    async def category_page(self) -> None:
        """What a category offers, cheapest first."""
        await self._read(queries.CATEGORY_PAGE, self._rng.choice(shop.CATEGORIES))

    async def category_tree(self) -> None:
        """The menu of the front page."""
        await self._read(queries.CATEGORY_TREE)

    async def user_by_email(self) -> None:
        """A login; who the user is comes from the list that the workload read at its start."""
        user = self._workload.users.pick(self._rng)
        await self._read(queries.USER_BY_EMAIL, self._workload.emails[user - 1])

    async def order_history(self) -> None:
        """A user's last orders, and what was in the newest."""
        orders = await self._read(queries.HISTORY, self._workload.users.pick(self._rng))
        if orders:
            await self._read(queries.ITEMS, orders[0]["id"])

    async def search(self) -> None:
        """Full text, through the GIN index."""
        await self._read(queries.SEARCH, self._rng.choice(_TERMS))

    async def audit_trail(self) -> None:
        """What happened to an order: slow, its index is missing."""
        await self._read(queries.TRAIL, self._rng.randint(1, shop.ORDERS))

    async def report(self) -> None:
        """Revenue by department: slow, it reads every order."""
        await self._read(queries.REPORT)

    async def place_order(self) -> None:
        """A cart that becomes an order, in one transaction; then the user looks at it."""
        user = self._workload.users.pick(self._rng)
        # stock is taken in the order of the ids, so that two orders cannot wait for each other
        basket = sorted({self._workload.products.pick(self._rng) for _ in range(self._rng.randint(1, 3))})
        try:
            order, taken = await self._sell(user, basket)
        except SoldOutError:
            self._tally.sold_out += 1
            for product in basket:
                await self._restock(product, 1000)
            return
        self._tally.transactions += 1
        self._tally.orders += 1
        for product, revision in taken.items():
            self._revisions.learn("inventory", product, revision)
        history = await self._read(queries.HISTORY, user)
        if order not in [row["id"] for row in history]:
            self._tally.was_stale(f"order {order} is missing in the history of user {user}")

    async def _sell(self, user: int, basket: Sequence[int]) -> tuple[int, dict[int, int]]:
        taken: dict[int, int] = {}
        async with self._connection.transaction():
            order: int = (await self._write(queries.NEW_CART, user))[0]["id"]
            for line, product in enumerate(basket, 1):
                quantity = self._rng.randint(1, 3)
                await self._write(queries.ADD_ITEM, order, line, product, quantity)
                rows = await self._write(queries.TAKE_STOCK, product, quantity)
                if not rows:
                    raise SoldOutError
                taken[product] = rows[0]["revision"]
            await self._write(queries.PLACE, order)
        return order, taken

    async def restock(self) -> None:
        """Goods arrive; then somebody looks whether they are there."""
        product = self._workload.products.pick(self._rng)
        await self._restock(product, self._rng.randint(1, 20))
        await self._stock(product)

    async def reprice(self) -> None:
        """A product's price changes, which the audit trigger notes."""
        product = self._workload.products.pick(self._rng)
        factor = Decimal(self._rng.randint(60, 100)) / 100
        rows = await self._write(queries.REPRICE, product, factor)
        self._revisions.learn("product", product, rows[0]["revision"])
        floor = self._revisions.floor("product", product)
        self._check("product", product, floor, await self._read(queries.PRODUCT, product))

    async def _restock(self, product: int, quantity: int) -> None:
        rows = await self._write(queries.RESTOCK, product, quantity)
        self._revisions.learn("inventory", product, rows[0]["revision"])

    async def _stock(self, product: int) -> None:
        floor = self._revisions.floor("inventory", product)
        self._check("inventory", product, floor, await self._read(queries.STOCK, product))

    def _check(self, kind: str, row: int, floor: int, answer: Sequence[Any]) -> None:
        revision = answer[0]["revision"] if answer else 0
        if revision < max(floor, 1):
            self._tally.was_stale(f"{kind} {row} has revision {floor}, read {revision}")
        self._revisions.learn(kind, row, revision)

    async def _read(self, sql: str, *arguments: object) -> Sequence[Any]:
        rows = await self._timed(sql, arguments)
        self._tally.reads += 1
        return rows

    async def _write(self, sql: str, *arguments: object) -> Sequence[Any]:
        rows = await self._timed(sql, arguments)
        self._tally.writes += 1
        return rows

    async def _timed(self, sql: str, arguments: Sequence[object]) -> Sequence[Any]:
        began = time.perf_counter()
        rows: Sequence[Any] = await self._connection.fetch(sql, *arguments)
        self._tally.latencies.observe(time.perf_counter() - began)
        return rows


class Workload:
    """All visitors. `run` ends when `stop` is set, or when `visits` were made."""

    def __init__(self, dsn: str, connections: int = CONNECTIONS, visits: int | None = None) -> None:
        self.tally = Tally()
        self.revisions = Revisions()
        self.stop = asyncio.Event()
        self.products = Popularity(shop.PRODUCTS, 1.05)
        self.users = Popularity(shop.USERS, 0.9)
        self.emails: list[str] = []
        self._dsn = dsn
        self._connections = connections
        self._visits = visits

    async def run(self) -> None:
        """Visit until told to stop; failures of statements and connections are counted, not raised."""
        try:
            self.emails = await self._read_emails()
        except FAILURES as error:
            self.tally.failed(error)
            return
        visitors = [asyncio.create_task(self._visit(seed)) for seed in range(self._connections)]
        try:
            stopped = asyncio.create_task(self.stop.wait())
            await asyncio.wait([stopped, *visitors], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if self.stop.is_set():
                await asyncio.wait(visitors, timeout=_LAST_WORD)
            else:
                await asyncio.wait(visitors)
        finally:
            for visitor in visitors:
                visitor.cancel()
            for result in await asyncio.gather(*visitors, return_exceptions=True):
                if isinstance(result, Exception):
                    self.tally.failed(result)

    async def _read_emails(self) -> list[str]:
        connection = await self._connect()
        try:
            return [row["email"] for row in await connection.fetch("SELECT email FROM users ORDER BY id")]
        finally:
            await connection.close(timeout=_LAST_WORD)

    async def _connect(self) -> Any:
        return await asyncpg.connect(
            self._dsn,
            timeout=30,
            command_timeout=_STATEMENT_TIMEOUT,
            server_settings={"application_name": "shop"},
        )

    async def _visit(self, seed: int) -> None:
        while not self._over():
            try:
                connection = await self._connect()
                try:
                    await self._use(Visitor(self, connection, seed))
                finally:
                    with contextlib.suppress(*FAILURES):
                        await connection.close(timeout=_LAST_WORD)
            except FAILURES as error:
                # whatever it was, a new connection is a good start; but not a storm of them
                self.tally.failed(error)
                await self._rest()

    async def _use(self, visitor: Visitor) -> None:
        while not self._over():
            if self._visits is not None:
                self._visits -= 1
            await visitor.act()

    def _over(self) -> bool:
        return self.stop.is_set() or self._visits == 0

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), _PAUSE)
