"""The way up, byte by byte: what a leased server is sent for what a client says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from cache.cache import Cache
from cache.coherence import Coherence
from cache.memory import MemoryStore
from pool.connect import Opened, Target
from pool.plan import PoolLimits
from pool.pool import Pool
from pool.prepared import close_message
from pool.server import Server
from pool.stream import Stream
from pool.tasks import Tasks
from protocol.errors import RemoteProtocolError
from protocol.replies import BIND, CLOSE, DESCRIBE_STATEMENT, EXECUTE, FAKE, FORWARD, PARSE, QUERY, SWALLOW, SYNC
from proxy.database import Database, Identities
from proxy.inbox import FAR
from proxy.ledger import Ledger
from proxy.statements import Statements
from proxy.turn import Turn
from proxy.uplink import STREAM, Terminated, Uplink
from stats.stats import Stats
from tests.support import frames
from tests.support.frames import FLUSH, bind, close, describe, execute, parse, query

if TYPE_CHECKING:
    from pool.server import Note
    from proxy.knowledge import Known

READY = frames.frame("Z", b"I")


class Talk:
    """One client's way up to one server, without a network; the session is played by this object."""

    def __init__(self, server: Server | None = None) -> None:
        self.uplink = Uplink(self, 1 << 30)
        self.server = server or new_server()
        self.answered = b""
        self.executed: list[bytes] = []
        self.turn: Turn | None = None
        self.longest = 0
        self.texts = Statements(Stats(1.0).digest)
        self.every: Known | None = self.texts.get(b"FETCH 1 FROM a_cursor")  # all texts are of the kind not described
        cache = Cache(Coherence(), MemoryStore(1 << 20, 1 << 16), 60.0)
        self.ledger = Ledger(Database("d", Stats(1.0), cache, Identities(), mode="off", session_pooling="transaction"))
        self.profile = self.server.pool.profiles.empty

    # what Uplink asks

    def known(self, text: bytes) -> Known:
        return self.every or self.texts.get(text)

    def query(self, known: Known, text: bytes, server: Server) -> Turn:
        return Turn(0.0)

    def sync(self, server: Server) -> Turn:
        return Turn(0.0)

    def function(self, server: Server) -> Turn:
        return Turn(0.0)

    def executes(self, known: Known, text: bytes, server: Server, *, partial: bool) -> None:
        self.executed.append(text)

    def executes_unknown(self, server: Server) -> None:
        self.executed.append(b"?")

    def answer(self, data: bytes) -> None:
        self.answered += data

    # what the test does

    def say(self, data: bytes) -> bytes:
        """What goes up; all of it must have been used."""
        up, used, _ = self.uplink.forward(data, self.server)
        assert used == len(data)
        return up

    def hear(self, data: bytes) -> bytes:
        """What comes down; what it proves is recorded."""
        pipeline = self.server.pipeline
        out = pipeline.receive(data)
        for note in pipeline.proved:
            cast("Note", note).proved()
        for note in pipeline.dropped:
            cast("Note", note).dropped()
        for record in (pipeline.proved, pipeline.dropped, pipeline.failed, pipeline.finished):
            record.clear()
        return out

    def queue(self) -> list[tuple[int, int]]:
        """Kinds and actions of what is outstanding."""
        return [(kind, action) for kind, action, _, _ in self.server.pipeline.queue]


def new_server() -> Server:
    """A server that nobody is connected to."""
    target = Target("127.0.0.1", 1, "user", "db")
    pool = Pool("db", target, PoolLimits(), lambda: 0.0, Tasks())
    opened = Opened(asyncio.Transport(), {}, 1, b"key", False, b"", 0, (2, ("127.0.0.1", 1)), Stream(), target)
    return Server(pool, opened, target, 0.0, 0.0)


def prepared(talk: Talk, text: str, name: str) -> None:
    """The client has prepared a statement, and been told so."""
    talk.say(parse(text, name) + frames.SYNC)
    talk.hear(frames.frame("1") + READY)
    assert not talk.queue()


def test_simple_queries_pass_as_they_are() -> None:
    talk = Talk()
    data = query("SELECT 1") + query("SELECT 2")
    assert talk.say(data) is data
    assert talk.queue() == [(QUERY, FORWARD)] * 2


