"""A question of our own in the middle of a client's conversation, whose answer is a number: how many rows it has."""

from __future__ import annotations


class Probe:
    """The note of a swallowed Query. Once it is proved ``rows`` is there, or it failed: of that nobody else hears."""

    __slots__ = ("failed", "rows")

    def __init__(self) -> None:
        self.failed = False
        self.rows: int | None = None


class Silent(Probe):
    """One whose answer nobody needs."""

    __slots__ = ()

    def proved(self) -> None:
        """It is answered."""

    def dropped(self) -> None:
        """The connection is gone."""
