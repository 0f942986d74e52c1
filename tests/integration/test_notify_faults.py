"""Listening when things go wrong: the server restarts, nobody may listen, a client does not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.target import Target
from tests.support import frames
from tests.support.forebay import forebay_before
from tests.support.frames import query
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.forebay import Forebay
    from tests.support.postgres import Cluster


@pytest.fixture(scope="module")
def own_proxy(own_postgres: Cluster) -> Iterator[Forebay]:
    with forebay_before(own_postgres, cache={"mode": "off"}, limits={"notifications": "64KiB"}) as started:
        yield started


@pytest.fixture
def target(own_postgres: Cluster, own_proxy: Forebay) -> Target:
    return Target(own_postgres, own_proxy, "postgres")


async def test_a_restart_is_told(target: Target) -> None:
    """Who listened is warned when it is listened again, and hears what comes then."""
    async with target.wire() as listener:
        await listener.ask(query("LISTEN back"))
        target.cluster.restart()
        warning = await listener.message()
        assert warning.tag == "N"
        assert frames.fields(warning.body)["C"] == "01000"
        assert frames.fields(warning.body)["S"] == "WARNING"
        target.cluster.execute("NOTIFY back, 'again'")
        assert (await listener.message()).body[4:] == b"back\0again\0"
        assert await listener.value("SELECT 1") == "1"


async def test_who_listens_to_nothing_is_not_warned(target: Target) -> None:
    """The loss of the listening connection is nobody else's business."""
    async with target.wire() as former, target.wire() as listener:
        await former.ask(query("LISTEN gone"))
        await former.ask(query("UNLISTEN *"))
        await listener.ask(query("LISTEN cut"))
        target.cluster.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'forebay listener'"
        )
        assert (await listener.message()).tag == "N"
        assert frames.tags(await former.ask(query("SELECT 1"))) == "TDCZ"


async def test_without_a_connection_to_spare_the_session_is_pinned(own_postgres: Cluster) -> None:
    """A login of one connection: LISTEN works on it; what is heard comes from there."""
    own_postgres.create_role("single", "s", "LOGIN CONNECTION LIMIT 1")
    url = f"postgresql://single:s@{own_postgres.host}:{own_postgres.port}/postgres"
    settings = {"databases": {"postgres": {"url": url}}, "cache": {"mode": "off"}}
    with forebay_before(own_postgres, **settings) as proxy:
        wire = await Wire.open(proxy.host, proxy.port)
        await wire.login("single", "postgres", "s")
        assert frames.tags(await wire.ask(query("LISTEN alone"))) == "CZ"
        assert proxy.metric("forebay_pins_total", reason="listen") == 1
        own_postgres.execute("NOTIFY alone, 'heard'")
        assert (await wire.message()).body[4:] == b"alone\0heard\0"
        await wire.ask(query("BEGIN"))
        await wire.ask(query("UNLISTEN *"))
        await wire.ask(query("ROLLBACK"))
        own_postgres.execute("NOTIFY alone, 'still'")
        assert (await wire.message()).body[4:] == b"alone\0still\0"
        await wire.close()


async def test_a_client_that_stays_in_its_transaction_is_closed_in_the_end(target: Target) -> None:
    """More than limits.notifications waits for it."""
    async with target.wire() as listener, target.wire() as speaker:
        await listener.ask(query("LISTEN flood"))
        await listener.ask(query("BEGIN"))
        for number in range(12):
            await speaker.ask(query(f"SELECT pg_notify('flood', repeat('{number % 10}', 7000))"))
        messages = await listener.rest()
        assert frames.errors(messages) == ["54000"]
    await target.check()


async def test_a_client_that_leaves_while_it_waits_for_the_listener(target: Target) -> None:
    """Its LISTEN is held back, and never sent."""
    async with target.undisturbed():
        for _ in range(5):
            wire = await target.login()
            wire.write(query("LISTEN leaving"), query("SELECT pg_sleep(1)"))
            await wire.drain()
            wire.reset()


async def test_goodbye_right_behind_a_notify(target: Target) -> None:
    """It is carried out, and heard."""
    async with target.wire() as listener:
        await listener.ask(query("LISTEN goodbye"))
        async with target.wire() as other:
            other.write(query("LISTEN goodbye"), query("NOTIFY goodbye, 'last'"), frames.TERMINATE)
            await other.rest()
        assert (await listener.message()).body[4:] == b"goodbye\0last\0"
