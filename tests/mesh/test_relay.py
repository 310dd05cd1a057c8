"""After an upgrade both connections carry bytes: all of them, in order, each way on its own, and no more than fit."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

import pytest
import websockets.asyncio.client
import websockets.asyncio.server
from websockets.exceptions import ConnectionClosedOK

from mesh.routes import MeshSettings
from tests.support.client import Visitor
from tests.support.mesh_node import HOST, route_to, start_mesh
from tests.support.stage import (
    Scene,
    Stage,
    connections,
    head_of,
    in_flight,
    reluctant_socket,
    reset_on_close,
    start_narrow_mesh,
    until,
    upstream_of,
    watched,
)

ASK = b"GET /chat HTTP/1.1\r\nHost: shop.example.com\r\nConnection: Upgrade\r\nUpgrade: bytes\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: bytes\r\n\r\n"
MEBIBYTE = 1 << 20


def _switching(then: Scene, first: bytes = b"") -> Scene:
    """A target that switches protocols, sends `first` with the 101, and then plays `then`."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(SWITCH + first)
        await then(reader, writer)

    return scene


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _upgraded(visitor: Visitor, ahead: bytes = b"") -> None:
    await visitor.send(ASK + ahead)
    answer = await visitor.answer()
    assert answer is not None
    assert answer.status == 101
    assert answer.values(b"upgrade") == [b"bytes"]
    assert answer.values(b"connection") == [b"Upgrade"]


