"""One walk over a statement's tree that writes down every name in it.

Theory: the walk visits every message of the tree, also those it knows nothing of, so no function, relation,
cast or operator escapes it wherever the grammar allows one. What it records is a superset of what runs. An
answer may be kept only if every node is of a kind listed in `_PLAIN`: a kind that is not listed is a reason
to bypass, so a newer grammar can only make less cacheable. Scopes of CTEs are not followed: a name that is
also a CTE counts as both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from postgast import pg_query_pb2

from .facts import Bypass, Call, Cast, Event, Name, Source, Write
from .words import has_date_word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PLAIN: Final = frozenset(
    {
        "A_ArrayExpr",
        "A_Const",
        "A_Expr",
        "A_Indices",
        "A_Indirection",
        "Alias",
        "BoolExpr",
        "BooleanTest",
        "CaseExpr",
        "CaseWhen",
        "CoalesceExpr",
        "CollateClause",
        "ColumnRef",
        "CommonTableExpr",
        "FuncCall",
        "GroupingFunc",
        "GroupingSet",
        "JoinExpr",
        "List",
        "MinMaxExpr",
        "NamedArgExpr",
        "NullTest",
        "ParamRef",
        "RangeFunction",
        "RangeSubselect",
        "RangeVar",
        "ResTarget",
        "RowExpr",
        "SelectStmt",
        "SortBy",
        "SubLink",
        "TypeCast",
        "TypeName",
        "WindowDef",
        "WithClause",
    }
)
_LEAVES: Final = frozenset({"string", "integer", "float", "boolean", "bit_string", "a_star"})
_SYSTEM_COLUMNS: Final = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax"})
_COLLATIONS: Final = frozenset({"C", "POSIX", "default", "ucs_basic"})


@dataclass(slots=True)
class Collected:
    """What one walk found."""

    reads: set[Name] = field(default_factory=set)
    writes: set[Write] = field(default_factory=set)
    functions: set[Call] = field(default_factory=set)
    operators: set[str] = field(default_factory=set)
    casts: set[Cast] = field(default_factory=set)
    ctes: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    derived: bool = False
    opaque: bool = False
    bypass: Bypass | None = None

    def refuse(self, reason: Bypass) -> None:
        """Keep the first reason; `unsupported` gives way to any other."""
        if self.bypass is None or self.bypass is Bypass.UNSUPPORTED:
            self.bypass = reason


def collect(root: Any) -> Collected:
    """Walk a protobuf message of libpg_query's tree."""
    found = Collected()
    stack: list[Any] = [root]
    while stack:
        message = stack.pop()
        kind = message.DESCRIPTOR.name
        if kind == "Node":
            which = message.WhichOneof("node")
            if which is None or which in _LEAVES:
                continue
            message = getattr(message, which)
            kind = message.DESCRIPTOR.name
        if kind not in _PLAIN:
            found.refuse(Bypass.UNSUPPORTED)
        visit = _VISITORS.get(kind)
        children = visit(found, message) if visit is not None else None
        stack.extend(_children(message) if children is None else children)
    return found


def _children(message: Any, skip: str = "") -> Iterable[Any]:
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None or descriptor.name == skip:
            continue
        if descriptor.is_repeated:
            yield from value
        else:
            yield value


def strings(nodes: Iterable[Any]) -> list[str]:
    """The String nodes of a list such as a qualified name."""
    return [node.string.sval for node in nodes if node.WhichOneof("node") == "string"]


def qualified(nodes: Iterable[Any]) -> Name:
    """A name of one or two parts; of a longer one the last two."""
    parts = strings(nodes)
    return Name(parts[-2] if len(parts) > 1 else None, parts[-1] if parts else "")


def relation(message: Any) -> Name:
    """The name in a RangeVar."""
    return Name(message.schemaname or None, message.relname)


def _range_var(found: Collected, message: Any) -> Iterable[Any]:
    name = relation(message)
    if message.catalogname:
        found.opaque = True
        found.refuse(Bypass.UNKNOWN_RELATION)
    elif name.schema is not None and name.schema.startswith("pg_temp"):
        found.opaque = True
        found.refuse(Bypass.TEMP)
    else:
        found.reads.add(name)
    return (message.alias,) if message.HasField("alias") else ()


def _target(found: Collected, message: Any, *events: Event) -> Iterable[Any]:
    """A write's target is checked like a relation that is read, but listed as written."""
    var = message.relation
    if var.catalogname or var.schemaname.startswith("pg_temp"):
        found.opaque = True
    found.writes.add(Write(relation(var), frozenset(events)))
    found.refuse(Bypass.CTE_WRITE)
    return _children(message, skip="relation")


def _insert(found: Collected, message: Any) -> Iterable[Any]:
    if message.on_conflict_clause.action == pg_query_pb2.ONCONFLICT_UPDATE:
        return _target(found, message, Event.INSERT, Event.UPDATE)
    return _target(found, message, Event.INSERT)


def _update(found: Collected, message: Any) -> Iterable[Any]:
    return _target(found, message, Event.UPDATE)


def _delete(found: Collected, message: Any) -> Iterable[Any]:
    return _target(found, message, Event.DELETE)


def _merge(found: Collected, message: Any) -> Iterable[Any]:
    return _target(found, message, Event.INSERT, Event.UPDATE, Event.DELETE)


def _copy(found: Collected, message: Any) -> Iterable[Any] | None:
    if message.is_program:
        found.opaque = True
    return _target(found, message, Event.INSERT) if message.is_from else None


