"""LISTEN and NOTIFY without a server connection of one's own: every answer and every notification as directly."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest

from tests.integration.rotating import Both, answers
from tests.support.frames import SYNC, bind, describe, execute, extended, parse, query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.rotating import Heard, Step
    from tests.integration.target import Target
    from tests.support import frames
    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster
    from tests.support.wire import Wire


@pytest.fixture
def both(postgres: Cluster, rotating_proxy: Forebay, shared_database: str) -> Both:
    return Both(postgres, rotating_proxy, shared_database)


@pytest.fixture
def rotating(both: Both) -> Target:
    return both.through


def pins(proxy: Forebay) -> float:
    return proxy.metric("forebay_pins_total", reason="listen")


def _run(text: str) -> bytes:
    """Parse, Bind and Execute without Sync."""
    return parse(text) + bind() + describe("P") + execute()


def _plain(message: frames.Message) -> tuple[str, bytes]:
    """Without the process ids of notifications, and without what an error says of source files."""
    tag, body = message
    if tag == "A":
        return tag, body[4:]
    if tag == "E":
        return tag, b"\0".join(part for part in body.split(b"\0") if part[:1] in (b"C", b"M"))
    return tag, body


async def _held(wires: Sequence[Wire], steps: Sequence[Step]) -> list[Heard]:
    heard: list[Heard] = []
    for number, data in steps:
        wires[number].write(data)
        answer: Heard = []
        for _ in range(answers(data)):
            answer += [_plain(message) for message in await wires[number].until("Z")]
        heard.append(sorted(answer, key=lambda message: message[0] == "A"))  # they may come before or within an answer
    return heard


LOOK = "SELECT 'look'"
TALK = "NOTIFY {c}, 'first'; NOTIFY {c}, 'second'"
CASES: dict[str, list[tuple[int, str | bytes]]] = {
    "simple": [(0, "LISTEN {c}"), (1, TALK), (0, LOOK), (0, "UNLISTEN {c}"), (1, TALK), (0, LOOK)],
    "own": [(0, "LISTEN {c}"), (0, TALK), (0, "BEGIN"), (0, "NOTIFY {c}"), (0, LOOK), (0, "COMMIT"), (0, LOOK)],
    "own by a function": [(0, "LISTEN {c}"), (0, "SELECT pg_notify('{c}', 'by function')"), (0, LOOK)],
    "own rolled back": [(0, "LISTEN {c}"), (0, "BEGIN"), (0, "NOTIFY {c}"), (0, "ROLLBACK"), (0, LOOK)],
    "extended": [(0, extended("LISTEN {c}")), (1, TALK), (0, extended(LOOK)), (0, extended("UNLISTEN *")), (1, TALK)],
    "not before the commit": [
        *[(0, "BEGIN"), (0, "LISTEN {c}"), (1, TALK), (0, LOOK), (0, "COMMIT"), (0, LOOK)],
        *[(1, "NOTIFY {c}, 'after'"), (0, LOOK)],
    ],
    "not before the commit of what one text began": [(0, "BEGIN; LISTEN {c}"), (1, TALK), (0, "COMMIT"), (0, LOOK)],
    "rolled back": [(0, "BEGIN"), (0, "LISTEN {c}"), (0, "ROLLBACK"), (1, TALK), (0, LOOK)],
    "commit of a failed one": [
        *[(0, "BEGIN"), (0, "LISTEN {c}"), (0, "SELECT 1/0"), (0, "COMMIT"), (1, TALK), (0, LOOK)],
    ],
    "unlisten rolled back": [
        *[(0, "LISTEN {c}"), (0, "BEGIN; UNLISTEN {c}; ROLLBACK"), (1, TALK), (0, LOOK)],
        *[(0, "BEGIN"), (0, "UNLISTEN *"), (1, TALK), (0, LOOK), (0, "ROLLBACK"), (0, LOOK)],
    ],
    "held back by a transaction": [
        *[(0, "LISTEN {c}"), (0, "BEGIN"), (1, TALK), (0, LOOK), (1, TALK), (0, "SELECT 1/0"), (0, "ROLLBACK")],
    ],
    "dropped with its channel": [(0, "LISTEN {c}"), (0, "BEGIN"), (1, TALK), (0, "UNLISTEN {c}"), (0, "COMMIT")],
    "savepoints": [
        *[(0, "BEGIN"), (0, "LISTEN {c}"), (0, "SAVEPOINT s"), (0, "LISTEN {c}_2"), (0, "ROLLBACK TO s")],
        *[(0, "SAVEPOINT t"), (0, "LISTEN {c}_3"), (0, "RELEASE t"), (0, "COMMIT")],
        *[(1, "NOTIFY {c}; NOTIFY {c}_2; NOTIFY {c}_3"), (0, LOOK)],
    ],
    "savepoint before all": [
        *[(0, "BEGIN"), (0, "SAVEPOINT s"), (0, "LISTEN {c}"), (0, "SELECT 1/0"), (0, "ROLLBACK TO s")],
        *[(0, "LISTEN {c}_2"), (0, "COMMIT"), (1, "NOTIFY {c}; NOTIFY {c}_2"), (0, LOOK)],
    ],
    "several in one text": [
        *[(0, "LISTEN {c}; SELECT 1; LISTEN {c}_2; UNLISTEN {c}"), (1, "NOTIFY {c}; NOTIFY {c}_2"), (0, LOOK)],
        *[(0, "LISTEN {c}; SELECT 1/0"), (1, "NOTIFY {c}"), (0, LOOK)],
        *[(0, "BEGIN; LISTEN {c}; COMMIT; LISTEN {c}_3; SELECT 1"), (1, "NOTIFY {c}; NOTIFY {c}_3"), (0, LOOK)],
    ],
    "after its transaction had ended in a text that failed": [
        *[(0, "BEGIN; LISTEN {c}; COMMIT; SELECT 1/0"), (1, TALK), (0, LOOK)],
    ],
    "one batch": [
        (0, _run("BEGIN") + _run("LISTEN {c}") + _run("COMMIT") + SYNC),
        (1, TALK),
        (0, LOOK),
        (0, _run("LISTEN {c}_2") + _run("SELECT 1/0") + SYNC),
        (1, "NOTIFY {c}_2"),
        (0, LOOK),
    ],
    "a pipeline": [
        (0, _run("LISTEN {c}") + SYNC + _run("NOTIFY {c}, 'x'") + SYNC + _run(LOOK) + SYNC),
        (0, query("NOTIFY {c}, 'y'") + query(LOOK)),
        (0, LOOK),
    ],
    "discard": [(0, "LISTEN {c}"), (0, "DISCARD ALL"), (1, TALK), (0, LOOK)],
    "twice": [(0, "LISTEN {c}"), (0, "LISTEN {c}"), (2, "LISTEN {c}"), (1, TALK), (0, LOOK), (2, LOOK)],
    "one leaves off": [(0, "LISTEN {c}"), (2, "LISTEN {c}"), (2, "UNLISTEN *"), (1, TALK), (0, LOOK), (2, LOOK)],
    "quoted names": [
        *[(0, 'LISTEN "{c} Ünd; \'""so\'"'), (0, "LISTEN {C}_UPPER"), (1, "NOTIFY \"{c} Ünd; '\"\"so'\", 'ü'")],
        *[(1, "NOTIFY {c}_upper"), (0, LOOK)],
    ],
    "refused": [(0, "LISTEN"), (0, "LISTEN {c}, b"), (1, "NOTIFY {c}"), (0, LOOK)],
    "in a transaction that is only ended": [(0, "BEGIN"), (0, "LISTEN {c}"), (0, "END"), (1, TALK), (0, LOOK)],
    "and chain": [(0, "BEGIN"), (0, "LISTEN {c}"), (0, "COMMIT AND CHAIN"), (1, TALK), (0, LOOK), (0, "ROLLBACK")],
    "two-phase": [(0, "BEGIN"), (0, "LISTEN {c}"), (0, "PREPARE TRANSACTION '{c}'"), (1, TALK), (0, LOOK)],
}


@pytest.mark.parametrize("name", CASES)
async def test_all_is_as_directly(both: Both, rotating_proxy: Forebay, name: str) -> None:
    """Three clients; whoever looks has been told by then."""
    channel = f"c{list(CASES).index(name)}"

    def fill(said: str | bytes) -> bytes:
        text = said if isinstance(said, bytes) else query(said)
        return _filled(text, channel)

    steps = [(number, fill(said)) for number, said in CASES[name]]
    before = pins(rotating_proxy)
    async with both.wires(both.direct, 3) as wires:
        wanted = await _held(wires, steps)
    async with both.wires(both.through, 3) as wires:
        found = await asyncio.wait_for(_held(wires, steps), 60)
    assert found == wanted
    assert pins(rotating_proxy) == before


def _filled(data: bytes, channel: str) -> bytes:
    """With the channel's name in it, of which the placeholder has the length."""
    assert len(channel) in (2, 3)
    name = channel.ljust(3, "_").encode()
    return data.replace(b"{c}", name).replace(b"{C}", name.upper())


