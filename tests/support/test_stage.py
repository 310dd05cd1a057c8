"""The stage plays scenes, fails the test that wrote a wrong one, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mesh.routes import MeshSettings
from tests.support.client import Visitor, ask
from tests.support.mesh_node import route_to, start_mesh
from tests.support.stage import (
    Stage,
    answering,
    connections,
    free_port,
    head_of,
    idle,
    in_flight,
    reluctant_socket,
    request,
    reset_on_close,
    start_narrow_mesh,
    under_way,
    until,
    until_refused,
    watched,
)

GET = request(b"GET / HTTP/1.1")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


async def test_a_scene_is_played_for_every_connection() -> None:
    """And the connection is closed behind it."""
    async with Stage(answering(OK, then_close=True)) as stage:
        for _ in range(2):
            async with await Visitor.connect(stage.port) as visitor:
                await visitor.send(GET)
                answer = await visitor.answer()
                assert answer is not None
                assert answer.body == b"hello"
                assert await visitor.end() == "closed"
        assert stage.entered == 2


async def test_a_scene_may_be_left_by_the_other_side() -> None:
    """That is no error."""
    async with Stage(answering(OK)) as stage, await Visitor.connect(stage.port):
        await until(lambda: stage.entered)


async def test_an_error_in_a_scene_fails_the_test() -> None:
    """What a scene asserts is a part of the test."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await head_of(reader) == b"something else"

    async def play() -> None:
        async with Stage(scene) as stage, await Visitor.connect(stage.port) as visitor:
            await visitor.send(GET)
            await visitor.end()

    with pytest.raises(AssertionError, match="something else"):
        await play()


async def test_a_stage_on_another_socket(tmp_path: Path) -> None:
    """A path, or a socket that waited for it."""
    path = str(tmp_path / "s")
    async with Stage(answering(OK), path=path):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(GET)
        assert (await head_of(reader)).startswith(b"HTTP/1.1 200")
        writer.close()
    listener = free_port()
    async with await Visitor.connect(listener.getsockname()[1]) as visitor:
        await visitor.send(GET)
        async with Stage(answering(OK), listener=listener) as stage:
            assert await visitor.answer()
            assert stage.port == listener.getsockname()[1]


async def test_a_reset_is_a_reset() -> None:
    """Other than a close."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset_on_close(writer)

    async with Stage(scene) as stage, await Visitor.connect(stage.port) as visitor:
        assert await visitor.end() == "reset"


async def test_what_goes_on_in_a_proxy_can_be_watched() -> None:
    """Records, counts, and the exchange under way."""
    go = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await go.wait()
        writer.write(OK)
        await reader.read()

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        records = watched(mesh)
        async with await Visitor.connect(mesh.port) as visitor:
            await until(lambda: connections(mesh))
            with pytest.raises(AssertionError):
                under_way(mesh)
            await visitor.send(GET)
            await until(lambda: stage.entered)
            assert (under_way(mesh).status, in_flight(mesh), idle(mesh)) == (0, 1, 0)
            go.set()
            await visitor.answer()
        assert ([record.status for record in records], in_flight(mesh), idle(mesh)) == ([200], 0, 1)


async def test_a_narrow_proxy_notices_a_reluctant_visitor() -> None:
    """A few kilobytes are enough."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000
    async with (
        Stage(answering(raw)) as stage,
        await start_narrow_mesh(route_to(stage.port), MeshSettings()) as mesh,
        Visitor(reluctant_socket(mesh.port)) as visitor,
    ):
        await visitor.send(GET)
        await until(lambda: any(each._transport.get_write_buffer_size() for each in connections(mesh)))
        answer = await visitor.answer()
        assert answer is not None
        assert len(answer.body) == 60_000


async def test_a_closed_port_is_waited_for() -> None:
    """The end of a listener may take a moment."""
    mesh = await start_mesh()
    port = mesh.port
    assert (await ask(port, GET)).status == 404
    asyncio.get_running_loop().call_later(0.02, mesh._server.close)
    await until_refused(port)
    await mesh.close()
