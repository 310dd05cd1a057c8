"""The raw client reads answers strictly and says how they and the connection ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.client import MalformedAnswer, Visitor, ask


@asynccontextmanager
async def _served(answer: bytes) -> AsyncIterator[int]:
    """A server that says `answer` to whoever connects, and closes when the visitor does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.write_eof()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


_ENDINGS = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "close": (b"HTTP/1.1 200 OK\r\n\r\nhello", b"hello"),
    "none": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
}
_TRUNCATED = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
]
_MALFORMED = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    b"HTTP/1.1 abc OK\r\n\r\n",
]


@pytest.mark.parametrize("ended", _ENDINGS)
async def test_the_end_of_a_body(ended: str) -> None:
    """Each of the ways in which a body can end is named."""
    raw, body = _ENDINGS[ended]
    async with _served(raw) as port:
        answer = await ask(port, b"")
    assert (answer.ended, answer.body) == (ended, body)


@pytest.mark.parametrize("raw", _TRUNCATED)
async def test_a_body_that_breaks_off(raw: bytes) -> None:
    """A body without its end is truncated, not complete."""
    async with _served(raw) as port:
        assert (await ask(port, b"")).ended == "truncated"


@pytest.mark.parametrize("raw", _MALFORMED)
async def test_an_answer_that_no_client_has_to_accept(raw: bytes) -> None:
    """Ambiguous answers of a proxy fail the test that got them."""
    async with _served(raw) as port:
        with pytest.raises(MalformedAnswer):
            await ask(port, b"")


async def test_interim_answers_are_kept_with_the_final_one() -> None:
    """The statuses before the final one, in order."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    async with _served(interim + _ENDINGS["length"][0]) as port:
        answer = await ask(port, b"")
    assert (answer.interim, answer.status) == ((100, 103), 200)


async def test_what_is_not_http_has_the_status_0() -> None:
    """Bytes of another protocol are not read as an answer."""
    async with _served(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00") as port:
        assert (await ask(port, b"")).status == 0


async def test_the_end_of_the_connection_is_no_answer() -> None:
    """Nothing, or half a head, and then the end."""
    for raw in (b"", b"HTTP/1.1 200 OK\r\nContent-Le"):
        async with _served(raw) as port, await Visitor.connect(port) as visitor:
            assert await visitor.answer() is None
            assert visitor.ending == "closed"
