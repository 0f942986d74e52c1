from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from proxy.http import HttpServer, Told
from proxy.options import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EXPOSITION = "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"
ANYWHERE = Address("127.0.0.1", 0)


class State:
    """What the callables tell; the test changes it."""

    def __init__(self) -> None:
        self.ready = True
        self.status: dict[str, Any] = {}

    def told(self) -> Told:
        return Told(
            metrics=lambda: (b"forebay_up 1\n", EXPOSITION),
            ready=lambda: (self.ready, {"why": "draining"}),
            status=lambda: self.status,
        )


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
async def base(state: State) -> AsyncIterator[str]:
    server = HttpServer(state.told())
    port = await server.start(ANYWHERE)
    yield f"http://127.0.0.1:{port}"
    await server.stop()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_metrics_are_told_as_they_are(base: str, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{base}/metrics") as answer:
        assert (answer.status, await answer.read()) == (200, b"forebay_up 1\n")
        assert answer.headers["Content-Type"] == EXPOSITION


async def test_health_does_not_depend_on_readiness(base: str, state: State, client: aiohttp.ClientSession) -> None:
    for ready, status in ((True, 200), (False, 503), (True, 200)):
        state.ready = ready
        async with client.get(f"{base}/readyz") as answer:
            assert (answer.status, await answer.json()) == (status, {"ready": ready, "why": "draining"})
        async with client.get(f"{base}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_the_state_is_json_whatever_is_in_it(base: str, state: State, client: aiohttp.ClientSession) -> None:
    state.status = {"pools": [{"user": "a"}], "where": ANYWHERE}
    async with client.get(f"{base}/api/status") as answer:
        assert answer.content_type == "application/json"
        found = json.loads(await answer.text())
    assert found["pools"] == [{"user": "a"}]
    assert "127.0.0.1" in found["where"]


async def test_the_page_loads_nothing_from_elsewhere(base: str, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{base}/") as answer:
        text = await answer.text()
        assert answer.content_type == "text/html"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "/api/status" in text
    assert "//" not in text.replace("<!doctype", "")
    assert "innerHTML" not in text


@pytest.mark.parametrize(("path", "method", "status"), [("/x", "GET", 404), ("/metrics", "POST", 405)])
async def test_other_requests_are_refused(
    base: str, client: aiohttp.ClientSession, path: str, method: str, status: int
) -> None:
    async with client.request(method, base + path) as answer:
        assert answer.status == status
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_taken_port_is_an_error_and_stopping_after_it_is_harmless(base: str, state: State) -> None:
    second = HttpServer(state.told())
    with pytest.raises(OSError, match="in use"):
        await second.start(Address("127.0.0.1", int(base.rsplit(":", 1)[1])))
    await second.stop()


async def test_after_stop_nobody_listens(state: State, client: aiohttp.ClientSession) -> None:
    server = HttpServer(state.told())
    port = await server.start(ANYWHERE)
    await server.stop()
    await server.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get(f"http://127.0.0.1:{port}/healthz")
