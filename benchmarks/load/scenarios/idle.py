"""What an idle keep-alive connection costs in memory of the proxy."""

from __future__ import annotations

import socket
import time

from benchmarks.load.bench import Bench, ask
from benchmarks.load.heads import SITE, head
from benchmarks.load.measure import rss_bytes
from benchmarks.load.nginx import ANSWER
from benchmarks.load.process import Running
from benchmarks.load.row import Row, Sample, fold

SUBJECTS = ("zexio", "nginx", "haproxy", "caddy")
SETTLE_S = 0.5


def run(bench: Bench) -> list[Row]:
    """A new process for each peer, so that memory it freed before does not hide what it takes now."""
    samples = []
    for subject in bench.installed(*SUBJECTS):
        with bench.fresh(subject) as peer:
            samples.append(Sample(subject, "plain", 0, _hold(peer, bench.plan.connections)))
    return fold("idle", samples, "connection_kib", "nginx")


def _hold(peer: Running, count: int) -> dict[str, float]:
    for _ in range(200):
        ask(peer.port, SITE)
    before = rss_bytes(peer.workers())
    connections: list[socket.socket] = []
    try:
        connections.extend(_answered_connection(peer.port, index) for index in range(count))
        time.sleep(SETTLE_S)
        after = rss_bytes(peer.workers())
        held = sum(_is_open(connection) for connection in connections)
    finally:
        for connection in connections:
            connection.close()
    return {
        "connections": count,
        "still_open": held,
        "connection_kib": (after - before) / count / 1024,
        "rss_before_mib": before / 2**20,
        "rss_after_mib": after / 2**20,
    }


def _answered_connection(port: int, index: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10.0)
    connection.sendall(head(index).encode())
    got = b""
    while not got.endswith(ANSWER):
        data = connection.recv(4096)
        if not data:
            raise ConnectionError(f"port {port} closed connection {index} before it answered")
        got += data
    return connection


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