async def test_the_process_id_is_the_notifiers(rotating: Target) -> None:
    """PostgreSQL's own, not the number that the client was told."""
    async with rotating.wire() as listener, rotating.wire() as speaker:
        await listener.ask(query("LISTEN pids"))
        pid = await speaker.value("SELECT pg_backend_pid() FROM (SELECT pg_notify('pids', '')) AS told")
        heard = await listener.message()
        assert heard == ("A", int(pid or 0).to_bytes(4, "big") + b"pids\0\0")


async def test_a_listener_holds_no_server_and_misses_nothing(both: Both, rotating_proxy: Forebay) -> None:
    """Thirty listeners, ten server connections, others at work; everybody hears everything in order."""
    before = pins(rotating_proxy)
    async with both.wires(both.through, 30) as listeners, both.wires(both.through, 2) as speakers:
        for listener in listeners:
            await listener.ask(query("LISTEN crowd"))
        for number in range(40):
            await speakers[number % 2].ask(query(f"NOTIFY crowd, '{number}'"))
        for listener in listeners:
            heard = [await listener.message() for _ in range(40)]
            assert [message.body[4:] for message in heard] == [b"crowd\0%d\0" % number for number in range(40)]
    assert pins(rotating_proxy) == before


async def test_nothing_is_lost_around_the_commit(both: Both) -> None:
    """Who says that it listens, in the transaction in which it does, hears whoever has seen that."""
    both.direct.cluster.execute("CREATE TABLE IF NOT EXISTS ready (id int)", database=both.direct.database)
    async with both.wires(both.through, 2) as (listener, speaker):
        for number in range(30):
            await listener.ask(query("BEGIN"))
            await listener.ask(query(f"LISTEN causal_{number}"))
            listener.write(query(f"INSERT INTO ready VALUES ({number})"), query("COMMIT"))
            while await speaker.value(f"SELECT count(*) FROM ready WHERE id = {number}") == "0":
                pass
            await speaker.ask(query(f"NOTIFY causal_{number}, 'seen'"))
            messages = [*await listener.until("Z"), *await listener.until("Z")]
            while not messages or messages[-1].tag != "A":
                if any(message.tag == "A" for message in messages):
                    break
                messages.append(await listener.message())
            told = [message.body[4:] for message in messages if message.tag == "A"]
            assert told == [b"causal_%d\0seen\0" % number]


