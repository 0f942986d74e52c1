-- A shop as they grow: sound keys and constraints, most indexes, and two that nobody has missed yet.

CREATE TABLE users (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email       text        NOT NULL CHECK (email ~ '^[^@\s]+@[^@\s]+$'),
    full_name   text        NOT NULL CHECK (full_name <> ''),
    country     text        NOT NULL DEFAULT 'DE' CHECK (country ~ '^[A-Z]{2}$'),
    is_active   boolean     NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email_key ON users (lower(email));

CREATE TABLE user_profiles (
    user_id      bigint  PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    display_name text    NOT NULL,
    bio          text    NOT NULL DEFAULT '',
    newsletter   boolean NOT NULL DEFAULT false,
    preferences  jsonb   NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(preferences) = 'object')
);

CREATE TABLE categories (
    id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parent_id integer REFERENCES categories ON DELETE RESTRICT,
    slug      text    NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9-]+$'),
    name      text    NOT NULL,
    position  integer NOT NULL DEFAULT 0,
    CHECK (parent_id <> id)
);
CREATE INDEX categories_parent_idx ON categories (parent_id, position);

CREATE TABLE products (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku         text           NOT NULL UNIQUE CHECK (sku ~ '^[A-Z]{2}-[0-9]{6}$'),
    category_id integer        NOT NULL REFERENCES categories ON DELETE RESTRICT,
    name        text           NOT NULL,
    description text           NOT NULL DEFAULT '',
    price       numeric(10, 2) NOT NULL CHECK (price > 0),
    list_price  numeric(10, 2) NOT NULL,
    discount    numeric(4, 1)  GENERATED ALWAYS AS (round(100 * (1 - price / list_price), 1)) STORED,
    is_active   boolean        NOT NULL DEFAULT true,
    revision    bigint         NOT NULL DEFAULT 1 CHECK (revision > 0),
    updated_at  timestamptz    NOT NULL DEFAULT now(),
    search      tsvector       GENERATED ALWAYS AS (to_tsvector('english', name || ' ' || description)) STORED,
    CHECK (list_price >= price)
);
-- the category page reads nothing but this index
CREATE INDEX products_category_idx ON products (category_id, price) INCLUDE (id, name) WHERE is_active;
CREATE INDEX products_search_idx ON products USING gin (search);

-- Stock changes with every sale, a product's page hardly ever: so they are not one row.
CREATE TABLE inventory (
    product_id bigint      PRIMARY KEY REFERENCES products ON DELETE CASCADE,
    quantity   integer     NOT NULL DEFAULT 0 CHECK (quantity >= 0),
    sold       bigint      NOT NULL DEFAULT 0 CHECK (sold >= 0),
    in_stock   boolean     GENERATED ALWAYS AS (quantity > 0) STORED,
    revision   bigint      NOT NULL DEFAULT 1 CHECK (revision > 0),
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);

CREATE TABLE orders (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    bigint         NOT NULL REFERENCES users ON DELETE RESTRICT,
    status     text           NOT NULL DEFAULT 'cart'
               CHECK (status IN ('cart', 'placed', 'paid', 'shipped', 'delivered', 'cancelled')),
    total      numeric(12, 2) NOT NULL DEFAULT 0 CHECK (total >= 0),
    currency   text           NOT NULL DEFAULT 'EUR' CHECK (currency ~ '^[A-Z]{3}$'),
    placed_at  timestamptz    NOT NULL DEFAULT now(),
    shipped_at timestamptz,
    CHECK (shipped_at >= placed_at),
    CHECK ((status IN ('shipped', 'delivered')) = (shipped_at IS NOT NULL))
);
-- order history straight from the index; one cart a user; the short list of what must be packed.
-- None leads with placed_at: the revenue report reads the whole table.
CREATE INDEX orders_history_idx ON orders (user_id, placed_at DESC) INCLUDE (id, status, total);
CREATE UNIQUE INDEX orders_one_cart_idx ON orders (user_id) WHERE status = 'cart';
CREATE INDEX orders_to_pack_idx ON orders (placed_at) WHERE status = 'paid';

CREATE TABLE order_items (
    order_id   bigint         NOT NULL REFERENCES orders ON DELETE CASCADE,
    line       smallint       NOT NULL CHECK (line > 0),
    product_id bigint         NOT NULL REFERENCES products ON DELETE RESTRICT,
    quantity   integer        NOT NULL DEFAULT 1 CHECK (quantity BETWEEN 1 AND 99),
    unit_price numeric(10, 2) NOT NULL CHECK (unit_price > 0),
    line_total numeric(12, 2) GENERATED ALWAYS AS (quantity * unit_price) STORED,
    PRIMARY KEY (order_id, line)
);
CREATE INDEX order_items_product_idx ON order_items (product_id);

-- No index but the key: "what happened to this order?" reads it all.
CREATE TABLE audit_log (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text        NOT NULL DEFAULT current_user,
    action     text        NOT NULL CHECK (action IN ('INSERT', 'UPDATE', 'DELETE')),
    table_name text        NOT NULL,
    row_id     bigint      NOT NULL,
    before     jsonb,
    after      jsonb,
    CHECK ((action = 'INSERT') = (before IS NULL)),
    CHECK ((action = 'DELETE') = (after IS NULL))
);

CREATE FUNCTION write_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_log (action, table_name, row_id, before, after)
    VALUES (
        TG_OP,
        TG_TABLE_NAME,
        coalesce(NEW.id, OLD.id),
        CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - 'search' END,
        CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - 'search' END
    );
    RETURN NULL;
END
$$;

CREATE TRIGGER orders_audit AFTER INSERT OR UPDATE OR DELETE ON orders
    FOR EACH ROW EXECUTE FUNCTION write_audit_log();
CREATE TRIGGER products_audit AFTER UPDATE OR DELETE ON products
    FOR EACH ROW EXECUTE FUNCTION write_audit_log();
