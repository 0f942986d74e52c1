"""A small world around one cache: a register in a database, writers and readers of it, and every way they
interleave.

Writers and readers are tables of steps. A schedule is the list of steps taken, and a world is rebuilt from
its schedule, so that a search can try every step that is possible in every state. Time is the order of the
steps.

The database is one counter: a commit makes the next version visible. A history of a register with a known
order of versions is linearizable if and only if no read returns less than what was acknowledged or returned
before the read began: that is `floor`. After every step a read that begins and ends right then is tried too.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from cache.cache import Cache
from cache.coherence import Coherence
from cache.key import simple_key
from cache.memory import MemoryStore
from cache.tags import read_tags, write_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from cache.coherence import Mark, Stamp

KEY: Final = simple_key(b"scope", 1, b"SELECT version FROM register")
READ_TAGS: Final = read_tags("db", [1])


class StaleReadError(AssertionError):
    """A read returned less than what somebody had been told before it began."""


def numbered() -> Callable[[int], bytes]:
    """A source of tokens that never repeats and is the same in every run."""
    drawn = 0

    def draw(length: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return drawn.to_bytes(length, "big")

    return draw


class Writer:
    """A transaction that writes the register, and the janitor that follows when its connection is lost."""

    steps: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "new": {"mark": "marked"},
        "marked": {"commit": "committed", "roll_back": "ended", "lose": "lost"},
        "committed": {"unmark": "known", "lose": "lost_committed"},
        "ended": {"unmark": "done"},
        "known": {"acknowledge": "done"},
        "lost": {"commit": "lost_committed", "roll_back": "lost_committed"},
        "lost_committed": {"settle": "done"},
        "done": {},
    }

    def __init__(self, world: World, tags: frozenset[Hashable]) -> None:
        self.world = world
        self.tags = tags
        self.state = "new"
        self.version = 0
        self.claim: Mark | None = None

    def mark(self) -> None:
        self.claim = self.world.cache.mark(self.tags, self)

    def commit(self) -> None:
        self.world.visible += 1
        self.version = self.world.visible

    def roll_back(self) -> None:
        pass

    def unmark(self) -> None:
        assert self.claim is not None
        self.world.cache.unmark(self.claim)

    def lose(self) -> None:
        assert self.claim is not None
        self.world.cache.abandon(self.claim)

    def settle(self) -> None:
        assert self.claim is not None
        self.world.cache.settle(self.claim)

    def acknowledge(self) -> None:
        self.world.floor = max(self.world.floor, self.version)

    def picture(self) -> Hashable:
        if self.state == "done":
            return self.state
        claimed = () if self.claim is None else self.claim.cells
        cells = tuple((cell.token is None, len(cell.doubters)) for cell in claimed)
        return self.state, self.version, self.tags, cells


class Reader:
    """One read of the register: from the cache, or from the database and into the cache."""

    steps: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "new": {"ask": "asked"},
        "asked": {"snapshot": "read"},
        "read": {"answer": "answered", "fill": "filled"},  # the order of these two is free
        "answered": {"fill": "done"},
        "filled": {"answer": "done"},
        "done": {},
    }

    def __init__(self, world: World) -> None:
        self.world = world
        self.state = "new"
        self.floor = 0
        self.stamp: Stamp | None = None
        self.value = -1

    def ask(self) -> None:
        self.floor = self.world.floor
        entry = self.world.cache.lookup(KEY, 0.0)
        if entry is None:
            self.stamp = self.world.cache.capture(READ_TAGS)
        else:
            self.value = int(entry.body)
            self.hit()

    def hit(self) -> None:
        self.answer()
        self.state = "done"

    def snapshot(self) -> None:
        self.value = self.world.visible

    def answer(self) -> None:
        self.world.give(self.value, self.floor)

    def fill(self) -> None:
        if self.stamp is not None:
            self.world.cache.fill(KEY, self.stamp, None, b"%d" % self.value, 0.0, 0.0)

    def picture(self) -> Hashable:
        if self.state == "done" or (self.state == "answered" and self.stamp is None):
            return "done"
        floor = None if self.state == "answered" else self.floor  # for the answer only
        stamp = None if self.state == "filled" else picture_of(self.stamp)  # for the fill only
        return self.state, floor, self.value, stamp


def picture_of(stamp: Stamp | None) -> Hashable:
    """All that decides about a stamp from now on: tokens that are drawn later never equal one of it."""
    return None if stamp is None else tuple(cell.token is token for cell, token in stamp.pairs)


@dataclass(frozen=True, slots=True)
class Rules:
    """Which rules hold in a world; each may be replaced by a broken one."""

    coherence: type[Coherence] = Coherence
    cache: type[Cache] = Cache
    writer: type[Writer] = Writer
    reader: type[Reader] = Reader
    writes: tuple[frozenset[Hashable], ...] = field(default=(write_tags("db", [1]), write_tags("db", [1])))
    readers: int = 2


class World:
    """The cache, the register, who uses them, and what has been told to somebody."""

    def __init__(self, rules: Rules) -> None:
        self.coherence = rules.coherence(numbered())
        self.store = MemoryStore(1 << 20, 1 << 10)
        self.cache = rules.cache(self.coherence, self.store, 60.0)
        self.visible = 0
        self.floor = 0
        self.actors: list[Writer | Reader] = [rules.writer(self, tags) for tags in rules.writes]
        self.actors += [rules.reader(self) for _ in range(rules.readers)]

    def choices(self) -> list[tuple[int, str]]:
        """The steps that are possible now."""
        return [(i, step) for i, actor in enumerate(self.actors) for step in actor.steps[actor.state]]

    def take(self, choice: tuple[int, str]) -> None:
        """Take one step; it may end its actor early."""
        actor = self.actors[choice[0]]
        before = actor.state
        getattr(actor, choice[1])()
        if actor.state == before:
            actor.state = actor.steps[before][choice[1]]

    def give(self, value: int, floor: int) -> None:
        """A read that began when `floor` was known returns `value` to its client."""
        if value < floor:
            raise StaleReadError(f"{value} after {floor}")
        self.floor = max(self.floor, value)

    def probe(self) -> None:
        """Read from the cache within one instant. Changes the world; it is of no use afterwards."""
        entry = self.cache.lookup(KEY, 0.0)
        if entry is not None:
            self.give(int(entry.body), self.floor)

    def picture(self) -> Hashable:
        """All that decides about the future: two worlds with one picture go on alike.

        Actors with equal pictures are interchangeable, so only their number counts.
        """
        entry = self.store.get(KEY)
        kept = None if entry is None else (entry.body, picture_of(entry.stamp))
        actors = Counter(actor.picture() for actor in self.actors)
        return self.visible, self.floor, kept, frozenset(actors.items())


Schedule = tuple[tuple[int, str], ...]


def search(rules: Rules) -> tuple[Schedule | None, int]:
    """Try all interleavings: the shortest schedule that breaks the promise, if any, and the states seen."""
    seen: set[Hashable] = set()
    waiting: deque[Schedule] = deque([()])
    while waiting:
        schedule = waiting.popleft()
        world = World(rules)
        try:
            for choice in schedule:
                world.take(choice)
            picture, choices = world.picture(), world.choices()
            if picture in seen:
                continue
            world.probe()
        except StaleReadError:
            return schedule, len(seen)
        seen.add(picture)
        waiting.extend((*schedule, choice) for choice in choices)
    return None, len(seen)
