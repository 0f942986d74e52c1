"""What is told over HTTP: metrics, health, and the state as JSON and as a small page.

Knows no room: everything that it tells comes from callables that it is given. It has no login, so it listens
where only operators and their tools reach it. `/healthz` answers as long as the event loop turns; `/readyz`
says whether clients would be served now, so a load balancer can take a draining process out before it goes.
The page asks `/api/status` every second and lists what came: nothing made up, nothing loaded from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from proxy.options import Address

Detail = Mapping[str, object]

_SAFE: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'",
}


@dataclass(frozen=True, slots=True)
class Told:
    """Where the answers come from; each is called on the event loop, at each request."""

    metrics: Callable[[], tuple[bytes, str]]  # the exposition and its content type
    ready: Callable[[], tuple[bool, Detail]]  # whether clients are served, and why not
    status: Callable[[], Detail]  # what the page shows; must be possible to write as JSON


class HttpServer:
    """A running HTTP server; `start` and `stop` belong to the same loop."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._page = files("proxy").joinpath("page.html").read_text("utf-8")
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, address: Address) -> int:
        """Listen, and return the port (it matters when 0 was asked for). OSError when it is taken."""
        app = web.Application(middlewares=[_headers])
        app.add_routes(
            [
                web.get("/", self._root),
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._health),
                web.get("/readyz", self._ready),
                web.get("/api/status", self._status),
            ]
        )
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = int(runner.addresses[0][1])
        return self.port

    async def stop(self) -> None:
        """Close the listener and the connections; harmless when not started."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _root(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html")

    async def _metrics(self, _request: web.Request) -> web.Response:
        body, content_type = self._told.metrics()
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        ok, detail = self._told.ready()
        return _json({"ready": ok, **detail}, 200 if ok else 503)

    async def _status(self, _request: web.Request) -> web.Response:
        return _json(self._told.status(), 200)


@web.middleware
async def _headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(_SAFE)
        raise
    response.headers.update(_SAFE)
    return response


def _json(value: Detail, status: int) -> web.Response:
    return web.json_response(value, status=status, dumps=lambda data: json.dumps(data, default=str) + "\n")
