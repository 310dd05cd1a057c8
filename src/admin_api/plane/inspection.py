"""The native endpoints of inspections: requests pass an inspector for as long as whoever asked for it is there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from http import HTTPStatus
from typing import Literal, Protocol

import msgspec
from aiohttp import web

from admin_api.body import read_json
from admin_api.models import model_of
from admin_api.plane import one_route, schema
from admin_api.sse import Event, Streams
from state.model import RouteKey
from state.refusal import refused


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of an inspection: it is on in every worker, the route's targets have changed, or it is off.

    `reason` says why it is off; `uninspected` are the URLs of targets that get requests directly.
    """

    state: Literal["on", "changed", "off"]
    reason: str = ""
    uninspected: tuple[str, ...] = ()


class Inspections(Protocol):
    """Puts inspectors before the targets of routes."""

    def inspecting(
        self, key: RouteKey, addresses: Mapping[str, str]
    ) -> AbstractAsyncContextManager[AsyncGenerator[News]]:
        """Requests go through `addresses`, by target URL, for as long as the block runs; raises Refused."""
        ...

    async def end(self, key: RouteKey) -> None:
        """Return when it is off in every worker; raises Refused."""
        ...


class Inspection:
    """The handlers of `/routes/{host}/inspection`; a node without a data plane has no `inspections`."""

    def __init__(self, inspections: Inspections | None, streams: Streams) -> None:
        self._inspections = inspections
        self._streams = streams

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """Inspect a route until the client goes."""
        key = one_route.key_of(request)
        body = msgspec.convert((await read_json(request, model_of(schema.Inspection))).model_dump(), schema.Inspection)
        async with self._of_this_node.inspecting(key, body.targets) as news:
            return await self._streams.serve(request, _events(news))

    async def end(self, request: web.Request) -> web.Response:
        """End an inspection, whoever began it (204)."""
        await self._of_this_node.end(one_route.key_of(request))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    @property
    def _of_this_node(self) -> Inspections:
        if self._inspections is None:
            raise refused("missing", "inspection", "needs a data plane, which this node has not")
        return self._inspections


async def _events(news: AsyncGenerator[News]) -> AsyncGenerator[Event]:
    async with aclosing(news):
        async for each in news:
            yield Event(msgspec.json.encode(each))
