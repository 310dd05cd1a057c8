"""The sockets that visitors connect to: bound once by the control process, one for each worker."""

from __future__ import annotations

import socket
from typing import Final

import msgspec

BACKLOG: Final = 4096


class ListenSpec(msgspec.Struct, frozen=True):
    """Where to listen: an IP literal or host name, and a port (0 for any free one); with `tls` for handshakes only."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        """HOST:PORT, with brackets around an address of IPv6."""
        return shown(self.host, self.port)


class CannotListen(OSError):
    """An address that cannot be had; `errno` says why, `spec` which one it is."""

    def __init__(self, spec: ListenSpec, error: OSError) -> None:
        """The address, and what the system said."""
        super().__init__(error.errno, error.strerror or str(error))
        self.spec = spec

    def __str__(self) -> str:
        """The address, and the reason."""
        return f"{self.spec}: {self.strerror}"


def shown(host: str, port: int) -> str:
    """HOST:PORT, with brackets around an address of IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind(spec: ListenSpec, count: int) -> list[socket.socket]:
    """`count` sockets on the same address; raises CannotListen (EADDRINUSE when anybody listens there).

    With SO_REUSEPORT the kernel spreads connections evenly over the workers. The control process keeps every socket
    open, so that the connections which wait for a worker that died are served by the one that replaces it. The option
    would also let a second node in on the same port without a word, so the address is first bound without it.
    """
    try:
        return _bound(spec, count)
    except OSError as error:
        raise CannotListen(spec, error) from error


def _bound(spec: ListenSpec, count: int) -> list[socket.socket]:
    family, _, _, _, address = socket.getaddrinfo(
        spec.host, spec.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with _socket(family) as probe:
        probe.bind(address)
        address = probe.getsockname()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            listener = _socket(family)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
    except OSError:
        for listener in sockets:
            listener.close()
        raise
    return sockets


def _socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return sock
