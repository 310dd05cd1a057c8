"""Visitors who mean harm: they hold what they get for as long as they are let, and come back when they are cut off."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from benchmarks.load import background
from benchmarks.load.heads import SITE, UPLOAD_SITE
from benchmarks.load.nginx import BIG_FILE

Kind = Literal["slow head", "slow body", "slow read", "flood"]

DRIP_EVERY_S = 0.25
# A small buffer of the visitor's own, so that the proxy feels soon that nothing is read.
RECEIVE_BYTES = 4096
# With the segments of loopback, 64 KiB each, the kernel would take a megabyte off the proxy's hands at once.
SEGMENT_BYTES = 1460
SLOW_BYTES = 16
# What a slow reader asks for: more than buffers take, and too little for the rush itself to be the attack.
ASSET_BYTES = 1 << 20
OPENED_AT_ONCE = 50
_ESTABLISHED = "01"


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done, from an address of its own."""

    kind: Kind
    port: int
    connections: int
    seconds: float
    address: str = "127.0.0.66"


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """How it went: connections opened, cut off by the proxy, refused at once, and the longest that one could stay."""

    opened: int
    cut: int
    refused: int
    longest_s: float
    most_at_once: int


_GET = f"GET /{BIG_FILE} HTTP/1.1\r\nHost: {SITE}\r\nRange: bytes=0-{ASSET_BYTES - 1}\r\n\r\n".encode()
_POST = f"POST / HTTP/1.1\r\nHost: {UPLOAD_SITE}\r\nContent-Length: 1000000\r\n\r\n".encode()


def _read_little(connection: socket.socket) -> None:
    if connection.recv(SLOW_BYTES) == b"":
        raise ConnectionError


def _drip(connection: socket.socket) -> None:
    connection.send(b"a")
    _nothing(connection)


def _nothing(connection: socket.socket) -> None:
    # Whatever comes, an answer like 408 or the end, means that the proxy has had enough.
    with suppress(BlockingIOError):
        connection.recv(1)
        raise ConnectionError


# What each sends first, and what it does from time to time.
_WAYS: Final[Mapping[Kind, tuple[bytes, Callable[[socket.socket], None]]]] = {
    "slow head": (f"GET / HTTP/1.1\r\nHost: {SITE}\r\nX-Slow: ".encode(), _drip),
    "slow body": (_POST, _drip),
    "slow read": (_GET, _read_little),
    "flood": (b"", _nothing),
}


class Attacker:
    """The connections of one attack."""

    def __init__(self, order: Attack) -> None:
        """Nothing is open yet."""
        self.order = order
        self.first, self.act = _WAYS[order.kind]
        self.open: dict[socket.socket, float] = {}
        self.opened = self.cut = self.refused = self.most = 0
        self.longest_s = 0.0

    def run(self) -> Held:
        """Attack until the time is over."""
        ends = time.perf_counter() + self.order.seconds
        while time.perf_counter() < ends:
            self._open_more()
            time.sleep(DRIP_EVERY_S)
            kept = _kept_by(self.order.port, self.order.address)
            for connection in list(self.open):
                self._go_on(connection, kept)
        now = time.perf_counter()
        self.longest_s = max([self.longest_s, *(now - began for began in self.open.values())])
        return Held(
            opened=self.opened,
            cut=self.cut,
            refused=self.refused,
            longest_s=self.longest_s,
            most_at_once=self.most,
        )

    def _open_more(self) -> None:
        missing = self.order.connections - len(self.open)
        for _ in range(min(missing, OPENED_AT_ONCE) if self.order.kind != "flood" else missing):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
            try:
                connection.bind((self.order.address, 0))
                connection.settimeout(1.0)
                connection.connect(("127.0.0.1", self.order.port))
                connection.sendall(self.first)
            except OSError:
                self.refused += 1
                connection.close()
                continue
            connection.setblocking(False)
            self.open[connection] = time.perf_counter()
            self.opened += 1
        self.most = max(self.most, len(self.open))

    def _go_on(self, connection: socket.socket, kept: set[int]) -> None:
        try:
            if connection.getsockname()[1] not in kept:
                raise ConnectionError
            self.act(connection)
        except BlockingIOError:
            return
        except OSError:
            self.longest_s = max(self.longest_s, time.perf_counter() - self.open.pop(connection))
            self.cut += 1
            connection.close()


def _kept_by(port: int, address: str) -> set[int]:
    """The ports of the visitors at `address` whose connections the proxy has not given up (/proc/net/tcp).

    Who does not read cannot see the end of the stream, which queues behind the rest of the answer.
    """
    # The kernel prints addresses in the order of this machine's bytes.
    visitor = socket.inet_aton(address)[::-1].hex().upper()
    kept = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state = line.split()[:4]
        if state == _ESTABLISHED and remote.startswith(visitor) and int(local[-4:], 16) == port:
            kept.add(int(remote[-4:], 16))
    return kept


if __name__ == "__main__":
    # The harm is to be done by the connections, not by taking the core from the origin of the others.
    os.nice(19)
    background.hand_in(Attacker(background.order_of(sys.argv[1], Attack)).run())
