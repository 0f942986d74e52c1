"""Statements by their text: each shape is parsed once, and known from then on (see knowledge.py).

Texts are looked up as they are, by where they have digits, or by their template, whichever is known; the template is
quicker to make than every text is to remember.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.knowledge import MAX_PARSE, Known
from sql.analyse import analyse_bytes
from sql.facts import Kind, Pin
from sql.template import has_digits, masked, plain_template, template

if TYPE_CHECKING:
    from collections.abc import Callable

    from sql.facts import Facts
    from stats.digests import DigestStats

_REMEMBERED = 8192
"""Bytes; longer texts are looked at anew each time."""

_MASKED = 1024
"""Bytes; of longer texts the mask is not remembered, since one shape may have many."""

_PLAIN = frozenset((b"INSERT", b"UPDATE", b"DELETE", b"MERGE", b"SELECT", b"VALUES", b"COPY"))


class Statements:
    """Known statements by text and by template; the oldest are forgotten in bulk beyond ``limit``."""

    def __init__(
        self, digest: Callable[[str, str], DigestStats], limit: int = 20_000, *, drawing: bool = False
    ) -> None:
        """``drawing``: what writes rows counts as drawing from a sequence, by a default or a trigger."""
        self._digest = digest
        self._drawing = drawing
        self._limit = limit
        self._exact: dict[bytes, Known] = {}
        self._shapes: dict[bytes, Known] = {}
        self._masks: dict[bytes, Known] = {}

    def get(self, text: bytes) -> Known:
        """What is known of a text, parsing it if it must be. Never raises."""
        known = self._exact.get(text)
        if known is not None:
            return known
        mask = masked(text) if len(text) <= _MASKED else b""
        known = self._masks.get(mask)
        if known is not None:
            return known
        # For these a template is quicker to make than every text is to remember.
        shape = plain_template(text) if len(text) <= _REMEMBERED else None
        if shape is not None and shape != text:
            known = self._shapes.get(shape)
            if known is not None:
                if mask and not has_digits(shape):
                    if len(self._masks) >= self._limit:
                        _forget(self._masks)
                    self._masks[mask] = known
                return known
        known = self._find(text, shape)
        if len(self._exact) >= self._limit:
            _forget(self._exact)
        if len(text) <= _REMEMBERED:
            self._exact[text] = known
        return known

    def _find(self, text: bytes, shape: bytes | None) -> Known:
        if len(text) > MAX_PARSE:
            return self._make(b"DO ''" if _is_one_write(text) else b"")
        if shape is None:
            shape = template(text)
        if shape is not None:
            known = self._shapes.get(shape)
            if known is not None:
                return known
        known = self._make(text)
        if shape is not None and not known.facts.literals_matter:
            if len(self._shapes) >= self._limit:
                _forget(self._shapes)
            self._shapes[shape] = known
        return known

    def _make(self, text: bytes) -> Known:
        facts = analyse_bytes(text) if text else analyse_bytes(b"\xff")
        if self._drawing:
            facts = _drawing(facts)
        return Known(facts, self._digest(facts.digest or facts.kind.value, facts.normalized or facts.kind.value))

    def __len__(self) -> int:
        return len(self._exact)


def _drawing(facts: Facts) -> Facts:
    draws = bool(facts.writes) or facts.kind in (Kind.CALL, Kind.DO, Kind.EXECUTE)
    pins = (*facts.pins, Pin.SEQUENCE) if draws and Pin.SEQUENCE not in facts.pins else facts.pins
    return replace(facts, pins=pins, statements=tuple(map(_drawing, facts.statements)))


def _is_one_write(text: bytes) -> bool:
    """A text too long to be parsed that is surely one statement, of a kind that does nothing to its session.

    It may still call a function that does: it counts as DO, which says so.
    """
    words = text[:256].split(None, 1)
    return bool(words) and words[0].upper() in _PLAIN and b";" not in text.rstrip(b"; \t\r\n")


def _forget(memo: dict[bytes, Known]) -> None:
    for key in [key for key, _ in zip(memo, range(len(memo) // 4 + 1), strict=False)]:
        del memo[key]
