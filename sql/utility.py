"""Facts of one statement of libpg_query's tree: a table from node kind to what it means.

A statement that is not in the table is DDL: it may change definitions, so it writes the whole database and
makes the catalog stale. That is the safe side for every statement that a newer grammar may bring.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from postgast import pg_query_pb2

from .collect import Collected, collect
from .facts import Bypass, Facts, Kind, Name, Pin, SettingChange
from .settings import ALL, change, modes, session_defaults, set_config, sets_locally

if TYPE_CHECKING:
    from collections.abc import Callable

_PINNING: Final = {
    "pg_advisory_lock": Pin.ADVISORY_LOCK,
    "pg_advisory_lock_shared": Pin.ADVISORY_LOCK,
    "pg_try_advisory_lock": Pin.ADVISORY_LOCK,
    "pg_try_advisory_lock_shared": Pin.ADVISORY_LOCK,
    "nextval": Pin.SEQUENCE,
    "setval": Pin.SEQUENCE,
    "currval": Pin.SEQUENCE_READ,
    "lastval": Pin.SEQUENCE_READ,
    "setseed": Pin.SEED,
}
_ALL_PINS: Final = tuple(pin for pin in Pin if pin not in (Pin.UNKNOWN, Pin.LOAD, Pin.SETTING_IN_TRANSACTION))
_CURSOR_HOLD: Final = 0x20  # CURSOR_OPT_HOLD of parsenodes.h
_TEMP: Final = "t"


def statement(node: Any) -> Facts:
    """Facts of one statement's Node; digest, normalized text and hint are the text's, not set here."""
    which = node.WhichOneof("node")
    tree = getattr(node, which)
    make = _STATEMENTS.get(which)
    return make(tree) if make is not None else _ddl(tree)


def _with_names(kind: Kind, tree: Any, **more: Any) -> Facts:
    """Facts that hold every name in the tree, and what calling the named functions does to the session."""
    return _from_collected(kind, collect(tree), **more)


def _from_collected(kind: Kind, found: Collected, **more: Any) -> Facts:
    names = {call.function.name for call in found.functions}
    pins = tuple(pin for name, pin in _PINNING.items() if name in names)
    values: dict[str, Any] = {
        "reads": frozenset(found.reads),
        "writes": frozenset(found.writes),
        "functions": frozenset(found.functions),
        "operators": frozenset(found.operators),
        "casts": frozenset(found.casts),
        "ctes": frozenset(found.ctes),
        "attributes": frozenset(found.attributes),
        "derived": found.derived,
        "opaque": found.opaque,
        "pins": tuple(dict.fromkeys(pins)),
        "taints": "set_config" in names,
        "bypass": Bypass.NOT_SELECT,
    }
    return Facts(kind, **(values | more))


def _plain(kind: Kind, **more: Any) -> Facts:
    return Facts(kind, bypass=Bypass.NOT_SELECT, **more)


def _select(tree: Any) -> Facts:
    found = collect(tree)
    if tree.HasField("into_clause"):
        return _created(found, tree.into_clause.rel)
    facts = _from_collected(Kind.SELECT, found, bypass=found.bypass, literals_matter=False)
    changes = set_config(tree)
    if changes is not None:
        return replace(facts, settings=changes, taints=False, literals_matter=True, pins=_temp_path(changes))
    if facts.taints:  # what it sets is not known, so it cannot go with the session to another server
        pins = facts.pins if sets_locally(tree) else (*facts.pins, Pin.UNKNOWN)
        return replace(facts, literals_matter=True, pins=pins)
    alone = not tree.from_clause and not tree.HasField("where_clause") and len(tree.target_list) == 1
    if alone and {call.function.name for call in facts.functions} == {"pg_advisory_unlock_all"}:
        return replace(facts, unpins=(Pin.ADVISORY_LOCK,))
    return facts


def _writing(kind: Kind) -> Callable[[Any], Facts]:
    return lambda tree: _with_names(kind, tree, literals_matter=False)


def _copy(tree: Any) -> Facts:
    if tree.is_from:
        return _with_names(Kind.COPY_FROM, tree)
    inner = statement(tree.query) if tree.HasField("query") else None
    return _with_names(Kind.COPY_TO, tree, inner=inner)


def _transaction(tree: Any) -> Facts:
    kind = tree.kind
    said = modes(tree.options)
    if kind in (pg_query_pb2.TRANS_STMT_BEGIN, pg_query_pb2.TRANS_STMT_START):
        return _plain(Kind.BEGIN, begins=True, **said._asdict())
    if kind == pg_query_pb2.TRANS_STMT_COMMIT:
        return _plain(Kind.COMMIT, ends=True, can_commit=True, chain=tree.chain, begins=tree.chain)
    if kind == pg_query_pb2.TRANS_STMT_ROLLBACK:
        return _plain(Kind.ROLLBACK, ends=True, chain=tree.chain, begins=tree.chain)
    if kind == pg_query_pb2.TRANS_STMT_PREPARE:
        return _plain(Kind.PREPARE_TRANSACTION, ends=True, can_commit=True, name=tree.gid)
    if kind == pg_query_pb2.TRANS_STMT_COMMIT_PREPARED:
        return _plain(Kind.COMMIT_PREPARED, can_commit=True, opaque=True, name=tree.gid)
    if kind == pg_query_pb2.TRANS_STMT_ROLLBACK_PREPARED:
        return _plain(Kind.ROLLBACK_PREPARED, name=tree.gid)
    saving = {
        pg_query_pb2.TRANS_STMT_SAVEPOINT: Kind.SAVEPOINT,
        pg_query_pb2.TRANS_STMT_RELEASE: Kind.RELEASE,
        pg_query_pb2.TRANS_STMT_ROLLBACK_TO: Kind.ROLLBACK_TO,
    }
    return _plain(saving[kind], name=tree.savepoint_name)


def _set(tree: Any) -> Facts:
    if tree.kind == pg_query_pb2.VAR_SET_MULTI:
        if tree.name == "SESSION CHARACTERISTICS":
            return _plain(Kind.SET, settings=session_defaults(tree.args))
        if tree.name == "TRANSACTION":
            return _plain(Kind.SET_TRANSACTION, **modes(tree.args)._asdict())
        return _plain(Kind.SET_TRANSACTION, taints=True)
    changed = change(tree)
    reset = tree.kind in (pg_query_pb2.VAR_RESET, pg_query_pb2.VAR_RESET_ALL)
    kind = Kind.RESET if reset else Kind.SET
    if changed is None:
        return _plain(kind, taints=True)
    roles = ("role", "session_authorization")
    role = (Pin.SET_ROLE,) if changed.name in roles and changed.value is not None else ()
    return _plain(kind, settings=(changed,), pins=role + _temp_path((changed,)))


def _temp_path(changes: tuple[SettingChange, ...]) -> tuple[Pin, ...]:
    """A search_path that names pg_temp can make any CREATE a temporary one."""
    temp = any(c.name == "search_path" and c.value is not None and "pg_temp" in c.value for c in changes)
    return (Pin.TEMP_TABLE,) if temp else ()


def _discard(tree: Any) -> Facts:
    if tree.target == pg_query_pb2.DISCARD_ALL:
        settings = (SettingChange(ALL, None), SettingChange("session_authorization", None))
        return _plain(Kind.DISCARD, settings=settings, unpins=_ALL_PINS, name="all")
    if tree.target == pg_query_pb2.DISCARD_TEMP:
        return _plain(Kind.DISCARD, unpins=(Pin.TEMP_TABLE,), name="temp")
    if tree.target == pg_query_pb2.DISCARD_SEQUENCES:
        return _plain(Kind.DISCARD, unpins=(Pin.SEQUENCE, Pin.SEQUENCE_READ), name="sequences")
    return _plain(Kind.DISCARD, name="plans")


def _explain(tree: Any) -> Facts:
    """EXPLAIN plans, which runs functions but writes nothing; with ANALYZE it does what it explains."""
    inner = statement(tree.query)
    analyze = any(_is_on(node.def_elem) for node in tree.options if node.def_elem.defname == "analyze")
    found = collect(tree.query)
    more: dict[str, Any] = {} if analyze else {"writes": frozenset()}
    opaque = inner.opaque and (analyze or inner.kind is not Kind.DDL)
    more["prepared"] = inner.prepared
    facts = _from_collected(Kind.EXPLAIN, found, inner=inner, analyze=analyze, opaque=opaque, **more)
    if not analyze:
        return facts
    return replace(facts, pins=inner.pins, taints=inner.taints or bool(inner.settings))


def _is_on(option: Any) -> bool:
    """Whatever is not clearly `off` counts as on."""
    argument = option.arg
    match argument.WhichOneof("node"):
        case "integer":
            return bool(argument.integer.ival)
        case "boolean":
            return bool(argument.boolean.boolval)
        case "string":
            return argument.string.sval.lower() not in ("off", "false")
        case _:
            return True


def _prepare(tree: Any) -> Facts:
    names = frozenset((tree.name,))
    return _plain(Kind.PREPARE, name=tree.name, prepared=names, inner=statement(tree.query), pins=(Pin.PREPARE,))


def _execute(tree: Any) -> Facts:
    names = frozenset((tree.name,))
    return _with_names(Kind.EXECUTE, tree, name=tree.name, prepared=names, opaque=True, literals_matter=False)


def _deallocate(tree: Any) -> Facts:
    names = frozenset() if tree.isall else frozenset((tree.name,))
    unpins = (Pin.PREPARE,) if tree.isall else ()
    return _plain(Kind.DEALLOCATE, name=tree.name or None, prepared=names, unpins=unpins)


def _declare(tree: Any) -> Facts:
    """The cursor's names are the statement's own: what FETCH runs later counts from here."""
    pins = (Pin.HOLD_CURSOR,) if tree.options & _CURSOR_HOLD else ()
    inner = statement(tree.query)
    facts = _with_names(Kind.DECLARE, tree.query, name=tree.portalname, inner=inner)
    return replace(facts, pins=facts.pins + pins)


def _close(tree: Any) -> Facts:
    return _plain(Kind.CLOSE, name=tree.portalname or None, unpins=() if tree.portalname else (Pin.HOLD_CURSOR,))


def _unlisten(tree: Any) -> Facts:
    return _plain(Kind.UNLISTEN, name=tree.conditionname or None, unpins=() if tree.conditionname else (Pin.LISTEN,))


def _truncate(tree: Any) -> Facts:
    return _with_names(Kind.TRUNCATE, tree)


def _unseen(kind: Kind) -> Callable[[Any], Facts]:
    """Runs code that the text does not show, outside a block with commits of its own."""
    return lambda tree: _plain(kind, opaque=True, taints=True, can_commit=True)


def _load(tree: Any) -> Facts:
    return _plain(Kind.LOAD, pins=(Pin.LOAD,), taints=True, opaque=True)


def _maintenance(tree: Any) -> Facts:
    return _plain(Kind.MAINTENANCE, can_commit=True)


def _ddl(tree: Any) -> Facts:
    """A temporary relation pins its session and changes nothing for others; only its query runs now."""
    if _has(tree, "into"):
        executed = (tree.query.execute_stmt.name,) if tree.query.WhichOneof("node") == "execute_stmt" else ()
        facts = _created(collect(tree.query), tree.into.rel, unseen=bool(executed))
        return replace(facts, prepared=frozenset(executed))
    if any(_is_temporary(getattr(tree, part)) for part in ("relation", "view", "sequence") if _has(tree, part)):
        return _plain(Kind.DDL, pins=(Pin.TEMP_TABLE,))
    return _with_names(Kind.DDL, tree, opaque=True, can_commit=True)


def _alone(database: Callable[[Any], str]) -> Callable[[Any], Facts]:
    """What fails while others are connected to a database."""
    return lambda tree: replace(_ddl(tree), vacates=(database(tree),))


def _template(tree: Any) -> str:
    """The database that CREATE DATABASE copies."""
    named = [part.def_elem for part in tree.options if part.def_elem.defname == "template"]
    return named[0].arg.string.sval if named else "template1"


def _renamed(tree: Any) -> Facts:
    """Of all that has a name, only a database must be free of others."""
    facts = _ddl(tree)
    return replace(facts, vacates=(tree.subname,)) if tree.rename_type == pg_query_pb2.OBJECT_DATABASE else facts


def _created(query: Collected, target: Any, unseen: bool = False) -> Facts:
    """CREATE TABLE AS and SELECT INTO."""
    if not _is_temporary(target):
        return _from_collected(Kind.DDL, query, bypass=Bypass.INTO, opaque=True, can_commit=True)
    facts = _from_collected(Kind.DDL, query, bypass=Bypass.INTO, opaque=query.opaque or unseen)
    return replace(facts, pins=(*facts.pins, Pin.TEMP_TABLE))


def _has(tree: Any, part: str) -> bool:
    descriptor = tree.DESCRIPTOR.fields_by_name.get(part)
    if descriptor is None or descriptor.message_type is None or descriptor.is_repeated:
        return False
    return bool(tree.HasField(part))


def _is_temporary(var: Any) -> bool:
    if var.DESCRIPTOR.name != "RangeVar":
        return False
    return bool(var.relpersistence == _TEMP or var.schemaname.startswith("pg_temp"))


def _name(kind: Kind, part: str, *pins: Pin) -> Callable[[Any], Facts]:
    return lambda tree: _plain(kind, name=getattr(tree, part) or None, pins=pins)


def _lock(tree: Any) -> Facts:
    names = frozenset(Name(n.range_var.schemaname or None, n.range_var.relname) for n in tree.relations)
    return _plain(Kind.LOCK, reads=names)


_STATEMENTS: Final[dict[str, Callable[[Any], Facts]]] = {
    "select_stmt": _select,
    "insert_stmt": _writing(Kind.INSERT),
    "update_stmt": _writing(Kind.UPDATE),
    "delete_stmt": _writing(Kind.DELETE),
    "merge_stmt": _writing(Kind.MERGE),
    "copy_stmt": _copy,
    "truncate_stmt": _truncate,
    "transaction_stmt": _transaction,
    "variable_set_stmt": _set,
    "variable_show_stmt": _name(Kind.SHOW, "name"),
    "discard_stmt": _discard,
    "constraints_set_stmt": lambda tree: _plain(Kind.SET_CONSTRAINTS),
    "prepare_stmt": _prepare,
    "execute_stmt": _execute,
    "deallocate_stmt": _deallocate,
    "declare_cursor_stmt": _declare,
    "fetch_stmt": _name(Kind.FETCH, "portalname"),
    "close_portal_stmt": _close,
    "listen_stmt": _name(Kind.LISTEN, "conditionname", Pin.LISTEN),
    "unlisten_stmt": _unlisten,
    "notify_stmt": _name(Kind.NOTIFY, "conditionname"),
    "lock_stmt": _lock,
    "explain_stmt": _explain,
    "call_stmt": _unseen(Kind.CALL),
    "do_stmt": _unseen(Kind.DO),
    "load_stmt": _load,
    "vacuum_stmt": _maintenance,
    "createdb_stmt": _alone(_template),
    "dropdb_stmt": _alone(lambda tree: str(tree.dbname)),
    "alter_database_stmt": _alone(lambda tree: str(tree.dbname)),
    "rename_stmt": _renamed,
    "check_point_stmt": _maintenance,
}
