from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click
import pytest
from rich.console import Console

from proxy import top
from proxy.http import HttpServer, Told
from proxy.options import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STATE: dict[str, Any] = {
    "version": "1",
    "uptime": 12.34567,
    "pools": [{"user": "app", "waiting": 3}, {"user": "b\x1b[31m", "more": None}],
    "databases": {"shop": {"hits": 5}},
    "cache": {"mode": "auto", "tags": [1, 2]},
    "notes": ["a"],
}


@pytest.fixture
async def address() -> AsyncIterator[str]:
    server = HttpServer(Told(lambda: (b"", "text/plain"), lambda: (True, {}), lambda: STATE))
    port = await server.start(Address("127.0.0.1", 0))
    yield f"127.0.0.1:{port}"
    await server.stop()


def drawn(state: dict[str, Any]) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(top.draw(state))
    return capture.get()


def test_every_part_of_the_state_is_drawn() -> None:
    text = drawn(STATE)
    for word in ("version", "12.35", "pools", "app", "waiting", "shop", "hits", "auto", "[1, 2]", "notes"):
        assert word in text
    assert "\\x1b[31m" in text


def test_long_lists_say_what_is_left_out() -> None:
    assert "(first 20 of 30)" in drawn({"rows": [{"n": n} for n in range(30)]})


async def test_once_prints_and_ends(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(top.run, address, 1.0, True) == 0
    assert "waiting" in capsys.readouterr().out


async def test_who_does_not_answer_is_named(address: str) -> None:
    with pytest.raises(top.NoAnswerError, match="HTTP 404"):
        await asyncio.to_thread(top.ask, f"http://{address}/nothing/here")
    with pytest.raises(click.ClickException, match="refused"):
        await asyncio.to_thread(top.run, "127.0.0.1:1", 1.0, True)
