"""One run of pgbench: point reads by primary key, as `pgbench -S`, over a chosen number of rows.

`-S` reads from all rows; here their number is a parameter, because how often a cache hits depends on it alone.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.proxies import Candidate, Upstream

SCRIPT: Final = "\\set aid random(1, :rows)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
ROWS_A_SCALE: Final = 100_000
_TPS: Final = re.compile(r"^tps = ([\d.]+) ", re.MULTILINE)
_DONE: Final = re.compile(r"transactions actually processed: (\d+)")
_LATENCY: Final = re.compile(r"latency average = ([\d.]+) ms")


@dataclass(frozen=True, slots=True)
class Result:
    """What one run says."""

    tps: float
    transactions: int
    latency: float  # seconds, mean
    cpu: float  # seconds of the proxy for each transaction; 0.0 for PostgreSQL itself


@dataclass(frozen=True, slots=True)
class Load:
    """The shape of every run."""

    program: Path
    script: Path
    rows: int
    clients: int
    threads: int


class PgbenchError(Exception):
    """pgbench failed; the message is what it said."""


def _run(upstream: Upstream, host: str, port: int, *arguments: str, timeout: float) -> str:
    env = {
        "PATH": os.defpath,
        "PGHOST": host,
        "PGPORT": str(port),
        "PGUSER": upstream.user,
        "PGPASSWORD": upstream.password,
        "PGDATABASE": upstream.database,
        "PGSSLMODE": "disable",
    }
    done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise PgbenchError(done.stderr[-2_000:])
    return done.stdout


def initialise(program: Path, upstream: Upstream, scale: int) -> None:
    """Make the tables, straight in PostgreSQL."""
    _run(upstream, upstream.host, upstream.port, str(program), "-i", "-q", "-s", str(scale), timeout=600)


def measure(load: Load, upstream: Upstream, candidate: Candidate, protocol: str, seconds: float) -> Result:
    """One run, and the CPU time that the candidate needed for it; raises PgbenchError."""
    arguments = ["-n", "-M", protocol, "-c", str(load.clients), "-j", str(load.threads)]
    arguments += ["-T", str(max(1, round(seconds))), "-D", f"rows={load.rows}", "-f", str(load.script)]
    before = candidate.cpu()
    output = _run(upstream, candidate.host, candidate.port, str(load.program), *arguments, timeout=seconds * 3 + 60)
    used = candidate.cpu() - before
    tps, done, latency = (pattern.search(output) for pattern in (_TPS, _DONE, _LATENCY))
    if tps is None or done is None or latency is None:
        raise PgbenchError(f"this is no summary of pgbench:\n{output}")
    transactions = int(done[1])
    return Result(float(tps[1]), transactions, float(latency[1]) / 1_000, used / max(transactions, 1))
