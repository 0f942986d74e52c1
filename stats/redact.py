"""Texts that may leave the process: without literals, without control characters, bounded.

Theory: the digest texts that arrive here were normalised by a parser, so their literals are placeholders
already. But a text that no parser understood comes as it was written, and a password in a log cannot be
taken back. So `redact` goes over every text once more with a scanner that needs no understanding. Where
lexing is ambiguous (a backslash may or may not escape a quote, block comments may nest) it does not guess:
it drops the rest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_TEXT: Final = 2000
"""Characters kept of a statement."""
MAX_NAME: Final = 63
"""Characters kept of the name of a database, user or application; as long as PostgreSQL's own names."""
MAX_VALUE: Final = 100
"""Characters kept of one parameter."""

_HIDDEN: Final = "?"
_CUT: Final = "..."

_TOKEN: Final = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<string> (?:\b[EBXN]|\bU&)? '[^']*(?:''[^']*)*(?:'|\Z) )
    | (?P<dollar> (?<![\w$]) \$(?P<tag>[^\W\d]\w*|)\$ .*? (?:\$(?P=tag)\$|\Z) )
    | (?P<name> "[^"]*(?:"|\Z) | [^\W\d][\w$]* | \$\d+ )
    | (?P<number> (?:\d|\.\d)[\w.]*(?:(?<=[eE])[+-]\d+)? )
    | (?P<space> \s+ )
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return the statement on one line, without comments, strings and numbers; placeholders stay."""

    def shown(match: re.Match[str]) -> str:
        kind, token = match.lastgroup, match.group()
        if kind == "name":
            return token
        return " " if kind in ("comment", "space") else _HIDDEN

    doubtful = _first_doubt(text)
    plain = _TOKEN.sub(shown, text[:doubtful])
    if doubtful < len(text):
        plain += f" {_HIDDEN}{_CUT}"
    return " ".join(plain.split())


def _first_doubt(text: str) -> int:
    """Return where the text stops being surely lexed: the token that has a backslash or a nested comment."""
    if "\\" not in text and text.count("/*") < 2:
        return len(text)
    for match in _TOKEN.finditer(text):
        token = match.group()
        if match.lastgroup in ("string", "dollar", "name") and "\\" in token:
            return match.start()
        if match.lastgroup == "comment" and "/*" in token[2:]:
            return match.start()
    return len(text)


def escape(text: str, limit: int) -> str:
    """Return the text with control, bidirectional and other unprintable characters escaped.

    It is cut at `limit` characters before that.
    """
    if len(text) > limit:
        text = text[: max(0, limit - len(_CUT))] + _CUT
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def label(text: str) -> str:
    """Return a name as a metric label: like `escape`, but never two names as the same label.

    A scrape with two series of one name is refused as a whole, and names may come from clients.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(char if char.isprintable() and char != "\\" else ascii(char)[1:-1] for char in text)


def decode(raw: bytes, limit: int) -> str:
    """Return bytes of unknown encoding as text that may be shown, cut at `limit` before they are decoded."""
    # A character has at most four bytes: enough for `limit` of them and for one more, which shows the cut.
    return escape(raw[: 4 * limit + 4].decode("utf-8", "backslashreplace"), limit)


def describe_values(formats: Sequence[int], values: Sequence[bytes | None]) -> str:
    """Return a Bind's parameters as one bounded line: texts quoted, binary ones as their length.

    `formats` as the protocol has them: none = all text, one = that for all, else one each.
    """
    shown = []
    for index, value in enumerate(values):
        kind = 0 if not formats else formats[0] if len(formats) == 1 else formats[index]
        if value is None:
            text = "NULL"
        elif kind:
            text = f"<binary, {len(value)} bytes>"
        else:
            text = "'" + decode(value, MAX_VALUE).replace("'", "''") + "'"
        shown.append(f"${index + 1} = {text}")
        if sum(map(len, shown)) > MAX_TEXT:
            shown.append(_CUT)
            break
    return ", ".join(shown)
