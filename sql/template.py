"""A fast lexer that finds texts which differ only in literals, so that they can share one Facts.

The text is split at string literals, quoted identifiers and numbers; a literal is replaced by a marker of its
lexical class, everything else (blanks too) is kept. Two texts with one template have parse trees that are
equal up to constants of equal class, because PostgreSQL's lexer would cut them at the same places. To be sure
of the cuts, every text in which something else could start is refused: comments, dollar quotes, backslashes,
prefixed strings (E'', U&'', B'', X'', N''), continued strings, numbers that touch letters, integers that may
not fit four bytes. Any of those shows outside of what was cut out, since the first wrong cut can only come
after it.

A text with a date word in a string is refused, because Facts depend on it. The text must be in UTF-8 or in a
single-byte encoding: elsewhere a quote may be half of a character.

Many texts hold nothing but words, integers and harmless punctuation: for them one substitution makes the template.
And where no digit is left in it, it depends on where the text has digits only, not on which they are: `masked`, which
costs a tenth, then is a key, too, though one for each length that the numbers have.
"""

from __future__ import annotations

import re
from typing import Final

from .words import text_parameter_unsafe

_STRING: Final = b"\x01"
_INTEGER: Final = b"\x02"
_FLOAT: Final = b"\x03"
_FORBIDDEN: Final = (b"\\", b"--", b"/*", b"\0", _STRING, _INTEGER, _FLOAT)
_PLAIN: Final = (
    bytes(range(0x30, 0x3A)) + bytes(range(0x41, 0x5B)) + bytes(range(0x61, 0x7B)) + b"_ \n\t\r\f,()=<>*;:+%"
)
"""Bytes of which no literal but numbers can be made, and no comment, quoted name or parameter."""
_DIGITS: Final = bytes(range(0x30, 0x3A))
_MASK: Final = bytes(_INTEGER[0] if byte in _DIGITS else byte if byte in _PLAIN else 0 for byte in range(256))
_BEGINS_WITH_DIGIT: Final = re.compile(rb"(?<![A-Za-z0-9_])[0-9]{1,9}")
_TOUCHED: Final = re.compile(rb"\x02[A-Za-z0-9_]")
_UNICODE: Final = re.compile(rb"[uU]&['\"]")
_SAFE_DIGITS: Final = 9
_QUOTE: Final = ord("'")
_DOUBLE_QUOTE: Final = ord('"')
_WORD: Final = rb"A-Za-z0-9_$\x80-\xff"
_ENDS_IN_WORD: Final = re.compile(rb"[" + _WORD + rb"]\Z")

# Both patterns begin with a set of bytes, which lets the matcher skip everything else quickly.
_CUT: Final = re.compile(
    rb"""(['"0-9.](?:(?<=')(?:[^']|'')*'"""
    rb"""|(?<=")(?:[^"]|"")*\""""
    rb"""|(?<=[0-9])[0-9]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?"""
    rb"""|(?<=\.)[0-9]+(?:[eE][+-]?[0-9]+)?))"""
)
_DOUBTFUL: Final = re.compile(
    rb"""['$\x01-\x03](?:
    (?<=')                                          # a quote that was not closed
    |(?<=\$)[0-9]*[A-Za-z_$."\x80-\xff]             # a dollar that does not begin a plain parameter
    |(?<=\$)(?![0-9])
    |(?<=["."""
    + _WORD
    + rb"""\x01-\x03][\x01-\x03])                   # a prefixed string; t.1, 1..2
    |(?<=[\x01-\x03])(?=[".$"""
    + _WORD
    + rb"""])                                       # 1x, 'a'b
    |(?<=\x01)\s+\x01                               # 'to' <newline> 'day' is one string
    )""",
    re.VERBOSE,
)


def plain_template(text: bytes) -> bytes | None:
    """What `template` says of a text of words and integers; None of any other, and when not sure."""
    if text.translate(None, _PLAIN):
        return None
    result = _BEGINS_WITH_DIGIT.sub(_INTEGER, text)
    return None if _TOUCHED.search(result) is not None else result


def masked(text: bytes) -> bytes:
    """The text with one marker for every digit; texts that are not plain get a zero byte, as no plain one has it."""
    return text.translate(_MASK)


def has_digits(plain: bytes) -> bool:
    """Whether a plain template still depends on which digits its text has: they are part of a name."""
    return len(plain.translate(None, _DIGITS)) < len(plain)


def template(text: bytes) -> bytes | None:
    """A key shared by texts with equal Facts (unless those say `literals_matter`), or None when not sure."""
    plain = plain_template(text)
    if plain is not None:
        return plain
    for mark in _FORBIDDEN:
        if text.find(mark) >= 0:  # (bytes in bytes) tries an integer first, and makes an exception of it
            return None
    if text.find(b"&") >= 0 and _UNICODE.search(text) is not None:
        return None
    parts = _CUT.split(text)
    words = text_parameter_unsafe(text)
    for index in range(1, len(parts), 2):
        literal = parts[index]
        first = literal[0]
        if first == _QUOTE:
            if words and text_parameter_unsafe(literal):
                return None
            parts[index] = _STRING
        elif first != _DOUBLE_QUOTE and _ENDS_IN_WORD.search(parts[index - 1]) is None:
            if not literal.isdigit():
                parts[index] = _FLOAT
            elif len(literal) <= _SAFE_DIGITS:
                parts[index] = _INTEGER
            else:
                return None
    result = b"".join(parts)
    return None if _DOUBTFUL.search(result) is not None else result
