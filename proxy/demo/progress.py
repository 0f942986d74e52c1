"""The steps of preparing, told as they are taken."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console


class Progress:
    """Names each step while it runs, and how long it took once it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One step; a step that fails is not reported as done."""
        began = time.perf_counter()
        with self._console.status(f"{name} ...", spinner="line"):
            yield
        self._console.print(f"  {name:<34}[dim]{time.perf_counter() - began:6.1f} s[/]", highlight=False)

    def say(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
