"""Visitors against a real PostgreSQL: what they leave behind adds up, and what they count is true."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from proxy.demo import shop
from proxy.demo.workload import Popularity, Visitor, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.postgres import Cluster


async def test_visits_read_mostly_and_leave_the_books_in_order(shop_dsn: str, connection: Any) -> None:
    """Totals, statuses, trail and stock of all orders that visitors ever placed."""
    workload = Workload(shop_dsn, connections=4, visits=1200)
    await workload.run()
    tally = workload.tally
    assert (tally.errors, tally.stale, tally.first_error) == (0, 0, "")
    assert tally.orders > 0
    assert tally.queries > 1200
    assert 0.9 < tally.reads / tally.queries < 0.98
    assert tally.latencies.total.count == tally.queries
    books = await connection.fetchrow(
        """
        SELECT count(*) FILTER (WHERE total <> lines) AS wrong,
               count(*) FILTER (WHERE status <> 'placed') AS unfinished,
               count(*) FILTER (WHERE trail <> '{INSERT,UPDATE}') AS untold
        FROM orders AS o,
             LATERAL (SELECT sum(line_total) AS lines FROM order_items WHERE order_id = o.id) AS items,
             LATERAL (SELECT array_agg(action ORDER BY id) AS trail
                      FROM audit_log WHERE table_name = 'orders' AND row_id = o.id) AS told
        WHERE o.id > $1
        """,
        shop.ORDERS,
    )
    assert tuple(books) == (0, 0, 0)
    sold = await connection.fetchrow(
        """
        SELECT (SELECT sum(sold) FROM inventory), (SELECT sum(quantity) FROM order_items WHERE order_id > $1)
        """,
        shop.ORDERS,
    )
    assert sold[0] == sold[1]


async def test_each_kind_of_visit_works(shop_dsn: str, connection: Any) -> None:
    """Also the rare ones, whatever the dice say."""
    workload = await _opened(shop_dsn)
    visitor = Visitor(workload, connection, seed=1)
    for act in visitor.acts:
        before = workload.tally.queries
        await act()
        assert workload.tally.queries > before, act
    assert workload.tally.stale == 0
    assert workload.tally.writes > 0


async def test_an_order_that_cannot_be_filled_is_undone(shop_dsn: str, connection: Any) -> None:
    """Nothing of it stays, and goods are ordered."""
    workload = await _opened(shop_dsn)
    workload.products = Popularity(1, 1.0)
    await connection.execute("UPDATE inventory SET quantity = 0 WHERE product_id = 1")
    before = await connection.fetchval("SELECT count(*) FROM orders")
    await Visitor(workload, connection, seed=2).place_order()
    assert (workload.tally.sold_out, workload.tally.orders, workload.tally.errors) == (1, 0, 0)
    assert await connection.fetchval("SELECT count(*) FROM orders") == before
    assert await connection.fetchval("SELECT quantity FROM inventory WHERE product_id = 1") == 1000


@pytest.mark.parametrize("kind", ["inventory", "product"])
async def test_an_old_answer_is_noticed(shop_dsn: str, connection: Any, kind: str) -> None:
    """A revision that was acknowledged must not be missing from a later read."""
    workload = await _opened(shop_dsn)
    workload.products = Popularity(1, 1.0)
    workload.revisions.learn(kind, 1, 10**12)
    await Visitor(workload, connection, seed=3).product_page()
    assert workload.tally.stale == 1
    assert workload.tally.first_error.startswith(f"stale answer: {kind} 1 ")


async def test_a_lost_connection_is_counted_and_replaced(shop_dsn: str, postgres: Cluster) -> None:
    """The visits go on afterwards."""
    workload = Workload(shop_dsn, connections=2)
    running = asyncio.create_task(workload.run())
    await _until(running, lambda: workload.tally.queries > 50)
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'shop'")
    await _until(running, lambda: workload.tally.errors > 0)
    reached = workload.tally.queries
    await _until(running, lambda: workload.tally.queries > reached + 50)
    workload.stop.set()
    await running
    assert workload.tally.first_error


async def test_who_is_not_let_in_says_so() -> None:
    """No traceback: an error to count."""
    workload = Workload("postgresql://app:wrong@127.0.0.1:1/shop", connections=1)
    await workload.run()
    assert workload.tally.errors == 1
    assert workload.tally.queries == 0


def test_popularity_is_steep_fixed_and_reaches_everything() -> None:
    """A few get most, and every id can be picked."""
    popularity = Popularity(5_000, 1.05)
    picks = Counter(popularity.pick(random.Random(seed)) for seed in range(4000))
    assert sum(count for _, count in picks.most_common(50)) > 1500
    assert min(picks) >= 1
    assert max(picks) <= 5_000
    small = Popularity(7, 0.0)
    rng = random.Random(0)
    assert {small.pick(rng) for _ in range(500)} == set(range(1, 8))


async def _opened(dsn: str) -> Workload:
    """A workload whose visitors a test sends itself."""
    workload = Workload(dsn)
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT email FROM users ORDER BY id")
    finally:
        await connection.close()
    workload.emails = [row["email"] for row in rows]
    return workload


async def _until(running: asyncio.Task[None], happened: Callable[[], bool]) -> None:
    """Let the workload go on until that happened; fails when it ends, or after half a minute."""
    async with asyncio.timeout(30):
        while not happened():
            assert not running.done(), running
            await asyncio.wait([running], timeout=0.01)
