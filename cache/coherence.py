"""Which remembered answers are still true: the coherence protocol of one process, as a pure machine.

The promise
-----------
No read returns an answer older than the last write that was acknowledged to anybody, nor older than what an
earlier read returned. "Older" is about the snapshot that the answer was computed from.

The machine
-----------
Each tag has a cell: a *token* (random, 128 bits, or none) and a set of *doubters* (the marks on it).

    capture(tags)   in doubt: None.  Else the stamp: every cell with its token, drawn where there is none.
    valid(stamp)    every cell still has the very token of the stamp.
    mark(tags)      every cell: the mark joins the doubters, the token is forgotten.
    unmark(mark)    every cell: the mark leaves the doubters.  There still is no token.
    abandon(mark)   nothing changes in the cells: the outcome is unknown, so the doubt stays.
    settle(mark)    an abandoned mark leaves as with unmark, once its outcome cannot change any more.

To change a token is to forget it. A tag in doubt has no token and gets none, so one forgetting does the work
of the two changes (at mark and at unmark) that the protocol asks for: the token after the write differs from
the one before it, and no stamp exists that was captured in between. From "in doubt, therefore no token"
follows that `valid` need not look at the doubters, which makes a hit cheap.

The order that the users of the machine keep
--------------------------------------------
Reader: lookup; on a miss capture, *then* let the snapshot be taken (the query or its Bind leaves), then fill
with the captured stamp. Writer: mark, *then* send what can commit, learn the outcome, unmark, acknowledge.
A hit is checked and written with no wait in between. (The promise would survive the wait, for the read began
before it; but the client would be given what others already know to be past.)

Why the promise holds
---------------------
Let an answer be hit at time h, its stamp captured at c, its snapshot taken at s, so c < s < h. Take any write
to one of its tags that the answer does not contain: it became visible at v > s. Its mark was set at m < v.
- m < c: at c the mark was gone, for c is not in doubt. But it goes only after v, hence v < c < s:
  contradiction.
- c < m < h: the token was forgotten between c and h. Tokens do not come back, so the stamp is not valid at h.
- m > h: then v > h. At h nobody had been told of the write, and nobody could have read it.
So everything that was visible before h is in the answer. A fill may come as late as it likes: its stamp
decides.

Tokens are random and compared for identity. A counter could return to an old number after its state was lost;
a random value cannot. Doubters are a set and not a flag, because the first of two writers to finish must not
take away the doubt of the second. A lost connection is not a rollback: the server may still commit after it,
which is what `abandon` is for. An unneeded mark only costs hits.

Memory: the table holds cells weakly. A cell lives while a stamp or a mark refers to it, that is, exactly as
long as somebody could compare with it; one that is gone is a miss, and its tag gets a new random token. Open
marks are held here, so that losing a mark by mistake leaves the doubt standing.

One thread uses the machine; it does no I/O and knows no clock.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from cache.errors import LocalCacheError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

TOKEN_BYTES: Final = 16


class Cell:
    """The present state of one tag: its token, if it has one, and the marks that put it in doubt."""

    __slots__ = ("__weakref__", "doubters", "token")

    def __init__(self) -> None:
        self.token: bytes | None = None
        self.doubters: frozenset[Mark] = frozenset()  # nearly always empty, and the empty one is shared


@dataclass(frozen=True, slots=True)
class Stamp:
    """What an answer depends on: the cells of its tags, each with the token that it had at the capture."""

    pairs: tuple[tuple[Cell, bytes], ...]

    def live(self) -> bool:
        """Whether no token of it was changed since the capture. Once False it stays False."""
        for cell, token in self.pairs:  # a plain loop: all() with a generator takes twice as long
            if cell.token is not token:
                break
        else:
            return True
        return False


class MarkState(enum.Enum):
    """Where a mark is in its life; it only moves on in this order, and may skip the second."""

    OPEN = "open"
    ABANDONED = "abandoned"
    CLOSED = "closed"


@dataclass(eq=False, slots=True)
class Mark:
    """A writer's claim on its tags. `owner` is what its janitor needs to know; nobody here looks into it."""

    owner: object
    tags: frozenset[Hashable]
    cells: tuple[Cell, ...]
    state: MarkState = MarkState.OPEN


