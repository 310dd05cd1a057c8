"""One large body through the proxy, down and up: bytes per CPU second and the memory it takes."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable

from benchmarks.load.bench import Bench
from benchmarks.load.certificate import visitor_context
from benchmarks.load.heads import SITE, UPLOAD_SITE
from benchmarks.load.measure import cpu, peak_rss
from benchmarks.load.nginx import BIG_FILE
from benchmarks.load.process import Running
from benchmarks.load.row import Row, Sample, fold

SUBJECTS = ("zexio", "nginx", "nginx buffered", "haproxy", "caddy")
TLS_SUBJECTS = ("zexio", "nginx", "nginx buffered")
CHUNK_BYTES = 1 << 20

Move = Callable[[int, int, ssl.SSLContext | None], None]


class IncompleteError(Exception):
    """A body did not arrive as it was sent."""


def run(bench: Bench) -> list[Row]:
    """Both directions, every peer in turn, round after round."""
    size = bench.plan.body_bytes
    secured = visitor_context()
    ways: tuple[tuple[str, Move, ssl.SSLContext | None], ...] = (
        ("down", _download, None),
        ("up", _upload, None),
        ("down over TLS", _download, secured),
        ("up over TLS", _upload, secured),
    )
    samples = [
        Sample(subject, variant, index, _transfer(bench.peer(subject), move, size, context))
        for index in range(bench.plan.rounds)
        for variant, move, context in ways
        for subject in bench.installed(*(TLS_SUBJECTS if context else SUBJECTS))
    ]
    return fold("body", sorted(samples, key=lambda each: each.variant), "mb_per_cpu_s", "nginx")


def _transfer(peer: Running, move: Move, size: int, context: ssl.SSLContext | None) -> dict[str, float]:
    workers, port = peer.workers(), peer.tls_port if context else peer.port
    rss_before, before, began = sum(each.memory_info().rss for each in workers), cpu(peer.tree()), time.perf_counter()
    with peak_rss(workers) as peak:
        move(port, size, context)
    used, took = cpu(peer.tree()) - before, time.perf_counter() - began
    return {
        "mb_per_cpu_s": size / 1e6 / max(used.total_s, 0.01),
        "mb_s": size / 1e6 / took,
        "user_s": used.user_s,
        "system_s": used.system_s,
        "rss_peak_mib": peak.value / 2**20,
        "rss_growth_mib": max(0, peak.value - rss_before) / 2**20,
    }


def _connection(port: int, host: str, context: ssl.SSLContext | None) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=60.0)
    return context.wrap_socket(connection, server_hostname=host) if context else connection


def _download(port: int, size: int, context: ssl.SSLContext | None) -> None:
    request = f"GET /{BIG_FILE} HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n"
    buffer = bytearray(CHUNK_BYTES)
    with _connection(port, SITE, context) as connection:
        connection.sendall(request.encode())
        got = connection.recv_into(buffer)
        head, mark, rest = bytes(buffer[:got]).partition(b"\r\n\r\n")
        received = len(rest)
        while mark and (got := connection.recv_into(buffer)):
            received += got
    if not head.startswith(b"HTTP/1.1 200") or received != size:
        raise IncompleteError(f"port {port}: {received} of {size} bytes after {head[:200]!r}")


def _upload(port: int, size: int, context: ssl.SSLContext | None) -> None:
    request = f"POST / HTTP/1.1\r\nHost: {UPLOAD_SITE}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    chunk = bytes(CHUNK_BYTES)
    answer = b""
    with _connection(port, UPLOAD_SITE, context) as connection:
        connection.sendall(request.encode())
        for _ in range(size // CHUNK_BYTES):
            connection.sendall(chunk)
        while not answer.endswith(b"%d" % size) and (data := connection.recv(65536)):
            answer += data
    if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(b"%d" % size):
        raise IncompleteError(f"port {port} answered an upload of {size} bytes with {answer[:300]!r}")