def test_names_are_rewritten_to_ours() -> None:
    talk = Talk()
    assert talk.say(parse("SELECT $1", "mine", [23])) == parse("SELECT $1", "forebay_1", [23])
    assert talk.say(describe("S", "mine")) == describe("S", "forebay_1")
    assert talk.say(bind("7", statement="mine", portal="p", results=1)) == bind(
        "7", statement="forebay_1", portal="p", results=1
    )
    assert talk.say(execute("p", 3)) == execute("p", 3)
    assert talk.say(frames.SYNC) == frames.SYNC
    assert talk.executed == [b"SELECT $1", b"SELECT $1"], "at its Bind, for the portal has a name, and at Execute"


def test_the_usual_batch_goes_in_one_piece() -> None:
    for middle in (b"", describe("P")):
        talk = Talk()
        prepared(talk, "SELECT $1", "mine")
        batch = bind("7", statement="mine") + middle + execute() + frames.SYNC
        assert talk.say(batch) == bind("7", statement="forebay_1") + middle + execute() + frames.SYNC
        assert [kind for kind, _ in talk.queue()][-1] == SYNC
        assert len(talk.queue()) == (4 if middle else 3)
        assert not talk.uplink.open


def test_another_server_is_given_the_statement_first() -> None:
    talk = Talk()
    prepared(talk, "SELECT 1", "mine")
    talk.server = new_server()
    batch = bind(statement="mine") + execute() + frames.SYNC
    expected = parse("SELECT 1", "forebay_1") + bind(statement="forebay_1") + execute() + frames.SYNC
    assert talk.say(batch) == expected
    assert talk.queue() == [(PARSE, SWALLOW), (BIND, FORWARD), (EXECUTE, FORWARD), (SYNC, FORWARD)]
    assert talk.hear(frames.frame("1") + frames.frame("2")) == frames.frame("2")
    talk.hear(frames.frame("I") + READY)
    assert not talk.say(batch).startswith(b"P")


def test_what_the_server_has_is_not_sent_again_and_answered_in_its_place() -> None:
    talk = Talk()
    prepared(talk, "SELECT 1", "mine")
    other = Talk(talk.server)
    assert other.say(close("S", "x") + parse("SELECT 1", "theirs") + execute() + frames.SYNC) == execute() + frames.SYNC
    assert other.queue() == [(CLOSE, FAKE), (PARSE, FAKE), (EXECUTE, FORWARD), (SYNC, FORWARD)]
    assert other.hear(frames.frame("I") + READY) == (frames.frame("3") + frames.frame("1") + frames.frame("I") + READY)


def test_a_flush_brings_what_needs_no_server() -> None:
    talk = Talk()
    prepared(talk, "SELECT 1", "mine")
    other = Talk(talk.server)
    assert other.say(parse("SELECT 1", "theirs") + FLUSH) == FLUSH
    assert other.answered == frames.frame("1")


def test_a_name_in_use_is_refused_by_the_server() -> None:
    talk = Talk()
    prepared(talk, "SELECT 1", "mine")
    again = parse("SELECT 2", "mine")
    assert talk.say(again) == close_message(b"mine") + parse("", "mine") + again
    assert talk.queue() == [(CLOSE, SWALLOW), (PARSE, SWALLOW), (PARSE, FORWARD)]
    assert talk.server.statements.strays == {b"mine"}
    assert talk.say(frames.SYNC) == frames.SYNC
    talk.hear(frames.frame("3") + frames.frame("1") + frames.error_response("42P05", "exists") + READY)
    assert talk.say(bind(statement="mine")) == bind(statement="forebay_1"), "the first one still stands"


def test_unknown_names_are_refused_by_the_server_and_never_found_there() -> None:
    talk = Talk()
    assert talk.say(bind(statement="none")) == bind(statement="none")
    assert talk.say(describe("S", "none")) == describe("S", "none")
    assert talk.say(bind(statement="forebay_1")) == bind(statement="?forebay_1")
    assert talk.say(describe("S", "forebay_1")) == describe("S", "?forebay_1")
    talk.server.statements.strays.add(b"stray")
    assert talk.say(bind(statement="stray")) == close_message(b"stray") + bind(statement="stray")
    assert talk.say(describe("S", "stray")) == close_message(b"stray") + describe("S", "stray")