class Coherence:
    """The cells of all tags and the marks on them. See the head of this file for the rules."""

    __slots__ = ("_abandoned", "_cells", "_open", "_random")

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        """Take tokens from `random(length)`, which must be unpredictable enough never to repeat itself."""
        self._random = random
        self._cells: WeakValueDictionary[Hashable, Cell] = WeakValueDictionary()
        self._open: set[Mark] = set()
        self._abandoned: dict[Mark, None] = {}  # a dict for its order: the oldest first

    @property
    def open_marks(self) -> int:
        """How many writers have not finished, the abandoned ones not counted."""
        return len(self._open)

    def capture(self, tags: Iterable[Hashable]) -> Stamp | None:
        """Stamp an answer that is about to be computed; None when one of its tags is in doubt.

        To be called before the snapshot can be taken. LocalCacheError when there are no tags: a stamp without
        any could never be invalidated.
        """
        pairs = []
        for tag in tags:
            cell = self._cell(tag)
            if cell.doubters:
                return None
            if cell.token is None:
                cell.token = self._random(TOKEN_BYTES)
            pairs.append((cell, cell.token))
        if not pairs:
            raise LocalCacheError("an answer that depends on nothing cannot be stamped")
        return Stamp(tuple(pairs))

    def valid(self, stamp: Stamp) -> bool:
        """Whether an answer with this stamp may be given now. Holds only until the next wait."""
        return stamp.live()

    def mark(self, tags: Iterable[Hashable], owner: object) -> Mark:
        """Put tags in doubt before a byte leaves that can commit a write to them.

        Without tags the mark has no effect, and is ended like any other.
        """
        names = frozenset(tags)
        mark = Mark(owner, names, tuple(self._cell(tag) for tag in names))
        for cell in mark.cells:
            cell.doubters |= {mark}
            cell.token = None
        self._open.add(mark)
        return mark

    def unmark(self, mark: Mark) -> None:
        """End a mark whose outcome is known, committed or not, before anybody is told of it.

        LocalCacheError when it is not open.
        """
        self._expect(mark, MarkState.OPEN)
        self._open.remove(mark)
        self._close(mark)

    def abandon(self, mark: Mark) -> None:
        """Leave a mark whose outcome is unknown to the janitor; its tags stay in doubt until `settle`.

        LocalCacheError when it is not open.
        """
        self._expect(mark, MarkState.OPEN)
        self._open.remove(mark)
        mark.state = MarkState.ABANDONED
        self._abandoned[mark] = None

    def abandoned(self) -> tuple[Mark, ...]:
        """The marks that wait for a janitor, the oldest first."""
        return tuple(self._abandoned)

    def settle(self, mark: Mark) -> None:
        """End an abandoned mark: its transaction has surely ended, in whichever way.

        LocalCacheError when it was not abandoned.
        """
        self._expect(mark, MarkState.ABANDONED)
        del self._abandoned[mark]
        self._close(mark)

    def renew_all(self) -> None:
        """Change every token, so that no stamp captured so far is valid any more; marks stay."""
        for cell in list(self._cells.values()):
            cell.token = None

    def _cell(self, tag: Hashable) -> Cell:
        cell = self._cells.get(tag)
        if cell is None:
            cell = self._cells[tag] = Cell()
        return cell

    def _close(self, mark: Mark) -> None:
        mark.state = MarkState.CLOSED
        for cell in mark.cells:
            cell.doubters -= {mark}

    def _expect(self, mark: Mark, state: MarkState) -> None:
        if mark.state is not state:
            raise LocalCacheError(f"a mark that is {mark.state.value} cannot be treated as {state.value}")
