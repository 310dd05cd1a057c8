"""Whether clients that vanish leave anything behind: descriptors, memory, or a proxy that no longer answers."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress

from benchmarks.load.bench import Bench, ask
from benchmarks.load.heads import SITE, UPLOAD_SITE, head
from benchmarks.load.measure import open_files, rss_bytes
from benchmarks.load.nginx import ANSWER, BIG_FILE
from benchmarks.load.process import Running
from benchmarks.load.row import Row, Sample, fold

SUBJECTS = ("zexio", "nginx", "haproxy", "caddy")
SETTLE_S = 3.0
AT_ONCE = 20
RESET = struct.pack("ii", 1, 0)


def run(bench: Bench) -> list[Row]:
    """Downloads, uploads and plain requests that are dropped half-way, every second one with a reset."""
    samples = [
        Sample(subject, "vanish", 0, _abuse(bench.peer(subject), bench.plan.aborts))
        for subject in bench.installed(*SUBJECTS)
    ]
    return fold("aborts", samples)


def _abuse(peer: Running, count: int) -> dict[str, float]:
    ask(peer.port, SITE)
    workers = peer.workers()
    files, rss = open_files(workers), rss_bytes(workers)
    for first in range(0, count, AT_ONCE):
        _vanish(peer.port, first)
    deadline = time.monotonic() + SETTLE_S
    while open_files(workers) > files and time.monotonic() < deadline:
        time.sleep(0.05)
    return {
        "aborted": count,
        "files_before": files,
        "files_after": open_files(workers),
        "rss_growth_mib": (rss_bytes(workers) - rss) / 2**20,
        "answers": float(ask(peer.port, SITE).endswith(ANSWER)),
    }


def _vanish(port: int, first: int) -> None:
    requests = (
        f"GET /{BIG_FILE} HTTP/1.1\r\nHost: {SITE}\r\n\r\n".encode(),
        f"POST / HTTP/1.1\r\nHost: {UPLOAD_SITE}\r\nContent-Length: 1000000\r\n\r\n".encode() + bytes(50_000),
        head(first).encode(),
        head(first).encode()[:300],
    )
    connections = [socket.create_connection(("127.0.0.1", port), timeout=5.0) for _ in range(AT_ONCE)]
    for number, connection in enumerate(connections):
        connection.sendall(requests[number % len(requests)])
    for number, connection in enumerate(connections):
        if number % len(requests) == 0:
            with suppress(OSError):
                connection.recv(65536)
        if number // len(requests) % 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()
