"""Coherence machines with one rule broken each, for tests that must notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cache.coherence import Coherence

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from cache.coherence import Mark, Stamp


class FlagOfDoubt(Coherence):
    """One flag per tag instead of a set: the first writer to finish clears it for all."""

    def unmark(self, mark: Mark) -> None:
        super().unmark(mark)
        for cell in mark.cells:
            cell.doubters = frozenset()


class CapturesInDoubt(Coherence):
    """Hands out tokens whether or not a write is under way."""

    def capture(self, tags: Iterable[Hashable]) -> Stamp | None:
        cells = {tag: self._cell(tag) for tag in tags}
        doubters = {cell: cell.doubters for cell in cells.values()}
        for cell in doubters:
            cell.doubters = frozenset()
        stamp = super().capture(cells)
        for cell, marks in doubters.items():
            cell.doubters = marks
        return stamp


class GivesTokensBack(Coherence):
    """Remembers at mark which tokens the tags had, for a subclass that puts them back at a bad time."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        super().__init__(random)
        self.before: dict[Mark, tuple[bytes | None, ...]] = {}

    def mark(self, tags: Iterable[Hashable], owner: object) -> Mark:
        names = frozenset(tags)
        cells = [self._cell(tag) for tag in names]  # in the order of names, as in the mark; and kept alive
        tokens = tuple(cell.token for cell in cells)
        mark = super().mark(names, owner)
        self.before[mark] = tokens
        return mark

    def give_back(self, mark: Mark) -> None:
        for cell, token in zip(mark.cells, self.before[mark], strict=True):
            cell.token = token


class KeepsTokenAtMark(GivesTokensBack):
    """Changes the token only at unmark."""

    def mark(self, tags: Iterable[Hashable], owner: object) -> Mark:
        mark = super().mark(tags, owner)
        self.give_back(mark)
        return mark

    def unmark(self, mark: Mark) -> None:
        super().unmark(mark)
        for cell in mark.cells:
            cell.token = None


class SameTokenAfterUnmark(GivesTokensBack):
    """The token after the write is the one before it."""

    def unmark(self, mark: Mark) -> None:
        super().unmark(mark)
        self.give_back(mark)


class BelievesEveryStamp(Coherence):
    """Does not look at tokens at all."""

    def valid(self, stamp: Stamp) -> bool:
        return True
