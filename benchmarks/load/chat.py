"""The WebSocket load generator keeps so many messages in flight on each of its connections, and counts the echoes."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import cast

import msgspec
import uvloop

from benchmarks.load import background
from benchmarks.load.frames import FROM_VISITOR, TO_VISITOR, upgrade

OPENS_WITHIN_S = 10.0


class Talk(msgspec.Struct, frozen=True, kw_only=True):
    """What the generator is to do."""

    port: int
    host: str
    seconds: float
    connections: int = 64
    in_flight: int = 1


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What came back; `busy` is the share of its core that the generator used itself."""

    messages: int
    per_second: float
    busy: float
    lost: int


class Talker(asyncio.Protocol):
    """One WebSocket: every echo is answered with the next message."""

    def __init__(self, order: Talk, opened: asyncio.Future[None]) -> None:
        """Wait for the connection; `opened` is set when the target has agreed."""
        self.order, self.opened = order, opened
        self.head = b""
        self.rest = self.messages = 0
        self.is_lost = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(upgrade(self.order.host))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody may close but the generator, at the end."""
        self.is_lost = True
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(f"no WebSocket: {self.head[:300]!r}"))

    def data_received(self, data: bytes) -> None:
        """Send as many messages as came back."""
        if not self.opened.done():
            self._open(data)
            return
        count, self.rest = divmod(self.rest + len(data), len(TO_VISITOR))
        self.messages += count
        if count and self.transport:
            self.transport.write(FROM_VISITOR * count)

    def begin(self) -> None:
        """Send the first messages."""
        if self.transport:
            self.transport.write(FROM_VISITOR * self.order.in_flight)

    def _open(self, data: bytes) -> None:
        self.head += data
        if not self.head.endswith(b"\r\n\r\n"):
            return
        if self.head.startswith(b"HTTP/1.1 101"):
            self.opened.set_result(None)
        else:
            self.opened.set_exception(ConnectionError(f"no WebSocket: {self.head[:300]!r}"))


async def talk(order: Talk) -> Heard:
    """Open all connections, let them talk for the time of the order, and count."""
    loop = asyncio.get_running_loop()
    talkers = [Talker(order, loop.create_future()) for _ in range(order.connections)]
    for each in talkers:
        await loop.create_connection(lambda each=each: each, "127.0.0.1", order.port)  # type: ignore[misc]
    async with asyncio.timeout(OPENS_WITHIN_S):
        await asyncio.gather(*(each.opened for each in talkers))
    gc.disable()
    for each in talkers:
        each.begin()
    began, busy = time.perf_counter(), time.process_time()
    await asyncio.sleep(order.seconds)
    took, busy = time.perf_counter() - began, time.process_time() - busy
    messages = sum(each.messages for each in talkers)
    lost = sum(each.is_lost for each in talkers)
    return Heard(messages=messages, per_second=messages / took, busy=busy / took, lost=lost)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        background.hand_in(runner.run(talk(background.order_of(sys.argv[1], Talk))))
