"""`forebay demo`: the order of things.

Up: a cluster, its schema and rows, Forebay, visitors. Down, on every way out: visitors, Forebay,
PostgreSQL, the temporary directory. Until the visitors run, a signal raises KeyboardInterrupt (`signals.py`);
while they run it only sets an event, so that statements under way are answered; once we are going down it is
ignored, because every step of that has a deadline of its own. The handlers are plain ones: an event loop's
would fall back to the system's defaults when the loop closes, just before the children are stopped.

Standard output carries the summary alone; everything else is written to standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from typing import Final

import uvloop
from rich.console import Console
from rich.live import Live

from proxy.demo import children, postgres, server, shop, summary
from proxy.demo.meter import Meter
from proxy.demo.postgres import Postgres, PostgresError
from proxy.demo.progress import Progress
from proxy.demo.server import Forebay, ForebayError
from proxy.demo.signals import finish, on_signals, raising_signals
from proxy.demo.view import Page
from proxy.demo.workload import CONNECTIONS, Workload

_TICK: Final = 1.0
_INTERRUPTED: Final = 130  # what a shell says of a program that Ctrl-C ended


def run(seconds: float | None, view: bool) -> int:
    """Run the demo for `seconds` (None: until Ctrl-C), with a live page or without; returns the exit status.

    0 when every statement was answered well, 1 when one failed or nothing ran, 130 when interrupted before
    the shop was open.
    """
    console = Console(stderr=True)
    with raising_signals():
        try:
            return _run(console, seconds, view and sys.stderr.isatty())
        except KeyboardInterrupt:
            console.print("interrupted; everything is stopped and removed")
            return _INTERRUPTED
        except (PostgresError, ForebayError) as error:
            console.print(str(error), style="red", markup=False, highlight=False)
            return 1


def _run(console: Console, seconds: float | None, view: bool) -> int:
    progress = Progress(console)
    progress.say("Forebay demo: a shop on an embedded PostgreSQL, all of it in a temporary directory")
    with contextlib.ExitStack() as stack:
        try:
            database, forebay = _prepare(stack, progress)
            lines = what_next(forebay, database)
            workload = Workload(forebay.dsn, CONNECTIONS)
            screen = _Screen(console, lines) if view else None
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                opening = _open_shop(workload, forebay, seconds, screen, [] if view else lines, progress)
                period = runner.run(opening)
        finally:
            on_signals(signal.SIG_IGN)
        if workload.tally.errors:
            progress.say(children.tail(forebay.log))
        progress.say("stopping")
    found = summary.figures(workload.tally, period)
    found["metrics_url"] = f"{forebay.http}/metrics"
    if workload.tally.first_error:
        found["first_error"] = workload.tally.first_error
    sys.stdout.write(summary.lines(found))
    sys.stdout.flush()
    return summary.exit_status(workload.tally)


def _prepare(stack: contextlib.ExitStack, progress: Progress) -> tuple[Postgres, Forebay]:
    """Start everything that the visitors need; `stack` takes it down again."""
    account = postgres.unprivileged()
    login = shop.Login()
    home = stack.enter_context(postgres.workspace(account))
    database = Postgres(home, account)
    with progress.step("create a PostgreSQL cluster"):
        database.create()
    with progress.step("start PostgreSQL"):
        stack.enter_context(postgres.running(database))
        finish(shop.create_database(database, login))
    upstream = database.url(login.user, login.password, login.database)
    finish(shop.load(upstream, lambda name: progress.step(f"fill the shop: {name}")))
    with progress.step("start Forebay"):
        forebay = stack.enter_context(server.running(Forebay(home, login), upstream))
        finish(forebay.wait_ready())
    return database, forebay


def what_next(forebay: Forebay, database: Postgres) -> list[tuple[str, str]]:
    """What a visitor may type while the demo runs: (what for, the line)."""
    psql = "psql" if shutil.which("psql") else str(database.bin / "psql")
    return [
        ("try it", f"{psql} '{forebay.dsn}'"),
        ("console", f"{psql} '{forebay.url('forebay')}' -c 'SHOW POOLS'"),
        ("metrics", f"curl {forebay.http}/metrics"),
        ("page", f"{forebay.http}/"),
        ("end", "Ctrl-C stops and removes everything"),
    ]


@dataclass(frozen=True, slots=True)
class _Screen:
    """Where the live page is drawn, and what it says at its end."""

    console: Console
    lines: list[tuple[str, str]]


async def _open_shop(
    workload: Workload,
    forebay: Forebay,
    seconds: float | None,
    screen: _Screen | None,
    lines: list[tuple[str, str]],
    progress: Progress,
) -> summary.Period:
    """Let the visitors in until the time is over or a signal comes; say these lines once a signal is waited for."""
    loop = asyncio.get_running_loop()
    on_signals(lambda _signum, _frame: loop.call_soon_threadsafe(workload.stop.set))
    for name, line in lines:
        progress.say(f"  {name:<12} {line}")
    async with Meter(forebay.http, forebay.login.database) as meter:
        before = await meter.read()
        began = time.perf_counter()
        visits = asyncio.create_task(workload.run())
        try:
            if seconds is not None:
                loop.call_later(seconds, workload.stop.set)
            if screen is not None:
                await _show(screen, Page(workload.tally, before, screen.lines), meter, visits)
        finally:
            if screen is not None:
                workload.stop.set()
            await visits
        took = time.perf_counter() - began
        after = await meter.read()
    return summary.Period(took, before, after if after.reached else before)


async def _show(screen: _Screen, page: Page, meter: Meter, visits: asyncio.Task[None]) -> None:
    """Keep the page up to date until the visits end."""
    began = time.perf_counter()
    with Live(page, console=screen.console, screen=True, auto_refresh=False) as live:
        while not visits.done():
            await asyncio.wait([visits], timeout=_TICK)
            page.tick(time.perf_counter() - began, await meter.read())
            live.refresh()
