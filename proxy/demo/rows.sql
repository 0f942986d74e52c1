-- The shop's rows. One seed, so every demo has the same shop; only the dates follow the calendar.
-- Each "step:" line starts a step that the demo names while it runs.

-- step: users
SELECT setseed(0.1815);
INSERT INTO users (email, full_name, country, is_active, created_at)
SELECT lower(given || '.' || family || n || '@example.org'),
       given || ' ' || family,
       (ARRAY['DE', 'DE', 'DE', 'AT', 'CH', 'FR', 'NL', 'PL'])[random(1, 8)],
       random() < 0.97,
       now() - random() * interval '1500 days'
FROM (
    SELECT n,
           (ARRAY['Ada', 'Bela', 'Clara', 'Dario', 'Edith', 'Frida', 'Goran', 'Hedy', 'Ivo', 'Jana',
                  'Karl', 'Lise', 'Marta', 'Nils', 'Olga', 'Paul'])[random(1, 16)] AS given,
           (ARRAY['Adler', 'Brandt', 'Cordes', 'Dietz', 'Engel', 'Falk', 'Gruber', 'Hahn', 'Imhof', 'Jansen',
                  'Keller', 'Lorenz', 'Maurer', 'Novak', 'Ott', 'Peters'])[random(1, 16)] AS family
    FROM generate_series(1, 10000) AS n
) AS person;

-- step: profiles
INSERT INTO user_profiles (user_id, display_name, bio, newsletter, preferences)
SELECT id,
       split_part(full_name, ' ', 1) || id,
       CASE WHEN random() < 0.3 THEN repeat('Likes long walks along the weir. ', random(1, 4)) ELSE '' END,
       random() < 0.4,
       jsonb_build_object('theme', (ARRAY['light', 'dark', 'system'])[random(1, 3)], 'page_size', 10 * random(1, 5))
FROM users
WHERE id % 5 <> 0;

-- step: categories
INSERT INTO categories (slug, name, position)
SELECT lower(name), name, n
FROM unnest(ARRAY['Garden', 'Kitchen', 'Workshop', 'Books', 'Outdoor', 'Office', 'Toys', 'Light'])
     WITH ORDINALITY AS root (name, n);
INSERT INTO categories (parent_id, slug, name, position)
SELECT root.id, root.slug || '-' || lower(kind), kind || ' for ' || lower(root.name), n
FROM categories AS root,
     unnest(ARRAY['Basics', 'Tools', 'Gifts', 'Sale', 'Spares']) WITH ORDINALITY AS child (kind, n)
ORDER BY root.id, n;

-- step: products
INSERT INTO products (sku, category_id, name, description, price, list_price, is_active, updated_at)
SELECT 'FB-' || lpad(n::text, 6, '0'),
       9 + n % 40,
       adjective || ' ' || thing || ' ' || n,
       'A ' || lower(adjective) || ' ' || thing || ' made of ' || material || '. '
           || repeat('Built to last and easy to repair. ', random(1, 6)),
       price,
       round(price * (1 + 0.4 * random()::numeric * (n % 3)), 2),
       random() < 0.96,
       now() - random() * interval '400 days'
FROM (
    SELECT n,
           (ARRAY['Sturdy', 'Light', 'Quiet', 'Folding', 'Small', 'Grand', 'Round', 'Plain'])[random(1, 8)] AS adjective,
           (ARRAY['kettle', 'lamp', 'chair', 'saw', 'notebook', 'tent', 'puzzle', 'shelf',
                  'bucket', 'ladder'])[random(1, 10)] AS thing,
           (ARRAY['oak', 'steel', 'linen', 'copper', 'glass', 'cork'])[random(1, 6)] AS material,
           round((3 + 240 * power(random(), 3))::numeric, 2) AS price
    FROM generate_series(1, 5000) AS n
) AS thing;
INSERT INTO inventory (product_id, quantity)
SELECT id, random(200, 2000) FROM products;

-- step: orders
-- The items come first, in a draft, because an order carries its total.
CREATE TEMPORARY TABLE draft AS
SELECT order_id, line, product_id, quantity, price AS unit_price
FROM (
    SELECT order_id,
           line,
           1 + floor(5000 * power(random(), 2.5))::bigint AS product_id,
           1 + floor(4 * power(random(), 3))::integer AS quantity
    FROM generate_series(1, 20000) AS order_id, generate_series(1, 1 + order_id * 7 % 5) AS line
) AS pick
JOIN products ON products.id = product_id;
INSERT INTO orders (user_id, status, total, placed_at, shipped_at)
SELECT user_id,
       status,
       total,
       placed_at,
       CASE WHEN status IN ('shipped', 'delivered') THEN placed_at + interval '1 day' END
FROM (
    SELECT order_id,
           1 + floor(10000 * power(random(), 1.6))::bigint AS user_id,
           CASE WHEN order_id % 50 = 0 THEN 'cancelled'
                WHEN order_id > 19800 THEN 'paid'
                WHEN order_id > 19000 THEN 'shipped'
                ELSE 'delivered' END AS status,
           now() - (20001 - order_id) * interval '50 minutes' AS placed_at
    FROM generate_series(1, 20000) AS order_id
) AS made
JOIN (SELECT order_id, sum(quantity * unit_price) AS total FROM draft GROUP BY order_id) AS sums USING (order_id)
ORDER BY order_id;

-- step: order items
INSERT INTO order_items (order_id, line, product_id, quantity, unit_price)
SELECT order_id, line, product_id, quantity, unit_price FROM draft ORDER BY order_id, line;
DROP TABLE draft;
