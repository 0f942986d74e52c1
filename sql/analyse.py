"""Text -> Facts.

libpg_query is PostgreSQL's own parser, so a text that it cannot read is one that a server of the same version
refuses, or one of a dialect that we do not know: UNKNOWN. Python's protobuf refuses trees more than a hundred
messages deep, and a tree of a very long text takes too long inside an event loop: such a text is only
classified, by its first words, and everything else about it stays in doubt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.protobuf.message import DecodeError
from postgast import PgQueryError, parse, pg_query_pb2, scan

from .facts import Bypass, Facts, Kind, Pin
from .hints import hint
from .normal import UNPARSED, UNPARSED_DIGEST, digest, normalized
from .utility import statement

if TYPE_CHECKING:
    from collections.abc import Iterable

_T = TypeVar("_T")

LONGEST: Final = 256 * 1024  # characters that are parsed: about 80 ms

_FIRST: Final = {
    pg_query_pb2.SELECT: Kind.SELECT,
    pg_query_pb2.WITH: Kind.SELECT,
    pg_query_pb2.VALUES: Kind.SELECT,
    pg_query_pb2.INSERT: Kind.INSERT,
    pg_query_pb2.UPDATE: Kind.UPDATE,
    pg_query_pb2.DELETE_P: Kind.DELETE,
    pg_query_pb2.MERGE: Kind.MERGE,
}
_SESSION_WORDS: Final = (
    "advisory",
    "set_config",
    "setseed",
    "nextval",
    "setval",
    "currval",
    "lastval",
    "into temp",
)


def analyse_bytes(text: bytes) -> Facts:
    """`analyse` of a text as it came over the wire in UTF-8; what is not UTF-8 is UNKNOWN. Never raises."""
    try:
        return analyse(text.decode())
    except UnicodeDecodeError:
        return _unknown(backslash=True)


def analyse(text: str) -> Facts:
    """What a query text is, by itself. Never raises."""
    backslash = "\\" in text
    if "\0" in text:
        return _unknown(backslash)
    try:
        if len(text) > LONGEST:
            return _shallow(text, backslash)
        try:
            parsed = parse(text)
        except DecodeError:
            return _shallow(text, backslash)
        facts = _statements([raw.stmt for raw in parsed.stmts])
        found = hint(text)
        if found is not None and not found.cache and facts.bypass is None:
            facts = replace(facts, bypass=Bypass.HINT)
        return replace(facts, digest=digest(text), normalized=normalized(text), hint=found, backslash=backslash)
    except (PgQueryError, DecodeError, UnicodeEncodeError, RecursionError, ValueError):
        return _unknown(backslash)


def _unknown(backslash: bool) -> Facts:
    return Facts(
        Kind.UNKNOWN,
        digest=UNPARSED_DIGEST,
        normalized=UNPARSED,
        opaque=True,
        can_commit=True,
        taints=True,
        pins=(Pin.UNKNOWN,),
        bypass=Bypass.UNPARSED,
        backslash=backslash,
    )


def _shallow(text: str, backslash: bool) -> Facts:
    """A text too deep or too long for a tree: its kind if it is surely one plain statement, no details."""
    tokens = [token.token for token in scan(text).tokens]
    while tokens and tokens[-1] == pg_query_pb2.ASCII_59:
        tokens.pop()
    first = next((token for token in tokens if token not in _SKIPPED), None)
    kind = _FIRST.get(first) if first is not None else None
    if kind is None or pg_query_pb2.ASCII_59 in tokens:
        return _unknown(backslash)
    lowered = " ".join(text.lower().split()) if len(text) <= LONGEST else text.lower()
    into = kind is Kind.SELECT and pg_query_pb2.INTO in tokens
    doubtful = into or any(word in lowered for word in _SESSION_WORDS) or "u&" in lowered
    return Facts(
        kind,
        digest=digest(text) if len(text) <= LONGEST else UNPARSED_DIGEST,
        normalized=UNPARSED,
        opaque=True,
        taints=True,
        pins=(Pin.UNKNOWN,) if doubtful else (),
        bypass=Bypass.UNPARSED,
        backslash=backslash,
    )


_SKIPPED: Final = frozenset({pg_query_pb2.SQL_COMMENT, pg_query_pb2.C_COMMENT, pg_query_pb2.ASCII_40})


def _statements(nodes: list[Any]) -> Facts:
    if not nodes:
        return Facts(Kind.EMPTY, bypass=Bypass.NOT_SELECT)
    if len(nodes) == 1:
        return statement(nodes[0])
    return _union(tuple(statement(node) for node in nodes))


def _last(values: Iterable[_T | None]) -> _T | None:
    """The last that was said."""
    return next((value for value in reversed(list(values)) if value is not None), None)


def _union(parts: tuple[Facts, ...]) -> Facts:
    """A MULTI: what any of its statements may do, it may do."""
    return Facts(
        Kind.MULTI,
        statements=parts,
        reads=frozenset().union(*(part.reads for part in parts)),
        writes=frozenset().union(*(part.writes for part in parts)),
        functions=frozenset().union(*(part.functions for part in parts)),
        operators=frozenset().union(*(part.operators for part in parts)),
        casts=frozenset().union(*(part.casts for part in parts)),
        ctes=frozenset().union(*(part.ctes for part in parts)),
        prepared=frozenset().union(*(part.prepared for part in parts)),
        attributes=frozenset().union(*(part.attributes for part in parts)),
        derived=any(part.derived for part in parts),
        opaque=any(part.opaque for part in parts),
        begins=any(part.begins for part in parts),
        ends=any(part.ends for part in parts),
        chain=any(part.chain for part in parts),
        can_commit=any(part.can_commit for part in parts),
        settings=tuple(change for part in parts for change in part.settings),
        pins=tuple(dict.fromkeys(pin for part in parts for pin in part.pins)),
        unpins=tuple(dict.fromkeys(pin for part in parts for pin in part.unpins)),
        vacates=tuple(dict.fromkeys(name for part in parts for name in part.vacates)),
        taints=any(part.taints for part in parts),
        bypass=Bypass.MULTI,
        literals_matter=any(part.literals_matter for part in parts),
        isolation=_last(part.isolation for part in parts),
        read_only=_last(part.read_only for part in parts),
        deferrable=_last(part.deferrable for part in parts),
    )
