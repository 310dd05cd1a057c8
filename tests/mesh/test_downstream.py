"""The visitor's side: requests in order, bodies that arrive, deadlines that end what stands still, and goodbyes."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
from collections.abc import Iterator

import pytest

from mesh import downstream, exchange
from mesh.policies import Timeouts
from mesh.routes import Delta, MeshSettings, Route, RouteKey
from tests.support.client import Visitor, ask
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.stage import (
    Scene,
    Stage,
    answering,
    connections,
    head_of,
    in_flight,
    reluctant_socket,
    request,
    start_narrow_mesh,
    under_way,
    until,
    upstream_of,
    watched,
)

GET = request(b"GET / HTTP/1.1")
CHUNKED = b"Transfer-Encoding: chunked"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BLOCK = hashlib.shake_256(b"upload").digest(1 << 20)
BLOCKS = 32
DIGEST = hashlib.sha256(BLOCK * BLOCKS).hexdigest()


async def _status(visitor: Visitor) -> int:
    answer = await visitor.answer()
    return answer.status if answer else 0


# Requests in order.


async def test_pipelined_requests_are_answered_in_order() -> None:
    """However long the first one takes, the others wait, and no target hears of them before their turn."""
    go = asyncio.Event()
    heard: list[bytes] = []

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard.append((await head_of(reader)).split()[1])
            await go.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + heard[-1])

    async with (
        Stage(scene) as stage,
        await start_mesh(route_to(stage.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(b"".join(request(b"GET /%d HTTP/1.1" % number) for number in range(3)))
        await until(lambda: heard)
        await asyncio.sleep(0.02)
        assert heard == [b"/0"]
        go.set()
        answers = [await visitor.answer() for _ in range(3)]
        assert [answer.body for answer in answers if answer] == [b"/0", b"/1", b"/2"]


async def test_what_is_sent_ahead_is_bounded() -> None:
    """A visitor with thousands of requests in the pipe is read no further, and is answered in the end."""
    go = asyncio.Event()
    count = 2000

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await head_of(reader)
            await go.wait()
            writer.write(OK)

    async with (
        Stage(scene) as stage,
        await start_mesh(route_to(stage.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        sending = asyncio.get_running_loop().create_task(visitor.send(GET * count), name="send")
        await until(lambda: connections(mesh))
        (connection,) = connections(mesh)
        await until(lambda: connection._is_reading_paused)
        assert len(connection._buffer) < downstream._MAX_AHEAD + 300_000
        go.set()
        for _ in range(count):
            assert await _status(visitor) == 200
        await sending


async def test_the_next_request_waits_until_the_visitor_has_caught_up() -> None:
    """Answers do not pile up in the proxy for a visitor who only asks."""
    size = 80_000
    scene = answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    async with (
        Stage(scene) as stage,
        await start_narrow_mesh(route_to(stage.port)) as mesh,
        Visitor(reluctant_socket(mesh.port)) as visitor,
    ):
        await visitor.send(GET * 3)
        await until(lambda: any(each._is_slow and not each._exchange for each in connections(mesh)))
        assert mesh.core.counters.requests == 1
        await visitor.send(GET)
        for _ in range(4):
            answer = await visitor.answer()
            assert answer is not None
            assert len(answer.body) == size


async def test_a_request_that_comes_early_is_kept() -> None:
    """It came while the one before was under way, in a segment of its own."""
    go = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await head_of(reader)
            await go.wait()
            writer.write(OK)

    async with (
        Stage(scene) as stage,
        await start_mesh(route_to(stage.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(GET)
        await until(lambda: stage.entered)
        (connection,) = connections(mesh)
        for piece in (GET[:20], GET[20:]):
            await visitor.send(piece)
            await until(lambda: connection._buffer.endswith(piece))  # noqa: B023
        go.set()
        assert [await _status(visitor), await _status(visitor)] == [200, 200]


async def test_a_head_that_is_too_large_is_refused() -> None:
    """Whether it comes in one go or not."""
    settings = MeshSettings(max_head_bytes=1000)
    async with await start_mesh(settings=settings) as mesh:
        for raw in (request(b"GET / HTTP/1.1", b"X-A: " + b"a" * 1000), b"GET / HTTP/1.1\r\nX-A: " + b"a" * 1000):
            assert (await ask(mesh.port, raw)).status == 431


async def test_a_body_that_turns_bad_is_refused() -> None:
    """The target's connection is cut before the message is complete."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        answer = await ask(mesh.port, request(b"POST / HTTP/1.1", CHUNKED, body=b"5\r\nhello\r\nx\r\n"))
        assert (answer.status, answer.announces_close) == (400, True)
        assert not any(seen.complete for seen in origin.requests)
        assert in_flight(mesh) == 0


