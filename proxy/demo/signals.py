"""What the demo does on a signal.

A handler that raises is right for code that blocks. It is wrong where an event loop runs: the exception comes up in
whatever callback is being run, which may be one that swallows it, and then the signal is lost; or it takes the place of
what the callback had to do, and then somebody waits for ever. There a handler may only leave a note: it cancels what
runs, and the exception is raised when the loop has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

Handler = Callable[[int, FrameType | None], object] | signal.Handlers

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def on_signals(handler: Handler) -> None:
    """Let `handler` take every signal that ends us."""
    for signum in _SIGNALS:
        signal.signal(signum, handler)


@contextlib.contextmanager
def raising_signals() -> Iterator[None]:
    """Make every signal that ends us raise KeyboardInterrupt, also one that our parent made us ignore."""
    earlier = {signum: signal.getsignal(signum) for signum in _SIGNALS}
    on_signals(_interrupt)
    try:
        yield
    finally:
        for signum, handler in earlier.items():
            signal.signal(signum, handler)


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    # once is enough: a second one must not break what takes everything down
    on_signals(signal.SIG_IGN)
    raise KeyboardInterrupt


def finish(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` on a loop of its own, inside raising_signals(): a signal cancels it and becomes KeyboardInterrupt."""
    came = False
    cancel: Callable[[], object] | None = None

    def note(_signum: int, _frame: FrameType | None) -> None:
        nonlocal came
        on_signals(signal.SIG_IGN)
        came = True
        if cancel is not None:
            cancel()

    async def cancellable() -> None:
        nonlocal cancel
        loop, task = asyncio.get_running_loop(), asyncio.create_task(work)
        cancel = functools.partial(loop.call_soon_threadsafe, task.cancel)
        try:
            if came:
                task.cancel()
            await task
        finally:
            cancel = None

    on_signals(note)
    try:
        asyncio.run(cancellable())
    finally:
        if came:
            raise KeyboardInterrupt
        on_signals(_interrupt)
