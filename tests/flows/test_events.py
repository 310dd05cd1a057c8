"""Server-sent events through a node: each arrives before the next is sent, however the bodies are delimited.

The origin sends an event only after the client has confirmed the one before by another request through the node, so a
proxy that waits for more bytes before it passes some on never gets to the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import aiohttp
import pytest
import pytest_asyncio

from tests.flows.running import RunningNode
from tests.support.stage import Stage, head_of

HOST: Final = "demo.zexio.app"
EVENTS: Final = 20
PATIENCE_S: Final = 10.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Source:
    """An origin of events: `/chunked` and `/close` say how the stream ends, `/confirm/3` that the event 3 is there."""

    def __init__(self) -> None:
        """Nothing was sent."""
        self.confirmed = asyncio.Queue[str]()
        self.resumed_after = ""

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The requests of one connection."""
        while True:
            head = (await head_of(reader)).decode()
            _slash, action, *number = head.split(" ")[1].split("/")
            if action == "confirm":
                self.confirmed.put_nowait(*number)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                continue
            self.resumed_after = head.partition("\r\nLast-Event-ID: ")[2].partition("\r\n")[0]
            await self._stream(writer, is_chunked=action == "chunked")
            if action != "chunked":
                return

    async def _stream(self, writer: asyncio.StreamWriter, *, is_chunked: bool) -> None:
        framing = b"Transfer-Encoding: chunked" if is_chunked else b"Connection: close"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b\r\n\r\n" % framing)
        for number in range(EVENTS):
            event = f"id: {number}\ndata: event {number}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(event), event) if is_chunked else event)
            assert await self.confirmed.get() == str(number)
        writer.write(b"0\r\n\r\n" if is_chunked else b"")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningNode]:
    """One node for all tests of this file."""
    async with RunningNode(tmp_path_factory.mktemp("events") / "data") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def source(node: RunningNode) -> AsyncIterator[Source]:
    """A fresh source behind the route."""
    played = Source()
    async with Stage(played.play) as stage:
        await node.put(HOST, f"http://127.0.0.1:{stage.port}")
        yield played


@pytest.mark.parametrize("ending", ["chunked", "close"])
async def test_aiohttp_gets_one_event_at_a_time(node: RunningNode, source: Source, ending: str) -> None:
    """And the field with which a client resumes passes."""
    fields = {"Host": HOST, "Last-Event-ID": "7", "Accept": "text/event-stream"}
    async with (
        asyncio.timeout(PATIENCE_S),
        aiohttp.ClientSession(f"http://{node.mesh}", headers=fields) as session,
        session.get(f"/{ending}") as response,
    ):
        assert response.content_type == "text/event-stream"
        for number in range(EVENTS):
            assert await response.content.readuntil(b"\n\n") == f"id: {number}\ndata: event {number}\n\n".encode()
            async with session.get(f"/confirm/{number}") as confirmed:
                assert confirmed.status == 204
        assert await response.content.read() == b""
    assert source.resumed_after == "7"


@pytest.mark.needs("curl")
@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
@pytest.mark.parametrize("ending", ["chunked", "close"])
async def test_curl_gets_one_event_at_a_time(node: RunningNode, source: Source, ending: str, version: str) -> None:
    """As somebody would look at the stream."""
    command = ["curl", "-q", "-sSN", "--noproxy", "*", version, "-H", f"Host: {HOST}", f"http://{node.mesh}/{ending}"]
    async with asyncio.timeout(PATIENCE_S):
        curl = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert curl.stdout is not None
        try:
            for number in range(EVENTS):
                assert await curl.stdout.readuntil(b"\n\n") == f"id: {number}\ndata: event {number}\n\n".encode()
                assert (await node.get(HOST, f"/confirm/{number}"))[0] == 204
            assert await curl.stdout.read() == b""
            assert await curl.wait() == 0
        finally:
            with suppress(ProcessLookupError):
                curl.kill()


async def test_many_streams_at_once(node: RunningNode) -> None:
    """An event for everybody arrives at everybody while all streams stay open."""
    doors = [asyncio.Event() for _ in range(EVENTS)]

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for number, door in enumerate(doors):
            await door.wait()
            writer.write(b"data: %d\n\n" % number)

    async with Stage(play) as stage, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await node.put(HOST, f"http://127.0.0.1:{stage.port}")
        async with asyncio.timeout(PATIENCE_S):
            responses = [await session.get(f"http://{node.mesh}/", headers={"Host": HOST}) for _ in range(100)]
            for number, door in enumerate(doors):
                door.set()
                for response in responses:
                    assert await response.content.readuntil(b"\n\n") == b"data: %d\n\n" % number
            assert {await response.read() for response in responses} == {b""}
