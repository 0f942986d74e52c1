"""Several hosts in a url: a primary and a standby, either of which may be down, or become the other."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.integration.target import Target
from tests.support import frames
from tests.support.forebay import forebay
from tests.support.frames import query
from tests.support.patience import eventually, retried
from tests.support.ports import free_port
from tests.support.postgres import cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.postgres import Cluster


USER = "of_two_hosts"


class Way(Target):
    """The same login everywhere."""

    @property
    def user(self) -> str:
        return USER

    @property
    def password(self) -> str:
        return USER


@pytest.fixture(scope="module")
def standby() -> Iterator[Cluster]:
    """A server in recovery. It replicates nobody, which makes no difference here."""
    with cluster() as made:
        made.create_role(USER, USER, "SUPERUSER LOGIN")
        made.shutdown()
        (made.data / "standby.signal").touch()
        made.start()
        yield made


@pytest.fixture(autouse=True)
def _same_user(postgres: Cluster) -> None:
    postgres.create_role(USER, USER, "SUPERUSER LOGIN")


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


async def before(stack: AsyncExitStack, *clusters: Cluster, cache: str = "off", **options: str) -> Target:
    """A Forebay before these and, first of all, a port where nobody is."""
    places = ",".join(["127.0.0.1:" + str(free_port()), *(f"{one.host}:{one.port}" for one in clusters)])
    more = "&".join(f"{name}={value}" for name, value in {"connect_timeout": "5", **options}.items())
    url = f"postgresql://{USER}:{USER}@{places}/postgres?{more}"
    settings = {"databases": {"postgres": {"url": url}}, "cache": {"mode": cache}}
    proxy = await stack.enter_async_context(forebay(settings, USER, USER))
    return Way(clusters[0], proxy, "postgres")


async def port(target: Target) -> int:
    async with target.wire() as wire:
        return int(await wire.value("SELECT setting FROM pg_settings WHERE name = 'port'") or 0)


@pytest.mark.parametrize(
    ("attributes", "wanted"),
    [
        ("any", "standby"),
        ("read-write", "primary"),
        ("primary", "primary"),
        ("read-only", "standby"),
        ("standby", "standby"),
        ("prefer-standby", "standby"),
    ],
)
async def test_the_first_that_fits(
    stack: AsyncExitStack, postgres: Cluster, standby: Cluster, attributes: str, wanted: str
) -> None:
    """The first host is down, the second a standby, the third a primary. A cancel request goes where the query runs."""
    target = await before(stack, standby, postgres, target_session_attrs=attributes)
    assert await port(target) == {"primary": postgres, "standby": standby}[wanted].port
    async with target.wire() as wire, target.wire() as other:
        wire.write(query("SELECT pg_sleep(60)"))
        running = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
        while await other.value(running) != "1":
            pass
        canceller = await target.open()
        canceller.write(frames.cancel_request(wire.pid, wire.key))
        assert await canceller.rest() == []
        assert frames.errors(await wire.until("Z")) == ["57014"]
        await canceller.close()


async def test_prefer_standby_takes_a_primary_when_there_is_nothing_else(
    stack: AsyncExitStack, postgres: Cluster
) -> None:
    target = await before(stack, postgres, target_session_attrs="prefer-standby")
    assert await port(target) == postgres.port


async def test_none_that_fits_is_said_in_the_end(stack: AsyncExitStack, postgres: Cluster) -> None:
    url = f"postgresql://{postgres.superuser}:{postgres.password}@{postgres.host}:{postgres.port}/postgres"
    settings = {
        "databases": {"postgres": {"url": f"{url}?target_session_attrs=standby"}},
        "pool": {"queue_timeout": "1s"},
        "cache": {"mode": "off"},
    }
    proxy = await stack.enter_async_context(forebay(settings, postgres.superuser, postgres.password, ready="/healthz"))
    wire = await Target(postgres, proxy, "postgres").open()
    with pytest.raises(Exception, match="is not standby"):
        await wire.login(postgres.superuser, "postgres", postgres.password)
    await wire.close()


async def test_at_random(stack: AsyncExitStack, postgres: Cluster, standby: Cluster) -> None:
    """Both are met, sooner or later."""
    target = await before(stack, standby, postgres, load_balance_hosts="random")
    wires = [await stack.enter_async_context(target.wire()) for _ in range(16)]
    for wire in wires:
        await wire.ask(query("BEGIN"))
    met = {await wire.value("SELECT setting FROM pg_settings WHERE name = 'port'") for wire in wires}
    assert met == {str(postgres.port), str(standby.port)}


async def test_nothing_is_cached_where_hosts_may_differ(
    stack: AsyncExitStack, postgres: Cluster, standby: Cluster
) -> None:
    """A standby may lag behind what has been answered."""
    postgres.execute("CREATE TABLE IF NOT EXISTS of_hosts AS SELECT 1 AS a")
    target = await before(stack, postgres, standby, cache="auto")
    proxy = target.forebay
    assert proxy is not None
    async with target.wire() as wire:
        await eventually(lambda: "catalog of postgres loaded" in proxy.log())
        for _ in range(5):
            assert await wire.value("SELECT a FROM of_hosts") == "1"
    assert proxy.metric("forebay_cache_requests_total", result="hit") == 0


async def test_what_the_host_that_writes_has_answered_is_cached(
    stack: AsyncExitStack, postgres: Cluster, standby: Cluster
) -> None:
    """There is only one of those."""
    postgres.execute("CREATE TABLE IF NOT EXISTS of_hosts AS SELECT 1 AS a")
    target = await before(stack, standby, postgres, cache="auto", target_session_attrs="primary")
    proxy = target.forebay
    assert proxy is not None

    async def hit() -> None:
        async with target.wire() as wire:
            assert await wire.value("SELECT a FROM of_hosts") == "1"
        assert proxy.metric("forebay_cache_requests_total", result="hit")

    await retried(hit, AssertionError)


async def test_a_refused_write_ends_the_connection(stack: AsyncExitStack, postgres: Cluster) -> None:
    """25006 may mean that the primary is none any more."""
    target = await before(stack, postgres, target_session_attrs="primary")
    async with target.wire() as wire:
        first = await wire.value("SELECT pg_backend_pid()")
        await wire.ask(query("BEGIN READ ONLY"))
        assert frames.errors(await wire.ask(query("CREATE TABLE never (a int)"))) == ["25006"]
        await wire.ask(query("ROLLBACK"))
        assert await wire.value("SELECT pg_backend_pid()") != first


async def test_a_promoted_standby_is_left(stack: AsyncExitStack, postgres: Cluster, standby: Cluster) -> None:
    """Its connections are not lent again. The last test: it stays promoted."""
    target = await before(stack, standby, target_session_attrs="standby")
    async with target.wire() as wire:
        first = await wire.value("SELECT pg_backend_pid()")
        assert await wire.value("SELECT pg_backend_pid()") == first
        standby.execute("SELECT pg_promote()")
        await wire.ask(query("SELECT 1"))
        (standby.data / "standby.signal").touch()
        standby.restart()
        assert await wire.value("SELECT pg_is_in_recovery()") == "t"
        proxy = target.forebay
        assert proxy is not None
        assert "is no longer standby" in proxy.log()
