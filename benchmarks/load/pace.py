"""The open-loop load generator sends at a fixed rate, whether answers come or not.

Two latencies are reported. `scheduled` runs from the moment a request was due, so a proxy (or generator) that stalls is
charged for every request that had to wait: no coordinated omission. `sent` runs from the moment the bytes were written.
"""

from __future__ import annotations

import gc
import select
import socket
import ssl
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from benchmarks.load import background
from benchmarks.load.certificate import visitor_context
from benchmarks.load.heads import heads
from benchmarks.load.nginx import ANSWER

CONNECTIONS = 64
DRAIN_S = 1.0
WARM_S = 0.3


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What the generator is to do."""

    port: int
    host: str
    rate: float
    seconds: float
    tls: bool = False


class Paced(msgspec.Struct, frozen=True, kw_only=True):
    """What the generator saw; latencies in milliseconds, `busy` is the share of its core that it used itself."""

    wanted: int
    answered: int
    per_second: float
    busy: float
    scheduled_p50_ms: float
    scheduled_p99_ms: float
    scheduled_max_ms: float
    sent_p50_ms: float
    sent_p99_ms: float


class Pacer:
    """Connections that take turns, and the latencies measured on them."""

    def __init__(self, order: Pace, requests: Sequence[bytes]) -> None:
        """Connect to the loopback port."""
        self.requests = requests
        self.epoll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self.free: deque[int] = deque()
        self.begun: dict[int, tuple[float, float]] = {}
        self.scheduled: list[float] = []
        self.sent: list[float] = []
        context = visitor_context() if order.tls else None
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", order.port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context:
                connection = context.wrap_socket(connection, server_hostname=order.host)
            connection.setblocking(False)
            self.sockets[connection.fileno()] = connection
            self.free.append(connection.fileno())
            self.epoll.register(connection.fileno(), select.EPOLLIN)

    def run(self, rate: float, seconds: float) -> None:
        """Send `rate` requests a second for `seconds`, then wait a second for the answers that are missing."""
        gap, start = 1.0 / rate, time.perf_counter()
        number, wanted = 0, int(rate * seconds)
        deadline = start + seconds + DRAIN_S
        while (now := time.perf_counter()) < deadline and (number < wanted or self.begun):
            while number < wanted and self.free and (due := start + number * gap) <= now:
                self._send(number, due)
                number += 1
            next_due = start + number * gap - time.perf_counter() if number < wanted and self.free else DRAIN_S
            # An epoll descriptor can itself be selected on, and select alone waits in microseconds.
            if select.select([self.epoll], [], [], max(0.0, next_due))[0]:
                self._receive()

    def _send(self, number: int, due: float) -> None:
        fileno = self.free.popleft()
        self.begun[fileno] = (due, time.perf_counter())
        self.sockets[fileno].send(self.requests[number % len(self.requests)])

    def _receive(self) -> None:
        for fileno, _ in self.epoll.poll(0):
            connection = self.sockets[fileno]
            data = _read(connection) if isinstance(connection, ssl.SSLSocket) else connection.recv(65536)
            if data.endswith(ANSWER):
                now, (due, sent) = time.perf_counter(), self.begun.pop(fileno)
                self.scheduled.append(now - due)
                self.sent.append(now - sent)
                self.free.append(fileno)
            elif not data and not isinstance(connection, ssl.SSLSocket):
                raise ConnectionError("the proxy closed a connection under load")


def _read(connection: ssl.SSLSocket) -> bytes:
    """All that has come: epoll does not see what lies in a TLS socket; a session ticket alone gives nothing."""
    data = b""
    with suppress(ssl.SSLWantReadError):
        while more := connection.recv(65536):
            data += more
            if data.endswith(ANSWER):
                return data
        raise ConnectionError("the proxy closed a connection under load")
    return data


def start(order: Pace) -> subprocess.Popen[str]:
    """Run the generator as a process of its own, on the core of the caller."""
    return background.start("pace", order)


def finish(generator: subprocess.Popen[str]) -> Paced:
    """Wait for a generator and read its report; raises OSError when it failed."""
    return background.finish(generator, Paced)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie, in milliseconds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3


def main(order: Pace) -> None:
    """Run and hand in the report."""
    pacer = Pacer(order, [each.encode() for each in heads("varied", (order.host,))])
    pacer.run(order.rate, min(WARM_S, order.seconds))
    pacer.scheduled.clear()
    pacer.sent.clear()
    gc.disable()
    began, busy = time.perf_counter(), time.process_time()
    pacer.run(order.rate, order.seconds)
    took, busy = time.perf_counter() - began, time.process_time() - busy
    report = Paced(
        wanted=int(order.rate * order.seconds),
        answered=len(pacer.scheduled),
        per_second=len(pacer.scheduled) / took,
        busy=busy / took,
        scheduled_p50_ms=quantile(pacer.scheduled, 0.5),
        scheduled_p99_ms=quantile(pacer.scheduled, 0.99),
        scheduled_max_ms=quantile(pacer.scheduled, 1.0),
        sent_p50_ms=quantile(pacer.sent, 0.5),
        sent_p99_ms=quantile(pacer.sent, 0.99),
    )
    background.hand_in(report)


if __name__ == "__main__":
    main(background.order_of(sys.argv[1], Pace))
