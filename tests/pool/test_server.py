"""Coming back: whatever the last owner left, the next one gets a clean connection of a real server, or a new one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from pool.connect import Target
from pool.prepared import Prepared
from protocol.replies import BIND, COPY_END, EXECUTE, PARSE, SYNC
from protocol.secrets import Plain
from tests.pool.customer import Clock, Customer, make_pool, reached
from tests.support import frames
from tests.support.scripted_server import READY, answer, fine, parameter_status, scripted_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pool.pool import Pool
    from pool.server import Server
    from tests.support.postgres import Cluster
    from tests.support.scripted_server import Peer


@contextlib.asynccontextmanager
async def pooled(port: int, user: str = "scripted", password: str = "", **limits: Any) -> AsyncIterator[Pool]:
    """A pool of one connection before a server."""
    secret = Plain(password) if password else None
    database = "postgres" if password else "db"
    pool = make_pool(Target("127.0.0.1", port, user, database, secret), Clock(), **{"size": 1, **limits})
    try:
        yield pool
    finally:
        pool.close()
        await pool._tasks.cancel()


@pytest.fixture
async def pool(postgres: Cluster) -> AsyncIterator[Pool]:
    async with pooled(postgres.port, postgres.superuser, postgres.password) as pool:
        yield pool


async def next_owner(pool: Pool, server: Server) -> Customer:
    """Who comes next gets the same connection; the last one is gone from it."""
    customer = Customer(pool).ask()
    assert await customer.server() is server
    return customer


async def first_owner(pool: Pool) -> tuple[Customer, Server]:
    customer = Customer(pool).ask()
    return customer, await customer.server()


async def test_at_rest_it_is_lent_at_once(pool: Pool) -> None:
    customer, server = await first_owner(pool)
    assert await customer.value("SELECT 'x'") == "x"
    told: list[bool] = []
    server.after = told.append
    server.give_back()
    assert told == [True]
    assert Customer(pool).ask().served()


async def test_an_open_transaction_is_rolled_back(pool: Pool) -> None:
    customer, server = await first_owner(pool)
    told: list[bool] = []
    server.after = told.append
    await customer.query("BEGIN", "T")
    await customer.query("CREATE TABLE never (x int)", "T")
    server.give_back()
    assert told == [], "not before the ROLLBACK is known"
    customer = await next_owner(pool, server)
    assert told == [True]
    assert await customer.value("SELECT to_regclass('never')") is None


@pytest.mark.parametrize("statement", ["SET TimeZone = 'Asia/Tokyo'", "SET LOCAL TimeZone = 'Asia/Tokyo'"])
async def test_settings_of_an_abandoned_transaction_are_in_no_profile(pool: Pool, statement: str) -> None:
    customer, server = await first_owner(pool)
    before = server.reported["TimeZone"]
    await customer.query("BEGIN", "T")
    await customer.query(statement, "T")
    wanted = pool.profiles.changed(pool.profiles.empty, "TimeZone", "Asia/Tokyo")
    server.profile = wanted  # as the session records it when it is told
    server.pipeline.parameters.clear()
    server.give_back()
    customer = await next_owner(pool, server)
    assert server.profile is pool.profiles.empty
    assert await customer.value("SHOW TimeZone") == before
    server.transport.write(server.switch(wanted))
    assert await customer.value("SHOW TimeZone") == "Asia/Tokyo"


async def test_a_query_that_still_runs_is_cancelled(pool: Pool) -> None:
    customer, server = await first_owner(pool)
    customer.send("SELECT pg_sleep(1000)")
    server.give_back()
    assert pool.counters.cancels == 1
    customer = await next_owner(pool, server)
    assert server.guards == 0, "no cancel request is on its way any more"
    assert await customer.value("SELECT 'mine'") == "mine"


async def test_a_cancel_request_that_came_too_early_is_repeated() -> None:
    async def slow(peer: Peer) -> None:
        await peer.expect("Q")
        await reached(lambda: len(server.cancels) == 2)
        await peer.send(frames.error_response("57014", "canceled") + READY)
        await fine(peer)

    async with scripted_server(slow) as server, pooled(server.port) as pool:
        customer, lent = await first_owner(pool)
        customer.send("SELECT 1")
        lent.give_back()
        await next_owner(pool, lent)
        assert len(server.cancels) == 2


async def test_settings_that_nobody_followed_are_undone(pool: Pool) -> None:
    customer, server = await first_owner(pool)
    customer.send("SET application_name = 'someone'")
    server.give_back()
    customer = await next_owner(pool, server)
    assert await customer.value("SHOW application_name") == ""


async def test_a_tainted_connection_forgets_its_settings(pool: Pool) -> None:
    customer, server = await first_owner(pool)
    await customer.query("SET work_mem = '7MB'; CREATE ROLE other; SET ROLE other")
    server.tainted = True
    server.give_back()
    customer = await next_owner(pool, server)
    assert await customer.value("SHOW work_mem") != "7MB"
    assert await customer.value("SELECT current_user = session_user") == "t"
    await customer.query("DROP ROLE other")


async def test_a_used_up_connection_forgets_everything(pool: Pool) -> None:
    customer, server = await first_owner(pool)
    await customer.query("CREATE TEMP TABLE mine (x int); SELECT pg_advisory_lock(7); PREPARE p AS SELECT 1; LISTEN c")
    one = Prepared(b"p", b"", b"", b"p\0")
    server.statements.sent(one, 0)
    server.statements.proved(one, 0)
    server.used_up = True
    server.give_back()
    customer = await next_owner(pool, server)
    assert len(server.statements) == 0
    assert await customer.value("SELECT to_regclass('pg_temp.mine')") is None
    assert await customer.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"
    assert await customer.value("SELECT count(*) FROM pg_prepared_statements") == "0"
    assert await customer.value("SELECT count(*) FROM pg_listening_channels()") == "0"


async def test_strays_are_closed(pool: Pool) -> None:
    customer, server = await first_owner(pool)
    customer.send_extended((PARSE, frames.parse("SELECT 1", "stray")))
    await customer.until(READY)
    server.statements.strays.add(b"stray")
    server.give_back()
    customer = await next_owner(pool, server)
    assert await customer.value("SELECT count(*) FROM pg_prepared_statements") == "0"
    assert server.statements.strays == set()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_batch_without_its_sync_is_ended(pool: Pool, fails: bool) -> None:
    customer, server = await first_owner(pool)
    customer.send_extended((PARSE, frames.parse("SELEC" if fails else "SELECT 1")), (BIND, frames.bind()), sync=False)
    server.transport.write(frames.FLUSH)
    if fails:
        await reached(lambda: server.pipeline.skipping)
    server.give_back()
    customer = await next_owner(pool, server)
    assert await customer.value("SELECT 'mine'") == "mine"


@pytest.mark.parametrize(("extended", "begun"), [(False, False), (False, True), (True, True)])
async def test_a_copy_is_broken_off(pool: Pool, extended: bool, begun: bool) -> None:
    customer, server = await first_owner(pool)
    await customer.query("CREATE TABLE IF NOT EXISTS copied (x int)")
    text = "COPY copied FROM STDIN"
    if extended:
        customer.send_extended(
            (PARSE, frames.parse(text)), (BIND, frames.bind()), (EXECUTE, frames.execute()), sync=False
        )
    else:
        customer.send(text)
    if begun:
        await reached(lambda: server.pipeline.copy_in)
        server.transport.write(frames.frame("d", b"1\n"))
    server.give_back()
    customer = await next_owner(pool, server)
    assert await customer.value("SELECT count(*) FROM copied") == "0"


async def test_a_copy_with_a_sync_ahead_is_broken_off(pool: Pool) -> None:
    """Nobody knows whether that Sync will be answered: the connection is lent to no one."""
    customer, server = await first_owner(pool)
    await customer.query("CREATE TABLE IF NOT EXISTS copied (x int)")
    messages = ((PARSE, frames.parse("COPY copied FROM STDIN")), (BIND, frames.bind()), (EXECUTE, frames.execute()))
    customer.send_extended(*messages, (SYNC, frames.SYNC), sync=False)
    await reached(lambda: server.pipeline.copy_in)
    server.give_back()
    customer = Customer(pool).ask()
    assert await customer.server() is not server
    assert server.closed
    assert await customer.value("SELECT count(*) FROM copied") == "0"


async def test_a_copy_that_was_ended_is_carried_out(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    # a cancel request might or might not be in time
    monkeypatch.setattr(pool, "abandoned", lambda server: None)
    customer, server = await first_owner(pool)
    await customer.query("DROP TABLE IF EXISTS taken; CREATE TABLE taken (x int)")
    customer.send("COPY taken FROM STDIN")
    server.pipeline.copy_ended()
    assert server.pipeline.queue[-1][0] == COPY_END
    server.transport.write(frames.frame("d", b"1\n") + frames.COPY_DONE)
    server.give_back()
    customer = await next_owner(pool, server)
    assert await customer.value("SELECT count(*) FROM taken") == "1"


async def test_half_a_message_is_the_end(pool: Pool) -> None:
    customer, server = await first_owner(pool)
    server.transport.write(frames.query("SELECT 1")[:7])
    told: list[bool] = []
    server.after = told.append
    server.give_back(half_sent=True)
    assert server.closed
    assert told == [False]
    assert pool.servers == frozenset()
    assert not customer.lost.done(), "it has left already"


async def test_a_switch_of_settings_goes_ahead_and_is_recorded_by_its_answer(pool: Pool) -> None:
    customer, server = await first_owner(pool)
    wanted = pool.profiles.of({"work_mem": "5MB", "search_path": "pg_catalog"})
    server.transport.write(server.switch(wanted))
    assert server.profile is pool.profiles.empty
    assert await customer.value("SHOW work_mem") == "5MB"
    assert server.profile is wanted
    assert server.switch(pool.profiles.of({"search_path": "pg_catalog", "work_mem": "5MB"})) == b""


async def test_surplus_statements_are_closed(pool: Pool) -> None:
    customer, server = await first_owner(pool)
    for number in range(4):
        one = pool.registry.intern(b"SELECT %d" % number, b"", b"")
        customer.send_extended((PARSE, one.parse_message(one.name)))
        await customer.until(READY)
        server.statements.sent(one, 0)
        server.statements.proved(one, 0)
    server.transport.write(server.trim(1))
    assert await customer.value("SELECT string_agg(statement, '') FROM pg_prepared_statements") == "SELECT 3"
    assert pool.counters.statements_evicted == 3


async def test_a_brake_is_let_go_with_the_lease() -> None:
    async def deaf(peer: Peer) -> None:
        await asyncio.Event().wait()

    async with scripted_server(deaf) as peer, pooled(peer.port) as pool:
        customer, server = await first_owner(pool)
        server.transport.write(b"d" + (1 << 30).to_bytes(4, "big") + bytes(1 << 23))
        assert customer.brakes == [True]
        server.give_back(half_sent=True)
        assert customer.brakes == [True, False]


async def test_what_does_not_come_to_rest_is_closed() -> None:
    async def mute(peer: Peer) -> None:
        await asyncio.Event().wait()

    async with scripted_server(mute, fine) as peer, pooled(peer.port, cancel_timeout=0.01) as pool:
        customer, server = await first_owner(pool)
        customer.send("SELECT 1")
        server.give_back()
        waits = Customer(pool).ask()
        assert await waits.server() is not server
        assert server.closed


async def test_without_a_limit_settling_takes_its_time() -> None:
    async def slow(peer: Peer) -> None:
        await peer.expect("Q")
        await gate.wait()
        await peer.send(frames.frame("I") + READY)
        await fine(peer)

    gate = asyncio.Event()
    async with scripted_server(slow) as peer, pooled(peer.port, cancel_timeout=0) as pool:
        customer, server = await first_owner(pool)
        customer.send("SELECT 1")
        server.give_back()
        await asyncio.sleep(0.01)
        assert not server.closed
        gate.set()
        await next_owner(pool, server)


async def test_a_cleaning_that_fails_is_the_end() -> None:
    async def stubborn(peer: Peer) -> None:
        await peer.expect("Q")
        await peer.send(frames.error_response("XX000", "no") + READY)
        await fine(peer)

    async with scripted_server(stubborn, fine) as peer, pooled(peer.port) as pool:
        _, server = await first_owner(pool)
        server.tainted = True
        server.give_back()
        waits = Customer(pool).ask()
        assert await waits.server() is not server


async def test_the_owner_hears_of_a_broken_protocol_and_of_a_lost_connection() -> None:
    async def babbles(peer: Peer) -> None:
        await peer.expect("Q")
        await peer.send(frames.frame("?"))
        await asyncio.Event().wait()

    async def leaves(peer: Peer) -> None:
        await peer.expect("Q")

    async with scripted_server(babbles, leaves) as peer, pooled(peer.port) as pool:
        customer, _ = await first_owner(pool)
        customer.send("SELECT 1")
        assert "broke the protocol" in await customer.lost
        customer, _ = await first_owner(pool)
        customer.send("SELECT 1")
        assert "closed the connection" in await customer.lost
        assert pool.servers == frozenset()


async def test_what_an_idle_server_says_taints_it_and_an_error_ends_it() -> None:
    async def talks(peer: Peer) -> None:
        await answer(peer, await peer.receive())
        await gate.wait()
        await peer.send(parameter_status("TimeZone", "Asia/Tokyo"))
        await last.wait()
        await peer.send(frames.error_response("57P01", "bye", "FATAL"))
        await asyncio.Event().wait()

    gate, last = asyncio.Event(), asyncio.Event()
    async with scripted_server(talks) as peer, pooled(peer.port) as pool:
        customer, server = await first_owner(pool)
        await customer.query("SELECT 1")
        server.give_back()
        gate.set()
        await reached(lambda: server.tainted)
        assert server.reported["TimeZone"] == "Asia/Tokyo"
        last.set()
        await reached(lambda: server.closed)
