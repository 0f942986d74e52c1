"""Date words: strings that mean another thing every day.

PostgreSQL's date input looks words up whole and folded to lower case, and takes digits, blanks and
punctuation as ends of a word; so a date word is one of four words without an ASCII letter on either side.
That also finds them inside ranges and arrays. Whether a string is ever read as a date is not asked: in doubt
it is.
"""

from __future__ import annotations

import re
from typing import Final

_WORDS: Final = r"(?<![A-Za-z])(?:now|today|tomorrow|yesterday)(?![A-Za-z])"
_IN_TEXT: Final = re.compile(_WORDS, re.IGNORECASE | re.ASCII)
_IN_BYTES: Final = re.compile(_WORDS.encode(), re.IGNORECASE)
_QUICK: Final = (b"now", b"today", b"tomorrow", b"yesterday")


def has_date_word(literal: str) -> bool:
    """Whether a string literal, read as a date or time, may depend on the clock."""
    return _IN_TEXT.search(literal) is not None


def text_parameter_unsafe(value: bytes) -> bool:
    """Whether a parameter's bytes may mean a date that depends on the clock.

    To be asked for every value that is not NULL, also those in binary format: the binary format of text is
    the text, and `$1::date` of a parameter declared as text reads it.
    """
    lowered = value.lower()
    for word in _QUICK:  # much faster than the pattern, and almost always enough
        if word in lowered:
            return _IN_BYTES.search(value) is not None
    return False
