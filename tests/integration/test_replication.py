"""Replication connections: PostgreSQL's own, one for each client, and nothing of theirs is touched."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Final

import psycopg2
import psycopg2.extras
import pytest

from tests.support import frames
from tests.support.frames import COPY_DONE, Message, frame, query
from tests.support.patience import eventually
from tests.support.wire import LoginRefusedError, Wire

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from tests.integration.target import Target
    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster

LOGICAL: Final = ("replication", "database")
PHYSICAL: Final = ("replication", "true")
MIB: Final = 1 << 20
SLOT: Final = 'CREATE_REPLICATION_SLOT "{}" TEMPORARY LOGICAL "test_decoding"'
_ALLOWED: Final = 16 * MIB  # of growth


async def joined(
    stack: AsyncExitStack, proxy: Forebay, *options: tuple[str, str], database: str = "replication", user: str = ""
) -> Wire:
    """A client; closed at the end. Without a name it is the superuser."""
    wire = await Wire.open(proxy.host, proxy.port)
    stack.push_async_callback(wire.close)
    await wire.login(user or proxy.user, database, user or proxy.password, *options)
    return wire


def update(written: int, *, reply: bool) -> bytes:
    """A standby's status."""
    return frame("d", struct.pack("!cQQQq?", b"r", written, written, written, 0, reply))


async def streamed(wire: Wire, kind: bytes) -> bytes:
    """The next thing of that kind in the stream; keepalives that ask for an answer get one."""
    while True:
        message = await wire.message()
        assert message.tag == "d", message
        if message.body[:1] == b"k" and message.body[17:18] == b"\1":
            wire.write(update(struct.unpack_from("!Q", message.body, 1)[0], reply=False))
        if message.body[:1] == kind:
            return message.body


def walsenders(cluster: Cluster, application: str) -> int:
    """How many there are for clients of that name."""
    found = cluster.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender' AND application_name = %s", application
    )
    return int(found[0][0])


async def test_logical(stack: AsyncExitStack, through: Target, proxy: Forebay) -> None:
    """SQL and replication commands on one connection; rows come, positions go, CopyDone ends it."""
    through.cluster.execute("CREATE TABLE followed (a int)", database=through.database)
    wire = await joined(stack, proxy, LOGICAL, database=through.database)
    assert await wire.value("SELECT current_database()") == through.database
    assert frames.rows(await wire.ask(query("IDENTIFY_SYSTEM")))[0][3] == through.database
    await wire.ask(query(SLOT.format("followed")))
    wire.write(query("START_REPLICATION SLOT followed LOGICAL 0/0"))
    assert (await wire.until("W"))[-1].tag == "W"
    through.cluster.execute("INSERT INTO followed VALUES (41), (42)", database=through.database)
    seen = [(await streamed(wire, b"w"))[25:] for _ in range(4)]
    assert seen[1:3] == [b"table public.followed: INSERT: a[integer]:4%d" % n for n in (1, 2)]
    wire.write(update(1 << 40, reply=True))
    await streamed(wire, b"k")
    wire.write(COPY_DONE)
    assert frames.tags(await wire.until("Z")).lstrip("d") == "cCCZ"
    assert await wire.value("SELECT 1") == "1"


@pytest.mark.parametrize("value", ["true", "on", "1", "yes"])
async def test_physical(stack: AsyncExitStack, proxy: Forebay, postgres: Cluster, value: str) -> None:
    """The log from where it is now on; SQL is refused by PostgreSQL itself."""
    wire = await joined(stack, proxy, ("replication", value))
    identity = frames.rows(await wire.ask(query("IDENTIFY_SYSTEM")))[0]
    assert identity[3] is None
    assert frames.errors(await wire.ask(query("SELECT 1"))) == ["0A000"]
    wire.write(query(f"START_REPLICATION PHYSICAL {identity[2]} TIMELINE {identity[1]}"))
    await wire.until("W")
    postgres.execute("SELECT pg_logical_emit_message(false, 'test', 'a word in the log', true)")
    data = b""
    while b"a word in the log" not in data:
        data += (await streamed(wire, b"w"))[25:]
    wire.write(COPY_DONE)
    assert frames.tags(await wire.until("Z")).lstrip("d") == "cCCZ"


