"""What leaves for the server, and when, whatever pieces its answers come in."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from cache.cache import Cache
from cache.coherence import Coherence
from cache.memory import MemoryStore
from pool.connect import Opened, Target
from pool.plan import PoolLimits
from pool.pool import Pool
from pool.server import Server
from pool.stream import Stream
from pool.tasks import Tasks
from protocol import build
from proxy.clients import ClientLimits, Clients
from proxy.database import Database, Identities
from proxy.deferred import DeferringSession, turn_end
from proxy.reading import Reader
from stats.records import Outcome
from stats.stats import Stats
from tests.proxy.test_express import Wire
from tests.support import frames
from tests.support.frames import SYNC, close, execute, extended, frame, parse, query

BEGIN = query("BEGIN")
BEGUN = frame("C", b"BEGIN\0") + frame("Z", b"T")
AHEAD = parse("BEGIN") + build.bind("", "") + execute()
AHEAD_OF_A_BATCH = AHEAD + close("P") + close("S")
GONE_AHEAD = frame("1") + frame("2") + frame("C", b"BEGIN\0")
ONE = frames.row_description("v") + frames.data_row("1") + frame("C", b"SELECT 1\0")
REFUSED = frames.error_response("0A000", "not here")
SWITCHED = frame("C", b"SELECT 1\0") + frame("Z", b"I")


@dataclass(slots=True)
class World:
    """One client, one server connection."""

    client: Wire
    wire: Wire
    session: DeferringSession
    server: Server
    database: Database

    def set_up(self) -> None:
        """The client's settings are not the server connection's."""
        self.session.profile = self.session.pool.profiles.changed(self.session.profile, "app.user", "me")

    def leased(self) -> bool:
        """Has the client the server connection?"""
        return self.session.down.server is self.server

    def up(self) -> bytes:
        """What has left for the server since it was last asked."""
        written, self.wire.written = self.wire.written, b""
        return written

    def down(self) -> bytes:
        """The same for the client."""
        written, self.client.written = self.client.written, b""
        return written


def world(mode: str = "off") -> World:
    """A deferring session at rest."""
    stats, cache = Stats(10.0), Cache(Coherence(), MemoryStore(1 << 20, 1 << 16), 60.0)
    database = Database("d", stats, cache, Identities(), mode=mode, session_pooling="transaction", defers=True)
    target = Target("127.0.0.1", 1, "u", "d")
    pool = Pool("d", target, PoolLimits(cancel_timeout=0.0), lambda: 1.0, Tasks())
    client, wire = Wire(), Wire()
    opened = Opened(wire, {"TimeZone": "UTC"}, 1, b"key", False, b"", 0, (2, ("127.0.0.1", 1)), Stream(), target)
    server = Server(pool, opened, target, 0.0, 0.0)
    pool.available(server)
    clients = Clients(ClientLimits(), Reader(cache, lambda: 1.0), lambda: 1.0, database.statements.get(b"DO ''"))
    profile = pool.profiles.empty
    session = DeferringSession(client, database, pool, clients, user="u", profile=profile, application="a", number=1)
    return World(client, wire, session, server, database)


def test_nothing_leaves_before_something_must() -> None:
    new = world()
    for end, tag in (("COMMIT", b"COMMIT\0"), ("ABORT", b"ROLLBACK\0")):
        new.session.data_received(BEGIN)
        assert new.down() == BEGUN
        new.session.data_received(query(end)[:8])
        new.session.data_received(query(end)[8:])
        assert new.down() == frame("C", tag) + frame("Z", b"I")
    assert new.up() == b""
    assert new.session.pool.counters.leases == 0
    new.session.database.stats.settle()
    assert new.database.counters.outcomes[Outcome.LOCAL] == 4


def test_a_message_that_is_cut_elsewhere_is_no_begin() -> None:
    new = world()
    new.session.data_received(frames.lying_frame(b"Q", 7, b"BEGIN\0"))
    assert new.down() != BEGUN


def test_begin_goes_ahead_of_the_statement() -> None:
    for said, ahead in ((query("SELECT 1"), AHEAD), (extended("SELECT 1"), AHEAD_OF_A_BATCH)):
        new = world()
        new.session.data_received(BEGIN)
        new.session.data_received(said)
        assert new.up() == ahead + said


def test_answers_in_pieces() -> None:
    """Behind a switch of settings, which is over outside the transaction."""
    answer = SWITCHED + GONE_AHEAD + ONE + frame("Z", b"T")
    for at in range(1, len(answer)):
        new = world()
        new.set_up()
        new.session.data_received(BEGIN)
        new.session.data_received(query("SELECT 1"))
        assert new.up().endswith(AHEAD + query("SELECT 1"))
        new.down()
        new.server.data_received(answer[:at])
        new.session.data_received(query("SELECT 2"))
        held = at < len(SWITCHED + GONE_AHEAD)
        assert new.up() == (b"" if held else query("SELECT 2")), at
        new.server.data_received(answer[at:])
        assert new.up() == (query("SELECT 2") if held else b""), at
        assert new.down() == ONE + frame("Z", b"T")
        new.server.data_received(ONE + frame("Z", b"T"))
        assert new.leased()
        new.session.data_received(query("COMMIT"))
        new.server.data_received(frame("C", b"COMMIT\0") + frame("Z", b"I"))
        assert not new.leased()
        assert new.session.pool.status().idle == 1


@pytest.mark.parametrize("said", [frames.FLUSH, frame("c") + frames.FLUSH])
def test_a_flush_does_not_end_the_lease(said: bytes) -> None:
    """BEGIN is proved before anything says how the transaction stands."""
    new = world()
    new.set_up()
    new.session.data_received(BEGIN)
    new.session.data_received(said)
    new.server.data_received(SWITCHED)
    new.server.data_received(GONE_AHEAD + frame("3") * 2)
    assert new.leased()
    assert new.session.ledger.deferred is None
    new.session.data_received(query("SELECT 1"))
    new.server.data_received(ONE + frame("Z", b"T"))
    assert new.leased()


@pytest.mark.parametrize("failing", [b"", frame("1"), frame("1") + frame("2")])
def test_a_query_behind_a_begin_that_fails(failing: bytes) -> None:
    """The server has skipped it, and waits for a Sync."""
    new = world()
    new.session.data_received(BEGIN)
    new.session.data_received(query("SELECT 1"))
    new.up()
    new.down()
    new.server.data_received(failing + REFUSED)
    assert new.up() == SYNC
    new.server.data_received(frame("Z", b"I"))
    assert new.down() == REFUSED + frame("Z", b"I")
    assert not new.leased()
    assert new.session.pool.status().idle == 1


def test_a_stray_message_behind_a_begin_that_fails() -> None:
    """Nobody's turn: the error is told, and the server is brought back."""
    new = world()
    new.session.data_received(BEGIN)
    new.session.data_received(frames.FLUSH)
    new.up()
    new.down()
    new.server.data_received(REFUSED)
    assert new.down() == REFUSED
    assert new.up() == SYNC
    new.server.data_received(frame("Z", b"I"))
    assert not new.leased()


def test_what_is_written_behind_it_does_not_commit_yet() -> None:
    """So cached answers live on until something may."""
    new = world("auto")
    new.session.data_received(BEGIN)
    new.session.data_received(query("INSERT INTO t VALUES (1)"))
    assert new.session.down.turns[0].mark is None
    new.server.data_received(GONE_AHEAD + frame("C", b"INSERT 0 1\0") + frame("Z", b"T"))
    new.session.data_received(query("COMMIT"))
    assert new.session.down.turns[0].mark is not None


def test_the_connection_is_lost_on_the_way() -> None:
    new = world()
    new.session.data_received(BEGIN)
    new.session.data_received(query("SELECT 1"))
    new.down()
    new.server.close("gone")
    assert b"C08006" in new.down()
    assert new.client.ended


def test_where_a_turn_ends() -> None:
    one, batch = query("SELECT 1"), extended("SELECT 1")
    assert turn_end(one + batch, 0) == len(one)
    assert turn_end(batch + one, 0) == len(batch)
    assert turn_end(batch[:-5], 0) == len(batch) - 5
    assert turn_end(one[:-1], 0) == len(one) - 1
    assert turn_end(b"xyz" + SYNC + one, 3) == 8
    assert turn_end(b"", 0) == 0
