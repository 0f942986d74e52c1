"""What keeps a server connection from being lent on just as it is.

There are several such things, each with its name, and all are bits of one number: so the usual question, whether there
is any of them, takes one look.
"""

from __future__ import annotations


class Spotted:
    """What has spots: attributes that are True or False, each kept as one bit of ``spots``."""

    spots: int

    def _spot(self, bit: int, value: bool) -> None:
        self.spots = self.spots | bit if value else self.spots & ~bit

    @property
    def tainted(self) -> bool:
        """Something ran that may have changed settings behind our back."""
        return self.spots & 1 != 0

    @tainted.setter
    def tainted(self, value: bool) -> None:
        self._spot(1, value)

    @property
    def used_up(self) -> bool:
        """There is session state that only DISCARD ALL removes."""
        return self.spots & 2 != 0

    @used_up.setter
    def used_up(self, value: bool) -> None:
        self._spot(2, value)

    @property
    def broken(self) -> bool:
        """It must not be lent again."""
        return self.spots & 4 != 0

    @broken.setter
    def broken(self, value: bool) -> None:
        self._spot(4, value)

    @property
    def closed(self) -> bool:
        """It is of no use any more."""
        return self.spots & 8 != 0

    @closed.setter
    def closed(self, value: bool) -> None:
        self._spot(8, value)

    @property
    def guarded(self) -> bool:
        """A cancel request is on its way to it."""
        return self.spots & 16 != 0

    @guarded.setter
    def guarded(self, value: bool) -> None:
        self._spot(16, value)

    @property
    def paused(self) -> bool:
        """Nothing is read from it: its owner's client reads too slowly."""
        return self.spots & 32 != 0

    @paused.setter
    def paused(self, value: bool) -> None:
        self._spot(32, value)

    @property
    def congested(self) -> bool:
        """Its owner has been told to write no more."""
        return self.spots & 64 != 0

    @congested.setter
    def congested(self, value: bool) -> None:
        self._spot(64, value)

    @property
    def worn(self) -> bool:
        """Its process has what not even DISCARD ALL removes."""
        return self.spots & 128 != 0

    @worn.setter
    def worn(self, value: bool) -> None:
        self._spot(128, value)
