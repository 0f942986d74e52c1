"""A question of our own in the middle of a client's conversation, whose answer is a number: how many rows it has."""

from __future__ import annotations


class Probe:
    """The note of a swallowed Query. When it is proved, ``rows`` is there, unless it failed: nobody else hears of that."""

    __slots__ = ("failed", "rows")

    def __init__(self) -> None:
        self.failed = False
        self.rows: int | None = None
