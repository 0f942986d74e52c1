"""Where a text says the name of a prepared statement: PREPARE, EXECUTE, DEALLOCATE, and what EXECUTEs.

The parser tells the names, the scanner's tokens tell where they stand, so comments, quotes, U&"" and keywords as names
are the scanner's business. What was found is tried: with another name in its place the text must parse to that name.

Offsets are of bytes for cutting and of characters for error positions, which PostgreSQL counts in characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError
from postgast import PgQueryError, parse, scan
from postgast.pg_query_pb2 import AS, ASCII_40, ASCII_41, ASCII_59, C_COMMENT, EXECUTE, SQL_COMMENT, UESCAPE, UIDENT

from .facts import Kind
from .type_oids import type_oid

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST: Final = 63  # bytes of a name; a longer one is cut, with a notice
_PROBE: Final = "forebay probe"
_KINDS: Final = {
    "prepare_stmt": Kind.PREPARE,
    "execute_stmt": Kind.EXECUTE,
    "deallocate_stmt": Kind.DEALLOCATE,
    "explain_stmt": Kind.EXPLAIN,
    "create_table_as_stmt": Kind.DDL,
}


@dataclass(frozen=True, slots=True)
class Named:
    """The one name in a text of one statement. EXPLAIN and DDL are those that EXECUTE it."""

    kind: Kind
    name: bytes  # as the parser reads it
    start: int  # where it is written, in bytes
    end: int
    ahead: int  # characters before it
    width: int  # characters of it
    body: bytes = b""  # what is prepared, behind as many blanks as there were characters before it
    types: bytes | None = b""  # declared, as Parse wants them; None: of one that need not be builtin
    path: bool = False  # a type was looked up in the search path

    def renamed(self, text: bytes, name: bytes) -> bytes:
        """The text with another name, which is written in double quotes. It must be plain."""
        return b'%b"%b"%b' % (text[: self.start], name, text[self.end :])


def named(text: bytes) -> Named | None:
    """The name that a text of one statement says; None if it says none, or more, or it is not found. Never raises."""
    try:
        parsed = parse(text.decode())
        if len(parsed.stmts) != 1:
            return None
        node = parsed.stmts[0].stmt
        which = node.WhichOneof("node")
        name = _name(node)
        if name is None or which not in _KINDS:
            return None
        tokens = [token for token in scan(text.decode()).tokens if token.token not in (SQL_COMMENT, C_COMMENT)]
        at = _find(tokens, getattr(node, which), _KINDS[which])
        if at is None or at >= len(tokens):
            return None
        found = _place(text, tokens, at, _KINDS[which], name)
        if len(found.name) >= _LONGEST or _name(_only(found.renamed(text, _PROBE.encode()))) != _PROBE:
            return None
        return _prepared(found, text, tokens, at, node.prepare_stmt) if found.kind is Kind.PREPARE else found
    except (PgQueryError, DecodeError, UnicodeError, RecursionError, ValueError):
        return None


def _only(text: bytes) -> Any:
    (raw,) = parse(text.decode()).stmts
    return raw.stmt


def _name(node: Any) -> str | None:
    which = node.WhichOneof("node")
    tree = getattr(node, which)
    if which in ("prepare_stmt", "execute_stmt"):
        return str(tree.name)
    if which == "deallocate_stmt":
        return str(tree.name) or None
    if which in ("explain_stmt", "create_table_as_stmt"):
        return _name(tree.query)
    return None


def _find(tokens: Sequence[Any], tree: Any, kind: Kind) -> int | None:
    """The token that is the name."""
    if kind is Kind.DEALLOCATE:
        return next((at for at, token in enumerate(tokens) if token.start == tree.location), None)
    first = next(at for at, token in enumerate(tokens) if token.token != ASCII_59)
    if kind is Kind.PREPARE or kind is Kind.EXECUTE:
        return first + 1
    made = kind is Kind.DDL or tree.query.WhichOneof("node") == "create_table_as_stmt"
    depth = 0
    for at in range(first, len(tokens)):
        token = tokens[at].token
        depth += (token == ASCII_40) - (token == ASCII_41)
        if token == EXECUTE and not depth and (not made or tokens[at - 1].token == AS):
            return at + 1
    return None


def _place(text: bytes, tokens: Sequence[Any], at: int, kind: Kind, name: str) -> Named:
    start, end = tokens[at].start, tokens[_last(tokens, at)].end
    return Named(kind, name.encode(), start, end, len(text[:start].decode()), len(text[start:end].decode()))


def _last(tokens: Sequence[Any], at: int) -> int:
    """The last token of a name: U&"name" UESCAPE '!' are three."""
    escaped = tokens[at].token == UIDENT and at + 2 < len(tokens) and tokens[at + 1].token == UESCAPE
    return at + 2 if escaped else at


def _prepared(found: Named, text: bytes, tokens: Sequence[Any], at: int, tree: Any) -> Named | None:
    """What it prepares, from behind AS on."""
    oids = [type_oid(node.type_name) for node in tree.argtypes]
    known = [oid for oid in oids if oid is not None]
    depth = 0
    for number in range(_last(tokens, at) + 1, len(tokens) - 1):
        token = tokens[number].token
        depth += (token == ASCII_40) - (token == ASCII_41)
        if token == AS and not depth:
            start = tokens[number + 1].start
            body = b" " * len(text[:start].decode()) + text[start:]
            types = pack(f">{len(known)}I", *(oid for oid, _ in known)) if len(known) == len(oids) else None
            path = any(looked_up for _, looked_up in known)
            return Named(found.kind, found.name, found.start, found.end, found.ahead, found.width, body, types, path)
    return None
