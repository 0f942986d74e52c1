"""SET, RESET and set_config: what they do to which setting, in the form that set_config takes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from postgast import pg_query_pb2

from .collect import qualified
from .facts import Isolation, Name, SettingChange

if TYPE_CHECKING:
    from collections.abc import Iterable

ALL: Final = "*"
_QUOTED_LISTS: Final = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)
_PLAIN_IDENTIFIER: Final = re.compile(r"[a-z_][a-z0-9_$]*")
_SET_CONFIG: Final = frozenset({Name(None, "set_config"), Name("pg_catalog", "set_config")})
_MODES: Final = ("transaction_isolation", "transaction_read_only", "transaction_deferrable")


class Modes(NamedTuple):
    """Options of BEGIN and SET TRANSACTION; None = not said."""

    isolation: Isolation | None = None
    read_only: bool | None = None
    deferrable: bool | None = None


def modes(options: Iterable[Any]) -> Modes:
    """The transaction modes in a list of DefElem nodes; the last of a name wins."""
    said: dict[str, Any] = {node.def_elem.defname: node.def_elem.arg.a_const for node in options}
    level, read_only, deferrable = (said.get(name) for name in _MODES)
    return Modes(
        None if level is None else Isolation(level.sval.sval),
        None if read_only is None else bool(read_only.ival.ival),
        None if deferrable is None else bool(deferrable.ival.ival),
    )


def session_defaults(options: Iterable[Any]) -> tuple[SettingChange, ...]:
    """SET SESSION CHARACTERISTICS AS TRANSACTION, as the settings that it is short for."""
    isolation, read_only, deferrable = modes(options)
    changes = []
    if isolation is not None:
        changes.append(SettingChange("default_transaction_isolation", isolation.value))
    if read_only is not None:
        changes.append(SettingChange("default_transaction_read_only", "on" if read_only else "off"))
    if deferrable is not None:
        changes.append(SettingChange("default_transaction_deferrable", "on" if deferrable else "off"))
    return tuple(changes)


def change(statement: Any) -> SettingChange | None:
    """The change made by a VariableSetStmt of one setting, or None when its value is not a plain one."""
    name = statement.name.lower()
    kind = statement.kind
    if kind == pg_query_pb2.VAR_RESET_ALL:
        return SettingChange(ALL, None)
    if kind == pg_query_pb2.VAR_SET_DEFAULT or kind == pg_query_pb2.VAR_RESET:
        return SettingChange(name, None, statement.is_local)
    if kind != pg_query_pb2.VAR_SET_VALUE:
        return None
    values = [_value(node) for node in statement.args]
    if name in _QUOTED_LISTS:
        values = [None if value is None else _quoted(value) for value in values]
    known = [value for value in values if value is not None]
    return SettingChange(name, ", ".join(known), statement.is_local) if len(known) == len(values) else None


def set_config(select: Any) -> tuple[SettingChange, ...] | None:
    """The changes of `SELECT set_config('a', 'b', false), ...` that is nothing but that; else None."""
    if {descriptor.name for descriptor, _ in select.ListFields()} - {"target_list", "limit_option", "op"}:
        return None
    changes = [_set_config_call(node.res_target.val) for node in select.target_list]
    known = tuple(change for change in changes if change is not None)
    return known if known and len(known) == len(changes) else None


def sets_locally(select: Any) -> bool:
    """Is every column a `set_config(..., true)`, whose effect ends with the transaction?"""
    for node in select.target_list:
        value = node.res_target.val
        if value.WhichOneof("node") != "func_call":
            return False
        arguments = [(arg.WhichOneof("node"), arg) for arg in value.func_call.args]
        if qualified(value.func_call.funcname) not in _SET_CONFIG or len(arguments) != 3:
            return False
        if any(kind not in ("a_const", "param_ref") for kind, _ in arguments) or arguments[2][0] != "a_const":
            return False
        if not arguments[2][1].a_const.boolval.boolval:
            return False
    return True


def _set_config_call(node: Any) -> SettingChange | None:
    call = node.func_call
    if node.WhichOneof("node") != "func_call" or qualified(call.funcname) not in _SET_CONFIG:
        return None
    if len(call.args) != 3 or any(arg.WhichOneof("node") != "a_const" for arg in call.args):
        return None
    name, value, local = (arg.a_const for arg in call.args)
    kinds = (name.WhichOneof("val"), value.WhichOneof("val"), local.WhichOneof("val"))
    if kinds != ("sval", "sval", "boolval"):
        return None
    return SettingChange(name.sval.sval.lower(), value.sval.sval, local.boolval.boolval)


def _value(node: Any) -> str | None:
    """A constant as PostgreSQL spells it when it joins the values of SET."""
    if node.WhichOneof("node") != "a_const":
        return None
    constant = node.a_const
    match constant.WhichOneof("val"):
        case "sval":
            return str(constant.sval.sval)
        case "ival":
            return str(constant.ival.ival)
        case "fval":
            return str(constant.fval.fval)
        case _:
            return None


def _quoted(identifier: str) -> str:
    if _PLAIN_IDENTIFIER.fullmatch(identifier):
        return identifier
    return '"' + identifier.replace('"', '""') + '"'
