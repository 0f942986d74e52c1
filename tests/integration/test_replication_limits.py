"""Replication connections and what bounds them: HBA lines, rights, counts, a configuration that changes, the end."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support import frames
from tests.support.forebay import Forebay, forebay_before
from tests.support.frames import query
from tests.support.patience import eventually
from tests.support.wire import LoginRefusedError, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AsyncExitStack

    from tests.support.postgres import Cluster

LOGICAL: Final = ("replication", "database")
PHYSICAL: Final = ("replication", "true")
ROLES: Final = {
    "standby": "LOGIN REPLICATION",
    "everywhere": "LOGIN REPLICATION",
    "reader": "LOGIN",
}
HBA: Final = """
host  replication  standby     all  scram-sha-256
host  replication  reader      all  scram-sha-256
host  all          everywhere  all  scram-sha-256
host  all          reader      all  scram-sha-256
"""


@pytest.fixture(scope="module")
def bounded(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forebay]:
    """Two server connections for a database, three clients; HBA lines for some."""
    home = tmp_path_factory.mktemp("replication")
    for role, options in ROLES.items():
        postgres.create_role(role, role, options)
    (home / "users.txt").write_text("".join(f'"{role}" "{role}"\n' for role in ROLES))
    (home / "hba.conf").write_text(HBA)
    url = f"postgresql://{postgres.host}:{postgres.port}"
    with forebay_before(
        postgres,
        databases={"*": {"url": url}, "leaving": {"url": f"{url}/postgres"}},
        auth={"users_file": str(home / "users.txt"), "hba_file": str(home / "hba.conf")},
        pool={"max_db_connections": 2},
        limits={"clients": 3},
        cache={"mode": "off"},
    ) as started:
        yield started


async def joined(stack: AsyncExitStack, proxy: Forebay, user: str, database: str, *options: tuple[str, str]) -> Wire:
    """A client; closed at the end."""
    wire = await Wire.open(proxy.host, proxy.port)
    stack.push_async_callback(wire.close)
    await wire.login(user, database, user, *options)
    return wire


async def refused(stack: AsyncExitStack, proxy: Forebay, user: str, database: str, *options: tuple[str, str]) -> str:
    """Why a client does not get in: the SQLSTATE."""
    with pytest.raises(LoginRefusedError) as caught:
        await joined(stack, proxy, user, database, *options)
    return caught.value.sqlstate


def _servers(proxy: Forebay, count: int, **labels: str) -> bool:
    return proxy.metric("forebay_servers", **labels) == count


async def test_hba_lines_for_replication(stack: AsyncExitStack, bounded: Forebay) -> None:
    """The word matches what is physical and nothing else; `all` matches everything but that."""
    await joined(stack, bounded, "standby", "replication", PHYSICAL)
    await joined(stack, bounded, "everywhere", "postgres", LOGICAL)
    assert await refused(stack, bounded, "everywhere", "replication", PHYSICAL) == "28000"
    assert await refused(stack, bounded, "standby", "postgres", LOGICAL) == "28000"
    assert await refused(stack, bounded, "standby", "replication") == "28000"


async def test_the_right_to_replicate_is_the_servers_to_give(stack: AsyncExitStack, bounded: Forebay) -> None:
    """Its refusal is passed on, and nothing is left of the attempt."""
    await eventually(partial(_servers, bounded, 0, state="replication"))
    for database, options in (("replication", PHYSICAL), ("postgres", LOGICAL)):
        assert await refused(stack, bounded, "reader", database, options) == "42501"
    await eventually(lambda: bounded.metric("forebay_clients") == 0)


async def test_a_limit_on_server_connections_holds(stack: AsyncExitStack, bounded: Forebay) -> None:
    """What a pool has idle makes room, what is used does not; and a pool waits for what replicates."""
    await eventually(partial(_servers, bounded, 0, state="replication"))
    plain = await joined(stack, bounded, "everywhere", "template1")
    assert await plain.value("SELECT 1") == "1"
    first = await joined(stack, bounded, "everywhere", "template1", LOGICAL)
    await joined(stack, bounded, "everywhere", "template1", LOGICAL)
    assert _servers(bounded, 0, database="template1", state="idle")
    assert await refused(stack, bounded, "everywhere", "template1", LOGICAL) == "53300"
    plain.write(query("SELECT 2"))
    await eventually(lambda: bounded.metric("forebay_pool_waiting", database="template1") == 1)
    await first.close()
    assert frames.rows(await plain.until("Z")) == [("2",)]


async def test_a_limit_on_clients_counts_them(stack: AsyncExitStack, bounded: Forebay) -> None:
    """Like any others."""
    await eventually(lambda: bounded.metric("forebay_clients") == 0)
    for database in ("postgres", "postgres", "template1"):
        await joined(stack, bounded, "everywhere", database, LOGICAL)
    assert await refused(stack, bounded, "everywhere", "template1", LOGICAL) == "53300"
    assert await refused(stack, bounded, "everywhere", "template1") == "53300"


async def test_a_database_that_is_gone(stack: AsyncExitStack, bounded: Forebay) -> None:
    """A reload without it, and without one for all others, ends what replicates from it."""
    await eventually(lambda: bounded.metric("forebay_clients") == 0)
    wire = await joined(stack, bounded, "everywhere", "leaving", LOGICAL)
    text = bounded.config.read_text()
    bounded.config.write_text(text.replace('"*"', '"other"').replace("leaving", "left"))
    await asyncio.to_thread(bounded.reload)
    assert frames.errors(await wire.rest()) == ["57P01"]
    bounded.config.write_text(text)
    await asyncio.to_thread(bounded.reload)


async def test_a_server_that_is_not_there(stack: AsyncExitStack, postgres: Cluster, tmp_path: Any) -> None:
    """Nobody waits for it. And the end of the process: who replicates may go on until the time is over."""
    nowhere = {"gone": {"url": f"postgresql://{postgres.superuser}:x@{postgres.host}:1/x"}}
    proxy = Forebay.before(postgres, tmp_path, {"timeouts": {"drain": "1s"}, "databases": nowhere})
    proxy.start_from_nothing()
    try:
        await proxy.ready()
        wire = await Wire.open(proxy.host, proxy.port)
        stack.push_async_callback(wire.close)
        with pytest.raises(LoginRefusedError) as caught:
            await wire.login(postgres.superuser, "gone", "x", LOGICAL)
        assert caught.value.sqlstate == "08001"
        wire = await Wire.open(proxy.host, proxy.port)
        stack.push_async_callback(wire.close)
        await wire.login(postgres.superuser, "postgres", postgres.password, LOGICAL)
        proxy.signal(signal.SIGTERM)
        await eventually(lambda: "draining" in proxy.log())
        assert await wire.value("SELECT 1") == "1"
        assert frames.errors(await wire.rest()) == ["57P01"]
        assert await asyncio.to_thread(proxy.wait, 30.0) == 0
    finally:
        await asyncio.to_thread(proxy.stop)
    proxy.verify_log()
