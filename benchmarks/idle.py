"""What an idle client costs: resident memory of the proxy with thousands of them, while others work."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from benchmarks import proxies
from benchmarks.compare import upstream_of
from tests.support import frames
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.proxies import Candidate, Upstream

_AT_ONCE: Final = 50  # logins


@dataclass(frozen=True, slots=True)
class Cost:
    """One line of the result; memory in bytes."""

    candidate: str
    empty: int
    with_idle: int
    with_busy: int
    a_client: float
    queries: float  # a second, of the busy ones
    slowest: float  # seconds, of any query of the busy ones


@contextlib.asynccontextmanager
async def _crowd(candidate: Candidate, upstream: Upstream, size: int) -> AsyncIterator[list[Wire]]:
    """Logged in, and each has run one query."""
    gate = asyncio.Semaphore(_AT_ONCE)
    crowd: list[Wire] = []

    async def enter() -> None:
        async with gate:
            wire = await Wire.open(candidate.host, candidate.port)
            crowd.append(wire)
            await wire.login(upstream.user, upstream.database, upstream.password)
            await wire.value("SELECT 1")

    try:
        await asyncio.gather(*(enter() for _ in range(size)))
        yield crowd
    finally:
        for wire in crowd:
            await wire.close()


async def _measure(candidate: Candidate, upstream: Upstream, idle: int, busy: int, seconds: float) -> Cost:
    async with _crowd(candidate, upstream, 10):
        pass
    await asyncio.sleep(0.5)
    empty = candidate.memory()
    async with _crowd(candidate, upstream, idle), _crowd(candidate, upstream, busy) as workers:
        await asyncio.sleep(1)
        with_idle = candidate.memory()
        deadline = time.monotonic() + seconds
        done = await asyncio.gather(*(_work(wire, deadline) for wire in workers))
        with_busy = candidate.memory()
    return Cost(
        candidate.name,
        empty,
        with_idle,
        with_busy,
        a_client=(with_idle - empty) / (idle + busy),
        queries=sum(count for count, _ in done) / seconds,
        slowest=max(worst for _, worst in done),
    )


async def _work(wire: Wire, deadline: float) -> tuple[int, float]:
    count, worst = 0, 0.0
    while (begun := time.monotonic()) < deadline:
        await wire.ask(frames.extended("SELECT abalance FROM pgbench_accounts WHERE aid = $1", str(count % 1_000 + 1)))
        count += 1
        worst = max(worst, time.monotonic() - begun)
    return count, worst


@click.command(help=__doc__)
@click.option("--dsn", default="", help="A PostgreSQL with the tables of pgbench; else an embedded one.")
@click.option("--idle", "idle_clients", default=2_000, show_default=True)
@click.option("--busy", default=50, show_default=True)
@click.option("--pool-size", default=10, show_default=True)
@click.option("--seconds", default=5.0, show_default=True)
@click.option("--pgbouncer", "program", default="", help="Its path; else $PGBOUNCER, else PATH.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the result there, too.")
def main(
    dsn: str,
    idle_clients: int,
    busy: int,
    pool_size: int,
    seconds: float,
    program: str,
    json_file: Path | None,
) -> None:
    """See the help."""
    need = idle_clients + busy + 500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < need:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(need, hard), hard))
    found = proxies.find_pgbouncer(program)
    costs: list[Cost] = []
    with upstream_of(dsn, 1) as upstream, contextlib.ExitStack() as stack:
        competitors = [stack.enter_context(proxies.forebay("forebay", upstream, pool_size, "off", trust=True))]
        if found is not None:
            competitors.append(stack.enter_context(proxies.pgbouncer(found, upstream, pool_size, trust=True)))
        costs = [asyncio.run(_measure(candidate, upstream, idle_clients, busy, seconds)) for candidate in competitors]
    titles = ("empty MiB", 9), ("idle MiB", 9), ("busy MiB", 9), ("KiB/client", 10), ("q/s", 7), ("worst ms", 8)
    click.echo(" ".join([f"{'candidate':18}", *(f"{text:>{width}}" for text, width in titles)]))
    for cost in costs:
        sizes = " ".join(f"{size / 2**20:9.1f}" for size in (cost.empty, cost.with_idle, cost.with_busy))
        click.echo(
            f"{cost.candidate:18} {sizes} {cost.a_client / 1024:10.1f} {cost.queries:7.0f} {cost.slowest * 1e3:8.1f}"
        )
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(cost) for cost in costs], indent=2) + "\n")


if __name__ == "__main__":
    main()
