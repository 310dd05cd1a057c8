"""The generator of resumed handshakes: every connection brings the session ticket of the one before, and asks once."""

from __future__ import annotations

import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec

from benchmarks.load import background
from benchmarks.load.certificate import visitor_context
from benchmarks.load.heads import closing, heads
from benchmarks.load.nginx import ANSWER

# OpenSSL lets go of the interpreter while it works, and a thread that waits for the proxy leaves the core to another.
THREADS = 4
TIMEOUT_S = 10.0


class Shake(msgspec.Struct, frozen=True, kw_only=True):
    """What the generator is to do."""

    port: int
    host: str
    seconds: float


class Shaken(msgspec.Struct, frozen=True, kw_only=True):
    """What the generator saw; `busy` is the share of its core that it used itself."""

    handshakes: int
    resumed: int
    per_second: float
    busy: float


def main(order: Shake) -> None:
    """Run all threads and hand in the report."""
    began, busy = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(THREADS) as pool:
        counts = list(pool.map(_shake, [order] * THREADS))
    took, busy = time.perf_counter() - began, time.process_time() - busy
    handshakes, resumed = (sum(column) for column in zip(*counts, strict=True))
    background.hand_in(Shaken(handshakes=handshakes, resumed=resumed, per_second=handshakes / took, busy=busy / took))


def _shake(order: Shake) -> tuple[int, int]:
    context, request = visitor_context(), closing(heads("same", (order.host,)))[0].encode()
    session: ssl.SSLSession | None = None
    handshakes = resumed = 0
    ends = time.perf_counter() + order.seconds
    while time.perf_counter() < ends:
        with (
            socket.create_connection(("127.0.0.1", order.port), timeout=TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=order.host, session=session) as connection,
        ):
            connection.sendall(request)
            _read_answer(connection)
            handshakes += 1
            resumed += bool(connection.session_reused)
            # TLS 1.3 sends tickets after the handshake; by the end of the answer they have been read.
            session = connection.session
    return handshakes, resumed


def _read_answer(connection: ssl.SSLSocket) -> None:
    got = b""
    while not got.endswith(ANSWER):
        data = connection.recv(65536)
        if not data:
            raise ConnectionError(f"closed after {got[:300]!r}")
        got += data


if __name__ == "__main__":
    main(background.order_of(sys.argv[1], Shake))