def test_the_unnamed_statement_is_brought_along_and_never_found_by_others() -> None:
    talk = Talk()
    assert talk.say(parse("SELECT 1") + bind()) == parse("SELECT 1") + bind()
    talk.say(frames.SYNC)
    talk.hear(frames.frame("1") + frames.frame("2") + READY)
    other = Talk(talk.server)
    assert other.say(bind()) == close_message(b"") + bind()
    assert other.say(describe("S")) == close_message(b"") + describe("S")
    assert talk.say(bind()) == parse("SELECT 1") + bind()
    talk.say(query("SELECT 2"))
    assert talk.say(bind()) == close_message(b"") + bind(), "a simple Query has dropped it"


def test_a_failed_batch_is_undone() -> None:
    talk = Talk()
    prepared(talk, "SELECT 1", "kept")
    talk.say(parse("SELEC", "bad") + close("S", "kept") + parse("SELECT 2", "kept") + parse("SELECT 3", "new"))
    talk.say(frames.SYNC)
    talk.hear(frames.error_response("42601", "syntax error") + READY)
    assert {name: one.query for name, one in talk.uplink.statements.items()} == {b"kept": b"SELECT 1"}


def test_a_parse_that_fails_takes_the_unnamed_statement_and_one_that_is_skipped_does_not() -> None:
    for failing, left in ((b"", b"SELECT 1"), (parse("SELEC"), None)):
        talk = Talk()
        prepared(talk, "SELECT 1", "")
        talk.say((failing or bind(statement="none")) + parse("SELECT 2") + frames.SYNC)
        talk.hear(frames.error_response("42601", "no") + READY)
        found = talk.uplink.statements.get(b"")
        assert (found.query if found else None) == left


@pytest.mark.parametrize("later", [parse("SELECT 2", "a"), bind(statement="a"), describe("S", "a"), close("S", "a")])
def test_a_later_batch_waits_until_a_name_is_certain(later: bytes) -> None:
    talk = Talk()
    talk.say(bind(statement="perhaps wrong") + parse("SELECT 1", "a") + frames.SYNC)
    up, used, needed = talk.uplink.forward(bind(statement="b") + later + frames.SYNC, talk.server)
    assert up == bind(statement="b")
    assert used == len(up)
    assert needed > 1 << 32
    assert talk.uplink.stalled
    talk.hear(frames.error_response("26000", "no such statement") + READY)
    assert talk.uplink.doubtful == {}
    assert talk.say(later + frames.SYNC).endswith(frames.SYNC)


def test_one_batch_may_rely_on_itself() -> None:
    talk = Talk()
    talk.say(parse("SELECT 1", "a") + bind(statement="a") + close("S", "a") + parse("SELECT 2", "a") + frames.SYNC)
    assert not talk.uplink.stalled


def test_big_binds_stream() -> None:
    talk = Talk()
    prepared(talk, "SELECT $1", "mine")
    message = bind("x" * (STREAM * 3), statement="mine")
    wanted = bind("x" * (STREAM * 3), statement="forebay_1")
    up, used, needed = talk.uplink.forward(message[:5], talk.server)
    assert (up, used, needed) == (b"", 0, 6), "the header alone says too little, and the whole need not be waited for"
    first = talk.say(message[:100])
    assert first == wanted[: len(first)]
    assert talk.uplink.left == len(message) - 100
    assert first + talk.say(message[100:9000]) + talk.say(message[9000:] + frames.SYNC) == wanted + frames.SYNC


def test_small_messages_are_waited_for() -> None:
    for message in (query("SELECT 1"), parse("SELECT 1", "a"), bind(statement="a"), execute(), describe("P")):
        for cut in range(len(message)):
            talk = Talk()
            up, used, needed = talk.uplink.forward(frames.SYNC + message[:cut], talk.server)
            assert (up, used) == (frames.SYNC, len(frames.SYNC))
            assert cut < needed <= max(6, len(message))