async def test_a_connection_has_so_many_requests_and_no_more() -> None:
    """The last answer says that it is the last one."""
    settings = MeshSettings(max_requests_per_connection=2)
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=settings) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(GET * 3)
        answers = [await visitor.answer() for _ in range(3)]
    assert [answer and answer.announces_close for answer in answers] == [False, True, None]


@pytest.mark.parametrize(
    ("fields", "announced", "ending"),
    [((), b"close", "closed"), ((b"Connection: keep-alive",), b"keep-alive", "open")],
)
async def test_visitors_of_http_1_0(fields: tuple[bytes, ...], announced: bytes, ending: str) -> None:
    """Such a connection ends with the answer, unless the visitor asks for more."""
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(request(b"GET / HTTP/1.0", *fields))
        answer = await visitor.answer()
        assert answer is not None
        assert answer.values(b"connection") == [announced]
        assert answer.head.startswith(b"HTTP/1.1 200 ")
        if ending == "closed":
            assert await visitor.end() == "closed"
        else:
            await visitor.send(request(b"GET / HTTP/1.0"))
            assert await _status(visitor) == 200


async def test_empty_lines_between_requests_are_no_request() -> None:
    """Some clients send a line end behind a body (RFC 9112 section 2.2)."""
    settings = MeshSettings(head_timeout_s=0.05)
    post = request(b"POST / HTTP/1.1", b"Content-Length: 5", body=b"hello\r\n")
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=settings) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        for _ in range(2):
            await visitor.send(post)
            assert await _status(visitor) == 200
        assert not under_way_or_begun(mesh)
        await mesh.core.drain(3.0)
        assert await visitor.end() == "closed"


def under_way_or_begun(mesh: MeshUnderTest) -> bool:
    """Whether the one visitor is in the middle of something."""
    (connection,) = connections(mesh)
    return connection._exchange is not None or connection._holds_part_of_a_head()


# Bodies.


