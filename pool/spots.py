"""What keeps a server connection from being lent on just as it is.

There are several such things, each with its name, and all are bits of one number: so the usual question, whether there
is any of them, takes one look.
"""

from __future__ import annotations

from typing import Protocol


class Spotted(Protocol):
    """Who has spots."""

    spots: int


class Spot:
    """An attribute that is True or False and kept as one bit of ``spots``."""

    def __init__(self, bit: int) -> None:
        self._bit = bit

    def __get__(self, owner: Spotted, kind: object = None) -> bool:
        return owner.spots & self._bit != 0

    def __set__(self, owner: Spotted, value: bool) -> None:
        owner.spots = owner.spots | self._bit if value else owner.spots & ~self._bit
