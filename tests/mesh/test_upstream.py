"""The target's side: which connection a request takes, how an answer ends, and what becomes of the connection then."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
from typing import cast

import pytest

from mesh.routes import MeshSettings
from tests.support.client import Visitor, ask
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.stage import (
    Scene,
    Stage,
    answering,
    connections,
    head_of,
    idle,
    in_flight,
    reluctant_socket,
    request,
    reset_on_close,
    start_narrow_mesh,
    under_way,
    until,
    upstream_of,
    watched,
)

GET = request(b"GET / HTTP/1.1")
BLOCK = hashlib.shake_256(b"answer").digest(1 << 20)
BLOCKS = 32
DIGEST = hashlib.sha256(BLOCK * BLOCKS).hexdigest()


def _ok(*fields: bytes, body: bytes = b"hello") -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", *fields, b"", b"")) + body


# Reuse.


async def test_a_connection_is_used_again_and_again() -> None:
    """Requests of several visitors, one after the other, share one connection."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        for _ in range(5):
            assert (await ask(mesh.port, GET)).status == 200
        assert len(origin.connections) == 1
        assert (idle(mesh), mesh.core.counters.dials) == (1, 1)


async def test_the_connection_that_was_used_last_is_used_next() -> None:
    """The newest idle connection is the least likely to have been closed meanwhile."""
    gates = [asyncio.Event() for _ in range(3)]
    order: list[int] = []

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = stage.entered - 1
        while True:
            await head_of(reader)
            order.append(number)
            await gates[number].wait()
            writer.write(_ok(b"Content-Length: 5"))

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        visitors = [await Visitor.connect(mesh.port) for _ in gates]
        for number, visitor in enumerate(visitors):
            await visitor.send(GET)
            await until(lambda: len(order) > number)  # noqa: B023
        for number in (2, 0, 1):
            gates[number].set()
            await visitors[number].answer()
        await ask(mesh.port, GET)
        assert order == [0, 1, 2, 1]
        for visitor in visitors:
            visitor.close()


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (_ok(b"Content-Length: 5"), 1),
        (_ok(b"Content-Length: 5", b"Connection: keep-alive, close"), 0),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\n\r\nhello", 1),
        (_ok(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"), 1),
        (_ok(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\nmore"), 0),
        (_ok(b"Content-Length: 5", body=b"hello and more"), 0),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 1),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 1),
    ],
)
async def test_only_a_connection_that_ended_its_answer_cleanly_is_kept(raw: bytes, kept: int) -> None:
    """Close, HTTP/1.0 without keep-alive, or surplus bytes cost the connection its place in the pool."""
    async with Stage(answering(raw)) as stage, await start_mesh(route_to(stage.port)) as mesh:
        assert (await ask(mesh.port, GET)).status in {200, 204, 304}
        assert idle(mesh) == kept
        assert (await ask(mesh.port, GET)).status in {200, 204, 304}
        assert stage.entered == 2 - kept


