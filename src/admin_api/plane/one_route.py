"""Which route a request is about, and the answers that carry one."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from admin_api.body import read_query
from admin_api.errors import ApiError, invalid
from admin_api.plane import schema
from admin_api.preconditions import etag, is_fresh
from state.hosts import fold_route_host
from state.model import Desired, Route, RouteKey
from state.refusal import Problem

ROOT: Final = "/"


def fold_named(host: str) -> str:
    """A host from a request in its one spelling; raises ApiError 400."""
    try:
        return fold_route_host(host)
    except ValueError as reason:
        raise invalid([Problem("host", str(reason))]) from None


def key_of(request: web.Request) -> RouteKey:
    """The route that the path and `?path_prefix=` name; raises ApiError 400."""
    return key_in(request, read_query(request, schema.RouteQuery))


def key_in(request: web.Request, query: schema.RouteQuery) -> RouteKey:
    """The route that the path and a query that was read name; raises ApiError 400."""
    host = fold_named(request.match_info["host"])
    return RouteKey(host, ROOT if query.path_prefix is None else query.path_prefix)


def find(desired: Desired, key: RouteKey) -> Route:
    """The route; raises ApiError 404."""
    route = desired.routes.get(key)
    if route is None:
        raise ApiError(HTTPStatus.NOT_FOUND, f"{key.host} has no route with the path prefix {key.path_prefix}.")
    return route


def answer(request: web.Request, revision: int, value: object) -> web.Response:
    """`value` with its ETag, or 304 when the client has it."""
    headers = {"ETag": etag(revision)}
    if is_fresh(request.headers, headers["ETag"]):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return to_json(HTTPStatus.OK, value, headers)


def to_json(status: HTTPStatus, value: object, headers: dict[str, str] | None = None) -> web.Response:
    """An answer that is JSON."""
    return web.Response(
        status=status, body=msgspec.json.encode(value), content_type="application/json", headers=headers
    )