def test_copy_data_streams_while_somebody_reads_it_and_is_dropped_else() -> None:
    data = frames.frame("d", b"x" * 1000)
    talk = Talk()
    assert talk.say(data[:100]) == b""
    assert talk.say(data[100:] + frames.COPY_DONE) == b""
    talk.say(query("COPY t FROM STDIN"))
    assert talk.say(data[:100]) + talk.say(data[100:]) == data
    assert talk.say(frames.COPY_DONE) == frames.COPY_DONE


def test_a_sync_waits_for_no_answer_that_is_ours() -> None:
    talk = Talk()
    talk.every = talk.texts.get(b"COPY t FROM STDIN")
    talk.say(query("COPY t FROM STDIN"))
    talk.hear(frames.error_response("42P01", "no such table") + READY)
    assert talk.say(close("S", "none") + frames.SYNC) == frames.SYNC
    assert talk.answered == frames.frame("3")


COPY_BEGINS = frames.frame("G", b"\0\0\0")
NO_TABLE = frames.error_response("42P01", "no such table")


@pytest.mark.parametrize("outcome", [COPY_BEGINS, COPY_BEGINS + NO_TABLE, NO_TABLE, frames.frame("C", b"COPY 1\0")])
def test_a_sync_waits_until_it_is_known_whether_a_copy_begins(outcome: bytes) -> None:
    talk = Talk()
    talk.every = talk.texts.get(b"COPY t FROM STDIN")
    batch = parse("COPY t FROM STDIN") + bind() + execute()
    up, used, needed = talk.uplink.forward(batch + frames.SYNC, talk.server)
    assert (up, used, needed) == (batch + FLUSH, len(batch), FAR)
    assert talk.uplink.stalled
    talk.hear(frames.frame("1"))
    assert talk.uplink.forward(frames.SYNC, talk.server) == (b"", 0, FAR), "one Flush is enough"
    talk.hear(frames.frame("2") + outcome)
    assert talk.say(frames.SYNC) == (b"" if outcome.startswith(b"G") else frames.SYNC)
    if outcome == COPY_BEGINS:
        assert talk.say(frames.COPY_DONE + frames.SYNC) == frames.COPY_DONE + frames.SYNC
    elif outcome.startswith(b"G"):
        assert talk.say(frames.COPY_DONE + frames.SYNC) == frames.SYNC


def test_a_sync_during_a_copy_is_withheld() -> None:
    talk = Talk()
    talk.say(parse("COPY t FROM STDIN") + bind() + execute())
    talk.hear(frames.frame("1") + frames.frame("2") + frames.frame("G", b"\0\0\0"))
    assert talk.say(frames.SYNC) == b""
    assert talk.say(FLUSH) == b""


MALFORMED = [
    (frames.frame("Q", b"SELECT 1"), QUERY),
    (frames.frame("Q", b"SELECT\0 1\0"), QUERY),
    (frames.frame("P", b"a\0SELECT 1\0\0\1"), PARSE),
    (frames.frame("B", b"portal"), BIND),
    (frames.frame("D", b"Xa\0"), DESCRIBE_STATEMENT),
    (frames.frame("E", b"\0"), EXECUTE),
    (frames.frame("C", b"S"), CLOSE),
]


@pytest.mark.parametrize(("message", "kind"), MALFORMED)
def test_malformed_bodies_go_up_for_the_server_to_refuse(message: bytes, kind: int) -> None:
    talk = Talk()
    assert talk.say(message) == message
    assert talk.queue() == [(kind, FORWARD)]


@pytest.mark.parametrize(
    "message",
    [
        frames.frame("S", b"x"),
        frames.frame("~"),
        frames.frame("p", b"password\0"),
        frames.lying_frame(b"Q", 3),
        frames.lying_frame(b"Q", -1),
        frames.lying_frame(b"B", (1 << 30) + 1),
        frames.lying_frame(b"S", 1_000_000),
        frames.lying_frame(b"X", 1_000_000),
    ],
)
def test_what_no_server_should_see_ends_the_session(message: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Talk().say(message)


def test_goodbye() -> None:
    with pytest.raises(Terminated):
        Talk().say(frames.TERMINATE)