def test_a_driver(through: Target, proxy: Forebay) -> None:
    """psycopg2's own way to do both."""
    through.cluster.execute("CREATE TABLE driven (a int)", database=through.database)
    dsn = proxy.dsn(through.database)
    physical = psycopg2.connect(dsn, connection_factory=psycopg2.extras.PhysicalReplicationConnection)
    with physical.cursor() as cursor:
        cursor.execute("SHOW wal_level")
        assert cursor.fetchall() == [("logical",)]
    physical.close()
    connection = psycopg2.connect(dsn, connection_factory=psycopg2.extras.LogicalReplicationConnection)
    cursor = connection.cursor()
    cursor.execute(SLOT.format("driven"))
    cursor.start_replication("driven")
    through.cluster.execute("INSERT INTO driven VALUES (7)", database=through.database)
    seen: list[bytes] = []
    while not any(b"INSERT: a[integer]:7" in text for text in seen):
        message = cursor.read_message()
        if message is not None:
            seen.append(message.payload)
            message.cursor.send_feedback(flush_lsn=message.data_start)
    connection.close()


async def test_what_a_client_asks_to_set(stack: AsyncExitStack, proxy: Forebay, postgres: Cluster) -> None:
    """Is set by PostgreSQL at the start, options too; a value that is refused is refused in its words."""
    options = (("application_name", "setter"), ("DateStyle", "German"), ("options", "-c work_mem=3MB"))
    wire = await joined(stack, proxy, LOGICAL, *options, database="postgres")
    assert wire.parameters["DateStyle"] == "German, DMY"
    assert wire.parameters["application_name"] == "setter"
    assert await wire.value("SHOW work_mem") == "3MB"
    assert await wire.value("SELECT pg_backend_pid()") == str(wire.pid)
    assert walsenders(postgres, "setter") == 1
    with pytest.raises(LoginRefusedError) as caught:
        await joined(stack, proxy, LOGICAL, ("DateStyle", "Martian"), database="postgres")
    assert caught.value.sqlstate == "22023"


async def test_logins(stack: AsyncExitStack, proxy: Forebay, postgres: Cluster) -> None:
    """The password is ours to check, the right to replicate is PostgreSQL's, the database's name is ours again."""
    wire = await Wire.open(proxy.host, proxy.port)
    stack.push_async_callback(wire.close)
    with pytest.raises(LoginRefusedError) as caught:
        await wire.login(proxy.user, "postgres", "wrong", LOGICAL)
    assert caught.value.sqlstate == "28P01"
    for database, expected in (("forebay", "0A000"), ("nowhere", "3D000")):
        with pytest.raises(LoginRefusedError) as caught:
            await joined(stack, proxy, LOGICAL, database=database)
        assert caught.value.sqlstate == expected
    assert walsenders(postgres, "") == 0


async def test_the_clients_death(stack: AsyncExitStack, proxy: Forebay, postgres: Cluster) -> None:
    """By FIN or by RST, in the stream or between commands: PostgreSQL's process ends."""
    for number, die in enumerate((Wire.end_of_input, Wire.reset)):
        for stream in (False, True):
            name = f"dying{number}"
            wire = await joined(stack, proxy, PHYSICAL, ("application_name", name))
            place = frames.rows(await wire.ask(query("IDENTIFY_SYSTEM")))[0][2]
            if stream:
                wire.write(query(f"START_REPLICATION PHYSICAL {place}"))
                await wire.until("W")
            assert walsenders(postgres, name) == 1
            die(wire)
            await eventually(partial(_gone, postgres, name))
    await eventually(lambda: proxy.metric("forebay_servers", state="replication") == 0)


def _gone(cluster: Cluster, application: str) -> bool:
    return walsenders(cluster, application) == 0


async def test_the_servers_death(stack: AsyncExitStack, proxy: Forebay, postgres: Cluster) -> None:
    """The client gets PostgreSQL's last words, and the end."""
    wire = await joined(stack, proxy, PHYSICAL)
    postgres.execute("SELECT pg_terminate_backend(%s)", wire.pid)
    assert frames.errors(await wire.rest()) == ["57P01"]


