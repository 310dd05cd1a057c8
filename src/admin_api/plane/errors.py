"""How Plane says that a request failed: `{"error": "..."}`, with any wrong fields; an unknown caller gets no word."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from aiohttp import web

from admin_api.errors import ApiError


def render(error: ApiError) -> web.Response:
    """The answer for `error`, as contracts/plane.md has it."""
    if error.status == HTTPStatus.UNAUTHORIZED:
        return web.Response(status=error.status, headers={"WWW-Authenticate": "X-Signature"})
    body: dict[str, object] = {"error": error.message}
    if error.problems:
        body["fields"] = error.problems
    return web.Response(
        status=error.status, body=msgspec.json.encode(body), content_type="application/json", headers=error.headers
    )