def _digesting(*, chunked: bool) -> Scene:
    """A target that answers with the digest of the body."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await head_of(reader)
        digest = hashlib.sha256()
        if chunked:
            assert b"Transfer-Encoding: chunked\r\n" in head
            while size := int(await reader.readline(), 16):
                digest.update((await reader.readexactly(size + 2))[:-2])
            await reader.readexactly(2)
        else:
            assert b"Content-Length: %d\r\n" % (len(BLOCK) * BLOCKS) in head
            for _ in range(BLOCKS):
                digest.update(await reader.readexactly(len(BLOCK)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest.hexdigest().encode())
        await reader.read()

    return scene


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_large_upload_arrives_byte_by_byte(chunked: bool) -> None:
    """A client that others wrote sends it, with a length or in chunks."""
    async with Stage(_digesting(chunked=chunked)) as stage, await start_mesh(route_to(stage.port)) as mesh:
        digest = await asyncio.to_thread(_upload, mesh.port, chunked)
    assert digest == DIGEST


def _upload(port: int, chunked: bool) -> str:
    def blocks() -> Iterator[bytes]:
        for _ in range(BLOCKS):
            yield BLOCK

    headers = {"Host": HOST} if chunked else {"Host": HOST, "Content-Length": str(len(BLOCK) * BLOCKS)}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/", body=blocks(), headers=headers, encode_chunked=chunked)
    with connection.getresponse() as response:
        digest = response.read().decode()
    connection.close()
    return digest


async def test_a_slow_target_slows_the_visitor_down() -> None:
    """What the target does not take waits at the visitor, not in the proxy."""
    go = asyncio.Event()
    total = 16 << 20

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await go.wait()
        await reader.readexactly(total)
        writer.write(OK)

    async with (
        Stage(scene) as stage,
        await start_mesh(route_to(stage.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(request(b"POST / HTTP/1.1", b"Content-Length: %d" % total))
        sending = asyncio.get_running_loop().create_task(visitor.send(b"x" * total, fragment=65536), name="send")
        await until(lambda: connections(mesh))
        (connection,) = connections(mesh)
        await until(lambda: connection._is_reading_paused and under_way(mesh)._upstream)
        assert upstream_of(mesh)._transport.get_write_buffer_size() < 1 << 20
        go.set()
        await sending
        assert await _status(visitor) == 200


async def test_a_body_waits_for_the_connection_to_its_target() -> None:
    """While the target is dialled the visitor is read no further; then all of it goes there."""
    total = 4 << 20
    seen = 0

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        await head_of(reader)
        seen = len(await reader.readexactly(total))
        writer.write(OK)

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        raw = request(b"POST / HTTP/1.1", b"Content-Length: %d" % total, body=b"x" * total)
        assert (await ask(mesh.port, raw)).status == 200
    assert seen == total


async def test_a_chunked_body_is_announced_to_the_target_when_it_begins() -> None:
    """Before the first size line has been judged no target hears of the request."""
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(request(b"POST / HTTP/1.1", CHUNKED))
        await until(lambda: connections(mesh) and under_way(mesh)._held)
        assert origin.connections == []
        await visitor.send(b"5\r\nhello\r\n0\r\n\r\n")
        assert await _status(visitor) == 200
        assert origin.requests[0].body == b"hello"


async def test_a_chunked_body_that_does_not_begin_is_announced_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The visitor may be waiting for the answer before the body."""
    monkeypatch.setattr(exchange, "_HOLD_S", 0.02)
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(request(b"POST /-/early413 HTTP/1.1", CHUNKED))
        assert await _status(visitor) == 413
        assert await visitor.end() == "closed"


async def test_a_visitor_may_leave_before_a_chunked_body_begins() -> None:
    """Nothing is sent to a target any more."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        records = watched(mesh)
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(request(b"POST / HTTP/1.1", CHUNKED))
            await until(lambda: connections(mesh) and under_way(mesh)._held)
        await until(lambda: records)
        assert origin.connections == []
        assert [record.upstream for record in records] == [""]


# Deadlines. The tick is 0.1 s, so that settings of 0.05 s come true at the next one.


async def test_a_connection_without_a_request_is_closed_silently() -> None:
    """Nobody asked, so nobody is answered."""
    async with (
        await start_mesh(settings=MeshSettings(head_timeout_s=0.05)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        assert await visitor.answer() is None
        assert visitor.ending == "closed"


async def test_a_head_that_drips_in_has_its_time_from_the_first_octet() -> None:
    """408, however regularly the next octet comes."""
    async with await start_mesh(settings=MeshSettings(head_timeout_s=0.15)) as mesh:
        records = watched(mesh)
        async with await Visitor.connect(mesh.port) as visitor:
            async with asyncio.TaskGroup() as group:
                dripping = group.create_task(_drip(visitor, GET), name="drip")
                assert await _status(visitor) == 408
                dripping.cancel()
            assert await visitor.end() == "closed"
        assert [(record.status, record.cause, record.target) for record in records] == [(408, "http_request_error", "")]


async def _drip(visitor: Visitor, data: bytes) -> None:
    for octet in data:
        await visitor.send(bytes([octet]))
        await asyncio.sleep(0.04)


async def test_the_next_head_has_its_own_time() -> None:
    """The second request of a connection may take as long as the first."""
    settings = MeshSettings(head_timeout_s=0.05)
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=settings) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(GET)
        assert await _status(visitor) == 200
        await visitor.send(GET[:-1])
        assert await _status(visitor) == 408


async def test_an_idle_connection_is_closed_silently() -> None:
    """Between requests a visitor may think for a while."""
    settings = MeshSettings(keepalive_idle_s=0.05)
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=settings) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(GET)
        assert await _status(visitor) == 200
        assert await visitor.answer() is None
        assert visitor.ending == "closed"


async def test_a_body_that_stands_still_is_given_up() -> None:
    """408 for the visitor, and the target's connection is cut in the middle of the message."""
    settings = MeshSettings(body_idle_s=0.05)
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=settings) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(request(b"POST / HTTP/1.1", b"Content-Length: 5", body=b"he"))
        answer = await visitor.answer()
        assert answer is not None
        assert (answer.status, answer.announces_close) == (408, True)
        assert await origin.connections[0].ended() in {"closed", "reset"}
        assert origin.connections[0].mid_message
        assert in_flight(mesh) == 0


