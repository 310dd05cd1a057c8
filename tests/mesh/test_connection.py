"""Writing, ending and pausing a connection are harmless at any time, also when it is closing or gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mesh.connection import Connection
from tests.support.client import Visitor
from tests.support.stage import until


class Heard(asyncio.Protocol):
    """Remembers what came to a connection; no subclass of it, which a compiled class would not allow."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.connection = Connection()
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand on."""
        self.connection.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Remember."""
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        """Notice."""
        self.connection.is_closed = True


@asynccontextmanager
async def _connected() -> AsyncIterator[tuple[Heard, Visitor]]:
    """A connection and its peer."""
    made: list[Heard] = []

    def make() -> Heard:
        made.append(Heard())
        return made[-1]

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    async with await Visitor.connect(server.sockets[0].getsockname()[1]) as visitor:
        await until(lambda: made and hasattr(made[0].connection, "_transport"))
        yield made[0], visitor
        made[0].connection._transport.abort()
        server.close()


async def test_bytes_and_the_end_are_written() -> None:
    """Saying that nothing follows does not stop the reading."""
    async with _connected() as (heard, visitor):
        heard.connection.write(b"hello")
        heard.connection.write_eof()
        heard.connection.write_eof()
        assert await visitor.octets(10) == b"hello"
        assert visitor.ending == "closed"
        await visitor.send(b"back")
        await until(lambda: heard.data == b"back")


async def test_reading_stops_and_goes_on() -> None:
    """However often either is said."""
    async with _connected() as (heard, visitor):
        heard.connection.resume_reading()
        for _ in range(2):
            heard.connection.pause_reading()
        await visitor.send(b"later")
        await asyncio.sleep(0.02)
        assert heard.data == b""
        for _ in range(2):
            heard.connection.resume_reading()
        await until(lambda: heard.data == b"later")


async def test_nothing_is_written_to_a_connection_that_is_gone() -> None:
    """And nobody is told of it: whoever writes hears of the end in another way."""
    async with _connected() as (heard, visitor):
        visitor.reset()
        await until(lambda: heard.connection.is_closed)
        heard.connection.write(b"too late")
        heard.connection.write_eof()
        heard.connection.pause_reading()
        heard.connection.resume_reading()


async def test_nothing_is_paused_on_a_connection_that_is_closing() -> None:
    """A transport that closes does not read any more."""
    async with _connected() as (heard, visitor):
        heard.connection._transport.close()
        heard.connection.pause_reading()
        heard.connection.resume_reading()
        assert await visitor.end() == "closed"
