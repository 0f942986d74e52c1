"""The queries that load a catalog, and the probe that tells whether it changed.

All are for a session with read access to the system catalogs, which every role has, and for PostgreSQL 13 and
later. Run QUERIES in one REPEATABLE READ READ ONLY transaction, together with PROBE, whose answer is the
catalog's epoch; and after views.CAREFULLY, so that definitions of views come with full names.

Temporary relations are left out everywhere: they belong to one session, and would make the epoch change all
day. "Of a user" means an OID from 16384 on; initdb's own objects are below.

The probe is exact where it matters: a committed change of a definition writes a new row version into a system
catalog, and a row's xmin names the transaction that wrote it. ANALYZE and VACUUM update pg_class in place and
leave xmin alone; TRUNCATE and CLUSTER do not, so of pg_class chosen columns are hashed instead. Roles are
read through a view, so their columns are hashed. The server's start and its last reload stand for changes of
its configuration.
"""

from __future__ import annotations

from typing import Final

# Builtin functions that run SQL which is handed to them (builtin.RUNS_SQL), or that change the session;
# pg_depend does not list builtins.
RUNS_SQL: Final = "_to_xml|ts_stat|ts_rewrite|set_config|advisory"

QUERIES: Final[dict[str, str]] = {
    "database": "SELECT oid, datname AS name FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()",
    "relations": """
SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       c.relpersistence::text AS persistence, c.relhasrules AS rules, c.relrowsecurity AS row_security
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')""",
    "columns": """
SELECT a.attrelid AS relation, a.attname AS name, a.atttypid AS type
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.oid >= 16384
   AND c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')""",
    "types": """
SELECT t.oid, n.nspname AS schema, t.typname AS name, t.typtype::text AS kind, t.typelem AS element,
       t.typbasetype AS base, t.typrelid AS relation
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
 WHERE n.nspname NOT LIKE 'pg\\_temp\\_%'""",
    "inherits": "SELECT inhrelid AS child, inhparent AS parent FROM pg_catalog.pg_inherits",
    "triggers": """
SELECT t.oid, t.tgrelid AS relation, t.tgfoid AS function, p.proname AS name, t.tgfoid < 16384 AS builtin,
       t.tgtype AS type, COALESCE(t.tgoldtable, '') AS old_table, COALESCE(t.tgnewtable, '') AS new_table
  FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid WHERE t.tgenabled <> 'D'""",
    "trigger_functions": """
SELECT p.oid, p.prosrc AS source FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 WHERE l.lanname = 'plpgsql'
   AND p.oid IN (SELECT t.tgfoid FROM pg_catalog.pg_trigger t WHERE t.tgenabled <> 'D')""",
    "foreign_keys": """
SELECT conrelid AS child, confrelid AS parent, confdeltype::text AS on_delete, confupdtype::text AS on_update
  FROM pg_catalog.pg_constraint WHERE contype = 'f'""",
    "builtin_functions": """
SELECT p.proname AS name, pg_catalog.string_agg(DISTINCT p.provolatile::text, '') AS volatility,
       pg_catalog.bool_or(p.pronargs > 0 AND p.pronargs - p.pronargdefaults <= 1
                          AND t.typtype = 'p') AS of_row
  FROM pg_catalog.pg_proc p LEFT JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0]
 WHERE p.oid < 16384 AND p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace GROUP BY p.proname""",
    "functions": """
SELECT p.oid, p.proname AS name, p.provolatile::text AS volatility, p.prokind::text AS kind,
       l.lanname AS language,
       CASE WHEN l.lanname IN ('sql', 'plpgsql') THEN pg_catalog.lower(p.prosrc) ELSE '' END AS source,
       COALESCE(p.probin, '') AS library,
       ARRAY(SELECT f FROM pg_catalog.unnest(ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn,
             a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::oid[]) AS f
             WHERE f >= 16384) AS parts,
       p.pronargs > 0 AND p.pronargs - p.pronargdefaults <= 1 AND t.typtype IN ('c', 'd', 'p') AS of_row
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
  LEFT JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0]
  LEFT JOIN pg_catalog.pg_aggregate a ON a.aggfnoid = p.oid
 WHERE p.oid >= 16384 OR p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace""",
    "operators": "SELECT oid, oprname AS name, oprcode::oid AS function FROM pg_catalog.pg_operator WHERE oid >= 16384",
    "casts": """
SELECT castsource AS source, casttarget AS target, castfunc AS function, castmethod::text AS method
  FROM pg_catalog.pg_cast WHERE oid >= 16384""",
    "support": """
SELECT amproc::oid AS function FROM pg_catalog.pg_amproc WHERE amproc::oid >= 16384
 UNION SELECT f FROM pg_catalog.pg_range, LATERAL (VALUES (rngcanonical::oid), (rngsubdiff::oid)) AS v(f)
 WHERE f >= 16384""",
    "depends": f"""
SELECT 'read' AS when, r.ev_class AS owner, d.refclassid::regclass::text AS class, d.refobjid AS object
  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r
    ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
 WHERE d.refobjid >= 16384
 UNION SELECT 'read', p.polrelid, d.refclassid::regclass::text, d.refobjid
  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_policy p
    ON d.classid = 'pg_catalog.pg_policy'::regclass AND d.objid = p.oid
 WHERE d.refobjid >= 16384
 UNION SELECT 'write', a.adrelid, d.refclassid::regclass::text, d.refobjid
  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attrdef a
    ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = a.oid
 WHERE d.refobjid >= 16384
 UNION SELECT CASE WHEN c.contypid <> 0 THEN 'type' ELSE 'write' END,
        CASE WHEN c.contypid <> 0 THEN c.contypid ELSE c.conrelid END,
        d.refclassid::regclass::text, d.refobjid
  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_constraint c
    ON d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = c.oid
 WHERE c.contype IN ('c', 'x') AND d.refobjid >= 16384
 UNION SELECT 'write', i.indrelid, d.refclassid::regclass::text, d.refobjid
  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_index i
    ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indexrelid
 WHERE d.refobjid >= 16384
 UNION SELECT 'trigger', t.oid, d.refclassid::regclass::text, d.refobjid
  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_trigger t
    ON d.classid = 'pg_catalog.pg_trigger'::regclass AND d.objid = t.oid
 WHERE d.refobjid >= 16384 AND d.refobjid <> t.tgfoid AND t.tgqual IS NOT NULL
 UNION SELECT 'trigger', oid, 'runs_sql', 0 FROM pg_catalog.pg_trigger
 WHERE tgqual IS NOT NULL AND pg_catalog.pg_get_triggerdef(oid) ~ '{RUNS_SQL}'
 UNION SELECT 'read', ev_class, 'runs_sql', 0 FROM pg_catalog.pg_rewrite
 WHERE ev_class >= 16384 AND rulename = '_RETURN' AND pg_catalog.pg_get_viewdef(ev_class) ~ '{RUNS_SQL}'
 UNION SELECT 'read', polrelid, 'runs_sql', 0 FROM pg_catalog.pg_policy
 WHERE pg_catalog.concat(pg_catalog.pg_get_expr(polqual, polrelid),
                         pg_catalog.pg_get_expr(polwithcheck, polrelid)) ~ '{RUNS_SQL}'
 UNION SELECT 'write', adrelid, 'runs_sql', 0 FROM pg_catalog.pg_attrdef
 WHERE pg_catalog.pg_get_expr(adbin, adrelid) ~ '{RUNS_SQL}'
 UNION SELECT CASE WHEN contypid <> 0 THEN 'type' ELSE 'write' END,
        CASE WHEN contypid <> 0 THEN contypid ELSE conrelid END, 'runs_sql', 0
  FROM pg_catalog.pg_constraint
 WHERE contype = 'c' AND pg_catalog.pg_get_constraintdef(oid) ~ '{RUNS_SQL}'""",
    "views": """
SELECT c.oid, pg_catalog.pg_get_viewdef(c.oid) AS definition FROM pg_catalog.pg_class c
 WHERE c.relkind = 'v' AND c.relpersistence <> 't' AND c.oid >= 16384""",
}