async def test_a_body_may_take_its_time_as_long_as_it_moves() -> None:
    """The limit is for standing still, not for the whole upload."""
    settings = MeshSettings(body_idle_s=0.2, min_bytes_per_s=10)
    body = b"slow but steady"
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=settings) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(request(b"POST / HTTP/1.1", b"Content-Length: %d" % len(body)))
        await _drip(visitor, body)
        assert await _status(visitor) == 200
        assert origin.requests[0].body == body


async def test_expecting_100_and_then_sending_nothing_is_given_up() -> None:
    """The permission to send does not last for ever."""
    settings = MeshSettings(body_idle_s=0.05)
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=settings) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(request(b"POST / HTTP/1.1", b"Content-Length: 5", b"Expect: 100-continue"))
        assert await visitor.interim() == 100
        assert await _status(visitor) == 408


# Goodbyes.


@pytest.mark.parametrize("fields", [(b"Connection: close",), ()])
async def test_a_slow_visitor_gets_all_of_its_last_answer(
    monkeypatch: pytest.MonkeyPatch, fields: tuple[bytes, ...]
) -> None:
    """What is written when the connection ends has the time it takes, as long as it moves."""
    monkeypatch.setattr(downstream, "_LINGER_S", 0.01)
    version = b"1.1" if fields else b"1.0"
    size = 60_000
    scene = answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * size, then_close=True)
    settings = MeshSettings(body_idle_s=0.3)
    async with (
        Stage(scene) as stage,
        await start_narrow_mesh(route_to(stage.port), settings) as mesh,
        Visitor(reluctant_socket(mesh.port)) as visitor,
    ):
        await visitor.send(request(b"GET / HTTP/" + version, *fields))
        await until(lambda: connections(mesh))
        (connection,) = connections(mesh)
        await until(lambda: connection._is_lingering)
        said_goodbye_at = mesh.core.now
        await until(lambda: mesh.core.now > said_goodbye_at + 0.15)
        answer = await visitor.answer()
        assert answer is not None
        assert (len(answer.body), answer.ended) == (size, "chunked" if fields else "close")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_visitor_that_reads_nothing_is_cut_in_the_end(version: bytes) -> None:
    """Nobody holds a connection by not reading."""
    settings = MeshSettings(body_idle_s=0.05, keepalive_idle_s=0.05)
    scene = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000)
    async with (
        Stage(scene) as stage,
        await start_narrow_mesh(route_to(stage.port), settings) as mesh,
        Visitor(reluctant_socket(mesh.port)) as visitor,
    ):
        await visitor.send(request(b"GET / HTTP/" + version))
        await until(lambda: connections(mesh))
        await until(lambda: not connections(mesh))