async def test_half_a_connection(stack: AsyncExitStack, proxy: Forebay) -> None:
    """Who has said all gets all answers."""
    wire = await joined(stack, proxy, LOGICAL, database="postgres")
    wire.write(query("SELECT 'first'"), query("SELECT repeat('x', 1000000)"))
    wire.end_of_input()
    assert [len(row[0] or "") for row in frames.rows(await wire.rest())] == [5, 1_000_000]


@pytest.mark.parametrize("version", [196_608, 196_610], ids=["3.0", "3.2"])
async def test_cancel(stack: AsyncExitStack, proxy: Forebay, postgres: Cluster, version: int) -> None:
    """The key that the client was told finds the right server connection; another key finds nothing."""
    wire = await Wire.open(proxy.host, proxy.port)
    stack.push_async_callback(wire.close)
    await wire.login(proxy.user, "postgres", proxy.password, LOGICAL, version=version)
    assert len(wire.key) == (4 if version == 196_608 else 32)
    wire.write(query("SELECT pg_sleep(100)"))
    asleep = "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'walsender' AND state = 'active'"
    await eventually(lambda: postgres.execute(asleep) == [("PgSleep",)])
    for key in (bytes(len(wire.key)), wire.key):
        other = await Wire.open(proxy.host, proxy.port)
        other.write(frames.cancel_request(wire.pid, key))
        await other.rest()
        await other.close()
    assert frames.errors(await wire.until("Z")) == ["57014"]


async def test_a_stream_that_nobody_reads_is_not_kept(stack: AsyncExitStack, proxy: Forebay, postgres: Cluster) -> None:
    """A base backup waits at the server, and is whole in the end."""
    wire = await joined(stack, proxy, PHYSICAL, ("application_name", "backup"))
    before = proxy.process.memory_info().rss
    wire.write(query("BASE_BACKUP ( LABEL 'test', CHECKPOINT 'fast', WAIT false )"))
    await wire.until("H")
    await eventually(lambda: _waits_for_its_client(postgres))
    growth = proxy.process.memory_info().rss - before
    size = 0
    while (message := await wire.message()).tag != "Z":
        size += len(message.body)
        growth = max(growth, proxy.process.memory_info().rss - before)
    assert size > 20 * MIB
    assert growth < _ALLOWED


def _waits_for_its_client(cluster: Cluster) -> bool:
    found = cluster.execute("SELECT wait_event FROM pg_stat_activity WHERE application_name = 'backup'")
    return found == [("ClientWrite",)]


async def test_what_is_shown(stack: AsyncExitStack, proxy: Forebay, postgres: Cluster) -> None:
    """In the metrics; in the console's tables, where it can be closed by its number."""
    name = ("application_name", "shown")
    wire = await joined(stack, proxy, LOGICAL, name, database="postgres")
    assert proxy.metric("forebay_servers", database="postgres", state="replication") == 1
    assert proxy.metric("forebay_clients", database="postgres", state="active") >= 1
    assert proxy.metric("forebay_servers", database="postgres", state="opening") == 0
    desk = await joined(stack, proxy, database="forebay")
    for table in ("CLIENTS", "SERVERS"):
        rows = await _table(desk, f"SHOW {table}")
        (row,) = [row for row in rows if row["application_name"] == "shown"]
        assert (row["replication"], row["state"], row["database"]) == ("logical", "active", "postgres")
        assert row["id"] == str(wire.pid)
    assert not frames.errors(await desk.ask(query(f"KILL_CLIENT {wire.pid}")))
    assert frames.errors(await wire.rest()) == ["57P01"]
    await eventually(partial(_gone, postgres, "shown"))


async def _table(desk: Wire, command: str) -> list[dict[str, str | None]]:
    messages = await desk.ask(query(command))
    return [dict(zip(_names(messages), row, strict=True)) for row in frames.rows(messages)]


def _names(messages: list[Message]) -> list[str]:
    (body,) = [message.body for message in messages if message.tag == "T"]
    names, offset = [], 2
    while offset < len(body):
        end = body.index(b"\0", offset)
        names.append(body[offset:end].decode())
        offset = end + 19
    return names
