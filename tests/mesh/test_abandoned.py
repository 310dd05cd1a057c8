"""Requests that no visitor waits for any more: cancelled, or finished for nobody where the route says so."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from mesh.policies import Timeouts
from tests.support.client import Visitor
from tests.support.mesh_node import route_to, start_mesh
from tests.support.stage import Stage, head_of, idle, request, until, watched

ENDINGS = {
    "length": b"Content-Length: 4\r\n\r\ndone",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n4\r\ndone\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
async def test_a_target_may_finish_what_it_began(ending: bytes) -> None:
    """Its connection is used again; the record says that the visitor left."""
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        asked.set()
        await may_answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\n" + ending)
        await reader.read()

    async with Stage(scene) as stage:
        route = msgspec.structs.replace(route_to(stage.port), finish_abandoned=True)
        async with await start_mesh(route) as mesh:
            records = watched(mesh)
            async with await Visitor.connect(mesh.port) as visitor:
                await visitor.send(request(b"GET / HTTP/1.1"))
                await asked.wait()
            await until(lambda: records)
            assert (records[0].status, records[0].cause) == (499, "connection_terminated")
            may_answer.set()
            await until(lambda: idle(mesh) == 1)


@pytest.mark.parametrize("finishes", [True, False])
async def test_a_target_is_not_waited_for_for_ever(finishes: bool) -> None:
    """Its connection is closed at once, or when the time for an answer is over."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        asked.set()
        try:
            await reader.read()
        finally:
            left.set()

    async with Stage(scene) as stage:
        patience = Timeouts(response_s=0.05)
        route = msgspec.structs.replace(route_to(stage.port), finish_abandoned=finishes, timeouts=patience)
        async with await start_mesh(route) as mesh:
            async with await Visitor.connect(mesh.port) as visitor:
                await visitor.send(request(b"GET / HTTP/1.1"))
                await asked.wait()
            async with asyncio.timeout(2):
                await left.wait()
            assert idle(mesh) == 0


async def test_a_target_is_not_waited_for_longer_on_a_connection_that_was_used() -> None:
    """It has a later look planned, from when it was idle."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n" + ENDINGS["length"])
        await head_of(reader)
        asked.set()
        try:
            await reader.read()
        finally:
            left.set()

    async with Stage(scene) as stage:
        patience = Timeouts(response_s=0.05)
        route = msgspec.structs.replace(route_to(stage.port), finish_abandoned=True, timeouts=patience)
        async with await start_mesh(route) as mesh:
            async with await Visitor.connect(mesh.port) as visitor:
                await visitor.send(request(b"GET / HTTP/1.1"))
                assert await visitor.answer() is not None
                await until(lambda: idle(mesh) == 1)
                await visitor.send(request(b"GET / HTTP/1.1"))
                await asked.wait()
            async with asyncio.timeout(2):
                await left.wait()
            assert stage.entered == 1
