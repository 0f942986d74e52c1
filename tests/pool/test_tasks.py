"""Background tasks: kept while they run, heard when they fail, ended together."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import TYPE_CHECKING

from pool.tasks import Tasks

if TYPE_CHECKING:
    import pytest


async def test_a_task_lives_though_nobody_holds_it() -> None:
    tasks = Tasks()
    done = asyncio.Event()
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waker = weakref.ref(gate)

    async def work(gate: asyncio.Future[None]) -> None:
        await gate
        done.set()

    tasks.spawn(work(gate), "work")
    await asyncio.sleep(0)
    del gate
    gc.collect()
    found = waker()
    assert found is not None, "the task was collected with what it waited for"
    found.set_result(None)
    await done.wait()


async def test_a_failure_is_logged_once_and_a_cancellation_is_not(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()

    async def fail() -> None:
        raise ValueError("a bug")

    async def wait() -> None:
        await asyncio.Event().wait()

    with caplog.at_level(logging.ERROR, "forebay.tasks"):
        tasks.spawn(fail(), "fragile")
        waiting = tasks.spawn(wait(), "patient")
        await asyncio.sleep(0)
        await tasks.cancel()
        await asyncio.sleep(0)
    assert waiting.cancelled()
    assert [record.getMessage() for record in caplog.records] == ["task fragile failed"]


async def test_cancel_waits_for_the_last_words() -> None:
    tasks = Tasks()
    words: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            words.append("closed")

    tasks.spawn(work(), "work")
    await asyncio.sleep(0)
    await tasks.cancel()
    assert words == ["closed"]
    await tasks.cancel()
