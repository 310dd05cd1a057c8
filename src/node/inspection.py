"""Inspections of routes: for as long as somebody watches, requests pass an inspector on their way to the targets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import msgspec
from rpds import HashTrieMap

from admin_api.plane.inspection import News
from node.compile import Edge
from state.cell import Cell
from state.model import Desired, Route, RouteKey
from state.refusal import refused

_REACH_S: Final = 2.0

_REMOVED: Final = "the route was removed"
_ANNOUNCED: Final = "its targets expect a PROXY header, and the inspector would not send it"
_OTHER_TLS: Final = "it speaks TLS to its targets in another way now"
_ENDED: Final = "it was ended through the admin API"


class Inspection:
    """One route, the inspectors before its targets, and the news for whoever watches."""

    def __init__(self, route: Route, addresses: Mapping[str, str]) -> None:
        """`addresses` of inspectors by the URL of the target that is behind each."""
        self.key = route.key
        self.addresses = MappingProxyType(dict(addresses))
        self._tls = route.target_tls
        self._uninspected = self._without(route)
        self._news: asyncio.Queue[News] = asyncio.Queue()

    def switched_on(self) -> None:
        """Every worker sends requests to the inspectors."""
        self._news.put_nowait(News(state="on", uninspected=self._uninspected))

    def switched_off(self, reason: str) -> None:
        """No request is sent to them any more, or soon none will be."""
        self._news.put_nowait(News(state="off", reason=reason))

    def look(self, route: Route | None) -> str:
        """Why the inspection cannot go on with its route as it is now, or nothing."""
        if route is None:
            return _REMOVED
        if route.proxy_protocol != "off":
            return _ANNOUNCED
        if route.target_tls != self._tls:
            return _OTHER_TLS
        uninspected = self._without(route)
        if uninspected != self._uninspected:
            self._uninspected = uninspected
            self._news.put_nowait(News(state="changed", uninspected=uninspected))
        return ""

    async def news(self) -> AsyncGenerator[News]:
        """What becomes of the inspection, until it is off."""
        while True:
            news = await self._news.get()
            yield news
            if news.state == "off":
                return

    def _without(self, route: Route) -> tuple[str, ...]:
        return tuple(url for url in urls_of(route) if url not in self.addresses)


class Inspections:
    """All inspections of this node. They are nowhere on disk, and end with those who watch."""

    def __init__(self, desired: Cell[Desired], edge: Cell[Edge], publish: Callable[[], Awaitable[None]]) -> None:
        """None yet; `publish` returns when the data plane is at the newest state."""
        self._desired = desired
        self._edge = edge
        self._publish = publish
        self._open: dict[RouteKey, Inspection] = {}

    @asynccontextmanager
    async def inspecting(self, key: RouteKey, addresses: Mapping[str, str]) -> AsyncIterator[AsyncGenerator[News]]:
        """Send requests through inspectors for as long as the block runs; the news of it.

        Raises Refused when there is no such route, when it is inspected already or cannot be, and when nothing listens
        at one of the addresses.
        """
        await _reach(addresses.values())
        inspection = self._begin(key, addresses)
        try:
            await self._publish()
            inspection.switched_on()
            yield inspection.news()
        finally:
            await self._end(inspection, "nobody watches")

    async def end(self, key: RouteKey) -> None:
        """Return when no worker sends requests to the inspectors any more; raises Refused when there are none."""
        inspection = self._open.get(key)
        if inspection is None:
            raise refused("missing", str(key), "is not being inspected")
        await self._end(inspection, _ENDED)

    async def follow(self) -> None:
        """End inspections whose routes change so that they cannot go on, for ever."""
        async for desired in self._desired.changes():
            for inspection in tuple(self._open.values()):
                if reason := inspection.look(desired.routes.get(inspection.key)):
                    self._drop(inspection, reason)

    def _begin(self, key: RouteKey, addresses: Mapping[str, str]) -> Inspection:
        route = self._desired.value.routes.get(key)
        if route is None:
            raise refused("missing", str(key), "is no route")
        if key in self._open:
            raise refused("conflict", str(key), "is being inspected by somebody else")
        if unknown := addresses.keys() - set(urls_of(route)):
            raise refused("conflict", str(key), f"has no target {min(unknown)}")
        inspection = Inspection(route, addresses)
        if reason := inspection.look(route):
            raise refused("conflict", str(key), f"cannot be inspected: {reason}")
        self._open[key] = inspection
        self._show()
        return inspection

    async def _end(self, inspection: Inspection, reason: str) -> None:
        self._drop(inspection, reason)
        await self._publish()

    def _drop(self, inspection: Inspection, reason: str) -> None:
        if self._open.get(inspection.key) is not inspection:
            return
        del self._open[inspection.key]
        self._show()
        inspection.switched_off(reason)

    def _show(self) -> None:
        edge = self._edge.value
        inspected = HashTrieMap((key, inspection.addresses) for key, inspection in self._open.items())
        self._edge.set(msgspec.structs.replace(edge, revision=edge.revision + 1, inspected=inspected))


def urls_of(route: Route) -> tuple[str, ...]:
    """The URLs of all targets of a route, each once."""
    split = route.traffic.split
    return tuple(dict.fromkeys(target.url for target in (*route.targets, *(split.targets if split else ()))))


async def _reach(addresses: Iterable[str]) -> None:
    """Raise Refused unless something listens at every one of `addresses`."""
    for address in addresses:
        place = urlsplit(address)
        try:
            async with asyncio.timeout(_REACH_S):
                _reader, writer = await asyncio.open_connection(place.hostname, place.port)
        except (OSError, TimeoutError):
            raise refused(
                "conflict", address, "cannot be reached by the node; an inspector runs on the node's machine"
            ) from None
        writer.close()
