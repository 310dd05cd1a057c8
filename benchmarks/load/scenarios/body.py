"""One large body through the proxy, down and up: bytes per CPU second and the memory it takes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from benchmarks.load.bench import Bench
from benchmarks.load.heads import SITE, UPLOAD_SITE
from benchmarks.load.measure import cpu, peak_rss
from benchmarks.load.nginx import BIG_FILE
from benchmarks.load.process import Running
from benchmarks.load.row import Row, Sample, fold

SUBJECTS = ("zexio", "nginx", "nginx buffered", "haproxy", "caddy")
CHUNK_BYTES = 1 << 20


class IncompleteError(Exception):
    """A body did not arrive as it was sent."""


def run(bench: Bench) -> list[Row]:
    """Both directions, every peer in turn, round after round."""
    size = bench.plan.body_bytes
    samples = [
        Sample(subject, direction, index, _transfer(bench.peer(subject), move, size))
        for index in range(bench.plan.rounds)
        for direction, move in (("down", _download), ("up", _upload))
        for subject in bench.installed(*SUBJECTS)
    ]
    return fold("body", sorted(samples, key=lambda each: each.variant), "mb_per_cpu_s", "nginx")


def _transfer(peer: Running, move: Callable[[int, int], None], size: int) -> dict[str, float]:
    workers = peer.workers()
    rss_before, before, began = sum(each.memory_info().rss for each in workers), cpu(peer.tree()), time.perf_counter()
    with peak_rss(workers) as peak:
        move(peer.port, size)
    used, took = cpu(peer.tree()) - before, time.perf_counter() - began
    return {
        "mb_per_cpu_s": size / 1e6 / max(used.total_s, 0.01),
        "mb_s": size / 1e6 / took,
        "user_s": used.user_s,
        "system_s": used.system_s,
        "rss_peak_mib": peak.value / 2**20,
        "rss_growth_mib": max(0, peak.value - rss_before) / 2**20,
    }


def _download(port: int, size: int) -> None:
    request = f"GET /{BIG_FILE} HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n"
    buffer = bytearray(CHUNK_BYTES)
    with socket.create_connection(("127.0.0.1", port), timeout=60.0) as connection:
        connection.sendall(request.encode())
        got = connection.recv_into(buffer)
        head, mark, rest = bytes(buffer[:got]).partition(b"\r\n\r\n")
        received = len(rest)
        while mark and (got := connection.recv_into(buffer)):
            received += got
    if not head.startswith(b"HTTP/1.1 200") or received != size:
        raise IncompleteError(f"port {port}: {received} of {size} bytes after {head[:200]!r}")


def _upload(port: int, size: int) -> None:
    request = f"POST / HTTP/1.1\r\nHost: {UPLOAD_SITE}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    chunk = bytes(CHUNK_BYTES)
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60.0) as connection:
        connection.sendall(request.encode())
        for _ in range(size // CHUNK_BYTES):
            connection.sendall(chunk)
        while not answer.endswith(b"%d" % size) and (data := connection.recv(65536)):
            answer += data
    if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(b"%d" % size):
        raise IncompleteError(f"port {port} answered an upload of {size} bytes with {answer[:300]!r}")
