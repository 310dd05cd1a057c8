"""Server-sent events for all dialects: bounded, kept alive, resumable, and over when the client or the node is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import msgspec
from aiohttp import web

from admin_api.errors import ApiError

HEARTBEAT: Final = b": keep-alive\n\n"

_HEADERS: Final = MappingProxyType(
    {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-cache",
        "X-Accel-Buffering": "no",  # nginx would hold events back otherwise
    }
)
_LOG: Final = logging.getLogger(__name__)


class Event(msgspec.Struct, frozen=True):
    """One event: `data` of one line or more, the `id` that a client may resume after, and a `name` if it has one."""

    data: bytes
    id: str | None = None
    name: str | None = None

    def encode(self) -> bytes:
        """The event as the HTML standard (section 9.2.5) writes it."""
        fields = [b"data: " + line for line in self.data.splitlines() or [b""]]
        if self.name is not None:
            fields.insert(0, b"event: " + self.name.encode())
        if self.id is not None:
            fields.insert(0, b"id: " + self.id.encode())
        return b"\n".join(fields) + b"\n\n"


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many streams there may be, in all and to one address, how many events wait for one client, and times.

    Times are in seconds. A client is told to come back after `retry_s`. One that takes no byte for `stall_s` is cut
    off, one that is gone is noticed within `look_s`, and one that is behind when the node ends has `end_s` to catch up.
    """

    streams: int = 256
    streams_per_address: int = 32
    waiting: int = 64
    retry_s: float = 2.0
    heartbeat_s: float = 15.0
    stall_s: float = 30.0
    look_s: float = 1.0
    end_s: float = 1.0


class Outbox:
    """The events that wait for one client; a full one makes the source wait, which then decides what to leave out."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: list[Event] = []
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self.is_closed = False

    async def put(self, event: Event) -> None:
        """Add an event as soon as there is room."""
        while len(self._events) >= self._limit:
            self._emptied.clear()
            await self._emptied.wait()
        self._events.append(event)
        self._filled.set()

    def close(self) -> None:
        """Nothing more will come; what is in the outbox may still be taken."""
        self.is_closed = True
        self._filled.set()

    def take(self) -> bytes:
        """Everything that waits, encoded."""
        chunk = b"".join(event.encode() for event in self._events)
        self._events.clear()
        self._emptied.set()
        if not self.is_closed:
            self._filled.clear()
        return chunk

    async def wait(self, timeout_s: float) -> None:
        """Return when there is something to take, the outbox is closed, or the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._filled.wait()
        except TimeoutError:
            return


class Streams:
    """All event streams of this node."""

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._open: set[_Stream] = set()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._open)

    async def serve(self, request: web.Request, source: AsyncGenerator[Event]) -> web.StreamResponse:
        """Answer `request` with the events of `source` until it ends; raises ApiError 503 when there are too many.

        A source keeps what a slow client has yet to read within a bound of its own and says what it left out, as
        `state.journal` does. It is cancelled and closed in any case.
        """
        if self._is_closed or self._is_full(request.remote):
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "Too many streams are open.", headers={"Retry-After": "5"})
        stream = _Stream(request, self._limits)
        self._open.add(stream)
        try:
            async with aclosing(source):
                return await stream.run(source)
        finally:
            self._open.discard(stream)

    def _is_full(self, address: str | None) -> bool:
        # Streams are public: without the second bound one stranger could take the operator's place.
        of_address = sum(stream.address == address for stream in self._open)
        return len(self._open) >= self._limits.streams or of_address >= self._limits.streams_per_address

    def close(self) -> None:
        """End every stream, so that no client holds up the end of the node."""
        self._is_closed = True
        for stream in self._open:
            stream.stop()


class _Stream:
    """One client and the way of the events to it."""

    def __init__(self, request: web.Request, limits: StreamLimits) -> None:
        self.address = request.remote
        self._request = request
        self._response = web.StreamResponse(headers=_HEADERS)
        self._limits = limits
        self._outbox = Outbox(limits.waiting)
        self._is_stalled = False

    async def run(self, source: AsyncGenerator[Event]) -> web.StreamResponse:
        """Send until the source ends, the client goes or the stream is stopped."""
        await self._response.prepare(self._request)
        async with asyncio.TaskGroup() as tasks:
            pump = tasks.create_task(self._pump(source), name=f"events {self._request.path}")
            await self._send()
            pump.cancel()
        return self._response

    def stop(self) -> None:
        """End the stream; a client that is not even taking what was sent is cut off."""
        self._outbox.close()
        if self._is_stalled:
            self._cut()

    async def _pump(self, source: AsyncGenerator[Event]) -> None:
        try:
            async for event in source:
                await self._outbox.put(event)
        except Exception:  # noqa: BLE001 - the answer has begun and can only end; the client comes back and goes on
            _LOG.exception("an event stream broke")
        finally:
            self._outbox.close()

    async def _send(self) -> None:
        chunk = b"retry: %d\n\n" % (self._limits.retry_s * 1000)
        try:
            while chunk:
                await self._write(chunk)
                chunk = await self._next_chunk()
            async with asyncio.timeout(self._limits.end_s):
                await self._response.write_eof()
        except (ConnectionError, TimeoutError):
            self._cut()

    async def _write(self, chunk: bytes) -> None:
        self._is_stalled = True
        async with asyncio.timeout(self._limits.stall_s):
            await self._response.write(chunk)
        self._is_stalled = False

    async def _next_chunk(self) -> bytes:
        now = asyncio.get_running_loop().time
        silent_until = now() + self._limits.heartbeat_s
        while self._request.transport is not None:
            chunk = self._outbox.take()
            if chunk or self._outbox.is_closed:
                return chunk
            if now() >= silent_until:
                return HEARTBEAT
            await self._outbox.wait(min(self._limits.look_s, silent_until - now()))
        return b""

    def _cut(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()
