"""Every interleaving of two writers, two readers and lost connections; and proof that the search has eyes.

A search that finds nothing says something only if it finds what is there. So each rule of the protocol is
broken once, and the search must find the stale read. A few rules of habit can be broken without harm; that is
stated too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from cache.cache import Cache
from cache.counters import Fill
from cache.entry import Entry
from cache.tags import write_tags
from tests.cache.broken import (
    BelievesEveryStamp,
    CapturesInDoubt,
    FlagOfDoubt,
    KeepsTokenAtMark,
    SameTokenAfterUnmark,
)
from tests.cache.world import READ_TAGS, Reader, Rules, Writer, search

if TYPE_CHECKING:
    from collections.abc import Hashable

    from cache.coherence import Stamp
    from cache.key import Key

TABLE = write_tags("db", [1])
DATABASE = write_tags("db", None)


class MarksAfterCommit(Writer):
    """The version that so many caches have: invalidate when the write is done."""

    steps: ClassVar = {
        "new": {"commit": "committed"},
        "committed": {"mark": "marked"},
        "marked": {"unmark": "known"},
        "known": {"acknowledge": "done"},
        "done": {},
    }


class UnmarksBeforeCommit(Writer):
    """Takes CommandComplete of an implicit transaction for its commit, which happens at Sync."""

    steps: ClassVar = {
        "new": {"mark": "marked"},
        "marked": {"unmark": "unmarked"},
        "unmarked": {"commit": "known"},
        "known": {"acknowledge": "done"},
        "done": {},
    }


class TakesLossForRollback(Writer):
    """Unmarks when the connection is lost, while the backend goes on."""

    steps: ClassVar = {
        **Writer.steps,
        "lost": {"commit": "done", "roll_back": "done"},
        "lost_committed": {},
        "committed": {"unmark": "known"},
    }

    def lose(self) -> None:
        self.unmark()


class SettlesTooEarly(Writer):
    """A janitor with a timeout instead of patience."""

    steps: ClassVar = {**Writer.steps, "lost": {"settle": "settled"}, "settled": {"commit": "done"}}


class AcknowledgesFirst(Writer):
    """Tells the client before the mark is gone."""

    steps: ClassVar = {**Writer.steps, "committed": {"acknowledge": "told"}, "told": {"unmark": "done"}}


class CapturesAfterSnapshot(Reader):
    """Captures at Execute, though the snapshot is the Bind's."""

    steps: ClassVar = {**Reader.steps, "asked": {"snapshot": "bound"}, "bound": {"capture": "read"}}

    def ask(self) -> None:
        super().ask()
        self.stamp = None

    def capture(self) -> None:
        self.stamp = self.world.cache.capture(READ_TAGS)


class StampsAtFill(Reader):
    """Stores under the tokens of the time of the fill."""

    def fill(self) -> None:
        self.stamp = self.world.cache.capture(READ_TAGS)
        super().fill()


class WaitsBeforeWriting(Reader):
    """Checks a hit, waits for something, and then writes what others may know to be past."""

    steps: ClassVar = {**Reader.steps, "checked": {"answer": "done"}}

    def hit(self) -> None:
        self.state = "checked"


class FillsUnchecked(Cache):
    """Stores whatever comes, dead stamp or not."""

    def fill(
        self,
        key: Key,
        stamp: Stamp,
        description: bytes | None,
        body: bytes,
        cost: float,
        now: float,
        ttl: float | None = None,
        note: object = None,
    ) -> Fill:
        self._store.put(key, Entry(description, body, stamp, now + 60.0, cost))
        return Fill.STORED


def test_no_interleaving_breaks_the_promise() -> None:
    found, states = search(Rules())
    assert found is None
    assert states > 10_000  # it did look


@pytest.mark.parametrize("writes", [(TABLE, DATABASE), (DATABASE, DATABASE), (TABLE | DATABASE, TABLE)])
def test_writes_of_unknown_reach_keep_the_promise(writes: tuple[frozenset[Hashable], ...]) -> None:
    assert search(Rules(writes=writes, readers=1))[0] is None


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(Rules(writer=MarksAfterCommit), id="mark after the commit"),
        pytest.param(Rules(writer=UnmarksBeforeCommit), id="unmark before the commit"),
        pytest.param(Rules(writer=TakesLossForRollback), id="lost connection taken for a rollback"),
        pytest.param(Rules(writer=SettlesTooEarly), id="janitor does not wait for the backend"),
        pytest.param(Rules(reader=CapturesAfterSnapshot), id="capture after the snapshot"),
        pytest.param(Rules(reader=StampsAtFill), id="tokens taken at the fill"),
        pytest.param(Rules(coherence=FlagOfDoubt), id="a flag instead of a set"),
        pytest.param(Rules(coherence=CapturesInDoubt), id="capture in doubt"),
        pytest.param(Rules(coherence=KeepsTokenAtMark), id="mark keeps the token"),
        pytest.param(Rules(coherence=SameTokenAfterUnmark), id="the same token after the write"),
        pytest.param(Rules(coherence=BelievesEveryStamp), id="hit without a check"),
        pytest.param(Rules(writes=(frozenset(),)), id="a write that forgets its tag"),
    ],
)
def test_each_broken_rule_is_found(rules: Rules) -> None:
    assert search(rules)[0] is not None


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(Rules(cache=FillsUnchecked, readers=1), id="late fill: the stamp decides at the hit"),
        pytest.param(Rules(writer=AcknowledgesFirst, readers=1), id="late unmark: only costs hits"),
        pytest.param(Rules(reader=WaitsBeforeWriting, writes=(TABLE,)), id="late writing: the read began before"),
    ],
)
def test_what_may_come_late(rules: Rules) -> None:
    assert search(rules)[0] is None
