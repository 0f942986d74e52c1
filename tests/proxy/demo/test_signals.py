"""A signal is never lost, wherever it comes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest

from proxy.demo.signals import finish, raising_signals


def _signal() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _swallowing() -> None:
    """A callback of a library that has its own idea of exceptions."""
    with contextlib.suppress(BaseException):
        _signal()


def test_a_callback_that_swallows_exceptions_does_not_swallow_it() -> None:
    """The work is cancelled and may clean up, and then it is raised."""
    ends: list[str] = []

    async def work() -> None:
        asyncio.get_running_loop().call_soon(_swallowing)
        try:
            await asyncio.sleep(20)
            ends.append("slept")
        finally:
            await asyncio.sleep(0)
            ends.append("cleaned up")

    with raising_signals(), pytest.raises(KeyboardInterrupt):
        finish(work())
    assert ends == ["cleaned up"]


def test_it_may_come_when_all_is_done() -> None:
    async def work() -> None:
        _signal()

    with raising_signals(), pytest.raises(KeyboardInterrupt):
        finish(work())


def test_it_comes_before_what_else_went_wrong() -> None:
    async def work() -> None:
        _signal()
        raise OSError("the connection went with it")

    with raising_signals(), pytest.raises(KeyboardInterrupt):
        finish(work())


def test_without_one_errors_pass_and_blocking_code_is_interrupted_again() -> None:
    async def work() -> None:
        raise OSError("ours")

    with raising_signals():
        with pytest.raises(OSError, match="ours"):
            finish(work())
        with pytest.raises(KeyboardInterrupt):
            _signal()
        _signal()  # once is enough
