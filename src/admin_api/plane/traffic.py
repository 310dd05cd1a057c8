"""The native endpoints that steer a running route: pause, stop, resume, drain, split; and what it does, in figures."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TypeVar

import msgspec
from aiohttp import web

from admin_api.auth import PRINCIPAL
from admin_api.body import read_json, read_query
from admin_api.models import model_of
from admin_api.plane import one_route, schema
from admin_api.preconditions import etag, expectation
from state.change import Change
from state.model import Route, RouteKey, Split, Target
from state.observed import Observed, RouteFact
from state.ports import Changes, Views
from state.traffic import (
    DrainTarget,
    PauseRoute,
    ResumeRoute,
    SplitRoute,
    StopRoute,
    UndrainTarget,
    UnsplitRoute,
    find_target,
)

S = TypeVar("S", bound=msgspec.Struct)


class Traffic:
    """The handlers of what is below `/routes/{host}/`."""

    def __init__(self, changes: Changes, views: Views) -> None:
        self._changes = changes
        self._views = views

    async def pause(self, request: web.Request) -> web.Response:
        """Hold new requests."""
        key = one_route.key_of(request)
        body = await _read(request, schema.Pause)
        change = PauseRoute(host=key.host, path_prefix=key.path_prefix, hold_s=body.hold_s)
        return _answer(await self._steer(request, key, change))

    async def stop(self, request: web.Request) -> web.Response:
        """Answer new requests with 503."""
        key = one_route.key_of(request)
        body = await _read(request, schema.Stop)
        change = StopRoute(
            host=key.host, path_prefix=key.path_prefix, message=body.message, retry_after_s=body.retry_after_s
        )
        return _answer(await self._steer(request, key, change))

    async def resume(self, request: web.Request) -> web.Response:
        """Serve again."""
        key = one_route.key_of(request)
        return _answer(await self._steer(request, key, ResumeRoute(host=key.host, path_prefix=key.path_prefix)))

    async def drain(self, request: web.Request) -> web.Response:
        """Give a target no new requests (202)."""
        key = one_route.key_of(request)
        body = await _read(request, schema.Drain)
        change = DrainTarget(host=key.host, path_prefix=key.path_prefix, target=body.target)
        route = await self._steer(request, key, change)
        drain = await self._drained(key, body.target, body.wait_s)
        answer = schema.DrainedRoute(route=route, target=drain)
        return one_route.to_json(HTTPStatus.ACCEPTED, answer, {"ETag": etag(route.revision)})

    async def get_drain(self, request: web.Request) -> web.Response:
        """How far a target is."""
        query = read_query(request, schema.DrainQuery)
        key = one_route.key_in(request, query)
        return one_route.to_json(HTTPStatus.OK, await self._drained(key, query.target, query.wait_s))

    async def undrain(self, request: web.Request) -> web.Response:
        """Give a target new requests again."""
        key = one_route.key_of(request)
        body = await _read(request, schema.Undrain)
        change = UndrainTarget(host=key.host, path_prefix=key.path_prefix, target=body.target)
        return _answer(await self._steer(request, key, change))

    async def split(self, request: web.Request) -> web.Response:
        """Send some requests to other targets."""
        key = one_route.key_of(request)
        split = await _read(request, Split)
        return _answer(
            await self._steer(request, key, SplitRoute(host=key.host, path_prefix=key.path_prefix, split=split))
        )

    async def unsplit(self, request: web.Request) -> web.Response:
        """Send all requests to the route's own targets."""
        key = one_route.key_of(request)
        return _answer(await self._steer(request, key, UnsplitRoute(host=key.host, path_prefix=key.path_prefix)))

    async def stats(self, request: web.Request) -> web.Response:
        """What the workers saw of the route."""
        key = one_route.key_of(request)
        domain = self._views.desired.value.domains.get(key.host)
        # A domain that serves a host has the routes of that, and figures of its own.
        host = key.host if domain is None or domain.serves is None else domain.serves
        one_route.find(self._views.desired.value, RouteKey(host, key.path_prefix))
        fact = self._views.observed.value.routes.get(str(key), RouteFact())
        return one_route.to_json(HTTPStatus.OK, fact)

    async def _steer(self, request: web.Request, key: RouteKey, change: Change) -> Route:
        current = one_route.find(self._views.desired.value, key)
        expect = expectation(request.headers, current.revision)
        after = await self._changes.submit(change, actor=request[PRINCIPAL].actor, expect=expect)
        return after.routes[key]

    async def _drained(self, key: RouteKey, url: str, wait_s: float) -> schema.TargetDrain:
        """How far the target is, as soon as it is empty, or after `wait_s` seconds."""
        found = self._drain(key, url)
        try:
            async with asyncio.timeout(wait_s):
                async for _observed in self._views.observed.changes():
                    found = self._drain(key, url)
                    if found.empty or not found.draining:
                        break
        except TimeoutError:
            pass
        return found

    def _drain(self, key: RouteKey, url: str) -> schema.TargetDrain:
        route = one_route.find(self._views.desired.value, key)
        target = find_target(route, url)
        return _state(route, target, self._views.observed.value)


def _state(route: Route, target: Target, observed: Observed) -> schema.TargetDrain:
    fact = observed.targets.get(target.url)
    in_flight = fact.in_flight if fact else 0
    # A worker that serves an older revision may give it a request after it reported none. The revision of the route is
    # that of the drain, or of a later change to it, and then the answer only comes later.
    is_known = all(worker.revision >= route.revision for worker in observed.workers if worker.ready)
    return schema.TargetDrain(
        target=target.url,
        draining=target.draining,
        in_flight=in_flight,
        empty=target.draining and is_known and in_flight == 0,
    )


async def _read(request: web.Request, kind: type[S]) -> S:
    body = await read_json(request, model_of(kind), or_empty=True)
    return msgspec.convert(body.model_dump(), kind)


def _answer(route: Route) -> web.Response:
    return one_route.to_json(HTTPStatus.OK, route, {"ETag": etag(route.revision)})