async def test_surplus_bytes_behind_the_rest_of_a_body_cost_the_connection() -> None:
    """The visitor gets the length that was announced, and nobody gets the rest."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(_ok(b"Content-Length: 10"))
        await until(lambda: under_way(mesh).is_response_begun)
        writer.write(b"worldHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        assert (await ask(mesh.port, GET)).body == b"helloworld"
        assert idle(mesh) == 0


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    """The pool holds nothing that nobody needs."""
    settings = MeshSettings(pool_idle_s=0.05)
    async with Origin() as origin, await start_mesh(route_to(origin.port), settings=settings) as mesh:
        await ask(mesh.port, GET)
        assert await origin.connections[0].ended() == "closed"


async def test_the_pool_keeps_as_many_as_it_may() -> None:
    """Of two connections that come back, the older one is closed when there is room for one."""
    both = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        if stage.entered == 2:
            both.set()
        await both.wait()
        writer.write(_ok(b"Content-Length: 5"))
        await reader.read()

    settings = MeshSettings(pool_size=1)
    async with Stage(scene) as stage, await start_mesh(route_to(stage.port), settings=settings) as mesh:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(ask(mesh.port, GET), name="ask")
        assert idle(mesh) == 1


async def test_a_connection_that_the_target_closed_is_not_used_again() -> None:
    """A close that has been noticed is no failure; the next request dials."""
    scene = answering(_ok(b"Content-Length: 5"), then_close=True)
    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        for _ in range(3):
            assert (await ask(mesh.port, request(b"POST / HTTP/1.1"))).status == 200
            await until(lambda: _all_noticed(mesh))
        assert stage.entered == 3


def _all_noticed(mesh: MeshUnderTest) -> bool:
    return all(upstream.is_closed for target in mesh.core.targets(9) for upstream in target.pool._idle)


async def test_a_connection_with_unsent_bytes_is_not_used_again() -> None:
    """A target that answers without having read the body would read the next request behind it, if ever."""
    go = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cast("asyncio.Transport", writer.transport).pause_reading()
        await go.wait()
        writer.write(_ok(b"Content-Length: 5"))
        await asyncio.Event().wait()

    piece = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=piece))
            await until(lambda: stage.entered)
            upstream = upstream_of(mesh)
            while not upstream._transport.get_write_buffer_size():
                await visitor.send(piece)
            await visitor.send(b"0\r\n\r\n")
            await until(lambda: under_way(mesh).is_request_complete)
            go.set()
            answer = await visitor.answer()
            assert answer is not None
            assert answer.status == 200
        assert idle(mesh) == 0
        await until(upstream._transport.is_closing)


# Answers, and where they end.


def _sending(head: bytes, *, chunked: bool = False, end: bytes = b"", blocks: int = BLOCKS) -> Scene:
    """A target that sends so many blocks behind the head, and closes."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(head)
        for _ in range(blocks):
            writer.write(b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK) if chunked else BLOCK)
            await writer.drain()
        writer.write(end)
        await writer.drain()

    return scene


LARGE = {
    "length": _sending(_ok(b"Content-Length: %d" % (len(BLOCK) * BLOCKS), body=b"")),
    "chunked": _sending(_ok(b"Transfer-Encoding: chunked", body=b""), chunked=True, end=b"0\r\n\r\n"),
    "until_close": _sending(_ok(body=b"")),
}


