"""Longer lives than the exhaustive search can follow: joins, time, eviction, purges, lost connections."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from cache.cache import Cache
from cache.coherence import Coherence, MarkState
from cache.counters import Fill
from cache.key import Key, simple_key
from cache.memory import OVERHEAD, MemoryStore
from cache.tags import read_tags, write_tags
from tests.cache.broken import CapturesInDoubt, KeepsTokenAtMark
from tests.cache.world import numbered

if TYPE_CHECKING:
    from cache.coherence import Mark, Stamp

TABLES = 2
IN_FLIGHT = 2
KEPT = 2  # entries that the store has room for, of three keys
TTL = 10.0
LONG = settings(max_examples=200, stateful_step_count=50, deadline=None, derandomize=True)
Query = frozenset[int]
queries = st.frozensets(st.integers(0, TABLES - 1), min_size=1)
places = st.integers(0, IN_FLIGHT - 1)


@dataclass(slots=True)
class Read:
    """A read that missed and went to the database."""

    query: Query
    floor: tuple[int, ...]
    stamp: Stamp | None
    sent: float
    values: dict[int, int] | None = None


@dataclass(slots=True)
class Write:
    """A transaction from its mark on. `alive`: its backend may still commit."""

    tables: Query
    mark: Mark
    alive: bool = True
    versions: tuple[tuple[int, int], ...] = ()


def key_of(query: Query) -> Key:
    return simple_key(b"s", 1, b",".join(b"%d" % table for table in sorted(query)))


def encode(values: dict[int, int]) -> bytes:
    return b",".join(b"%d=%d" % pair for pair in sorted(values.items()))


def decode(body: bytes) -> dict[int, int]:
    pairs = (pair.split(b"=") for pair in body.split(b","))
    return {int(table): int(version) for table, version in pairs}


class Registers(RuleBasedStateMachine):
    """Registers that are read together and written together, behind one small cache."""

    machine: ClassVar[type[Coherence]] = Coherence

    def __init__(self) -> None:
        super().__init__()
        self.coherence = self.machine(numbered())
        self.store = MemoryStore(KEPT * (OVERHEAD + 300), 100)
        self.cache = Cache(self.coherence, self.store, TTL)
        self.now = 0.0
        self.visible = [0] * TABLES
        self.floor = [0] * TABLES
        self.reads: list[Read] = []
        self.writes: list[Write] = []

    def give(self, values: dict[int, int], floor: tuple[int, ...]) -> None:
        for table, version in values.items():
            assert floor[table] <= version <= self.visible[table]
            self.floor[table] = max(self.floor[table], version)

    @precondition(lambda self: len(self.reads) < IN_FLIGHT)
    @rule(query=queries)
    def ask(self, query: Query) -> None:
        floor = tuple(self.floor)
        entry = self.cache.lookup(key_of(query), self.now)
        if entry is not None:
            assert self.now < entry.expires
            self.give(decode(entry.body), floor)
        else:
            self.reads.append(Read(query, floor, self.cache.capture(read_tags("db", query)), self.now))

    @precondition(lambda self: self.reads)
    @rule(place=places)
    def advance_read(self, place: int) -> None:
        read = self.reads[place % len(self.reads)]
        if read.values is None:
            read.values = {table: self.visible[table] for table in read.query}
            return
        self.reads.remove(read)
        self.give(read.values, read.floor)
        if read.stamp is not None:
            cost = self.now - read.sent
            self.cache.fill(key_of(read.query), read.stamp, None, encode(read.values), cost, self.now)

    @precondition(lambda self: len(self.writes) < IN_FLIGHT)
    @rule(tables=queries, known=st.booleans())
    def mark(self, tables: Query, known: bool) -> None:
        mark = self.cache.mark(write_tags("db", tables if known else None), None)
        self.writes.append(Write(tables, mark))

    @precondition(lambda self: self.writes)
    @rule(place=places, commits=st.booleans())
    def advance_write(self, place: int, commits: bool) -> None:
        write = self.writes[place % len(self.writes)]
        if write.alive:
            self.end(write, commits)
            return
        self.writes.remove(write)
        if write.mark.state is MarkState.ABANDONED:
            self.cache.settle(write.mark)
            return
        self.cache.unmark(write.mark)
        for table, version in write.versions:
            self.floor[table] = max(self.floor[table], version)

    @precondition(lambda self: len(self.reads) < IN_FLIGHT)
    @rule(query=queries)
    def read_at_once(self, query: Query) -> None:
        before = len(self.reads)
        self.ask(query)
        if len(self.reads) > before:
            self.advance_read(before)
            self.advance_read(before)

    @precondition(lambda self: len(self.writes) < IN_FLIGHT)
    @rule(tables=queries, known=st.booleans())
    def write_at_once(self, tables: Query, known: bool) -> None:
        place = len(self.writes)
        self.mark(tables, known)
        self.advance_write(place, True)
        self.advance_write(place, True)

    def end(self, write: Write, commits: bool) -> None:
        write.alive = False
        if commits:
            for table in write.tables:
                self.visible[table] += 1
            write.versions = tuple((table, self.visible[table]) for table in sorted(write.tables))

    @precondition(lambda self: any(write.mark.state is MarkState.OPEN for write in self.writes))
    @rule(place=places)
    def lose(self, place: int) -> None:
        held = [write for write in self.writes if write.mark.state is MarkState.OPEN]
        self.cache.abandon(held[place % len(held)].mark)

    @rule(seconds=st.sampled_from([0.1, 0.2, 0.5, TTL]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.cache.counters().entries == KEPT)
    @rule()
    def purge(self) -> None:
        self.cache.purge()
        assert self.cache.counters().entries == 0

    @invariant()
    def nothing_false_can_be_given(self) -> None:
        for node in list(self.store._nodes.values()):
            if self.coherence.valid(node.entry.stamp):
                for table, version in decode(node.entry.body).items():
                    assert version >= self.floor[table]
                assert not any(cell.doubters for cell, _ in node.entry.stamp.pairs)

    @invariant()
    def counts_add_up(self) -> None:
        counters = self.cache.counters()
        assert counters.bytes == sum(node.size for node in self.store._nodes.values())
        assert counters.bytes <= KEPT * (OVERHEAD + 300)
        assert counters.marks_open + counters.abandoned == len(self.writes)


def test_registers_behind_a_cache_stay_linearizable() -> None:
    seen: Counter[str] = Counter()

    class Counted(Registers):
        def teardown(self) -> None:
            counters = self.cache.counters()
            for name in ("hits", "fills", "stale", "doubts", "evictions"):
                seen[name] += getattr(counters, name)
            seen["refused"] += counters.rejected_fills[Fill.STALE]

    run_state_machine_as_test(Counted, settings=LONG)
    assert min(seen.values()) > 0, f"the run did not reach everything: {seen}"


@pytest.mark.parametrize("broken", [CapturesInDoubt, KeepsTokenAtMark])
def test_it_notices_a_broken_rule(broken: type[Coherence]) -> None:
    class Broken(Registers):
        machine = broken

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=settings(LONG, phases=[Phase.generate], max_examples=1000))
