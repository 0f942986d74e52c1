"""Notifications come from the hub in UTF-8; a client may want another encoding."""

from __future__ import annotations

import codecs
from typing import Final

_HEAD: Final = 9  # tag, length and process id
_AS_THEY_ARE: Final = frozenset(("UTF8", "UNICODE", "SQLASCII"))
_CODECS: Final = {"EUCCN": "gb2312", "SJIS": "cp932", "UHC": "cp949", "EUCJIS2004": "euc_jis_2004"}
"""Where Python does not understand PostgreSQL's name without its underscores."""


def is_unicode(encoding: str) -> bool:
    """Whether a client_encoding needs nothing done."""
    return _plain(encoding) in _AS_THEY_ARE


def recoded(message: bytes, encoding: str) -> bytes:
    """A NotificationResponse for a client_encoding; a character that it has not becomes a question mark."""
    body = message[_HEAD:]
    if body.isascii():
        return message
    name = _plain(encoding)
    name = _CODECS.get(name, name.replace("WIN", "CP") if name.startswith("WIN") else encoding)
    try:
        codec = codecs.lookup(name).name
    except LookupError:
        codec = "ascii"
    body = body.decode("utf-8", "replace").encode(codec, "replace")
    return b"A%b%b%b" % ((_HEAD - 1 + len(body)).to_bytes(4, "big"), message[5:_HEAD], body)


def _plain(encoding: str) -> str:
    return encoding.upper().replace("-", "").replace("_", "")
