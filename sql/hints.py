"""Hints in comments: `/* forebay: cache ttl=30s */`, `/* forebay: nocache */`; anything else is no hint."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from postgast import pg_query_pb2, scan

from .facts import Hint

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMENT: Final = re.compile(
    r"/\*\s*forebay:\s*(?P<no>no)?cache(?:\s+ttl=(?P<ttl>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|))?\s*\*/"
)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


def hint(text: str) -> Hint | None:
    """The last hint of a text that libpg_query can read; `nocache` beats `cache`."""
    if "forebay:" not in text:
        return None
    found: Hint | None = None
    for comment in _comments(text):
        match = _COMMENT.fullmatch(comment)
        if match is None:
            continue
        if match["no"]:
            return Hint(cache=False)
        ttl = match["ttl"]
        found = Hint(cache=True, ttl=None if ttl is None else float(ttl) * _SECONDS[match["unit"]])
    return found


def _comments(text: str) -> Iterator[str]:
    """Only what the scanner calls a comment: the same characters in a string are data."""
    encoded = text.encode()
    for token in scan(text).tokens:
        if token.token == pg_query_pb2.C_COMMENT:
            yield encoded[token.start : token.end].decode()
