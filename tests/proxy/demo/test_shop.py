"""The schema holds its rules, the workload can count on the rows, two queries are slow on purpose."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from proxy.demo import queries, shop

if TYPE_CHECKING:
    from tests.support.postgres import Cluster

_BIG_TABLES = {"users", "user_profiles", "products", "inventory", "orders", "order_items", "audit_log"}


async def test_the_rows_are_what_the_workload_counts_on(connection: Any) -> None:
    """Ids without holes, products in leaves only, tens of thousands of rows."""
    for table, size in (("users", shop.USERS), ("products", shop.PRODUCTS), ("inventory", shop.PRODUCTS)):
        key = "product_id" if table == "inventory" else "id"
        row = await connection.fetchrow(f"SELECT count(*), min({key}), max({key}) FROM {table}")
        assert tuple(row) == (size, 1, size), table
    holding = await connection.fetch("SELECT DISTINCT category_id FROM products ORDER BY 1")
    assert [row[0] for row in holding] == list(shop.CATEGORIES)
    leaves = await connection.fetch("SELECT id FROM categories WHERE parent_id IS NOT NULL ORDER BY 1")
    assert [row[0] for row in leaves] == list(shop.CATEGORIES)
    old = await connection.fetchrow("SELECT count(*), max(id) FROM orders WHERE id <= $1", shop.ORDERS)
    assert tuple(old) == (shop.ORDERS, shop.ORDERS)
    assert await connection.fetchval("SELECT count(*) FROM order_items") >= 2 * shop.ORDERS


async def test_every_order_adds_up_and_left_a_trail(connection: Any) -> None:
    """The total is the sum of the lines, and the trigger noted each insert."""
    wrong = await connection.fetchval(
        """
        SELECT count(*)
        FROM orders AS o
        JOIN (SELECT order_id, sum(line_total) FROM order_items GROUP BY 1) AS lines ON order_id = o.id
        LEFT JOIN audit_log AS a ON a.table_name = 'orders' AND a.row_id = o.id AND a.action = 'INSERT'
        WHERE o.total <> lines.sum OR a.after->>'user_id' IS DISTINCT FROM o.user_id::text
        """
    )
    assert wrong == 0


async def test_one_seed_makes_one_shop(postgres: Cluster) -> None:
    """Two databases get the same users."""
    seen = []
    for _ in range(2):
        name = postgres.create_database()
        connection = await asyncpg.connect(postgres.dsn(name))
        try:
            for step, sql in shop.steps():
                if step in {"schema", "users"}:
                    await connection.execute(sql)
            fingerprint = "SELECT md5(string_agg(email || country || is_active, ',' ORDER BY id)) FROM users"
            seen.append(await connection.fetchval(fingerprint))
        finally:
            await connection.close()
        postgres.drop_database(name)
    assert seen[0] is not None
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("sqlstate", "statement"),
    [
        ("23514", "INSERT INTO users (email, full_name) VALUES ('nobody', 'No Body')"),
        ("23505", "INSERT INTO users (email, full_name) SELECT upper(email), 'A' FROM users WHERE id = 7"),
        ("23514", "UPDATE user_profiles SET preferences = '[]' WHERE user_id = 1"),
        ("23514", "UPDATE categories SET parent_id = id WHERE id = 9"),
        ("23001", "DELETE FROM categories WHERE id = 1"),
        ("23514", "UPDATE products SET price = list_price + 1 WHERE id = 1"),
        ("23514", "UPDATE products SET price = 0 WHERE id = 1"),
        ("23001", "DELETE FROM products WHERE id = (SELECT product_id FROM order_items LIMIT 1)"),
        ("23514", "UPDATE inventory SET quantity = -1 WHERE product_id = 1"),
        ("23514", "UPDATE orders SET status = 'lost' WHERE id = 1"),
        ("23514", "UPDATE orders SET status = 'placed' WHERE status = 'delivered'"),
        ("23505", "INSERT INTO orders (user_id) VALUES (1), (1)"),
        ("23503", "INSERT INTO orders (user_id) VALUES (0)"),
        ("23001", "DELETE FROM users WHERE id = (SELECT user_id FROM orders LIMIT 1)"),
        ("23514", "UPDATE order_items SET quantity = 100 WHERE order_id = 1"),
        ("428C9", "UPDATE order_items SET line_total = 0 WHERE order_id = 1"),
        ("428C9", "INSERT INTO orders (id, user_id) VALUES (1, 1)"),
    ],
)
async def test_the_schema_refuses(undone: Any, sqlstate: str, statement: str) -> None:
    """Each rule by the SQLSTATE of its violation."""
    with pytest.raises(asyncpg.PostgresError) as refused:
        await undone.execute(statement)
    assert refused.value.sqlstate == sqlstate


async def test_deleting_takes_along_what_belongs_to_it(undone: Any) -> None:
    """An order its items, a user the profile, a product its stock."""
    await undone.execute("DELETE FROM orders WHERE id = 5")
    assert await undone.fetchval("SELECT count(*) FROM order_items WHERE order_id = 5") == 0
    user = await undone.fetchval("INSERT INTO users (email, full_name) VALUES ('new@example.org', 'New') RETURNING id")
    await undone.execute("INSERT INTO user_profiles (user_id, display_name) VALUES ($1, 'n')", user)
    await undone.execute("DELETE FROM users WHERE id = $1", user)
    assert await undone.fetchval("SELECT count(*) FROM user_profiles WHERE user_id = $1", user) == 0


async def test_what_is_computed_follows(undone: Any) -> None:
    """Generated columns and defaults."""
    await undone.execute("UPDATE products SET list_price = 100, price = 75 WHERE id = 3")
    assert await undone.fetchval("SELECT discount FROM products WHERE id = 3") == 25
    await undone.execute("UPDATE inventory SET quantity = 0 WHERE product_id = 3")
    assert await undone.fetchval("SELECT in_stock FROM inventory WHERE product_id = 3") is False
    order = await undone.fetchrow(
        "INSERT INTO orders (user_id) VALUES (1) RETURNING status, total, currency, placed_at = now()"
    )
    assert tuple(order) == ("cart", 0, "EUR", True)


async def test_the_trigger_keeps_a_trail(undone: Any) -> None:
    """Insert, update, delete; with what was before and after."""
    order = await undone.fetchval("INSERT INTO orders (user_id) VALUES (1) RETURNING id")
    await undone.execute("UPDATE orders SET status = 'cancelled' WHERE id = $1", order)
    await undone.execute("DELETE FROM orders WHERE id = $1", order)
    trail = await undone.fetch(
        "SELECT action, before, after, actor FROM audit_log WHERE row_id = $1 ORDER BY id", order
    )
    assert [row["action"] for row in trail] == ["INSERT", "UPDATE", "DELETE"]
    assert {row["actor"] for row in trail} == {"demo_app"}
    states = [[json.loads(row[side])["status"] if row[side] else None for row in trail] for side in (1, 2)]
    assert states == [[None, "cart", "cancelled"], ["cart", "cancelled", None]]


async def _scanned(connection: Any, statement: str, *arguments: object) -> set[str]:
    """The big tables that the statement's plan reads from end to end."""
    literals = [f"'{value}'" if isinstance(value, str) else str(value) for value in arguments]
    for number, literal in enumerate(literals, 1):
        statement = statement.replace(f"${number}", literal)
    plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}"))
    found, nodes = set(), [plan[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if node["Node Type"] == "Seq Scan":
            found.add(node["Relation Name"])
    return found & _BIG_TABLES


@pytest.mark.parametrize(
    ("statement", "argument"),
    [
        (queries.PRODUCT, 7),
        (queries.STOCK, 7),
        (queries.CATEGORY_PAGE, 17),
        (queries.SEARCH, "copper kettle"),
        (queries.USER_BY_EMAIL, "ada.ott1@example.org"),
        (queries.HISTORY, 7),
        (queries.ITEMS, 7),
    ],
)
async def test_what_customers_wait_for_is_indexed(connection: Any, statement: str, argument: object) -> None:
    """No page of the shop reads a whole table."""
    assert await _scanned(connection, statement, argument) == set()


async def test_the_slow_ones_lack_theirs(connection: Any) -> None:
    """What the demo has to show: the report and the audit trail read everything."""
    assert {"orders", "order_items"} <= await _scanned(connection, queries.REPORT)
    assert await _scanned(connection, queries.TRAIL, 7) == {"audit_log"}
