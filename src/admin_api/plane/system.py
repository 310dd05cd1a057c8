"""Plane's view of the node itself: health, stats, logs, sync, metrics, and the document of the API."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from admin_api.body import read_query
from admin_api.errors import ApiError
from admin_api.openapi import DOCUMENT
from admin_api.plane import schema
from admin_api.plane.inspection import Inspections
from admin_api.plane.records import Home
from admin_api.sse import Event, Streams
from state.cell import Cell
from state.journal import Journal, LogEntry
from state.observed import Observed
from state.ports import CertificateDesk

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_STATS: Final = tuple(schema.Stats.model_fields)
_ENCODER: Final = msgspec.json.Encoder()
_ENTRY_ID: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


async def nobody_comes(_host: str | None) -> AsyncGenerator[bytes]:
    """The exchanges of a node without a mesh: none, for ever."""
    await asyncio.Event().wait()
    yield b""


class Sights(msgspec.Struct, frozen=True):
    """What the node sees of its work: figures in the Prometheus text format, and exchanges of a host as they end.

    Each exchange is one JSON object; without a host they are all of them. `inspections` let others look into requests.
    `desk` has the certificates, None where nobody keeps any. `home` says where visitors reach the node, by the settings
    of the moment.
    """

    metrics: Callable[[], bytes] = bytes
    exchanges: Callable[[str | None], AsyncGenerator[bytes]] = nobody_comes
    inspections: Inspections | None = None
    desk: CertificateDesk | None = None
    home: Callable[[], Home] = Home


def desk_of(sights: Sights) -> CertificateDesk:
    """Whoever has the certificates; raises ApiError 503 when nobody does."""
    if sights.desk is None:
        raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "This node keeps no certificates.")
    return sights.desk


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """What the node says about itself; `stats_interval_s` is the pace of `/stats/stream`."""

    version: str
    observed: Cell[Observed]
    journal: Journal
    sights: Sights
    stats_interval_s: float = 2.0


class System:
    """The handlers of everything in Plane that is about the node."""

    def __init__(self, node: Node, streams: Streams) -> None:
        self._node = node
        self._streams = streams
        # Ids of log entries begin at 1 again when the node restarts; this tells an old id from a new one.
        self._epoch = secrets.token_hex(4)

    async def health(self, request: web.Request) -> web.Response:
        """The node answers."""
        return web.Response(text="OK")

    async def stats(self, request: web.Request) -> web.Response:
        """The load of the machine, as of the last two seconds."""
        return _json(self._stats())

    async def stats_stream(self, request: web.Request) -> web.StreamResponse:
        """The load of the machine, again and again."""
        return await self._streams.serve(request, self._stats_events())

    async def logs(self, request: web.Request) -> web.Response:
        """The newest lines of the node's log."""
        query = read_query(request, schema.LogsQuery)
        return _json([_line(entry) for entry in self._node.journal.tail(query.limit)])

    async def logs_stream(self, request: web.Request) -> web.StreamResponse:
        """Lines of the node's log as they are written."""
        limit = read_query(request, schema.LogStreamQuery).limit
        after = self._resumed(request.headers.get("Last-Event-ID"))
        return await self._streams.serve(request, self._log_events(self._before(limit) if after is None else after))

    async def access_stream(self, request: web.Request) -> web.StreamResponse:
        """Exchanges as they end, of one host or of all."""
        host = read_query(request, schema.AccessQuery).host
        return await self._streams.serve(request, self._access_events(host))

    async def sync(self, request: web.Request) -> web.Response:
        """What a control plane wants to know of its worker."""
        return _json({"status": "online", "version": self._node.version, "stats": self._stats()})

    async def metrics(self, request: web.Request) -> web.Response:
        """The node's metrics, as Prometheus reads them."""
        return web.Response(body=self._node.sights.metrics(), headers={"Content-Type": METRICS_TYPE})

    async def openapi(self, request: web.Request) -> web.Response:
        """The description of this API."""
        return web.Response(body=request.app[DOCUMENT], content_type="application/json")

    def _stats(self) -> dict[str, float]:
        host = self._node.observed.value.host
        if host is None:
            unknown = "The machine has not been measured yet."
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, unknown, headers={"Retry-After": "1"})
        return {name: getattr(host, name) for name in _STATS}

    async def _stats_events(self) -> AsyncGenerator[Event]:
        while True:
            if self._node.observed.value.host is not None:
                yield Event(_ENCODER.encode(self._stats()))
            await asyncio.sleep(self._node.stats_interval_s)

    async def _log_events(self, after: int) -> AsyncGenerator[Event]:
        async for entry in self._node.journal.follow(after):
            yield Event(_ENCODER.encode(_line(entry)), id=f"{self._epoch}-{entry.id}")

    async def _access_events(self, host: str | None) -> AsyncGenerator[Event]:
        async with aclosing(self._node.sights.exchanges(host)) as exchanges:
            async for exchange in exchanges:
                yield Event(exchange)

    def _resumed(self, last_event_id: str | None) -> int | None:
        """The entry after which a client goes on: all that there is when it last saw the node before a restart."""
        if not last_event_id:
            return None
        epoch, _, number = last_event_id.partition("-")
        return int(number) if epoch == self._epoch and _ENTRY_ID.fullmatch(number) else 0

    def _before(self, limit: int) -> int:
        newest = self._node.journal.newest_id
        return newest - len(self._node.journal.tail(limit))


def _line(entry: LogEntry) -> dict[str, object]:
    return {"timestamp": entry.timestamp, "level": entry.level, "message": entry.message}


def _json(value: object) -> web.Response:
    return web.Response(body=_ENCODER.encode(value), content_type="application/json")
