"""One connection, message by message, with a transport that writes down what it is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from proxy.console.control import Control
from proxy.console.execute import Executor, Shutdown
from proxy.console.rights import Role
from proxy.console.wire import MESSAGE_LIMIT, ConsoleConnection
from tests.proxy.console.still import SHOP, StillView, client, config
from tests.support import frames
from tests.support.frames import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from pool.pool import Pool
    from proxy.clients import Clients
    from proxy.config import Config
    from proxy.console.view import View


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.out = bytearray()
        self.closed = False
        self.flow = ["resume"]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.out += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        assert self.flow[-1] == "resume"
        self.flow.append("pause")

    def resume_reading(self) -> None:
        assert self.flow[-1] == "pause"
        self.flow.append("resume")


class OnePool:
    """A pool that releases its last connection when it is told to."""

    def __init__(self, database: str, *, released: bool) -> None:
        self.database = database
        self.released = released
        self.calls = ["resume"]
        self.on_released: Callable[[], None] | None = None

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def reconnect(self) -> None:
        self.calls.append("reconnect")


def two_databases() -> Config:
    """What PAUSE and its kin may name."""
    return config(databases={"shop": {"url": SHOP}, "blog": {"url": SHOP}})


class Desk:
    """A connection with all that it needs."""

    def __init__(self, view: StillView | None = None, role: Role | None = Role.ADMIN) -> None:
        self.transport = Transport()
        self.pool = OnePool("shop", released=False)
        self.blog = OnePool("blog", released=True)
        self.role = role
        self.logged: list[str] = []
        self.lost = 0
        self.wrong = ""
        self.shutdowns: list[Shutdown] = []
        view = view or StillView()
        pools = [cast("Pool", self.pool), cast("Pool", self.blog)]
        self.control = Control(pools, cast("Clients", []), two_databases)
        for pool in pools:
            self.control.adopt(pool)
        executor = Executor(cast("View", view), self.control, view.kept, lambda: self.wrong, self.shutdowns.append)
        self.connection = ConsoleConnection(
            self.transport, executor, lambda: self.role, self.logged.append, self._on_lost
        )

    def _on_lost(self) -> None:
        self.lost += 1

    def send(self, *data: bytes) -> list[Message]:
        """Hand in bytes; the answers so far."""
        self.connection.data_received(b"".join(data))
        return self.answers()

    def answers(self) -> list[Message]:
        """What has been written since the last look."""
        data, self.transport.out = bytes(self.transport.out), bytearray()
        found = []
        while data:
            length = int.from_bytes(data[1:5], "big")
            found.append(Message(chr(data[0]), data[5 : length + 1]))
            data = data[length + 1 :]
        return found


async def settle() -> None:
    """Let everything run that is ready to."""
    for _ in range(3):
        await asyncio.sleep(0)


MANY = StillView(client_states=[client(number) for number in range(1, 251)])


async def test_simple_query() -> None:
    messages = Desk().send(frames.query("SHOW VERSION"))
    assert frames.tags(messages) == "TDCZ"
    assert frames.rows(messages) == [("Forebay 9.8.7",)]
    assert messages[2].body == b"SHOW\0"


async def test_several_statements_and_an_error_among_them() -> None:
    desk = Desk()
    assert frames.tags(desk.send(frames.query("SHOW VERSION; RECONNECT; SHOW STATE"))) == "TDCCTDDDCZ"
    assert desk.pool.calls.count("reconnect") == 1
    messages = desk.send(frames.query("RECONNECT; SHOW NONSENSE; RECONNECT"))
    assert frames.tags(messages) == "CEZ"
    assert frames.errors(messages) == ["42601"]
    assert desk.pool.calls.count("reconnect") == 2
    assert frames.tags(desk.send(frames.query("SHOW VERSION"))) == "TDCZ"


async def test_empty_query() -> None:
    assert frames.tags(Desk().send(frames.query(" ; -- nothing"))) == "IZ"
    assert frames.tags(Desk().send(frames.extended(""))) == "12nIZ"


async def test_help_is_a_notice() -> None:
    messages = Desk().send(frames.query("SHOW HELP"))
    assert frames.tags(messages) == "NCZ"
    assert "KILL_CLIENT" in frames.fields(messages[0].body)["D"]


async def test_extended_query() -> None:
    desk = Desk()
    messages = desk.send(frames.extended("SHOW STATE"))
    assert frames.tags(messages) == "12TDDDCZ"
    assert frames.rows(messages)[0] == ("active", "yes")
    messages = desk.send(frames.parse("SHOW LISTS", "s"), frames.describe("S", "s"), frames.SYNC)
    assert frames.tags(messages) == "1tTZ"
    messages = desk.send(frames.bind(statement="s", portal="p", results=1), frames.execute("p", 2), frames.execute("p"))
    assert frames.tags(messages) == "2DDs" + "D" * 12 + "C"
    assert messages[1].body.endswith(b"\0\0\0\4\0\0\0\1")  # one database, as a binary int4
    assert frames.tags(desk.send(frames.SYNC, frames.describe("P", "p"), frames.SYNC)) == "ZEZ"
    assert frames.tags(desk.send(frames.close("S", "s"), frames.bind(statement="s"), frames.SYNC)) == "3EZ"


async def test_an_error_skips_up_to_sync() -> None:
    desk = Desk()
    messages = desk.send(frames.parse("SELECT 1"), frames.bind(), frames.execute(), frames.parse("RECONNECT"))
    assert frames.errors(messages) == ["42601"]
    assert frames.tags(messages) == "E"
    assert frames.tags(desk.send(frames.bind(), frames.execute(), frames.SYNC)) == "Z"
    assert desk.pool.calls.count("reconnect") == 0
    assert frames.tags(desk.send(frames.extended("RECONNECT"))) == "12nCZ"
    assert desk.pool.calls.count("reconnect") == 1


@pytest.mark.parametrize(
    ("data", "sqlstate"),
    [
        (frames.parse("SHOW POOLS; SHOW POOLS"), "42601"),
        (frames.parse("SHOW POOLS", oids=[23]), "42601"),
        (frames.parse("SHOW POOLS", "s") * 2, "42P05"),
        (frames.bind(statement="none"), "26000"),
        (frames.execute("none"), "34000"),
        (frames.describe("P", "none"), "34000"),
        (frames.parse("SHOW POOLS") + frames.bind("value"), "08P01"),
        (frames.parse("SHOW STATE") + frames.bind(results=2), "22023"),
        (frames.parse("RELOAD") + frames.bind() + frames.execute() * 2, "55000"),
        (frames.frame("P", b"no end"), "08P01"),
        (frames.frame("B", b""), "08P01"),
    ],
)
async def test_errors_of_the_extended_protocol_leave_the_connection(data: bytes, sqlstate: str) -> None:
    desk = Desk()
    messages = desk.send(data, frames.SYNC)
    assert frames.errors(messages) == [sqlstate]
    assert frames.tags(messages)[-2:] == "EZ"
    assert frames.tags(desk.send(frames.query("SHOW VERSION"))) == "TDCZ"


@pytest.mark.parametrize("data", [frames.frame("Q", b"no end"), frames.query("PAUSE 'x"), frames.frame("F", b"")])
async def test_errors_of_the_simple_protocol_leave_the_connection(data: bytes) -> None:
    desk = Desk()
    assert frames.tags(desk.send(data)) == "EZ"
    assert frames.tags(desk.send(frames.query("SHOW VERSION"))) == "TDCZ"


@pytest.mark.parametrize(
    "data", [frames.frame("!"), frames.lying_frame(b"Q", 3), frames.lying_frame(b"Q", MESSAGE_LIMIT + 1)]
)
async def test_what_is_no_message_ends_the_connection(data: bytes) -> None:
    desk = Desk()
    messages = desk.send(data, frames.query("SHOW VERSION"))
    assert frames.errors(messages) == ["08P01"]
    assert frames.fields(messages[0].body)["S"] == "FATAL"
    assert desk.transport.closed


async def test_messages_in_pieces() -> None:
    desk = Desk()
    data = frames.query("SHOW VERSION")
    for at in range(len(data) - 1):
        assert desk.send(data[at : at + 1]) == []
    assert frames.tags(desk.send(data[-1:])) == "TDCZ"


async def test_terminate() -> None:
    desk = Desk()
    assert desk.send(frames.TERMINATE, frames.query("SHOW VERSION")) == []
    assert desk.transport.closed
    desk.connection.connection_lost(None)
    assert desk.lost == 1


async def test_transactions_are_only_a_status() -> None:
    desk = Desk()
    assert desk.send(frames.query("BEGIN"))[-1].body == b"T"
    assert desk.send(frames.query("SHOW VERSION"))[-1].body == b"T"
    assert desk.send(frames.parse("SHOW STATE"), frames.bind(portal="p"), frames.SYNC)[-1].body == b"T"
    assert frames.tags(desk.send(frames.execute("p"), frames.SYNC)) == "DDDCZ"
    assert desk.send(frames.query("COMMIT"))[-1].body == b"I"
    assert frames.tags(desk.send(frames.query("SET extra_float_digits = 3"))) == "CZ"


async def test_who_only_looks() -> None:
    desk = Desk(role=Role.STATS)
    assert frames.errors(desk.send(frames.query("RECONNECT"))) == ["42501"]
    assert frames.errors(desk.send(frames.extended("SHUTDOWN"))) == ["42501"]
    assert frames.tags(desk.send(frames.query("SHOW POOLS"))) == "TCZ"
    assert desk.pool.calls.count("reconnect") == 0
    assert desk.shutdowns == []


async def test_rights_that_a_reload_takes_away() -> None:
    desk = Desk()
    desk.send(frames.parse("RECONNECT", "r"), frames.SYNC)
    desk.role = None
    assert frames.errors(desk.send(frames.bind(statement="r"), frames.execute(), frames.SYNC)) == ["42501"]
    assert frames.errors(desk.send(frames.query("SHOW POOLS"))) == ["42501"]


async def test_commands_reach_their_places_and_the_log() -> None:
    desk = Desk()
    assert frames.tags(desk.send(frames.query("SHUTDOWN WAIT_FOR_CLIENTS; SHUTDOWN; FOREBAY PURGE; RELOAD"))) == "CCCCZ"
    assert desk.shutdowns == [Shutdown.CLIENTS, Shutdown.NOW]
    desk.wrong = "pool.size: must be at least 1"
    messages = desk.send(frames.query("RELOAD"))
    assert frames.errors(messages) == ["F0000"]
    assert "pool.size" in frames.fields(messages[0].body)["M"]
    assert desk.logged == ["SHUTDOWN wait_for_clients", "SHUTDOWN", "FOREBAY PURGE", "RELOAD", "RELOAD"]


async def test_pause_is_answered_when_the_last_server_is_released() -> None:
    desk = Desk()
    assert desk.send(frames.query("PAUSE shop; SHOW VERSION"), frames.query("SHOW STATE")) == []
    assert desk.pool.calls[-1] == "pause"
    desk.pool.released = True
    assert desk.pool.on_released is not None
    desk.pool.on_released()
    await settle()
    assert frames.tags(desk.answers()) == "CTDCZTDDDCZ"
    assert frames.errors(desk.send(frames.query("PAUSE shop"))) == ["55000"]
    assert frames.tags(desk.send(frames.query("RESUME"))) == "CZ"
    assert desk.pool.calls[-1] == "resume"
    assert frames.errors(desk.send(frames.query("RESUME"))) == ["55000"]
    assert frames.tags(desk.send(frames.extended("PAUSE"))) == "12nCZ"  # released already


async def test_a_cancelled_pause_stays() -> None:
    desk = Desk()
    assert desk.send(frames.query("PAUSE; SHOW VERSION")) == []
    desk.connection.cancel()
    assert frames.errors(desk.answers()) == ["57014"]
    assert desk.pool.calls[-1] == "pause"
    assert desk.control.paused("shop")
    desk.connection.cancel()  # nothing to cancel any more
    await settle()
    assert frames.tags(desk.send(frames.query("RESUME"))) == "CZ"


async def test_a_cancelled_pause_does_not_answer_another() -> None:
    desk = Desk()
    desk.send(frames.query("PAUSE shop"))
    desk.connection.cancel()
    await settle()
    desk.blog.released = False
    desk.answers()
    assert desk.send(frames.query("PAUSE blog")) == []
    desk.pool.released = True
    assert desk.pool.on_released is not None
    desk.pool.on_released()
    await settle()
    assert desk.answers() == []


async def test_a_pause_that_somebody_else_ends() -> None:
    desk = Desk()
    assert frames.tags(desk.send(frames.extended("PAUSE shop"))) == "12n"
    desk.control.resume(None)
    await settle()
    messages = desk.answers()
    assert frames.errors(messages) == ["55000"]
    assert frames.tags(messages) == "EZ"


async def test_whoever_left_is_not_told() -> None:
    desk = Desk()
    desk.send(frames.query("PAUSE"))
    desk.connection.connection_lost(None)
    desk.control.resume(None)
    assert desk.answers() == []


async def test_rows_come_in_batches_between_which_others_have_their_turn() -> None:
    desk = Desk(MANY)
    first = desk.send(frames.query("SHOW CLIENTS"), frames.query("SHOW VERSION"))
    assert frames.tags(first) == "T" + "D" * 100
    await settle()
    assert frames.tags(desk.answers()) == "D" * 150 + "CZ" + "TDCZ"


async def test_a_client_that_does_not_read_is_waited_for() -> None:
    desk = Desk(MANY)
    desk.connection.pause_writing()
    assert desk.send(frames.query("SHOW CLIENTS")) == []
    desk.connection.resume_writing()
    desk.connection.pause_writing()
    await settle()
    assert desk.answers() == []
    desk.connection.resume_writing()
    await settle()
    assert frames.tags(desk.answers()) == "T" + "D" * 250 + "CZ"


async def test_limited_rows_over_several_batches() -> None:
    desk = Desk(MANY)
    desk.send(frames.parse("SHOW CLIENTS"), frames.bind(), frames.execute(rows=120), frames.execute(rows=130))
    await settle()
    messages = desk.answers()
    assert frames.tags(messages).count("D") + 100 == 250
    assert frames.tags(messages)[20:22] == "sD"
    assert frames.tags(messages)[-1] == "s"
    assert frames.tags(desk.send(frames.execute(), frames.SYNC)) == "CZ"


async def test_what_is_sent_while_it_waits_is_bounded() -> None:
    desk = Desk()
    desk.send(frames.query("PAUSE"))
    filler = frames.query("x" * (MESSAGE_LIMIT - 100))
    for _ in range(3):
        desk.send(filler)
    assert desk.transport.flow == ["resume", "pause"]
    desk.connection.cancel()
    await settle()
    assert desk.transport.flow == ["resume", "pause", "resume"]
    assert frames.errors(desk.answers()) == ["57014", "42601", "42601", "42601"]


async def test_the_process_ends() -> None:
    desk = Desk()
    desk.connection.end()
    assert frames.errors(desk.answers()) == ["57P01"]
    assert desk.transport.closed
    assert desk.send(frames.query("SHOW VERSION")) == []
