"""The open-loop load generator sends at a fixed rate, whether answers come or not; arguments: PORT HOST RATE SECONDS.

Two latencies are reported. `scheduled` runs from the moment a request was due, so a proxy (or generator) that stalls is
charged for every request that had to wait: no coordinated omission. `sent` runs from the moment the bytes were written.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.load.heads import heads
from benchmarks.load.nginx import ANSWER

CONNECTIONS = 64
DRAIN_S = 1.0


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

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        """Connect to the loopback port."""
        self.requests = requests
        self.epoll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self.free: deque[int] = deque()
        self.begun: dict[int, tuple[float, float]] = {}
        self.scheduled: list[float] = []
        self.sent: list[float] = []
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
            data = self.sockets[fileno].recv(65536)
            if not data:
                raise ConnectionError("the proxy closed a connection under load")
            if data.endswith(ANSWER):
                now, (due, sent) = time.perf_counter(), self.begun.pop(fileno)
                self.scheduled.append(now - due)
                self.sent.append(now - sent)
                self.free.append(fileno)


def start(port: int, host: str, rate: float, seconds: float) -> subprocess.Popen[str]:
    """Run the generator as a process of its own, on the core of the caller."""
    argv = [sys.executable, "-m", "benchmarks.load.pace", str(port), host, str(rate), str(seconds)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())})


def finish(generator: subprocess.Popen[str]) -> Paced:
    """Wait for a generator and read its report; raises OSError when it failed."""
    try:
        output, _ = generator.communicate(timeout=120)
    finally:
        generator.kill()
    if generator.returncode:
        raise OSError(f"the paced generator failed with {generator.returncode}")
    return msgspec.json.decode(output, type=Paced)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie, in milliseconds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3


def main(port: int, host: str, rate: float, seconds: float) -> None:
    """Run and print the report as JSON."""
    pacer = Pacer(port, [each.encode() for each in heads("varied", (host,))])
    pacer.run(rate, min(0.3, seconds))
    pacer.scheduled.clear()
    pacer.sent.clear()
    gc.disable()
    began, busy = time.perf_counter(), time.process_time()
    pacer.run(rate, seconds)
    took, busy = time.perf_counter() - began, time.process_time() - busy
    report = {
        "wanted": int(rate * seconds),
        "answered": len(pacer.scheduled),
        "per_second": len(pacer.scheduled) / took,
        "busy": busy / took,
        "scheduled_p50_ms": quantile(pacer.scheduled, 0.5),
        "scheduled_p99_ms": quantile(pacer.scheduled, 0.99),
        "scheduled_max_ms": quantile(pacer.scheduled, 1.0),
        "sent_p50_ms": quantile(pacer.sent, 0.5),
        "sent_p99_ms": quantile(pacer.sent, 0.99),
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
