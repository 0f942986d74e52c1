"""The fast lane against the long way: the same conversation must leave the same bytes and the same state."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from struct import unpack_from
from typing import TYPE_CHECKING, cast
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.cache import Cache
from cache.coherence import Coherence
from cache.memory import MemoryStore
from pool.connect import Opened, Target
from pool.plan import PoolLimits
from pool.pool import Pool
from pool.server import Server
from pool.stream import Stream
from pool.tasks import Tasks
from proxy.clients import ClientLimits, Clients
from proxy.database import Database, Identities
from proxy.express import send_plain
from proxy.reading import Reader
from proxy.session import Session
from stats.stats import Stats
from tests.support import frames
from tests.support.frames import SYNC, bind, describe, execute, frame, parse, query

if TYPE_CHECKING:
    from collections.abc import Callable

READ, OTHER = "SELECT v FROM t WHERE id = 1", "SELECT v FROM t WHERE id = $1"
BATCHES = {
    "simple": query(READ),
    "simple other": query("SELECT 2"),
    "two": query(READ) + query(READ),
    "unnamed": parse(OTHER) + bind("7") + describe("P") + execute() + SYNC,
    "unnamed undescribed": parse(OTHER) + bind("7") + execute() + SYNC,
    "unnamed typed": parse(OTHER, "", (23,)) + bind("7") + describe("P") + execute() + SYNC,
    "prepare": parse(OTHER, "s") + SYNC,
    "prepare and run": parse(READ, "r") + bind(statement="r") + describe("P") + execute() + SYNC,
    "prepared": bind("8", statement="s") + describe("P") + execute() + SYNC,
    "prepared undescribed": bind("8", statement="s") + execute() + SYNC,
    "unnamed again": bind("9") + describe("P") + execute() + SYNC,
    "some rows": parse(OTHER) + bind("7") + execute(rows=1) + SYNC,
    "portal": parse(OTHER) + bind("7", portal="p") + execute("p") + SYNC,
    "pipeline": (parse(OTHER) + bind("7") + execute() + SYNC) * 2,
    "no sync": parse(OTHER) + bind("7") + execute(),
    "sync": SYNC,
    "begin": query("BEGIN"),
    "commit": query("COMMIT"),
    "set": query("SET work_mem = '1MB'"),
    "write": query("UPDATE t SET v = 1 WHERE id = 2"),
}
FAULTS = ("", "", "", "error", "notice", "parameter", "torn")


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return 0


class Postgres:
    """Answers what it is sent, a fault at the first statement if wanted."""

    def __init__(self) -> None:
        self.status = "I"
        self.skipping = False

    def answer(self, data: bytes, fault: str) -> bytes:
        out = b""
        position = 0
        while position < len(data):
            tag, length = chr(data[position]), unpack_from(">I", data, position + 1)[0]
            body = data[position + 5 : position + 1 + length]
            position += 1 + length
            if tag == "S":
                self.skipping = False
                out += self._ready()
            elif not self.skipping:
                said, fault = self._message(tag, body, fault)
                out += said
        return out

    def _message(self, tag: str, body: bytes, fault: str) -> tuple[bytes, str]:
        if tag not in "QE":
            return {"P": frame("1"), "B": frame("2"), "C": frame("3"), "D": frames.row_description("v")}[tag], fault
        if fault == "error":
            self.skipping = tag == "E"
            error = frames.error_response("22012", "division by zero")
            self.status = "E" if self.status != "I" else "I"
            return error + (b"" if self.skipping else self._ready()), ""
        odd = {"notice": frame("N", b"SNOTICE\0\0"), "parameter": frame("S", b"TimeZone\0Asia/Tokyo\0")}.get(fault, b"")
        text = body[:-1] if tag == "Q" else b""
        if text in (b"BEGIN", b"COMMIT"):
            self.status = "T" if text == b"BEGIN" else "I"
        rows = frames.row_description("v") if text.startswith(b"SELECT") else b""
        rows += frames.data_row("1") if tag == "E" or rows else b""
        done = odd + rows + frame("C", (text.split(b" ")[0] or b"SELECT 1") + b"\0")
        return done + (self._ready() if tag == "Q" else b""), ""

    def _ready(self) -> bytes:
        return frame("Z", self.status.encode())


@dataclass(frozen=True, slots=True)
class Trace:
    """What can be seen of a conversation, and what it left."""

    to_server: bytes
    to_client: bytes
    state: tuple[object, ...]


class Busy:
    """Somebody else who has the server."""

    def server_data(self, out: bytes) -> None:
        raise AssertionError

    def server_answered(self, out: bytes, rows: int) -> None:
        raise AssertionError

    def server_lost(self, reason: str) -> None:
        raise AssertionError

    def server_congested(self, congested: bool) -> None:
        raise AssertionError


def converse(steps: list[tuple[str, str]], *, lane: bool, queued: bool = False) -> Trace:
    """Go through the steps in one world; without the lane if so; ``queued``: the server is with others each time."""
    clock: Callable[[], float] = lambda: 1.0  # noqa: E731 - a clock that stands still
    stats, cache = Stats(10.0), Cache(Coherence(), MemoryStore(1 << 20, 1 << 16), 60.0)
    database = Database("d", stats, cache, Identities(), mode="off", session_pooling="transaction")
    target = Target("127.0.0.1", 1, "u", "d")
    pool = Pool("d", target, PoolLimits(size=1, reserve_size=0, cancel_timeout=0.0, queue_timeout=0.0), clock, Tasks())
    wire, client, postgres = Wire(), Wire(), Postgres()
    opened = Opened(wire, {"TimeZone": "UTC"}, 1, b"key", False, b"", 0, (2, ("127.0.0.1", 1)), Stream(), target)
    server = Server(pool, opened, target, 0.0, 0.0)
    pool._servers.add(server)
    pool.available(server)
    clients = Clients(ClientLimits(), Reader(cache, clock), clock, database.statements.get(b"DO ''"))
    session = Session(client, database, pool, clients, user="u", profile=pool.profiles.empty, application="a", number=1)
    with contextlib.nullcontext() if lane else patch("proxy.session.send_plain", return_value=False):
        seen = 0
        for name, trouble in steps:
            fault = trouble
            busy = pool.lend(Busy(), 1.0) if queued else None
            session.data_received(BATCHES[name])
            if busy is not None:
                busy.give_back()
            while seen < len(wire.written) and not wire.ended:
                said = postgres.answer(wire.written[seen:], fault)
                seen = len(wire.written)
                if fault == "torn":
                    server.data_received(said[:7])
                    said = said[7:]
                fault = ""
                if said:
                    server.data_received(said)
    stats.settle()
    counters = database.counters
    state: tuple[object, ...] = (
        server.pipeline.status,
        list(server.pipeline.queue),
        server.pipeline.batch,
        server.pipeline.at_rest,
        session.down.server is server,
        server.owner is session.down,
        server.profile is session.profile,
        {name: (held.query, held.types) for name, held in session.uplink.statements.items()},
        dict(session.uplink.doubtful),
        sorted(session.uplink.portals) if session.down.server is None else None,
        cast("object", server.statements._unnamed is not None),
        len(server.statements),
        session.ledger.pins,
        (wire.ended, client.ended),
        len(session.down.turns),
        counters.outcomes,
        counters.rows,
        counters.errors,
        counters.bypasses,
        pool.counters.leases,
        pool.status().idle,
    )
    return Trace(wire.written, client.written, state)


def same(steps: list[tuple[str, str]], *, queued: bool = False) -> None:
    quick, long = converse(steps, lane=True, queued=queued), converse(steps, lane=False, queued=queued)
    assert quick.to_server == long.to_server
    assert quick.to_client == long.to_client
    assert quick.state == long.state


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize("fault", sorted(set(FAULTS)))
@pytest.mark.parametrize("name", BATCHES)
def test_each_turn_alone(name: str, fault: str, queued: bool) -> None:
    same([("prepare", ""), (name, fault), ("simple", "")], queued=queued)


@given(st.lists(st.tuples(st.sampled_from(sorted(BATCHES)), st.sampled_from(FAULTS)), max_size=8), st.booleans())
@settings(deadline=None)
def test_any_conversation(steps: list[tuple[str, str]], queued: bool) -> None:
    same(steps, queued=queued)


@pytest.mark.parametrize(
    "name", ["simple", "unnamed", "unnamed undescribed", "unnamed typed", "prepared", "prepared undescribed"]
)
@pytest.mark.parametrize("queued", [False, True])
def test_usual_turns_take_the_lane(name: str, queued: bool) -> None:
    taken: list[bool] = []

    def watched(session: Session, data: bytes, now: float) -> bool:
        taken.append(send_plain(session, data, now))
        return taken[-1]

    with patch("proxy.session.send_plain", watched):
        converse([("prepare", ""), (name, "")], lane=True, queued=queued)
    assert taken == ([False, False, False, True] if queued else [False, True])