async def test_a_refused_visitor_may_go_on_sending_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is not taken away by a reset, and after a while the connection is closed (RFC 9112 section 9.6)."""
    monkeypatch.setattr(downstream, "_LINGER_S", 0.05)
    async with await start_mesh() as mesh, await Visitor.connect(mesh.port) as visitor:
        await visitor.send(b"nonsense (\r\n\r\n")
        await until(lambda: any(connection._is_lingering for connection in connections(mesh)))
        await visitor.send(b"x" * 100_000)
        assert await _status(visitor) == 400
        await until(lambda: not connections(mesh))


async def test_a_visitor_that_ends_before_the_answer_has_left() -> None:
    """The target's request is cancelled, and the record says 499."""
    async with Stage(_silent) as stage, await start_mesh(route_to(stage.port)) as mesh:
        records = watched(mesh)
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(GET)
            await until(lambda: stage.entered)
            visitor.half_close()
            await until(lambda: records)
        assert [(record.status, record.cause) for record in records] == [(499, "connection_terminated")]
        assert in_flight(mesh) == 0


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_visitor_that_ends_during_a_stream_has_left() -> None:
    """Events that nobody hears are not waited for: the target's connection ends with the visitor's."""
    over = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()
        over.set()

    async with Stage(scene) as stage, await start_mesh(route_to(stage.port)) as mesh:
        records = watched(mesh)
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(GET)
            await until(lambda: connections(mesh) and under_way(mesh).is_response_begun)
        await over.wait()
        await until(lambda: records)
        assert [(record.status, record.cause) for record in records] == [(200, "connection_terminated")]
        assert in_flight(mesh) == 0


async def test_a_visitor_of_http_1_0_that_ends_during_the_answer_gets_the_rest() -> None:
    """A clean end is the end of the body, so everything has to be there before it."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nbegin ")
        await go.wait()
        writer.write(b"end")

    go = asyncio.Event()
    async with (
        Stage(scene) as stage,
        await start_mesh(route_to(stage.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(request(b"GET / HTTP/1.0"))
        await until(lambda: connections(mesh) and under_way(mesh).is_response_begun)
        visitor.half_close()
        await asyncio.sleep(0.02)
        go.set()
        answer = await visitor.answer()
        assert answer is not None
        assert (answer.body, answer.ended) == (b"begin end", "close")


async def test_a_body_that_breaks_off_is_refused() -> None:
    """A visitor that ends in the middle is told, if it still listens."""
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(request(b"POST / HTTP/1.1", b"Content-Length: 5", body=b"he"))
        await until(lambda: origin.requests)
        visitor.half_close()
        assert await _status(visitor) == 400
        await origin.connections[0].ended()
        assert not origin.requests[0].complete


async def test_too_many_visitors_are_turned_away() -> None:
    """The connection is closed at once, and counted."""
    settings = MeshSettings(max_connections=1)
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=settings) as mesh,
        await Visitor.connect(mesh.port) as first,
    ):
        await until(lambda: connections(mesh))
        async with await Visitor.connect(mesh.port) as second:
            assert await second.answer() is None
        await first.send(GET)
        assert await _status(first) == 200
        assert (mesh.core.counters.accepted, mesh.core.counters.refused) == (2, 1)
        first.close()
        await until(lambda: not connections(mesh))
        assert (await ask(mesh.port, GET)).status == 200


async def test_a_route_that_is_gone_is_gone_for_the_next_request_of_a_connection() -> None:
    """Routes belong to requests, not to connections."""
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port)) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(GET)
        assert await _status(visitor) == 200
        mesh.apply(Delta(revision=2, removed=(RouteKey(HOST),)))
        await visitor.send(GET)
        assert await _status(visitor) == 404


async def test_the_stricter_limit_for_a_body_counts() -> None:
    """A route may be less patient than the settings."""
    async with Origin() as origin:
        route = Route(host=HOST, targets=route_to(origin.port).targets, timeouts=Timeouts(idle_s=0.05))
        async with await start_mesh(route) as mesh, await Visitor.connect(mesh.port) as visitor:
            await visitor.send(request(b"POST / HTTP/1.1", b"Content-Length: 5"))
            assert await _status(visitor) == 408
