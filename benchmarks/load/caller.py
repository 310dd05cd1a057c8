"""Visitors who forgive nothing: requests at a fixed rate; each without a good answer is counted, with the reason.

Latency runs from the moment a request was due. A visitor leaves after so many requests and comes back on a new
connection, since a fault may show only there. SIGTERM ends it sooner: what is due by then is sent and waited for.
"""

from __future__ import annotations

import asyncio
import gc
import re
import signal
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from typing import cast

import msgspec
import uvloop

from benchmarks.load import background
from benchmarks.load.heads import heads
from benchmarks.load.pace import quantile

TICK_S = 0.001
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
# RFC 9209: what a proxy says about an answer of its own.
_CAUSE = re.compile(rb"\r\nproxy-status:[^\r]*error=([a-z_]+)", re.IGNORECASE)
_LAST = re.compile(rb"\r\nconnection:\s*close", re.IGNORECASE)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What the visitors are to do; `answers` are the bodies that are right, `patience_s` is how long they wait."""

    port: int
    hosts: tuple[str, ...]
    rate: float
    seconds: float
    answers: tuple[str, ...]
    connections: int = 64
    requests_per_connection: int = 100
    patience_s: float = 10.0


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """What they met; latencies in milliseconds."""

    wanted: int
    answered: int
    failed: int
    reasons: dict[str, int]
    p50_ms: float
    p99_ms: float
    max_ms: float
    busy: float


class Visitor(asyncio.Protocol):
    """One connection at a time, one request at a time."""

    def __init__(self, crowd: Crowd) -> None:
        """Not connected yet."""
        self.crowd = crowd
        self.transport: asyncio.Transport | None = None
        self.got = b""
        self.due = 0.0
        self.left = crowd.order.requests_per_connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for a request."""
        self.transport = cast("asyncio.Transport", transport)
        self.crowd.free.append(self)

    def ask(self, request: bytes, due: float) -> None:
        """Send a request that was due at `due`."""
        self.due, self.got = due, b""
        self.left -= 1
        if self.transport:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Look whether the answer is complete."""
        self.got += data
        head, mark, body = self.got.partition(b"\r\n\r\n")
        length = _LENGTH.search(head) if mark else None
        if not length or len(body) < int(length[1]):
            return
        self.crowd.settle(self.due, _fault(head, body, self.crowd.answers))
        self.due = 0.0
        if self.left > 0 and not _LAST.search(head):
            self.crowd.free.append(self)
        elif self.transport:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """A request without its answer has failed; another visitor comes in any case."""
        if self.due:
            self.crowd.settle(self.due, f"closed after {len(self.got)} bytes")
        elif self in self.crowd.free:
            self.crowd.free.remove(self)
        self.crowd.replace()


def _fault(head: bytes, body: bytes, answers: frozenset[bytes]) -> str:
    status = head[9:12].decode(errors="replace")
    if status != "200":
        cause = _CAUSE.search(head)
        return f"status {status}{f' ({cause[1].decode()})' if cause else ''}"
    return "" if body in answers else "wrong body"


class Crowd:
    """All visitors, and what they met."""

    def __init__(self, order: Call) -> None:
        """Nobody is connected yet."""
        self.order = order
        self.answers = frozenset(answer.encode() for answer in order.answers)
        self.requests = [each.encode() for each in heads("varied", order.hosts)]
        self.free: deque[Visitor] = deque()
        self.tasks: set[asyncio.Task[None]] = set()
        self.latencies: list[float] = []
        self.reasons: Counter[str] = Counter()
        self.sent = 0
        self.wanted = int(order.rate * order.seconds)
        self.began = 0.0
        self.is_over = False
        # Made when all is sent: before that, there is nothing to wait for.
        self.settled: asyncio.Event | None = None

    async def run(self) -> Called:
        """Connect, send at the rate, wait for what is missing."""
        for _ in range(self.order.connections):
            await self._connect()
        gc.collect()
        gc.disable()
        busy, self.began = time.process_time(), time.perf_counter()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.leave)
        await self._send()
        sent_for = time.perf_counter() - self.began
        await self._await_answers()
        busy = time.process_time() - busy
        self.is_over = True
        if missing := self._missing():
            self.reasons["no answer"] += missing
        return Called(
            wanted=self.sent,
            answered=len(self.latencies),
            failed=self.reasons.total(),
            reasons=dict(self.reasons),
            p50_ms=quantile(self.latencies or [0.0], 0.5),
            p99_ms=quantile(self.latencies or [0.0], 0.99),
            max_ms=quantile(self.latencies or [0.0], 1.0),
            busy=busy / sent_for,
        )

    def settle(self, due: float, fault: str) -> None:
        """Take note of how a request ended."""
        if fault:
            self.reasons[fault] += 1
        else:
            self.latencies.append(time.perf_counter() - due)
        if self.settled and not self._missing():
            self.settled.set()

    def replace(self) -> None:
        """Send another visitor for one who has left."""
        if not self.is_over:
            task = asyncio.get_running_loop().create_task(self._connect(), name="visitor")
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: Visitor(self), "127.0.0.1", self.order.port)
        except OSError as error:
            self.sent += 1
            self.reasons[f"no connection: {error.strerror or error}"] += 1
            await asyncio.sleep(0.1)
            self.replace()

    def leave(self) -> None:
        """Send nothing that is not due yet."""
        self.wanted = min(self.wanted, int((time.perf_counter() - self.began) * self.order.rate))

    async def _send(self) -> None:
        gap, number = 1.0 / self.order.rate, 0
        while number < self.wanted and time.perf_counter() < self._last():
            now = time.perf_counter()
            while number < self.wanted and self.free and (due := self.began + number * gap) <= now:
                self.sent += 1
                self.free.popleft().ask(self.requests[number % len(self.requests)], due)
                number += 1
            await asyncio.sleep(TICK_S)
        if number < self.wanted:
            self.sent += self.wanted - number

    def _last(self) -> float:
        return self.began + self.wanted / self.order.rate + self.order.patience_s

    async def _await_answers(self) -> None:
        if self._missing():
            self.settled = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.order.patience_s):
                    await self.settled.wait()

    def _missing(self) -> int:
        return self.sent - len(self.latencies) - self.reasons.total()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        background.hand_in(runner.run(Crowd(background.order_of(sys.argv[1], Call)).run()))
