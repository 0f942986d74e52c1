"""Transactions a second and CPU time a query: PostgreSQL, PgBouncer, Forebay without and with its cache.

Candidates take turns within each round, so that what else the machine does meets all of them. Medians are shown.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import click

from benchmarks import pgbench, proxies
from benchmarks.proxies import Candidate, Upstream
from proxy.demo.postgres import binaries
from tests.support.postgres import cluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROTOCOLS: Final = ("simple", "extended", "prepared")
_WARM: Final = 3.0  # seconds before the first round


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    protocol: str
    candidate: str
    tps: float
    to_direct: float
    to_pgbouncer: float | None
    latency: float  # seconds
    cpu: float  # seconds of the proxy for each query
    hit_ratio: float | None
    rounds: list[float]  # transactions a second of each


@contextlib.contextmanager
def upstream_of(dsn: str, scale: int) -> Iterator[Upstream]:
    """The server of the DSN, as it is; or an embedded one with the tables of pgbench."""
    if dsn:
        parts = urlsplit(dsn)
        yield Upstream(
            parts.hostname or "127.0.0.1",
            parts.port or 5432,
            unquote(parts.username or "postgres"),
            unquote(parts.password or ""),
            parts.path.lstrip("/") or "postgres",
        )
        return
    with cluster(shared_buffers="256MB") as started:
        embedded = Upstream(started.host, started.port, started.superuser, started.password, "postgres")
        pgbench.initialise(started.pgbench, embedded, scale)
        started.execute("VACUUM ANALYZE")
        yield embedded


@contextlib.contextmanager
def candidates(
    upstream: Upstream, program: str | None, pool_size: int, compiled: str | None
) -> Iterator[list[Candidate]]:
    """All of them, started."""
    with contextlib.ExitStack() as stack:
        started = [Candidate("postgres", upstream.port, upstream.host)]
        if program is not None:
            started.append(stack.enter_context(proxies.pgbouncer(program, upstream, pool_size)))
        builds = {"forebay": None, "compiled": compiled} if compiled else {"forebay": None}
        for build, own in builds.items():
            for name, cache in ((build, "off"), (f"{build} cached", "auto")):
                started.append(stack.enter_context(proxies.forebay(name, upstream, pool_size, cache, program=own)))
        yield started


class Comparison:
    """The rounds and what came out of them."""

    def __init__(self, load: pgbench.Load, upstream: Upstream, competitors: Sequence[Candidate]) -> None:
        self._load = load
        self._upstream = upstream
        self._competitors = competitors

    def run(self, protocol: str, rounds: int, seconds: float) -> list[Row]:
        """Every candidate once a round; one that cannot speak this protocol is left out."""
        able = [who for who in self._competitors if who.prepares or protocol != "prepared"]
        results: dict[str, list[pgbench.Result]] = {who.name: [] for who in able}
        for who in able:
            self._measure(who, protocol, _WARM)
        before = {who.name: who.hits() for who in able}
        for number in range(rounds):
            for who in able[number % len(able) :] + able[: number % len(able)]:
                results[who.name].append(self._measure(who, protocol, seconds))
        after = {who.name: who.hits() for who in able}
        ratios = {name: _ratio(before[name], after[name]) for name in results}
        return _rows(protocol, results, ratios)

    def _measure(self, who: Candidate, protocol: str, seconds: float) -> pgbench.Result:
        return pgbench.measure(self._load, self._upstream, who, protocol, seconds)


def _ratio(before: tuple[float, float], after: tuple[float, float]) -> float | None:
    asked = after[1] - before[1]
    return (after[0] - before[0]) / asked if asked else None


def _rows(protocol: str, results: dict[str, list[pgbench.Result]], ratios: dict[str, float | None]) -> list[Row]:
    speed = {name: statistics.median(run.tps for run in runs) for name, runs in results.items()}
    rival = next((tps for name, tps in speed.items() if name.startswith("pgbouncer")), None)
    return [
        Row(
            protocol,
            name,
            tps=speed[name],
            to_direct=speed[name] / speed["postgres"],
            to_pgbouncer=speed[name] / rival if rival else None,
            latency=statistics.median(run.latency for run in runs),
            cpu=statistics.median(run.cpu for run in runs),
            hit_ratio=ratios[name],
            rounds=[run.tps for run in runs],
        )
        for name, runs in results.items()
    ]


def _table(rows: Sequence[Row]) -> str:
    titles = ("tps", 8), ("/postgres", 9), ("/pgbouncer", 10), ("ms", 7), ("CPU us", 7), ("hits", 6)
    lines = [" ".join([f"{'protocol':9}", f"{'candidate':18}", *(f"{text:>{width}}" for text, width in titles)])]
    for row in rows:
        rival = f"{row.to_pgbouncer:10.2f}" if row.to_pgbouncer else f"{'-':>10}"
        cpu = f"{row.cpu * 1e6:7.1f}" if row.cpu else f"{'-':>7}"
        hits = f"{row.hit_ratio:6.1%}" if row.hit_ratio is not None else f"{'-':>6}"
        lines.append(
            f"{row.protocol:9} {row.candidate:18} {row.tps:8.0f} {row.to_direct:9.2f} {rival}"
            f" {row.latency * 1e3:7.2f} {cpu} {hits}"
        )
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--dsn", default="", help="A PostgreSQL with the tables of pgbench; else an embedded one.")
@click.option("--scale", default=1, show_default=True, help="Hundred thousand rows each, when embedded.")
@click.option("--rows", default=10_000, show_default=True, help="How many rows are read from.")
@click.option("--clients", default=16, show_default=True)
@click.option("--threads", default=2, show_default=True, help="Threads of pgbench.")
@click.option("--pool-size", default=8, show_default=True, help="Server connections of each pooler.")
@click.option("--seconds", default=5.0, show_default=True, help="Of one run.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--protocol", "protocols", type=click.Choice(PROTOCOLS), multiple=True, help="Default: all.")
@click.option("--pgbouncer", "program", default="", help="Its path; else $PGBOUNCER, else PATH.")
@click.option("--pgbench", "bench", default="", help="Its path; else the embedded one.")
@click.option("--compiled", help="A `forebay` of the compiled build, measured as well.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the rows there, too.")
def main(
    dsn: str,
    scale: int,
    rows: int,
    clients: int,
    threads: int,
    pool_size: int,
    seconds: float,
    rounds: int,
    protocols: tuple[str, ...],
    program: str,
    bench: str,
    compiled: str | None,
    json_file: Path | None,
) -> None:
    """See the help."""
    found = proxies.find_pgbouncer(program)
    if found is None:
        click.echo("no pgbouncer here (PATH, $PGBOUNCER): compared without it", err=True)
    table: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="forebay-bench-") as home,
        upstream_of(dsn, scale) as upstream,
        candidates(upstream, found, pool_size, compiled) as competitors,
    ):
        script = Path(home) / "read.sql"
        script.write_text(pgbench.SCRIPT)
        run_by = Path(bench) if bench else binaries() / "bin" / "pgbench"
        load = pgbench.Load(run_by, script, min(rows, pgbench.ROWS_A_SCALE * scale), clients, threads)
        comparison = Comparison(load, upstream, competitors)
        for protocol in protocols or PROTOCOLS:
            table += comparison.run(protocol, rounds, seconds)
        click.echo(_table(table))
        if any(not who.prepares for who in competitors):
            click.echo("pgbouncer before 1.21 has no prepared statements in transaction mode: left out there")
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(row) for row in table], indent=2) + "\n")


if __name__ == "__main__":
    main()
