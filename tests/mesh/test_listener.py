"""The sockets that visitors connect to: one for each worker on one address, and none where somebody else listens."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from mesh.listener import CannotListen, ListenSpec, bind

LOOPBACK = ListenSpec("127.0.0.1", 0)


@pytest.fixture
def taken() -> Iterator[list[socket.socket]]:
    """Sockets that are closed in the end."""
    sockets: list[socket.socket] = []
    yield sockets
    for sock in sockets:
        sock.close()


def _port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def test_all_workers_get_a_socket_on_one_port(taken: list[socket.socket]) -> None:
    """Port 0 is chosen once."""
    taken += bind(LOOPBACK, 3)
    assert len({_port(sock) for sock in taken}) == 1
    assert len({sock.fileno() for sock in taken}) == 3
    assert not any(sock.getblocking() for sock in taken)


def test_a_connection_reaches_one_of_them(taken: list[socket.socket]) -> None:
    """They all listen; the kernel spreads visitors over them."""
    taken += bind(LOOPBACK, 2)
    reached = set()
    for _ in range(64):
        with socket.create_connection(taken[0].getsockname()):
            for sock in taken:
                try:
                    sock.accept()[0].close()
                except BlockingIOError:
                    continue
                reached.add(sock)
    assert reached == set(taken)


@pytest.mark.parametrize("count", [1, 2])
def test_a_port_where_somebody_listens_is_refused(taken: list[socket.socket], count: int) -> None:
    """A second node on one port would take away half of the visitors without a word."""
    taken += bind(LOOPBACK, 2)
    with pytest.raises(OSError, match="in use") as caught:
        bind(ListenSpec("127.0.0.1", _port(taken[0])), count)
    assert caught.value.errno == errno.EADDRINUSE


def test_an_address_that_cannot_be_had_is_named() -> None:
    """A node with many addresses says which one it is."""
    with pytest.raises(CannotListen, match=r"192\.0\.2\.1:80: ") as caught:
        bind(ListenSpec("192.0.2.1", 80, tls=True), 1)
    assert caught.value.spec == ListenSpec("192.0.2.1", 80, tls=True)


def test_an_address_is_shown_as_operators_write_it() -> None:
    """With brackets where the address itself has colons."""
    assert str(ListenSpec("127.0.0.1", 80)) == "127.0.0.1:80"
    assert str(ListenSpec("::1", 443, tls=True)) == "[::1]:443"


def test_a_port_is_free_again_at_once(taken: list[socket.socket]) -> None:
    """A restart does not wait for connections of the node before it."""
    (before,) = bind(LOOPBACK, 1)
    port = _port(before)
    with socket.create_connection(before.getsockname()):
        before.setblocking(True)
        before.accept()[0].close()
        before.close()
    taken += bind(ListenSpec("127.0.0.1", port), 1)
    assert _port(taken[0]) == port


def test_an_unknown_host_is_an_os_error() -> None:
    """Whatever goes wrong with an address is told in one way."""
    with pytest.raises(OSError, match="assign"):
        bind(ListenSpec("192.0.2.1", 0), 1)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_all_addresses_of_ipv6_include_those_of_ipv4(taken: list[socket.socket]) -> None:
    """One listener for both."""
    taken += bind(ListenSpec("::", 0), 1)
    taken[0].setblocking(True)
    peers = set()
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, _port(taken[0]))):
            accepted, address = taken[0].accept()
            accepted.close()
            peers.add(address[0])
    assert peers == {"::1", "::ffff:127.0.0.1"}


def test_nothing_stays_open_when_a_socket_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the second of two sockets cannot listen, the first one is closed."""
    opened: list[socket.socket] = []
    listen = socket.socket.listen

    def fail_the_second_time(self: socket.socket, backlog: int) -> None:
        opened.append(self)
        if len(opened) == 2:
            raise OSError(errno.EADDRINUSE, "in use")
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", fail_the_second_time)
    with pytest.raises(OSError, match="in use"):
        bind(LOOPBACK, 2)
    assert [sock.fileno() for sock in opened] == [-1, -1]