async def test_another_encoding(rotating: Target, rotating_proxy: Forebay) -> None:
    """Pins if it is there when LISTEN is said; afterwards what is heard is recoded."""
    before = pins(rotating_proxy)
    async with rotating.wire() as listener, rotating.wire() as speaker:
        await listener.ask(query("LISTEN coded"))
        await listener.ask(query("SET client_encoding = 'LATIN1'"))
        await speaker.ask(query("NOTIFY coded, 'gr\u00fc\u00df\u20ac'"))
        assert (await listener.message()).body[4:] == b"coded\0gr\xfc\xdf?\0"
        assert pins(rotating_proxy) == before
    async with rotating.wire(("client_encoding", "LATIN1")) as listener, rotating.wire() as speaker:
        await listener.ask(query("LISTEN coded"))
        assert pins(rotating_proxy) == before + 1
        await speaker.ask(query("NOTIFY coded, 'gr\u00fc\u00df'"))
        assert (await listener.message()).body[4:] == b"coded\0gr\xfc\xdf\0"
        await listener.ask(query("UNLISTEN *"))
        first = await listener.value("SELECT pg_backend_pid()")
        assert {await listener.value("SELECT pg_backend_pid()") for _ in range(3)} != {first}


async def test_asyncpg(rotating: Target) -> None:
    """add_listener, remove_listener, and a connection that goes back to its own pool (UNLISTEN *)."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with asyncpg.create_pool(rotating.dsn(), min_size=1, max_size=1) as pool:
        async with pool.acquire() as connection:

            def on_heard(*args: object) -> None:
                heard.put_nowait(str(args[-1]))

            await connection.add_listener("by_asyncpg", on_heard)
            await connection.execute("NOTIFY by_asyncpg, 'own'")
            assert await asyncio.wait_for(heard.get(), 30) == "own"
            await connection.remove_listener("by_asyncpg", on_heard)
        async with pool.acquire() as connection:
            await connection.execute("NOTIFY by_asyncpg, 'nobody'")
            assert heard.empty()


async def test_psycopg(rotating: Target) -> None:
    """LISTEN inside the transaction that psycopg begins by itself; notifies() as it comes."""
    async with (
        await psycopg.AsyncConnection.connect(rotating.dsn()) as listener,
        await psycopg.AsyncConnection.connect(rotating.dsn(), autocommit=True) as speaker,
    ):
        await listener.execute("LISTEN by_psycopg")
        await listener.commit()
        await listener.set_autocommit(True)
        for number in range(3):
            await speaker.execute("SELECT pg_notify('by_psycopg', %s)", [str(number)])
        heard = [notice.payload async for notice in listener.notifies(timeout=30, stop_after=3)]
        assert heard == ["0", "1", "2"]