async def test_bytes_that_come_with_the_101_are_the_first_of_the_tunnel() -> None:
    """A target may speak at once."""
    async with (
        Stage(_switching(_listen, b"welcome")) as stage,
        await start_mesh(route_to(stage.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await _upgraded(visitor)
        assert await visitor.octets(7) == b"welcome"


async def test_bytes_that_come_before_the_101_are_kept_for_the_tunnel() -> None:
    """What follows the request is not read as HTTP once the target has switched."""
    async with (
        Stage(_switching(_echo)) as stage,
        await start_mesh(route_to(stage.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await _upgraded(visitor, b"GET /smuggled HTTP/1.1\r\n\r\n")
        assert await visitor.octets(26) == b"GET /smuggled HTTP/1.1\r\n\r\n"


async def test_the_visitor_ends_first() -> None:
    """The target sees the end, and what it still says arrives before its own."""

    async def answer_to_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read())

    async with Stage(_switching(answer_to_the_end)) as stage, await start_mesh(route_to(stage.port)) as mesh:
        records = watched(mesh)
        async with await Visitor.connect(mesh.port) as visitor:
            await _upgraded(visitor)
            await visitor.send(b"all of it")
            visitor.half_close()
            assert await visitor.octets(100) == b"got all of it"
            assert visitor.ending == "closed"
        await until(lambda: not connections(mesh))
    assert [(record.status, record.received, record.sent) for record in records] == [(101, 9, 13)]
    assert in_flight(mesh) == 0


async def test_the_target_ends_first() -> None:
    """The visitor sees the end, and what it still says arrives before its own."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def end_and_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.write_eof()
        heard.set_result(await reader.read())

    async with Stage(_switching(end_and_listen)) as stage, await start_mesh(route_to(stage.port)) as mesh:
        records = watched(mesh)
        async with await Visitor.connect(mesh.port) as visitor:
            await _upgraded(visitor)
            assert await visitor.octets(100) == b"bye"
            assert visitor.ending == "closed"
            await visitor.send(b"one more thing")
            visitor.half_close()
            assert await heard == b"one more thing"
            await until(lambda: records)
    assert [(record.status, record.received, record.sent) for record in records] == [(101, 14, 3)]


@pytest.mark.parametrize("leave", [Visitor.close, Visitor.reset], ids=["close", "reset"])
async def test_a_visitor_that_leaves_takes_the_target_along(leave: Callable[[Visitor], None]) -> None:
    """The target's connection ends, and the exchange is counted out once."""
    over = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            over.set()

    async with Stage(_switching(listen)) as stage, await start_mesh(route_to(stage.port)) as mesh:
        records = watched(mesh)
        visitor = await Visitor.connect(mesh.port)
        await _upgraded(visitor)
        leave(visitor)
        await over.wait()
        await until(lambda: records)
        assert in_flight(mesh) == 0
    assert [record.status for record in records] == [101]


async def test_a_target_that_breaks_off_takes_the_visitor_along() -> None:
    """The visitor's connection ends too."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        reset_on_close(writer)

    async with Stage(_switching(break_off)) as stage, await start_mesh(route_to(stage.port)) as mesh:
        records = watched(mesh)
        async with await Visitor.connect(mesh.port) as visitor:
            await _upgraded(visitor)
            await visitor.send(b"x")
            assert await visitor.end() in {"closed", "reset"}
        await until(lambda: records)
        assert in_flight(mesh) == 0


async def test_a_tunnel_in_which_nothing_moves_is_ended() -> None:
    """Both connections are closed when the idle time is over."""
    settings = MeshSettings(tunnel_idle_s=0.05)
    async with Stage(_switching(_listen)) as stage, await start_mesh(route_to(stage.port), settings=settings) as mesh:
        records = watched(mesh)
        async with await Visitor.connect(mesh.port) as visitor:
            await _upgraded(visitor)
            assert await visitor.end() in {"closed", "reset"}
        await until(lambda: records)
        assert (records[0].status, in_flight(mesh)) == (101, 0)


async def test_a_tunnel_in_which_something_moves_goes_on() -> None:
    """The idle time begins anew with every byte, in either direction."""
    settings = MeshSettings(tunnel_idle_s=0.25)
    async with (
        Stage(_switching(_echo)) as stage,
        await start_mesh(route_to(stage.port), settings=settings) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await _upgraded(visitor)
        for _ in range(12):
            await visitor.send(b"x")
            await asyncio.sleep(0.04)
        assert await visitor.octets(12) == b"x" * 12


async def test_every_byte_arrives_both_ways() -> None:
    """Megabytes there and back are the same megabytes."""
    data = hashlib.shake_256(b"tunnel").digest(4 * MEBIBYTE)
    async with (
        Stage(_switching(_echo)) as stage,
        await start_mesh(route_to(stage.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await _upgraded(visitor)
        sending = asyncio.get_running_loop().create_task(visitor.send(data, fragment=50_000), name="send")
        assert await visitor.octets(len(data)) == data
        await sending


async def test_a_slow_visitor_slows_the_target_down() -> None:
    """What the visitor does not take waits at the target, not in the proxy."""
    total = 8 * MEBIBYTE

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * total)
        await reader.read()

    async with (
        Stage(_switching(flood)) as stage,
        await start_narrow_mesh(route_to(stage.port)) as mesh,
        Visitor(reluctant_socket(mesh.port)) as visitor,
    ):
        await visitor.send(ASK)
        await until(lambda: connections(mesh))
        (downstream,) = connections(mesh)
        await until(lambda: downstream._is_slow)
        assert downstream._transport.get_write_buffer_size() < MEBIBYTE
        await visitor.answer()
        assert len(await visitor.octets(total)) == total


async def test_a_slow_target_slows_the_visitor_down() -> None:
    """What the target does not take waits at the visitor, not in the proxy."""
    total = 16 * MEBIBYTE
    go = asyncio.Event()
    heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        heard.set_result(len(await reader.read()))

    async with (
        Stage(_switching(dawdle)) as stage,
        await start_mesh(route_to(stage.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await _upgraded(visitor)
        sending = asyncio.get_running_loop().create_task(visitor.send(b"x" * total, fragment=65536), name="send")
        (downstream,) = connections(mesh)
        await until(lambda: downstream._is_reading_paused)
        assert upstream_of(mesh)._transport.get_write_buffer_size() < MEBIBYTE
        go.set()
        await sending
        visitor.half_close()
        assert await heard == total


@pytest.mark.parametrize("message", ["grüezi", b"\x00\xff" * 10, "x" * MEBIBYTE, b""])
async def test_a_websocket_echo(message: str | bytes) -> None:
    """A client and a server that others wrote speak through the proxy."""

    async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
        async for each in connection:
            await connection.send(each)

    async with websockets.asyncio.server.serve(echo, "127.0.0.1", 0, subprotocols=[_CHAT]) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with await start_mesh(route_to(port)) as mesh:
            client = websockets.asyncio.client.connect(
                f"ws://{HOST}/chat", host="127.0.0.1", port=mesh.port, subprotocols=[_CHAT]
            )
            async with client as connection:
                assert connection.subprotocol == _CHAT
                await connection.send(message)
                assert await connection.recv() == message
                await (await connection.ping())
                await connection.close(1000, "enough")
                with pytest.raises(ConnectionClosedOK, match="enough"):
                    await connection.recv()


_CHAT = websockets.Subprotocol("chat")
