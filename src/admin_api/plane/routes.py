"""The native routes: list, read, put and remove, with ETags that guard against lost updates."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import msgspec
from aiohttp import web

from admin_api.auth import PRINCIPAL
from admin_api.body import read_json, read_query
from admin_api.errors import ApiError, invalid
from admin_api.plane import schema
from admin_api.plane.listing import RouteIndex, Selection, decode_cursor, encode_cursor
from admin_api.preconditions import etag, expectation, is_fresh
from state.change import Absent, Present, PutRoute, RemoveRoute
from state.hosts import fold_route_host
from state.model import Desired, Route, RouteKey
from state.ports import Changes, Views
from state.refusal import Problem, Refused

ROOT: Final = "/"


class Routes:
    """The handlers of `/routes`."""

    def __init__(self, changes: Changes, views: Views) -> None:
        self._changes = changes
        self._views = views
        self._index = RouteIndex(views.desired)

    async def list_routes(self, request: web.Request) -> web.Response:
        """One page of routes, in the order of their hosts."""
        query = read_query(request, schema.RoutesQuery)
        after = decode_cursor(query.cursor) if query.cursor is not None else None
        q = query.q.lower() if query.q is not None else None
        selection = Selection(limit=query.limit, after=after, org_id=query.org_id, q=q)
        page = await self._index.page(selection)
        next_cursor = encode_cursor(page.after) if page.after is not None else None
        return _answer(request, page.revision, {"routes": page.routes, "next_cursor": next_cursor})

    async def get_route(self, request: web.Request) -> web.Response:
        """One route, or 304 when the client has it."""
        route = self._find(_key(request))
        return _answer(request, route.revision, route)

    async def put_route(self, request: web.Request) -> web.Response:
        """Create a route (201) or replace it (200)."""
        body = await read_json(request, schema.RouteBody)
        key = _key(request, body)
        desired, is_new = await self._put(request, key, body)
        route = desired.routes[key]
        headers = {"ETag": etag(route.revision)}
        if is_new:
            headers["Location"] = _location(key)
        return _json(HTTPStatus.CREATED if is_new else HTTPStatus.OK, route, headers)

    async def delete_route(self, request: web.Request) -> web.Response:
        """Remove a route."""
        key = _key(request)
        expect = expectation(request.headers, self._find(key).revision)
        await self._changes.submit(
            RemoveRoute(host=key.host, path_prefix=key.path_prefix), actor=request[PRINCIPAL].actor, expect=expect
        )
        return web.Response(status=HTTPStatus.NO_CONTENT)

    def _find(self, key: RouteKey) -> Route:
        route = self._views.desired.value.routes.get(key)
        if route is None:
            raise ApiError(HTTPStatus.NOT_FOUND, f"{key.host} has no route with the path prefix {key.path_prefix}.")
        return route

    async def _put(self, request: web.Request, key: RouteKey, body: schema.RouteBody) -> tuple[Desired, bool]:
        change = PutRoute(route=_wanted(key, body))
        while True:
            current = self._views.desired.value.routes.get(key)
            asked = expectation(request.headers, current.revision if current else None)
            seen = Present() if current else Absent()
            try:
                after = await self._changes.submit(change, actor=request[PRINCIPAL].actor, expect=asked or seen)
            except Refused as refused:
                # The client set no condition: somebody else came or went first, and only the status depends on it.
                if asked or refused.kind != "precondition":
                    raise
            else:
                return after, current is None


def _key(request: web.Request, body: schema.RouteBody | None = None) -> RouteKey:
    """The route that the path and the query name; raises ApiError 400 when the body names another one."""
    host = _folded(request.match_info["host"])
    prefix = read_query(request, schema.RouteQuery).path_prefix
    if body is None:
        return RouteKey(host, ROOT if prefix is None else prefix)
    problems = []
    if body.host is not None and _folded(body.host) != host:
        problems.append(Problem("host", f"is not {host}, which the path names"))
    if None not in {body.path_prefix, prefix} and body.path_prefix != prefix:
        problems.append(Problem("path_prefix", f"is not {prefix}, which the query names"))
    if problems:
        raise invalid(problems)
    return RouteKey(host, next((given for given in (prefix, body.path_prefix) if given is not None), ROOT))


def _folded(host: str) -> str:
    try:
        return fold_route_host(host)
    except ValueError as reason:
        raise invalid([Problem("host", str(reason))]) from None


def _wanted(key: RouteKey, body: schema.RouteBody) -> Route:
    fields = body.model_dump(exclude={"revision"})
    return msgspec.convert({**fields, "host": key.host, "path_prefix": key.path_prefix}, Route)


def _location(key: RouteKey) -> str:
    query = "" if key.path_prefix == ROOT else f"?path_prefix={quote(key.path_prefix)}"
    return f"/routes/{quote(key.host, safe='*')}{query}"


def _answer(request: web.Request, revision: int, value: object) -> web.Response:
    headers = {"ETag": etag(revision)}
    if is_fresh(request.headers, headers["ETag"]):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return _json(HTTPStatus.OK, value, headers)


def _json(status: HTTPStatus, value: object, headers: dict[str, str]) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(value), content_type="application/json", headers=headers
    )