def _truncate(found: Collected, message: Any) -> Iterable[Any]:
    event = Event.TRUNCATE_CASCADE if message.behavior == pg_query_pb2.DROP_CASCADE else Event.TRUNCATE
    for node in message.relations:
        var = node.range_var
        if var.catalogname or var.schemaname.startswith("pg_temp"):
            found.opaque = True
        found.writes.add(Write(relation(var), frozenset({event})))
    return ()


def _func_call(found: Collected, message: Any) -> Iterable[Any]:
    arity = len(message.args)
    source, column = _cast_source(message.args[0]) if arity == 1 else (Source.OTHER, "")
    found.functions.add(Call(qualified(message.funcname), arity, source, column))
    if len(message.funcname) > 2:
        found.opaque = True
    return _children(message, skip="funcname")


def _expression(found: Collected, message: Any) -> Iterable[Any]:
    """BETWEEN hands its two bounds over as a List on the right."""
    found.operators.update(strings(message.name)[-1:])
    return [side for side in (message.lexpr, message.rexpr) if side.WhichOneof("node") is not None]


def _named_operator(found: Collected, message: Any) -> None:
    """SortBy USING and SubLink (`x < ANY (SELECT ...)`) name operators outside A_Expr."""
    names = message.use_op if message.DESCRIPTOR.name == "SortBy" else message.oper_name
    found.operators.update(strings(names)[-1:])


def _column(found: Collected, message: Any) -> Iterable[Any]:
    last = message.fields[-1]
    if last.WhichOneof("node") != "string":
        return ()
    name = last.string.sval
    if name in _SYSTEM_COLUMNS:
        found.refuse(Bypass.SYSTEM_COLUMN)
    if len(message.fields) > 1:
        found.attributes.add(name)
    return ()


def _indirection(found: Collected, message: Any) -> None:
    names = strings(message.indirection)
    found.attributes.update(names)
    if not _SYSTEM_COLUMNS.isdisjoint(names):
        found.refuse(Bypass.SYSTEM_COLUMN)


def _constant(found: Collected, message: Any) -> Iterable[Any]:
    if message.WhichOneof("val") == "sval" and has_date_word(message.sval.sval):
        found.refuse(Bypass.DATE_WORD)
    return ()


def _cast(found: Collected, message: Any) -> Iterable[Any]:
    """The type is listed with what it is applied to; its modifiers are constants."""
    target = message.type_name
    source, column = _cast_source(message.arg)
    if source is Source.COLUMN and target.array_bounds:
        source, column = Source.OTHER, ""
    _type(found, target, source, column)
    return (message.arg,)


def _cast_source(arg: Any) -> tuple[Source, str]:
    which = arg.WhichOneof("node")
    if which == "a_const":
        return Source.LITERAL, ""
    if which == "param_ref":
        return Source.PARAMETER, ""
    if which == "column_ref":
        last = arg.column_ref.fields[-1]
        if last.WhichOneof("node") == "string":
            return Source.COLUMN, last.string.sval
    return Source.OTHER, ""


def _type(found: Collected, message: Any, source: Source = Source.OTHER, column: str = "") -> Iterable[Any]:
    found.casts.add(Cast(qualified(message.names), source, column))
    if message.setof or message.pct_type or len(message.names) > 2:
        found.opaque = True
        found.refuse(Bypass.UNKNOWN_TYPE)
    return ()


def _collation(found: Collected, message: Any) -> None:
    name = qualified(message.collname)
    if name.name not in _COLLATIONS or name.schema not in (None, "pg_catalog"):
        found.refuse(Bypass.COLLATION)


def _cte(found: Collected, message: Any) -> None:
    found.ctes.add(message.ctename)
    found.derived = True


def _derives(found: Collected, message: Any) -> None:
    found.derived = True


def _alias(found: Collected, message: Any) -> Iterable[Any]:
    if message.colnames:
        found.derived = True
    return ()


def _into(found: Collected, message: Any) -> Iterable[Any]:
    """The target is made, not read."""
    found.refuse(Bypass.INTO)
    return ()


def _refuses(reason: Bypass) -> Callable[[Collected, Any], None]:
    def visit(found: Collected, message: Any) -> None:
        found.refuse(reason)

    return visit


_VISITORS: Final[dict[str, Callable[[Collected, Any], Iterable[Any] | None]]] = {
    "RangeVar": _range_var,
    "InsertStmt": _insert,
    "UpdateStmt": _update,
    "DeleteStmt": _delete,
    "MergeStmt": _merge,
    "CopyStmt": _copy,
    "TruncateStmt": _truncate,
    "FuncCall": _func_call,
    "A_Expr": _expression,
    "SortBy": _named_operator,
    "SubLink": _named_operator,
    "ColumnRef": _column,
    "A_Indirection": _indirection,
    "A_Const": _constant,
    "TypeCast": _cast,
    "TypeName": _type,
    "CollateClause": _collation,
    "CommonTableExpr": _cte,
    "RangeSubselect": _derives,
    "RangeFunction": _derives,
    "RangeTableFunc": _derives,
    "JsonTable": _derives,
    "Alias": _alias,
    "RangeTableSample": _refuses(Bypass.TABLESAMPLE),
    "LockingClause": _refuses(Bypass.LOCKING),
    "IntoClause": _into,
    "SQLValueFunction": _refuses(Bypass.VOLATILE_FUNCTION),
    "CTESearchClause": _refuses(Bypass.UNSUPPORTED),
    "CTECycleClause": _refuses(Bypass.UNSUPPORTED),
}
