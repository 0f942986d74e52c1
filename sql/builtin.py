"""Vetted names of pg_catalog: what the catalog's own volatility labels do not tell.

Answers are kept under a key that holds every setting of the session, so "depends on settings only" is as good
as immutable; "depends on the clock, the session, other catalogs or chance" is not. Lists are of names, so a
name is here only if it holds for every overload (for `age`: for every overload with two arguments).
"""

from __future__ import annotations

from typing import Final

# Not immutable by label, but they depend on nothing but arguments and settings.
SETTINGS_ONLY: Final = frozenset(
    {
        "array_to_json",
        "array_to_string",
        "concat",
        "concat_ws",
        "date_add",
        "date_part",
        "date_subtract",
        "date_trunc",
        "extract",
        "format",
        "generate_series",
        "json_agg",
        "json_agg_strict",
        "json_build_array",
        "json_build_object",
        "json_object_agg",
        "json_object_agg_strict",
        "json_object_agg_unique",
        "json_object_agg_unique_strict",
        "jsonb_agg",
        "jsonb_agg_strict",
        "jsonb_build_array",
        "jsonb_build_object",
        "jsonb_object_agg",
        "jsonb_object_agg_strict",
        "jsonb_object_agg_unique",
        "jsonb_object_agg_unique_strict",
        "length",
        "make_timestamptz",
        "numeric",
        "quote_literal",
        "quote_nullable",
        "row_to_json",
        "timezone",
        "to_char",
        "to_date",
        "to_json",
        "to_jsonb",
        "to_number",
        "to_timestamp",
    }
)
AGE: Final = "age"  # age(x) counts from today, age(x, y) does not

TIMEZONE: Final = "timezone"  # AT TIME ZONE; of a time it makes a timetz
TIME: Final = "time"
MAKE_TIME: Final = frozenset({"make_time", "time"})

# Called as functions of one argument they are casts, and are judged as casts.
CAST_FUNCTIONS: Final = frozenset({"date", "timestamp", "timestamptz", "time"})

# Labelled immutable, but they read definitions that the probe does not watch, or may make a timetz.
MISLABELLED: Final = frozenset({"ts_lexize", "timetz", "datetimetz_pl", "timetzdate_pl"})
CLOCK_TYPE: Final = "timetz"  # the offset of '12:00' in a zone with summer time depends on the date of today

# Labelled volatile, but they write no table and define nothing.
HARMLESS: Final = frozenset(
    {
        "array_sample",
        "array_shuffle",
        "bernoulli",
        "clock_timestamp",
        "currval",
        "gen_random_uuid",
        "lastval",
        "loread",
        "lowrite",
        "nextval",
        "pg_available_wal_summaries",
        "pg_blocking_pids",
        "pg_cancel_backend",
        "pg_collation_actual_version",
        "pg_current_logfile",
        "pg_database_collation_actual_version",
        "pg_database_size",
        "pg_export_snapshot",
        "pg_hba_file_rules",
        "pg_ident_file_mappings",
        "pg_indexes_size",
        "pg_is_in_recovery",
        "pg_is_wal_replay_paused",
        "pg_isolation_test_session_is_blocked",
        "pg_jit_available",
        "pg_lock_status",
        "pg_log_backend_memory_contexts",
        "pg_notification_queue_usage",
        "pg_notify",
        "pg_partition_ancestors",
        "pg_partition_tree",
        "pg_prepared_xact",
        "pg_read_binary_file",
        "pg_read_file",
        "pg_relation_size",
        "pg_safe_snapshot_blocking_pids",
        "pg_sequence_last_value",
        "pg_sleep",
        "pg_sleep_for",
        "pg_sleep_until",
        "pg_table_size",
        "pg_tablespace_size",
        "pg_terminate_backend",
        "pg_total_relation_size",
        "pg_xact_commit_timestamp",
        "pg_xact_status",
        "random",
        "random_normal",
        "set_config",
        "setseed",
        "setval",
        "system",
        "timeofday",
        "txid_status",
        "uuidv4",
        "uuidv7",
    }
)
HARMLESS_PREFIXES: Final = (
    "lo_",
    "pg_advisory_",
    "pg_control_",
    "pg_current_wal_",
    "pg_get_",
    "pg_last_",
    "pg_ls_",
    "pg_show_",
    "pg_stat_",
    "pg_try_advisory_",
)

# They run SQL that is handed to them, or read whole schemas.
RUNS_SQL: Final = frozenset(
    {
        "cursor_to_xml",
        "cursor_to_xmlschema",
        "database_to_xml",
        "database_to_xml_and_xmlschema",
        "database_to_xmlschema",
        "query_to_xml",
        "query_to_xml_and_xmlschema",
        "query_to_xmlschema",
        "schema_to_xml",
        "schema_to_xml_and_xmlschema",
        "schema_to_xmlschema",
        "table_to_xml",
        "table_to_xml_and_xmlschema",
        "table_to_xmlschema",
        "ts_rewrite",
        "ts_stat",
    }
)

# Operators whose answer depends on text search configurations, which the probe does not watch.
UNWATCHED_OPERATORS: Final = frozenset({"@@", "@@@"})
# Operators that grammar or planner look up without showing them in the tree.
IMPLIED_OPERATORS: Final = frozenset(
    {"=", "<>", "<", "<=", ">", ">=", "~", "!~", "~*", "!~*", "~~", "!~~", "~~*", "!~~*", "+", "-"}
)

# Casts from anything to these types depend on the value and on settings only.
SAFE_TYPES: Final = frozenset(
    {
        "bit",
        "bool",
        "box",
        "bpchar",
        "bytea",
        "char",
        "cidr",
        "circle",
        "float4",
        "float8",
        "inet",
        "int2",
        "int4",
        "int4multirange",
        "int4range",
        "int8",
        "int8multirange",
        "int8range",
        "interval",
        "json",
        "jsonb",
        "jsonpath",
        "line",
        "lseg",
        "macaddr",
        "macaddr8",
        "money",
        "name",
        "numeric",
        "nummultirange",
        "numrange",
        "oid",
        "path",
        "pg_lsn",
        "point",
        "polygon",
        "text",
        "tsquery",
        "tsvector",
        "uuid",
        "varbit",
        "varchar",
        "xid",
        "xid8",
    }
)
# Casts to these read date words, when they are applied to text.
DATE_TYPES: Final = frozenset({"date", "time", "timestamp", "timestamptz"})
DATE_RANGES: Final = frozenset(
    {"daterange", "datemultirange", "tsrange", "tsmultirange", "tstzrange", "tstzmultirange"}
)
# Columns of these types, and of enums, domains, arrays and composites of them, show the row's data only.
PLAIN_TYPES: Final = SAFE_TYPES | DATE_TYPES | DATE_RANGES | frozenset({"xml", "cid", "tid"})
