"""What both sides have in common, on a real pair of sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from mesh.connection import Connection


class Listening(Connection):
    """A connection that keeps what it reads."""

    def __init__(self) -> None:
        """Nothing read yet."""
        super().__init__()
        self.read = b""
        self.arrived = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Keep bytes."""
        self.read += data
        self.arrived.set()

    def hang_up(self) -> None:
        """Close, as a side does that has nothing more to say."""
        self.is_closed = True
        self._transport.close()


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Listening, socket.socket]]:
    """A connection of ours and the socket at its other end."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    _, connection = await asyncio.get_running_loop().create_unix_connection(Listening, sock=ours)
    yield connection, theirs
    connection.hang_up()
    theirs.close()


async def test_what_is_written_arrives_and_the_end_after_it(ends: tuple[Listening, socket.socket]) -> None:
    """Saying that nothing more follows leaves the other direction open."""
    connection, theirs = ends
    loop = asyncio.get_running_loop()
    connection.write(b"hello")
    connection.write_eof()
    assert await loop.sock_recv(theirs, 100) == b"hello"
    assert await loop.sock_recv(theirs, 100) == b""
    await loop.sock_sendall(theirs, b"still here")
    await connection.arrived.wait()
    assert connection.read == b"still here"


async def test_a_closed_connection_swallows_writes(ends: tuple[Listening, socket.socket]) -> None:
    """Whoever writes to a peer that has left is told by the end of the connection, not by an exception."""
    connection, theirs = ends
    connection.hang_up()
    connection.write(b"too late")
    connection.write_eof()
    connection.pause_reading()
    connection.resume_reading()
    assert await asyncio.get_running_loop().sock_recv(theirs, 100) == b""


async def test_pausing_twice_is_pausing_once(ends: tuple[Listening, socket.socket]) -> None:
    """Both back-pressure and a waiting body may pause; one resume lets bytes in again."""
    connection, theirs = ends
    connection.pause_reading()
    connection.pause_reading()
    await asyncio.get_running_loop().sock_sendall(theirs, b"waits")
    await asyncio.sleep(0.02)
    assert connection.read == b""
    connection.resume_reading()
    connection.resume_reading()
    await connection.arrived.wait()
    assert connection.read == b"waits"
