"""The native routes: list, read, put and remove, with ETags that guard against lost updates."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web

from admin_api.auth import PRINCIPAL
from admin_api.body import read_json, read_query
from admin_api.errors import invalid
from admin_api.passwords import Passwords
from admin_api.plane import one_route, schema
from admin_api.plane.listing import RouteIndex, Selection, decode_cursor, encode_cursor
from admin_api.plane.putting import put
from admin_api.preconditions import etag, expectation
from state.change import PutRoute, RemoveRoute
from state.model import Route, RouteKey
from state.ports import Changes, Views
from state.refusal import Problem


class Routes:
    """The handlers of `/routes`."""

    def __init__(self, changes: Changes, views: Views) -> None:
        self._changes = changes
        self._views = views
        self._passwords = Passwords()
        self._index = RouteIndex(views.desired)

    async def list_routes(self, request: web.Request) -> web.Response:
        """One page of routes, in the order of their hosts."""
        query = read_query(request, schema.RoutesQuery)
        after = decode_cursor(query.cursor) if query.cursor is not None else None
        q = query.q.lower() if query.q is not None else None
        selection = Selection(limit=query.limit, after=after, org_id=query.org_id, q=q)
        page = await self._index.page(selection)
        next_cursor = encode_cursor(page.after) if page.after is not None else None
        return one_route.answer(request, page.revision, {"routes": page.routes, "next_cursor": next_cursor})

    async def get_route(self, request: web.Request) -> web.Response:
        """One route, or 304 when the client has it."""
        route = one_route.find(self._views.desired.value, one_route.key_of(request))
        return one_route.answer(request, route.revision, route)

    async def put_route(self, request: web.Request) -> web.Response:
        """Create a route (201) or replace it (200)."""
        body = await read_json(request, schema.RouteBody)
        fields = body.model_dump(exclude={"revision", "traffic"})
        key = _key(request, fields)
        change = PutRoute(route=await self._wanted(key, fields))
        desired, is_new = await put(self._changes, request, change, lambda: self._views.desired.value.routes.get(key))
        route = desired.routes[key]
        headers = {"ETag": etag(route.revision)}
        if is_new:
            headers["Location"] = _location(key)
        return one_route.to_json(HTTPStatus.CREATED if is_new else HTTPStatus.OK, route, headers)

    async def delete_route(self, request: web.Request) -> web.Response:
        """Remove a route."""
        key = one_route.key_of(request)
        current = one_route.find(self._views.desired.value, key)
        expect = expectation(request.headers, current.revision)
        await self._changes.submit(
            RemoveRoute(host=key.host, path_prefix=key.path_prefix), actor=request[PRINCIPAL].actor, expect=expect
        )
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _wanted(self, key: RouteKey, fields: dict[str, Any]) -> Route:
        auth = fields["basic_auth"]
        if auth is not None:
            current = self._views.desired.value.routes.get(key)
            known = current.basic_auth.users if current and current.basic_auth else {}
            auth = {**auth, "users": await self._passwords.hashed(auth["users"], known)}
        return msgspec.convert({**fields, "basic_auth": auth, "host": key.host, "path_prefix": key.path_prefix}, Route)


def _key(request: web.Request, fields: Mapping[str, Any]) -> RouteKey:
    """The route that the path, the query and the body name; raises ApiError 400 when they name different ones."""
    host = one_route.fold_named(request.match_info["host"])
    prefix, own = read_query(request, schema.RouteQuery).path_prefix, fields["path_prefix"]
    problems = []
    if fields["host"] is not None and one_route.fold_named(fields["host"]) != host:
        problems.append(Problem("host", f"is not {host}, which the path names"))
    if None not in {own, prefix} and own != prefix:
        problems.append(Problem("path_prefix", f"is not {prefix}, which the query names"))
    if problems:
        raise invalid(problems)
    return RouteKey(host, next((given for given in (prefix, own) if given is not None), one_route.ROOT))


def _location(key: RouteKey) -> str:
    query = "" if key.path_prefix == one_route.ROOT else f"?path_prefix={quote(key.path_prefix)}"
    return f"/routes/{quote(key.host, safe='*')}{query}"
