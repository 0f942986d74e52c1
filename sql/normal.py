"""A statement's shape: the digest by libpg_query, and its text without literals and comments.

The text is put together from the scanner's tokens, so that literals of every statement are hidden, also those
of utility statements (passwords, COPY options, bodies of functions) that a tree walk might not reach.
"""

from __future__ import annotations

from typing import Final

from postgast import fingerprint, pg_query_pb2, scan

UNPARSED: Final = "<unparsed>"
UNPARSED_DIGEST: Final = "0" * 16

_LITERALS: Final = frozenset(
    {
        pg_query_pb2.SCONST,
        pg_query_pb2.USCONST,
        pg_query_pb2.BCONST,
        pg_query_pb2.XCONST,
        pg_query_pb2.FCONST,
        pg_query_pb2.ICONST,
    }
)
_COMMENTS: Final = frozenset({pg_query_pb2.SQL_COMMENT, pg_query_pb2.C_COMMENT})


def digest(text: str) -> str:
    """16 hexadecimal digits, equal for statements of one shape. Raises PgQueryError."""
    return str(fingerprint(text).hex)


def normalized(text: str) -> str:
    """The text with `?` for literals and single blanks between tokens that had any. Raises PgQueryError."""
    encoded = text.encode()
    parts: list[str] = []
    end = 0
    for token in scan(text).tokens:
        if token.token in _COMMENTS:
            continue
        if parts and token.start > end:
            parts.append(" ")
        end = token.end
        parts.append("?" if token.token in _LITERALS else encoded[token.start : end].decode())
    return "".join(parts)
