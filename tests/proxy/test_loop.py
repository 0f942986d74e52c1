from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from proxy import loop

if TYPE_CHECKING:
    import pytest


async def name() -> str:
    return type(asyncio.get_running_loop()).__module__


def test_uvloop_runs_the_program() -> None:
    assert loop.run(name()).startswith("uvloop")


def test_without_uvloop_asyncio_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop.run(name()).startswith("asyncio")
