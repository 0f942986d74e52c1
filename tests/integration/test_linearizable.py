"""Nobody is ever told something older than what somebody was told before; and whoever breaks that is found out."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from proxy.demo import children
from tests.integration.caching import Caching
from tests.integration.register import SCHEMA, Load
from tests.integration.target import Target
from tests.support.forebay import Forebay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import Cluster

_ROOT: Final = Path(__file__).resolve().parents[2]

SOUND = ""
NO_MARKS = """
mark = Cache.mark
Cache.mark = lambda self, tags, owner: mark(self, (), owner)
"""
NO_DOUBT = """
mark = Cache.mark
def changes_tokens_only(self, tags, owner):
    made = mark(self, tags, owner)
    for cell in made.cells:
        cell.doubters -= {made}
    return made
Cache.mark = changes_tokens_only
"""
STAMPED_LATE = """
import os
from cache.coherence import Stamp
fill = Cache.fill
def stamped_late(self, key, stamp, *rest):
    for cell, _ in stamp.pairs:
        cell.token = cell.token or (None if cell.doubters else os.urandom(16))
    if all(cell.token for cell, _ in stamp.pairs):
        fill(self, key, Stamp(tuple((cell, cell.token) for cell, _ in stamp.pairs)), *rest)
Cache.fill = stamped_late
"""
_MAIN = """
import sys
from cache.cache import Cache
{change}
from proxy.cli import main
sys.exit(main())
"""


class Changed(Forebay):
    """Forebay with other rules."""

    change = SOUND

    def start(self) -> None:
        """As always, but through a program of ours."""
        self.configure({})
        argv = [sys.executable, "-c", _MAIN.format(change=self.change), "serve", str(self.config)]
        env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(_ROOT), "HOME": str(self.config.parent)}
        self._child = children.spawn(
            argv, env=env, cwd=self.config.parent, log=self.log_file, on_our_death=signal.SIGKILL
        )


@contextlib.contextmanager
def changed(cluster: Cluster, change: str) -> Iterator[Forebay]:
    """A ready one."""
    with tempfile.TemporaryDirectory(prefix="forebay-test-") as home:
        forebay = Changed.before(cluster, Path(home), {"pool": {"size": 6}})
        assert isinstance(forebay, Changed)
        forebay.change = change
        forebay.start()
        try:
            forebay.wait_ready()
            yield forebay
        finally:
            forebay.stop()


@pytest.fixture
def registers(postgres: Cluster, database: str) -> str:
    """A database with counters."""
    with psycopg.connect(postgres.dsn(database), autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
    return database


async def test_nobody_is_told_anything_older(postgres: Cluster, registers: str) -> None:
    with changed(postgres, SOUND) as forebay:
        target = Target(postgres, forebay, registers)
        counts: Counter[str] = Counter()
        for seed in range(1, 7):  # a busy machine needs longer to show as much
            load = Load(target, seed=seed)
            await load.run(10.0)
            assert not load.judge.violations, load.judge.violations[:5]
            counts.update(load.judge.counts)
            enough = counts["write"] > 100 and counts["killed"] > 10 and counts["terminated"] > 5
            if enough and Caching(target).hits > 500:
                break
        else:
            pytest.fail(f"too little happened to prove anything: {counts}, {Caching(target).hits} hits")
        forebay.verify()


@pytest.mark.parametrize("change", [NO_MARKS, NO_DOUBT, STAMPED_LATE], ids=["no marks", "no doubt", "stamped late"])
async def test_a_broken_protocol_is_found_out(postgres: Cluster, registers: str, change: str) -> None:
    with changed(postgres, change) as forebay:
        for seed in range(2, 6):
            load = Load(Target(postgres, forebay, registers), seed=seed)
            await load.run(20.0, disasters=False)
            if load.judge.violations:
                return
        pytest.fail("no violation was found")