@pytest.mark.parametrize("scene", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("version", [10, 11])
async def test_a_large_body_arrives_byte_by_byte(scene: Scene, version: int) -> None:
    """However the target delimits it, a client that others wrote reads the same bytes."""
    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        digest = await asyncio.to_thread(_download, mesh.port, version)
    assert digest == DIGEST


def _download(port: int, version: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection._http_vsn, connection._http_vsn_str = version, f"HTTP/{version // 10}.{version % 10}"  # type: ignore[attr-defined]
    connection.request("GET", "/", headers={"Host": HOST})
    digest = hashlib.sha256()
    with connection.getresponse() as response:
        while data := response.read(1 << 18):
            digest.update(data)
    connection.close()
    return digest.hexdigest()


async def test_a_slow_visitor_slows_the_target_down() -> None:
    """What the visitor does not take waits at the target, and everything arrives in the end."""
    scene = _sending(_ok(b"Transfer-Encoding: chunked", body=b""), chunked=True, end=b"0\r\n\r\n", blocks=4)
    async with (
        Stage(scene) as stage,
        await start_narrow_mesh(route_to(stage.port)) as mesh,
        Visitor(reluctant_socket(mesh.port)) as visitor,
    ):
        await visitor.send(GET)
        await until(lambda: any(downstream._is_slow for downstream in connections(mesh)))
        (downstream,) = connections(mesh)
        assert upstream_of(mesh)._is_reading_paused
        assert downstream._transport.get_write_buffer_size() < 1 << 20
        answer = await visitor.answer()
        assert answer is not None
        assert answer.body == BLOCK * 4


async def test_an_answer_in_pieces_is_one_answer() -> None:
    """Interim and final heads, chunks and trailers may come an octet at a time."""
    async with Origin(fragment=1) as origin, await start_mesh(route_to(origin.port)) as mesh:
        interim = await ask(mesh.port, request(b"GET /-/100s HTTP/1.1"))
        assert (interim.interim, interim.status, interim.body) == ((100, 103), 200, b"hello")
        trailers = await ask(mesh.port, request(b"GET /-/trailers HTTP/1.1"))
        assert (trailers.body, trailers.trailers) == (b"hello", [(b"X-Sum", b"7")])
        assert len(origin.connections) == 1


async def test_head_gets_the_length_and_no_body() -> None:
    """RFC 9112 section 6.3: the connection is ready for the next request at once."""
    async with (
        Stage(answering(_ok(b"Content-Length: 5", body=b""))) as stage,
        await start_mesh(route_to(stage.port)) as mesh,
    ):
        async with await Visitor.connect(mesh.port) as visitor:
            for _ in range(2):
                await visitor.send(request(b"HEAD / HTTP/1.1"))
                answer = await visitor.answer("HEAD")
                assert answer is not None
                assert (answer.values(b"content-length"), answer.body) == ([b"5"], b"")
        assert stage.entered == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 70_000,
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: a\r\n" * 300 + b"Content-Length: 0\r\n\r\n",
    ],
    ids=["unended", "ended", "many"],
)
async def test_a_head_that_is_too_large_is_a_bad_gateway(raw: bytes) -> None:
    """What a target may say before the body is bounded."""
    async with Stage(answering(raw)) as stage, await start_mesh(route_to(stage.port)) as mesh:
        answer = await ask(mesh.port, GET)
    assert answer.status == 502


@pytest.mark.parametrize(
    ("raw", "ended"),
    [(_ok(b"Content-Length: 100"), "truncated"), (_ok(b"Transfer-Encoding: chunked", body=b"5\r\nhel"), "truncated")],
)
async def test_a_body_that_breaks_off_is_never_completed(raw: bytes, ended: str) -> None:
    """The visitor's connection is cut, and the record says why."""
    async with Stage(answering(raw, then_close=True)) as stage, await start_mesh(route_to(stage.port)) as mesh:
        records = watched(mesh)
        answer = await ask(mesh.port, GET)
        assert (answer.status, answer.ended) == (200, ended)
        assert (records[0].status, records[0].cause) == (200, "http_response_incomplete")
        assert in_flight(mesh) == 0


@pytest.mark.parametrize("pause", [True, False])
async def test_a_body_that_turns_bad_is_never_completed(pause: bool) -> None:
    """Before anything of it has gone out it is a bad gateway, afterwards the connection is cut."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(_ok(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"))
        if pause:
            await until(lambda: under_way(mesh).is_response_begun)
        writer.write(b"x\r\nhello\r\n0\r\n\r\n")
        await reader.read()

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        answer = await ask(mesh.port, GET)
        assert (answer.status, answer.ended) == ((200, "truncated") if pause else (502, "length"))
        assert idle(mesh) == 0


async def test_what_comes_unasked_costs_an_idle_connection() -> None:
    """Nobody gets it for an answer."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        await ask(mesh.port, GET)
        (connection,) = origin.connections
        await origin.say(connection, _ok(b"Content-Length: 8", body=b"poisoned"))
        await connection.ended()
        assert (await ask(mesh.port, request(b"GET /next HTTP/1.1"))).json["target"] == "/next"


async def test_a_reset_is_no_end_of_a_body() -> None:
    """Without length and chunks only a clean close completes a body (RFC 9112 section 8)."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(_ok())
        await until(lambda: under_way(mesh).is_response_begun)
        reset_on_close(writer)

    async with (
        Stage(scene) as stage,
        await start_mesh(route_to(stage.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(request(b"GET / HTTP/1.0"))
        assert await visitor.end() == "reset"
