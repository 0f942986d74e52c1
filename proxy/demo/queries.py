"""The statements that the shop sends: constants, because each is prepared once and then only bound."""

from __future__ import annotations

from typing import Final

PRODUCT: Final = """
    SELECT p.id, p.sku, p.name, p.description, p.price, p.list_price, p.discount, p.revision,
           c.slug AS category_slug, c.name AS category
    FROM products AS p
    JOIN categories AS c ON c.id = p.category_id
    WHERE p.id = $1
"""
STOCK: Final = "SELECT quantity, in_stock, revision FROM inventory WHERE product_id = $1"
CATEGORY_TREE: Final = """
    SELECT id, parent_id, slug, name FROM categories ORDER BY parent_id NULLS FIRST, position
"""
CATEGORY_PAGE: Final = """
    SELECT id, name, price FROM products WHERE category_id = $1 AND is_active ORDER BY price, id LIMIT 24
"""
SEARCH: Final = """
    SELECT id, name, price FROM products
    WHERE search @@ websearch_to_tsquery('english', $1) AND is_active
    ORDER BY ts_rank(search, websearch_to_tsquery('english', $1)) DESC, id
    LIMIT 20
"""
USER_BY_EMAIL: Final = """
    SELECT u.id, u.full_name, u.country, u.is_active, p.display_name, p.preferences
    FROM users AS u
    LEFT JOIN user_profiles AS p ON p.user_id = u.id
    WHERE lower(u.email) = lower($1)
"""
HISTORY: Final = """
    SELECT id, status, total, placed_at FROM orders WHERE user_id = $1 ORDER BY placed_at DESC LIMIT 20
"""
ITEMS: Final = """
    SELECT i.line, i.quantity, i.unit_price, i.line_total, p.name
    FROM order_items AS i
    JOIN products AS p ON p.id = i.product_id
    WHERE i.order_id = $1
    ORDER BY i.line
"""

# Slow on purpose: the first reads all orders and all their items, the second the whole audit log.
REPORT: Final = """
    SELECT root.name, count(DISTINCT o.id) AS orders, sum(i.line_total) AS revenue
    FROM orders AS o
    JOIN order_items AS i ON i.order_id = o.id
    JOIN products AS p ON p.id = i.product_id
    JOIN categories AS c ON c.id = p.category_id
    JOIN categories AS root ON root.id = coalesce(c.parent_id, c.id)
    WHERE o.placed_at >= now() - interval '90 days' AND o.status NOT IN ('cart', 'cancelled')
    GROUP BY root.name
    ORDER BY revenue DESC
"""
TRAIL: Final = """
    SELECT at, actor, action, after->>'status' AS status
    FROM audit_log
    WHERE table_name = 'orders' AND row_id = $1
    ORDER BY id
"""

NEW_CART: Final = "INSERT INTO orders (user_id) VALUES ($1) RETURNING id"
ADD_ITEM: Final = """
    INSERT INTO order_items (order_id, line, product_id, quantity, unit_price)
    SELECT $1, $2, id, $4, price FROM products WHERE id = $3
"""
TAKE_STOCK: Final = """
    UPDATE inventory
    SET quantity = quantity - $2, sold = sold + $2, revision = revision + 1, updated_at = now()
    WHERE product_id = $1 AND quantity >= $2
    RETURNING revision
"""
PLACE: Final = """
    UPDATE orders
    SET status = 'placed', placed_at = now(),
        total = (SELECT sum(line_total) FROM order_items WHERE order_id = $1)
    WHERE id = $1
"""
RESTOCK: Final = """
    UPDATE inventory
    SET quantity = quantity + $2, revision = revision + 1, updated_at = now()
    WHERE product_id = $1
    RETURNING revision
"""
REPRICE: Final = """
    UPDATE products
    SET price = round(list_price * $2, 2), revision = revision + 1, updated_at = now()
    WHERE id = $1
    RETURNING revision
"""
