"""A plain reverse proxy on aiohttp, written the straightforward way; arguments: PORT HOST=URL..."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterable

import uvloop
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from multidict import CIMultiDict, CIMultiDictProxy

ROUTES = web.AppKey("ROUTES", dict[str, str])
SESSION = web.AppKey("SESSION", ClientSession)
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)


def end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The headers without those of the connection (RFC 9110 section 7.6.1)."""
    listed = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    dropped = HOP_BY_HOP | listed
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


async def relay(request: web.Request) -> web.StreamResponse:
    """Forward one request to the target of its host and stream the answer back."""
    target = request.app[ROUTES].get(request.host.partition(":")[0].lower())
    if target is None:
        raise web.HTTPNotFound
    headers = end_to_end(request.headers)
    headers["X-Forwarded-For"] = request.remote or ""
    headers["X-Forwarded-Proto"] = request.scheme
    headers["X-Forwarded-Host"] = request.host
    body = request.content if request.body_exists else None
    async with request.app[SESSION].request(
        request.method, target + request.path_qs, headers=headers, data=body, allow_redirects=False
    ) as answer:
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=end_to_end(answer.headers))
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


async def session(app: web.Application) -> AsyncIterator[None]:
    """One client session with keep-alive for the life of the application."""
    connector, timeout = TCPConnector(limit=0, keepalive_timeout=60), ClientTimeout(total=None, sock_connect=5)
    async with ClientSession(
        connector=connector, timeout=timeout, cookie_jar=DummyCookieJar(), auto_decompress=False
    ) as client:
        app[SESSION] = client
        yield


def build(routes: Iterable[str]) -> web.Application:
    """The application for routes written as HOST=URL."""
    app = web.Application(client_max_size=0)
    app[ROUTES] = dict(route.split("=", 1) for route in routes)
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", relay)
    return app


if __name__ == "__main__":
    port, *routes = sys.argv[1:]
    loop = uvloop.new_event_loop()
    web.run_app(build(routes), host="127.0.0.1", port=int(port), access_log=None, print=None, loop=loop)
