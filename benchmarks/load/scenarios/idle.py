"""What an idle keep-alive connection costs in memory of the proxy."""

from __future__ import annotations

import socket
import ssl
import time

from benchmarks.load.bench import Bench
from benchmarks.load.certificate import visitor_context
from benchmarks.load.heads import SITE, head
from benchmarks.load.measure import rss_bytes
from benchmarks.load.nginx import ANSWER
from benchmarks.load.process import Running
from benchmarks.load.row import Row, Sample, fold

SUBJECTS = ("zexio", "nginx", "haproxy", "caddy")
SETTLE_S = 0.5
WARM = 200
CONNECTIONS_PER_ADDRESS = 2_000
# A handshake takes the generator as long as ten plain connections.
TLS_SHARE = 0.3


def run(bench: Bench) -> list[Row]:
    """A new process for each peer, so that memory it freed before does not hide what it takes now."""
    samples = []
    for variant, context, share in (("plain", None, 1.0), ("TLS", visitor_context(), TLS_SHARE)):
        for subject in bench.installed(*SUBJECTS):
            with bench.fresh(subject) as peer:
                held = _hold(peer, int(share * bench.plan.connections), context)
            samples.append(Sample(subject, variant, 0, held))
    return fold("idle", samples, "connection_kib", "nginx")


def _hold(peer: Running, count: int, context: ssl.SSLContext | None) -> dict[str, float]:
    port = peer.tls_port if context else peer.port
    for index in range(WARM):
        _answered_connection(port, index, context).close()
    before = rss_bytes(peer.workers())
    connections: list[socket.socket] = []
    try:
        connections.extend(_answered_connection(port, index, context) for index in range(count))
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


def _answered_connection(port: int, index: int, context: ssl.SSLContext | None) -> socket.socket:
    # One address may hold only so many connections.
    source = (f"127.0.1.{1 + index // CONNECTIONS_PER_ADDRESS}", 0)
    connection = socket.create_connection(("127.0.0.1", port), timeout=10.0, source_address=source)
    if context:
        connection = context.wrap_socket(connection, server_hostname=SITE)
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
        # TLS has no way to look without taking; nothing but the end can come.
        data = connection.recv(1) if isinstance(connection, ssl.SSLSocket) else connection.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    return bool(data)
