"""Prepared statements by content, and what a server has of them: by proof, in pipelines, with failures anywhere."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.prepared import PREFIX, Prepared, Presence, Registry, ServerStatements, close_message
from tests.support import frames


def statement(number: int) -> Prepared:
    name = PREFIX + b"%d" % number
    return Prepared(name, b"SELECT %d" % number, b"", name + b"\0")


def test_the_same_content_is_one_object() -> None:
    registry = Registry(limit=10)
    first = registry.intern(b"SELECT 1", b"", b"")
    assert registry.intern(b"SELECT 1", b"", b"") is first
    assert registry.intern(b"SELECT 1", b"\0\0\0\x17", b"") is not first
    assert registry.intern(b"SELECT 2", b"", b"") is not first
    assert first.bind_name == first.name + b"\0"


def test_names_are_never_used_twice() -> None:
    registry = Registry(limit=2)
    names = [registry.intern(b"SELECT %d" % (number % 5), b"", b"").name for number in range(20)]
    assert len(set(names)) == 20, "each was forgotten before it came again"
    assert len(registry) == 2


def test_the_least_recently_prepared_is_forgotten() -> None:
    registry = Registry(limit=2)
    first = registry.intern(b"a", b"", b"")
    registry.intern(b"b", b"", b"")
    registry.intern(b"a", b"", b"")
    registry.intern(b"c", b"", b"")
    assert registry.intern(b"a", b"", b"") is first


def test_long_texts_do_not_pile_up() -> None:
    registry = Registry(limit=1000, size=100)
    for number in range(50):
        registry.intern(b"x" * 30 + b"%d" % number, b"", b"")
    assert len(registry) == 3
    registry.intern(b"x" * 1000, b"", b"")
    assert len(registry) == 0
    assert registry.intern(b"y", b"", b"") is registry.intern(b"y", b"", b"")


@given(
    st.binary(max_size=20).map(lambda name: name.replace(b"\0", b"")), st.lists(st.integers(0, 2**32 - 1), max_size=5)
)
def test_messages_are_well_formed(name: bytes, oids: list[int]) -> None:
    types = b"".join(oid.to_bytes(4, "big") for oid in oids)
    made = Prepared(b"n", b"SELECT $1", types, b"n\0").parse_message(name)
    assert made == frames.frame("P", name + b"\0SELECT $1\0" + len(oids).to_bytes(2, "big") + types)
    assert close_message(name) == frames.frame("C", b"S" + name + b"\0")


def test_a_statement_on_its_way_counts_for_its_own_batch() -> None:
    server, one = ServerStatements(), statement(1)
    assert server.presence(one, 1) is Presence.ABSENT
    server.sent(one, 1)
    assert server.presence(one, 1) is Presence.PRESENT
    assert server.presence(one, 2) is Presence.DOUBTFUL
    server.proved(one, 1)
    assert server.presence(one, 2) is Presence.PRESENT


def test_the_failure_of_a_batch_says_nothing_of_a_later_one() -> None:
    server, one = ServerStatements(), statement(1)
    server.sent(one, 1)
    server.sent(one, 2)
    server.dropped(one, 1)
    assert server.presence(one, 3) is not Presence.ABSENT
    server.proved(one, 2)
    assert server.presence(one, 3) is Presence.PRESENT


def test_the_proof_of_a_batch_says_nothing_of_a_later_one() -> None:
    server, one = ServerStatements(), statement(1)
    server.sent(one, 1)
    server.sent(one, 2)
    server.proved(one, 1)
    assert server.presence(one, 3) is Presence.DOUBTFUL, "batch 2 closes it and may fail before it parses"
    server.dropped(one, 2)
    assert server.presence(one, 3) is Presence.DOUBTFUL
    server.sent(one, 3)
    server.dropped(one, 3)
    assert server.presence(one, 4) is Presence.DOUBTFUL
    server.sent(one, 4)
    server.proved(one, 4)
    assert server.presence(one, 5) is Presence.PRESENT


def test_doubts_and_clearing() -> None:
    server, one, two = ServerStatements(), statement(1), statement(2)
    server.sent(one, 1)
    server.proved(one, 1)
    server.doubt()
    assert server.presence(one, 1) is Presence.DOUBTFUL
    assert server.presence(two, 1) is Presence.ABSENT
    server.sent(two, 3)
    server.clear()
    assert server.presence(one, 3) is Presence.ABSENT
    assert server.presence(two, 3) is Presence.PRESENT, "its Parse went behind the DEALLOCATE ALL"
    assert server.presence(two, 4) is Presence.DOUBTFUL


def test_the_least_recently_used_are_surplus() -> None:
    server = ServerStatements()
    known = [statement(number) for number in range(5)]
    for one in known:
        server.sent(one, 1)
        server.proved(one, 1)
    server.presence(known[0], 2)
    assert server.surplus(5) == []
    assert server.surplus(3) == [known[1], known[2]]
    server.closed(known[1])
    assert len(server) == 4
    assert server.presence(known[1], 2) is Presence.ABSENT


def test_the_unnamed_statement() -> None:
    server, one, two = ServerStatements(), statement(1), statement(2)
    assert not server.unnamed_is(one, 1)
    server.unnamed_sent(one, 1)
    assert server.unnamed_is(one, 1)
    assert not server.unnamed_is(one, 2)
    server.unnamed_sent(two, 2)
    server.unnamed_proved(one)
    assert not server.unnamed_is(one, 2), "another is on its way"
    server.unnamed_proved(two)
    assert server.unnamed_is(two, 9)
    server.unnamed_lost()
    assert not server.unnamed_is(two, 9)


# -- against a model


@dataclass
class Use:
    """One use of a statement in a batch: what is sent for it, and whether it fails itself."""

    statement: Prepared
    close: bool
    parse: bool
    batch: int


class World:
    """A server that answers in order, and the record of what it has."""

    def __init__(self) -> None:
        self.record = ServerStatements()
        self.batch = 0
        self.way: deque[Use | None] = deque()  # None = Sync
        self.there: set[Prepared] = set()
        self.failed = False

    def use(self, wanted: Prepared) -> None:
        presence = self.record.presence(wanted, self.batch)
        parse = presence is not Presence.PRESENT
        self.way.append(Use(wanted, presence is Presence.DOUBTFUL, parse, self.batch))
        if parse:
            self.record.sent(wanted, self.batch)

    def sync(self) -> None:
        self.batch += 1
        self.way.append(None)

    def answer(self, fate: str) -> None:
        """The server works off one entry; ``fate``: fine, or fails before the Close, the Parse, or the Bind."""
        use = self.way.popleft()
        if use is None:
            self.failed = False
            return
        if not self.failed and fate == "close":
            self.failed = True
        if use.close and not self.failed:
            self.there.discard(use.statement)
        if not self.failed and fate == "parse":
            self.failed = True
        if use.parse:
            if self.failed:
                self.record.dropped(use.statement, use.batch)
            else:
                assert use.statement not in self.there, "42P05: prepared statement already exists"
                self.there.add(use.statement)
                self.record.proved(use.statement, use.batch)
        assert self.failed or use.statement in self.there, "26000: prepared statement does not exist"
        if not self.failed and fate == "bind":
            self.failed = True


@pytest.mark.parametrize("depth", [1, 3])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("use"), st.integers(0, 2)),
            st.tuples(st.just("sync"), st.just(0)),
            st.tuples(st.sampled_from(["fine", "fine", "close", "parse", "bind"]), st.just(0)),
        ),
        max_size=60,
    )
)
def test_no_bind_misses_and_no_parse_collides(depth: int, steps: list[tuple[str, int]]) -> None:
    world = World()
    known = [statement(number) for number in range(depth)]
    for word, number in steps:
        if word == "use":
            world.use(known[number % depth])
        elif word == "sync":
            world.sync()
        elif world.way:
            world.answer(word)
    while world.way:
        world.answer("fine")


def test_the_same_text_read_elsewhere_is_another_content() -> None:
    registry = Registry(limit=10)
    assert registry.intern(b"a", b"", b"") is not registry.intern(b"a", b"", b"datestyle=ISO, DMY")


def test_what_is_prepared_after_a_change_is_new() -> None:
    registry = Registry(limit=10, size=100)
    first, second = registry.intern(b"a" * 60, b"", b""), registry.intern(b"b", b"", b"")
    registry.retire(first)
    registry.retire(first)
    assert not registry.is_current(first)
    assert registry.is_current(second)
    third = registry.intern(b"a" * 60, b"", b"")
    assert third is not first
    registry.retire(first)
    assert registry.is_current(third)
    registry.renew()
    assert len(registry) == 0
    assert registry.intern(b"b", b"", b"").name not in (first.name, second.name, third.name)


def test_what_is_not_as_it_should_be_is_parsed_again() -> None:
    server, one = ServerStatements(), statement(1)
    server.distrust(one)
    assert server.presence(one, 1) is Presence.ABSENT
    server.sent(one, 1)
    server.proved(one, 1)
    server.distrust(one)
    assert server.presence(one, 1) is Presence.DOUBTFUL
    assert len(server) == 1, "it is there, and will be closed in its turn"