_TEMPORARY: Final = "(SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname ~ '^pg_(toast_)?temp_')"
_LASTING: Final = "(SELECT oid FROM lasting)"


def _versions(table: str, condition: str = "true", key: str = "x.oid") -> str:
    """A scalar sub-select: how many rows a system catalog has, and a sum over who wrote them."""
    return (
        "(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(pg_catalog.hashtextextended("
        f"x.xmin::text, ({key})::bigint))) FROM pg_catalog.{table} x WHERE {condition})"
    )


def _columns(source: str, columns: str) -> str:
    """A scalar sub-select: how many rows there are, and a sum over hashes of the chosen columns."""
    return (
        "(SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(pg_catalog.hashtextextended("
        f"ROW({columns})::text, 0))) FROM {source})"
    )


# In pg_proc, pg_type, ... the rows of initdb were written by transaction 1, unless they were changed since.
_CHANGED: Final = "(x.oid >= 16384 OR x.xmin <> '1'::pg_catalog.xid)"
_PARTS: Final = (
    "pg_catalog.pg_postmaster_start_time()",
    "pg_catalog.pg_conf_load_time()",
    _columns(
        "lasting",
        "oid, relname, relnamespace, reltype, relowner, relkind, relpersistence, relhasrules, relhastriggers,"
        " relrowsecurity, relforcerowsecurity, relispartition, relacl, reloptions",
    ),
    _versions("pg_attribute", f"x.attrelid IN {_LASTING}", "x.attrelid::bigint * 2048 + x.attnum"),
    _versions("pg_attrdef", f"x.adrelid IN {_LASTING}"),
    _versions("pg_constraint", f"x.oid >= 16384 AND x.connamespace NOT IN {_TEMPORARY}"),
    _versions("pg_index", f"x.indrelid IN {_LASTING}", "x.indexrelid"),
    _versions("pg_inherits", "true", "x.inhrelid::bigint * 64 + x.inhseqno"),
    _versions("pg_trigger", f"x.tgrelid IN {_LASTING}"),
    _versions("pg_rewrite", f"x.ev_class IN {_LASTING}"),
    _versions("pg_policy"),
    _versions("pg_namespace", f"x.oid NOT IN {_TEMPORARY}"),
    _versions("pg_proc", _CHANGED),
    _versions("pg_aggregate", "true", "x.aggfnoid::oid"),
    _versions("pg_operator", _CHANGED),
    _versions("pg_cast", _CHANGED),
    _versions("pg_amproc", _CHANGED),
    _versions("pg_collation", _CHANGED),
    _versions("pg_type", f"{_CHANGED} AND x.typnamespace NOT IN {_TEMPORARY}"),
    _versions("pg_enum"),
    _versions("pg_range", "true", "x.rngtypid"),
    _versions("pg_language", _CHANGED),
    _versions("pg_auth_members", "true", "x.roleid::bigint * 4294967291 + x.member::bigint"),
    _versions("pg_db_role_setting", "true", "x.setdatabase::bigint * 4294967291 + x.setrole::bigint"),
    _versions("pg_database", "x.datname = pg_catalog.current_database()"),
    _columns("pg_catalog.pg_roles r", "r.oid, r.rolname, r.rolsuper, r.rolinherit, r.rolbypassrls, r.rolcanlogin"),
)

# One row, one text.
PROBE: Final = (
    "WITH lasting AS MATERIALIZED (SELECT * FROM pg_catalog.pg_class WHERE oid >= 16384"
    " AND relpersistence <> 't' AND relkind IN ('r', 'p', 'v', 'm', 'f', 'c', 'S'))"
    f" SELECT pg_catalog.concat_ws(' ', {', '.join(_PARTS)}) AS epoch"
)
