"""The application behind the routes of `zexio demo`: a page, an echo, and a stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

_PAGE: Final = """<!doctype html>
<title>zexio demo</title>
<h1>It works</h1>
<p>This page came through the mesh. Try <a href="/echo">/echo</a> and <a href="/events">/events</a>.</p>
"""


def application() -> web.Application:
    """The three things that the sample can do."""
    app = web.Application()
    app.add_routes([web.get("/", _page), web.route("*", "/echo", _echo), web.get("/events", _events)])
    return app


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """The sample on a free port of loopback; gives its address, `http://127.0.0.1:PORT`."""
    runner = web.AppRunner(application(), access_log=None, handle_signals=False, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _page(_request: web.Request) -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html")


async def _echo(request: web.Request) -> web.Response:
    """What the target saw of the request, so that the mesh's own fields can be looked at."""
    body = (await request.read()).decode(errors="replace")
    return web.json_response(
        {"method": request.method, "path": request.path_qs, "headers": dict(request.headers), "body": body}
    )


async def _events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    while True:
        await response.write(f"data: {datetime.now(UTC).isoformat(timespec='seconds')}\n\n".encode())
        await asyncio.sleep(1)
