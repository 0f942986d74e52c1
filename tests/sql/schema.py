"""A database with everything that makes reads and writes reach further than their text says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import asyncpg

from sql.catalog import Catalog
from sql.catalog_sql import PROBE, QUERIES
from sql.views import CAREFULLY

if TYPE_CHECKING:
    from tests.support.postgres import Cluster

SCHEMA: Final = """
CREATE SCHEMA app;
CREATE SCHEMA someone;
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE DOMAIN short AS text CHECK (length(VALUE) < 9);
CREATE TYPE pair AS (a int, b text);

CREATE TABLE t (id int PRIMARY KEY, a int, b text, made timestamptz DEFAULT now(), paint colour, s short, p pair);
CREATE TABLE u (id serial PRIMARY KEY, b text, made text);
CREATE TABLE app.t (id int);
CREATE TABLE app.only_app (id int);
CREATE TABLE someone.mine (id int);
CREATE UNLOGGED TABLE unlogged (id int);
CREATE TABLE clocks (id int, at timetz);
CREATE TABLE times (id int, at time);
CREATE TABLE regs (id int, c regclass);
CREATE SEQUENCE counter;

CREATE TABLE parent (id int PRIMARY KEY, note text);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE);
CREATE TABLE grandchild (id int, child int REFERENCES child ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE bystander (id int, parent int REFERENCES parent);

CREATE TABLE ranged (id int, k int, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE TABLE ranged_1 PARTITION OF ranged FOR VALUES FROM (0) TO (10);
CREATE TABLE ranged_2 PARTITION OF ranged FOR VALUES FROM (10) TO (20) PARTITION BY LIST (k);
CREATE TABLE ranged_2a PARTITION OF ranged_2 DEFAULT;
CREATE TABLE of_ranged (id int, k int, FOREIGN KEY (id, k) REFERENCES ranged ON DELETE CASCADE);
CREATE TABLE of_leaf (id int, k int, FOREIGN KEY (id, k) REFERENCES ranged_2a ON DELETE CASCADE);
CREATE TABLE base (id int);
CREATE TABLE derived (extra int) INHERITS (base);

CREATE TABLE log (line text);
CREATE TABLE watched (id int);
CREATE FUNCTION write_log() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN INSERT INTO log VALUES ('x'); RETURN NULL; END $$;
CREATE TRIGGER watch AFTER INSERT OR UPDATE OR DELETE ON watched FOR EACH ROW EXECUTE FUNCTION write_log();
CREATE TABLE over_watched (id int PRIMARY KEY);
CREATE TABLE under_watched (id int REFERENCES over_watched ON DELETE CASCADE);
CREATE TRIGGER watch AFTER DELETE ON under_watched FOR EACH ROW EXECUTE FUNCTION write_log();
CREATE TABLE ruled (id int);
CREATE RULE ruled_log AS ON INSERT TO ruled DO ALSO INSERT INTO log VALUES ('rule');
CREATE TABLE secret (id int, owner text);
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secret USING (owner = current_user);

CREATE FUNCTION pure(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION reads_log() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM log';
CREATE FUNCTION writes_log() RETURNS int LANGUAGE plpgsql
    AS $$ BEGIN INSERT INTO log VALUES ('f'); RETURN 1; END $$;
CREATE FUNCTION hides_it() RETURNS int LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN Writes_Log(); END $$;
CREATE FUNCTION hides_deeper() RETURNS int LANGUAGE sql STABLE AS 'SELECT hides_it()';
CREATE FUNCTION builds_it() RETURNS int LANGUAGE plpgsql STABLE
    AS $$ DECLARE n int; BEGIN EXECUTE 'SELECT wri' || 'tes_log()' INTO n; RETURN n; END $$;
CREATE FUNCTION whole(t) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1.b';
CREATE FUNCTION upper(colour) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'x'::text $$;
CREATE FUNCTION drop_it() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DROP TABLE log; END $$;
CREATE PROCEDURE run() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES ('p'); END $$;
CREATE FUNCTION near(int, int) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT $1 = $2 FROM log LIMIT 1';
CREATE OPERATOR ~~~ (LEFTARG = int, RIGHTARG = int, FUNCTION = near);

CREATE FUNCTION spills(t) RETURNS int LANGUAGE plpgsql
    AS $$ BEGIN INSERT INTO log VALUES ('row'); RETURN 1; END $$;
CREATE FUNCTION loud(int, int) RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN INSERT INTO log VALUES ('op'); RETURN true; END $$;

CREATE TABLE defaulted (id int, d bigint DEFAULT reads_log());
CREATE TABLE noisy_default (id int, d int DEFAULT writes_log());
CREATE TABLE checked (id int CHECK (pure(id) > 0));
CREATE VIEW simple_view AS SELECT id, b FROM t;
CREATE VIEW over_view AS SELECT * FROM simple_view;
CREATE MATERIALIZED VIEW kept AS SELECT id FROM t;
"""

# An operator and views that write make every function of SQL and PL/pgSQL suspect, so they are not part of SCHEMA.
NOISY: Final = """
CREATE OPERATOR !!! (LEFTARG = int, RIGHTARG = int, FUNCTION = loud);
CREATE VIEW noisy_operator AS SELECT id !!! 1 AS x FROM t;
CREATE VIEW noisy_view AS SELECT id, writes_log() AS w FROM t;
CREATE VIEW over_noisy AS SELECT id FROM noisy_view;
"""


async def snapshot(cluster: Cluster, database: str) -> Catalog:
    """The catalog as the proxy loads it: through asyncpg, in one snapshot."""
    connection: Any = await asyncpg.connect(cluster.dsn(database))
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(CAREFULLY)
            epoch = await connection.fetchval(PROBE)
            rows = {name: await connection.fetch(query) for name, query in QUERIES.items()}
    finally:
        await connection.close()
    return Catalog.from_rows(rows, epoch)


def names(catalog: Catalog, oids: frozenset[int]) -> set[str]:
    """The names of relations, without `public`."""
    found = (catalog.by_oid[oid] for oid in oids)
    return {r.name if r.schema == "public" else f"{r.schema}.{r.name}" for r in found}
