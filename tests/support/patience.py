"""Waiting for what happens in other processes: asked again and again, and never for longer than said."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_PERIOD: Final = 0.05


async def eventually(question: Callable[[], bool], patience: float = 30.0) -> None:
    """Ask, in a thread, until the answer is yes; AssertionError when it stays no."""
    for _ in range(round(patience / _PERIOD)):
        if await asyncio.to_thread(question):
            return
        await asyncio.sleep(_PERIOD)
    raise AssertionError(f"{question!r} never became true")


async def retried(attempt: Callable[[], Awaitable[None]], *passing: type[Exception], patience: float = 30.0) -> None:
    """Try until it succeeds; only these exceptions are tried again, and not for ever."""
    async with asyncio.timeout(patience):
        for pause in itertools.repeat(_PERIOD):
            if await _succeeds(attempt, passing):
                return
            await asyncio.sleep(pause)


async def _succeeds(attempt: Callable[[], Awaitable[None]], passing: tuple[type[Exception], ...]) -> bool:
    try:
        await attempt()
    except passing:
        return False
    return True
