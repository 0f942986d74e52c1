"""The body of a trigger function in PL/pgSQL -> the facts of everything that it may run.

Theory: libpg_query compiles the body with PostgreSQL's own PL/pgSQL compiler and gives a tree whose leaves are SQL
texts. The walk is closed: a kind of node, a field of a node or a way to read a text that is not listed here makes the
whole body unknown, so nothing that a newer language brings can slip through. What is listed has no effects of its own:
control flow, variables, cursors, RAISE. All else is in the texts, and those are analysed like any statement:
expressions as what the language makes of them, `SELECT expression`. Dynamic SQL, CALL and transaction control are
simply not listed.

Two things in libpg_query's tree have to be minded. It is not valid JSON for a function that returns `trigger`; so the
body is compiled as that of an ordinary function with NEW, OLD and TG_* as its arguments. And it leaves out the default
value of a variable of a composite type: so defaults are also counted in the tokens of the body, and a body with more of
them than the tree shows is unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError
from postgast import PgQueryError, parse_plpgsql, pg_query_pb2, scan

from .analyse import analyse
from .facts import Facts, Kind, Pin

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST: Final = 128 * 1024  # characters
_FUNCTION: Final = (
    "CREATE FUNCTION f(new record, old record, tg_name name, tg_when text, tg_level text, tg_op text, tg_relid oid,"
    " tg_relname name, tg_table_name name, tg_table_schema name, tg_nargs integer, tg_argv text[])"
    " RETURNS record LANGUAGE plpgsql AS '{}'"
)
_PREFIX: Final = "PLpgSQL_"
_EXPRESSION: Final = "PLpgSQL_expr"
_BLOCK: Final = "lineno label body"
_FIELDS: Final = {
    _PREFIX + kind: frozenset(fields.split())
    for kind, fields in {
        "function": "datums action",
        "var": "refname lineno dno datatype isconst notnull default_val"
        " cursor_explicit_expr cursor_explicit_argrow cursor_options",
        "expr": "query parseMode",
        "type": "typname",
        "rec": "refname lineno dno",
        "recfield": "fieldname recparentno",
        "row": "refname lineno dno fields",
        "stmt_block": f"{_BLOCK} exceptions",
        "exception_block": "exc_list",
        "exception": "conditions action",
        "condition": "condname",
        "stmt_assign": "lineno varno expr",
        "stmt_if": "lineno cond then_body elsif_list else_body",
        "if_elsif": "lineno cond stmts",
        "stmt_case": "lineno t_expr t_varno case_when_list have_else else_stmts",
        "case_when": "lineno expr stmts",
        "stmt_loop": _BLOCK,
        "stmt_while": f"{_BLOCK} cond",
        "stmt_fori": f"{_BLOCK} var lower upper step reverse",
        "stmt_fors": f"{_BLOCK} var query",
        "stmt_forc": f"{_BLOCK} var curvar argquery",
        "stmt_foreach_a": f"{_BLOCK} varno slice expr",
        "stmt_exit": "lineno is_exit label cond",
        "stmt_return": "lineno expr",
        "stmt_raise": "lineno elog_level condname message params options",
        "raise_option": "opt_type expr",
        "stmt_assert": "lineno cond message",
        "stmt_execsql": "lineno sqlstmt into strict target",
        "stmt_perform": "lineno expr",
        "stmt_getdiag": "lineno is_stacked diag_items",
        "diag_item": "kind target",
        "stmt_open": "lineno curvar cursor_options argquery query",  # dynquery is not understood
        "stmt_fetch": "lineno target curvar direction how_many expr is_move returns_multiple_rows",
        "stmt_close": "lineno curvar",
    }.items()
}
_STATEMENT, _VALUE = 0, 2  # RawParseMode of parser.h
_ASSIGNMENTS: Final = (3, 4, 5)

_KINDS: Final = frozenset({Kind.SELECT, Kind.INSERT, Kind.UPDATE, Kind.DELETE, Kind.MERGE, Kind.TRUNCATE, Kind.NOTIFY})
_PINS: Final = frozenset({Pin.SEQUENCE, Pin.SEQUENCE_READ})  # a default such as nextval() makes none either

_COMMENTS: Final = frozenset({pg_query_pb2.SQL_COMMENT, pg_query_pb2.C_COMMENT})
_OPENING: Final = frozenset({pg_query_pb2.ASCII_40, pg_query_pb2.ASCII_91})
_CLOSING: Final = frozenset({pg_query_pb2.ASCII_41, pg_query_pb2.ASCII_93})
_ASSIGNS: Final = frozenset({pg_query_pb2.COLON_EQUALS, pg_query_pb2.ASCII_61})
_DEFAULTS: Final = _ASSIGNS | {pg_query_pb2.DEFAULT}
_END: Final = pg_query_pb2.ASCII_59


class _UnknownError(Exception):
    """The body holds something that is not understood."""


def body(source: str) -> tuple[Facts, ...] | None:
    """Facts of every SQL text in the body of a trigger function, or None: unknown. Never raises."""
    if len(source) > _LONGEST or "\0" in source or "\\'" in source:
        return None  # with standard_conforming_strings off, a string ends elsewhere after \'
    try:
        (tree,) = parse_plpgsql(_FUNCTION.format(source.replace("'", "''")))
        found = [_understood(text) for mode, query in _expressions(tree) for text in _texts(mode, query)]
        return tuple(found) if _declared(source) == _shown(tree) else None
    except (PgQueryError, DecodeError, _UnknownError, RecursionError, ValueError):
        return None


def _expressions(tree: Any) -> Iterator[tuple[int, str]]:
    """Every SQL text in the tree with how it is to be read."""
    todo = [tree]
    while todo:
        found = todo.pop()
        if isinstance(found, list):
            todo.extend(found)
            continue
        if not isinstance(found, dict):
            raise _UnknownError
        for kind, node in found.items():
            fields = _FIELDS.get(kind)
            if fields is None or not isinstance(node, dict) or not fields.issuperset(node):
                raise _UnknownError
            if kind == _EXPRESSION:
                yield node.get("parseMode", -1), node.get("query", "")
            elif kind != "PLpgSQL_row":  # its fields are names of variables
                todo.extend(value for value in node.values() if isinstance(value, dict | list))


def _texts(mode: int, query: str) -> Iterator[str]:
    """The statements that PostgreSQL makes of one text."""
    if mode == _STATEMENT:
        yield query
    elif mode == _VALUE:
        yield f"SELECT {query}"
    elif mode in _ASSIGNMENTS:
        target, value = _assignment(query)
        if "[" in target:  # a subscript is an expression, too
            yield f"SELECT {target}"
        yield f"SELECT {value}"
    else:
        raise _UnknownError


def _assignment(query: str) -> tuple[str, str]:
    """The two sides of `a.b[i] := value`."""
    depth = 0
    for token in scan(query).tokens:
        if token.token in _ASSIGNS and depth == 0:
            text = query.encode()
            return text[: token.start].decode(), text[token.end :].decode()
        depth += (token.token in _OPENING) - (token.token in _CLOSING)
    raise _UnknownError


def _understood(text: str) -> Facts:
    facts = analyse(text)
    if (
        facts.kind not in _KINDS
        or facts.opaque
        or facts.taints
        or facts.settings
        or facts.unpins
        or not _PINS.issuperset(facts.pins)
    ):
        raise _UnknownError
    return facts


def _shown(tree: Any) -> tuple[int, int]:
    """How many default values and how many cursors' queries the tree shows."""
    datums = tree.get("PLpgSQL_function", {}).get("datums", ())
    variables = [datum.get("PLpgSQL_var", {}) for datum in datums]
    return (
        sum("default_val" in variable for variable in variables),
        sum("cursor_explicit_expr" in variable for variable in variables),
    )


def _declared(source: str) -> tuple[int, int]:
    """How many declarations have a default value, and how many are of cursors.

    The word `declare` may also be a name in a statement: then what follows is counted as if it were a
    declaration, which makes the counts too large and never too small.
    """
    tokens = [token.token for token in scan(source).tokens if token.token not in _COMMENTS]
    defaults = cursors = at = 0
    while at < len(tokens):
        at += 1
        if tokens[at - 1] != pg_query_pb2.DECLARE:
            continue
        while at < len(tokens) and tokens[at] != pg_query_pb2.BEGIN_P:
            end = tokens.index(_END, at) if _END in tokens[at:] else len(tokens)
            words = frozenset(tokens[at:end])
            if pg_query_pb2.CURSOR in words:
                cursors += 1
            elif not words.isdisjoint(_DEFAULTS):
                defaults += 1
            at = end + 1
    return defaults, cursors
