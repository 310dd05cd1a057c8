"""Cases 150 to 163: visitors and targets that are slow, silent, gone, early or late, and what it means for others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import msgspec
import pytest

from mesh.routes import MeshSettings
from tests.support.authority import Authority
from tests.support.client import Answer, Visitor, ask
from tests.support.frame_visitor import (
    DATA,
    END_HEADERS,
    INITIAL_WINDOW_SIZE,
    INTERNAL_ERROR,
    PREFACE,
    FrameVisitor,
    frame,
    request_fields,
    reset_frame,
    settings_frame,
    window_frame,
)
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.secure_visitor import SecureVisitor
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
    until,
    watched,
)

# A worker looks at its deadlines every tenth of a second.
QUICK: Final = MeshSettings(
    http2_cleartext=True,
    head_timeout_s=0.15,
    body_idle_s=0.15,
    keepalive_idle_s=0.15,
    response_timeout_s=0.15,
    idle_timeout_s=0.15,
)
PATIENT: Final = MeshSettings(http2_cleartext=True)
GET: Final = request(b"GET / HTTP/1.1")
DRIP_S: Final = 0.01
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@asynccontextmanager
async def before(scene: Scene, settings: MeshSettings = QUICK, **fields: Any) -> AsyncIterator[MeshUnderTest]:  # noqa: ANN401
    """A proxy before a target that plays a scene; the route has these fields besides."""
    async with (
        Stage(scene) as stage,
        await start_mesh(msgspec.structs.replace(route_to(stage.port), **fields), settings=settings) as mesh,
    ):
        yield mesh


async def told(visitor: Visitor, method: str = "GET") -> Answer:
    """The next answer, which there has to be."""
    answer = await visitor.answer(method)
    assert answer is not None
    return answer


@asynccontextmanager
async def connected(port: int, count: int) -> AsyncIterator[list[Visitor]]:
    """So many visitors."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await Visitor.connect(port)) for _ in range(count)]


async def drip(send: Callable[[bytes], Awaitable[None]], data: bytes) -> None:
    """Send octets one by one, for ever."""
    while True:
        for octet in data:
            await send(bytes([octet]))
            await asyncio.sleep(DRIP_S)


@asynccontextmanager
async def dripping(send: Callable[[bytes], Awaitable[None]], data: bytes = b"a") -> AsyncIterator[None]:
    """Meanwhile."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(drip(send, data), name="drip")
        yield
        task.cancel()


# Slow visitors.


async def test_case_150_a_head_that_drips_has_its_time_from_the_first_octet() -> None:
    """408 and the end, as first request of a connection and behind another one."""
    async with Origin() as origin, await start_mesh(route_to(origin.port), settings=QUICK) as mesh:
        for before_it in (b"", GET):
            async with await Visitor.connect(mesh.port) as visitor:
                if before_it:
                    await visitor.send(before_it)
                    assert (await told(visitor)).status == 200
                async with dripping(visitor.send, b"GET / HTTP/1.1\r\nHost: shop.example.com\r\nX: " + b"a" * 1000):
                    assert (await told(visitor)).status == 408
                    assert await visitor.end() in {"closed", "reset"}
        assert {one.target for one in origin.requests} == {b"/"}


async def test_case_150_many_of_them_hold_up_nobody() -> None:
    """A hundred heads drip while others are answered."""
    settings = msgspec.structs.replace(QUICK, head_timeout_s=0.5)
    async with Origin() as origin, await start_mesh(route_to(origin.port), settings=settings) as mesh:
        async with connected(mesh.port, 100) as slow:
            for visitor in slow:
                await visitor.send(GET[:-2])
            for _ in range(20):
                assert (await ask(mesh.port, GET)).status == 200
            assert [(await told(visitor)).status for visitor in slow] == [408] * 100
        await until(lambda: not mesh.core.visitors)


async def test_case_150_on_http_2() -> None:
    """A frame that drips is no answer to a ping, and a block that never ends is none to its deadline."""
    async with Origin() as origin, await start_mesh(route_to(origin.port), settings=QUICK) as mesh:
        async with await FrameVisitor.connect(mesh.port) as visitor:
            head = visitor.head(1, request_fields(b"/", (b"x-long", b"a" * 2000)))
            async with dripping(visitor.raw.send, head[:-1]):
                await visitor.gone()
        assert not origin.requests


async def test_case_151_nothing_is_sent() -> None:
    """The connection ends without a word: plain, before and after a handshake, and behind a request."""
    authority = Authority()
    settings = msgspec.structs.replace(QUICK, tls_handshake_s=0.15)
    certificate = authority.issue(HOST).certificate
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=settings, certificates=(certificate,)) as mesh,
        await Visitor.connect(mesh.port) as plain,
        await Visitor.connect(mesh.tls_port) as mute,
        await SecureVisitor.connect(mesh.tls_port, authority.visitor_context(), HOST) as secure,
        await FrameVisitor.connect(mesh.port) as frames,
        await Visitor.connect(mesh.port) as once,
    ):
        await once.send(GET)
        assert (await told(once)).status == 200
        for visitor in (plain, mute, once):
            assert await visitor.octets(1) == b""
            assert visitor.ending == "closed"
        assert await secure.receive_all() == b""
        assert await frames.gone() == 0


@pytest.mark.parametrize("field", [b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"])
async def test_case_152_a_body_that_drips(field: bytes) -> None:
    """Below the least rate it is cut, however regularly the next octet comes; the target must not complete it."""
    settings = msgspec.structs.replace(QUICK, min_bytes_per_s=10_000)
    async with Origin() as origin, await start_mesh(route_to(origin.port), settings=settings) as mesh:
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(request(b"POST / HTTP/1.1", field))
            async with dripping(visitor.send, b"1\r\na\r\n"):
                assert (await told(visitor, "POST")).status == 408
        assert await origin.connections[0].ended() in {"closed", "reset"}
        assert origin.connections[0].mid_message
        assert in_flight(mesh) == 0


async def test_case_152_a_body_that_drips_on_http_2() -> None:
    """The same for a stream; its connection goes on."""
    settings = msgspec.structs.replace(QUICK, min_bytes_per_s=10_000)
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=settings) as mesh,
        await FrameVisitor.connect(mesh.port) as visitor,
    ):
        stream_id = visitor.next_id()
        await visitor.send(visitor.head(stream_id, request_fields(method=b"POST"), END_HEADERS))

        async def send(octet: bytes) -> None:
            await visitor.send(frame(DATA, 0, stream_id, octet))

        async with dripping(send):
            assert (await visitor.reply(stream_id)).status == 408
        assert await origin.connections[0].ended() in {"closed", "reset"}
        assert (await visitor.ask(b"/next")).json_target == "/next"


async def test_case_152_a_body_that_is_slow_but_fast_enough() -> None:
    """It may take longer than any deadline."""
    settings = msgspec.structs.replace(QUICK, min_bytes_per_s=10)
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=settings) as mesh,
        await Visitor.connect(mesh.port) as visitor,
    ):
        await visitor.send(request(b"POST / HTTP/1.1", b"Content-Length: 40"))
        for _ in range(40):
            await visitor.send(b"a")
            await asyncio.sleep(DRIP_S)
        assert (await told(visitor, "POST")).json["body"] == "a" * 40


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_case_153_a_reader_that_reads_nothing(version: bytes) -> None:
    """It is cut in its time; before that the target had to wait, and little was kept for it."""
    ended = asyncio.Event()
    most = 0

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
                await writer.drain()
        finally:
            ended.set()

    async with Stage(scene) as stage, await start_narrow_mesh(route_to(stage.port), QUICK) as mesh:
        async with Visitor(reluctant_socket(mesh.port)) as visitor:
            await visitor.send(request(b"GET / HTTP/%b" % version))
            async with asyncio.timeout(3):
                while not ended.is_set():
                    most = max([most, *(one._transport.get_write_buffer_size() for one in connections(mesh))])
                    await asyncio.sleep(DRIP_S)
            assert await visitor.end() == "reset"
        assert 0 < most < 1_000_000
        assert in_flight(mesh) == 0


@pytest.mark.parametrize("kind", ["http/1", "http/2"])
async def test_case_153_a_reader_that_reads_next_to_nothing(kind: str) -> None:
    """An octet now and then buys no time below the least rate."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n")
        for _ in range(300):
            writer.write(bytes(100_000))
            await writer.drain()

    settings = msgspec.structs.replace(QUICK, min_bytes_per_s=10_000, head_timeout_s=10.0)
    async with Stage(scene) as stage, await start_narrow_mesh(route_to(stage.port), settings) as mesh:
        visitor = Visitor(reluctant_socket(mesh.port))
        async with visitor, asyncio.timeout(3):
            if kind == "http/1":
                await visitor.send(GET)
                while in_flight(mesh) or not mesh.core.counters.dials:
                    await visitor.octets(1)
                    await asyncio.sleep(DRIP_S)
                return
            frames = FrameVisitor(visitor, is_generous=False)
            await frames.send(PREFACE, settings_frame([(INITIAL_WINDOW_SIZE, 100)]))
            await frames.send(frames.head(1, request_fields()))
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(frames.reply(1), name="listen")
                while not listening.done():
                    await frames.send(window_frame(1, 1))
                    await asyncio.sleep(DRIP_S)
            assert frames.on(1).reset is not None
            assert in_flight(mesh) == 0


async def test_case_153_a_reader_that_is_slow_but_fast_enough() -> None:
    """It gets everything, however long that takes."""
    body = bytes(60_000)
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + body
    settings = msgspec.structs.replace(QUICK, min_bytes_per_s=1000)
    async with before(answering(raw), settings) as mesh:
        narrow = [(INITIAL_WINDOW_SIZE, 1000)]
        async with await FrameVisitor.connect(mesh.port, settings=narrow, is_generous=False) as frames:
            await frames.send(frames.head(1, request_fields()))
            for received in range(1000, 60_000, 1000):
                await frames.until(lambda seen=received: len(frames.on(1).body) >= seen)  # type: ignore[misc]
                await asyncio.sleep(DRIP_S)
                await frames.send(window_frame(1, 1000))
            reply = await frames.reply(1)
            assert (reply.status, reply.body == body, reply.ended) == (200, True, True)


# Targets that do not answer, or no further.


async def test_case_154_a_target_that_never_answers() -> None:
    """504, and the connection is not used again."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        assert not await reader.read()

    async with before(scene, retries=3) as mesh:
        async with await Visitor.connect(mesh.port) as visitor, await FrameVisitor.connect(mesh.port) as frames:
            await visitor.send(GET)
            stream_id = frames.next_id()
            await frames.send(frames.head(stream_id, request_fields()))
            assert (await told(visitor)).status == 504
            assert (await frames.reply(stream_id)).status == 504
        assert (idle(mesh), in_flight(mesh)) == (0, 0)
        # Sent once: it may have been carried out.
        assert sum(target.requests for target in mesh.core.targets(9)) == 2


async def test_case_154_a_target_that_takes_no_body() -> None:
    """504 as well: it is not the visitor who is slow."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await asyncio.Event().wait()

    body = bytes(20_000_000)
    async with before(scene) as mesh, await Visitor.connect(mesh.port) as visitor, asyncio.TaskGroup() as group:
        head = request(b"POST / HTTP/1.1", b"Content-Length: %d" % len(body))
        sending = group.create_task(visitor.send(head + body), name="send what nobody takes")
        assert (await told(visitor, "POST")).status == 504
        sending.cancel()


@pytest.mark.parametrize("head", [b"Content-Length: 10", b"Transfer-Encoding: chunked", b"X-Until: close"])
async def test_case_155_a_target_that_stalls_in_its_answer(head: bytes) -> None:
    """The visitor can tell that something is missing, whatever it speaks."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        body = b"5\r\nhello\r\n" if b"chunked" in head else b"hello"
        writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (head, body))
        assert not await reader.read()

    async with (
        before(scene) as mesh,
        await Visitor.connect(mesh.port) as new,
        await Visitor.connect(mesh.port) as old,
        await FrameVisitor.connect(mesh.port) as frames,
    ):
        await new.send(GET)
        await old.send(request(b"GET / HTTP/1.0"))
        await frames.send(frames.head(frames.next_id(), request_fields()))
        for visitor in (new, old):
            answer = await told(visitor)
            assert (answer.status, answer.ended, answer.body) == (200, "truncated", b"hello")
        reply = await frames.reply(1)
        assert (reply.status, reply.ended, reply.reset, reply.body) == (200, False, INTERNAL_ERROR, b"hello")
        assert (idle(mesh), in_flight(mesh)) == (0, 0)


# Visitors that leave.


class Doing:
    """A target that says when it works, and whether it was let finish."""

    def __init__(self) -> None:
        """Nothing has come."""
        self.began = asyncio.Event()
        self.may_finish = asyncio.Event()
        self.was_cut: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def scene(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the first request when allowed to, and others at once."""
        first = not self.began.is_set()
        await head_of(reader)
        self.began.set()
        if first:
            loop = asyncio.get_running_loop()
            cut = loop.create_task(reader.read(1), name="the proxy leaves, or asks for more")
            finish = loop.create_task(self.may_finish.wait(), name="the end of the work")
            await asyncio.wait({cut, finish}, return_when=asyncio.FIRST_COMPLETED)
            self.was_cut.set_result(cut.done())
            cut.cancel()
            finish.cancel()
            await asyncio.gather(cut, finish, return_exceptions=True)
        writer.write(OK)
        while not first:
            await head_of(reader)
            writer.write(OK)


async def _leave(how: str, mesh: MeshUnderTest, doing: Doing) -> None:
    """Ask, wait until the target works, and go."""
    if how.startswith("http2"):
        async with await FrameVisitor.connect(mesh.port) as frames:
            stream_id = frames.next_id()
            await frames.send(frames.head(stream_id, request_fields()))
            await doing.began.wait()
            if how == "http2 reset":
                await frames.send(reset_frame(stream_id))
                assert (await frames.ask()).status == 200
        return
    async with await Visitor.connect(mesh.port) as visitor:
        await visitor.send(GET)
        await doing.began.wait()
        getattr(visitor, how)()


@pytest.mark.parametrize("how", ["close", "reset", "half_close", "http2 reset", "http2 close"])
async def test_case_156_a_visitor_that_leaves_takes_its_request_along(how: str) -> None:
    """The target's connection is cut, its place is free, and the log says 499."""
    doing = Doing()
    async with before(doing.scene, PATIENT) as mesh:
        records = watched(mesh)
        await _leave(how, mesh, doing)
        async with asyncio.timeout(3):
            assert await doing.was_cut
        await until(lambda: in_flight(mesh) == 0)
        assert records[0].status == 499


@pytest.mark.parametrize("how", ["close", "reset", "http2 reset", "http2 close"])
async def test_case_156_a_target_may_finish_what_nobody_waits_for(how: str) -> None:
    """With `finish_abandoned` the connection stays until the answer is complete."""
    doing = Doing()
    async with before(doing.scene, PATIENT, finish_abandoned=True) as mesh:
        records = watched(mesh)
        await _leave(how, mesh, doing)
        await until(lambda: any(record.status == 499 for record in records))
        doing.may_finish.set()
        async with asyncio.timeout(3):
            assert not await doing.was_cut
        await until(lambda: in_flight(mesh) == 0)


async def test_case_156_what_nobody_waits_for_has_its_time_too() -> None:
    """A target that never finishes it is cut in the end."""
    doing = Doing()
    async with before(doing.scene, QUICK, finish_abandoned=True) as mesh:
        await _leave("close", mesh, doing)
        async with asyncio.timeout(3):
            assert await doing.was_cut


async def test_case_156_a_visitor_that_leaves_in_its_own_body() -> None:
    """There is nothing to finish, whatever the route says."""
    async with Origin() as origin:
        route = msgspec.structs.replace(route_to(origin.port), finish_abandoned=True)
        async with await start_mesh(route, settings=PATIENT) as mesh:
            async with await Visitor.connect(mesh.port) as visitor:
                await visitor.send(request(b"POST / HTTP/1.1", b"Content-Length: 10", body=b"hello"))
                await until(lambda: origin.requests)
            assert await origin.connections[0].ended() in {"closed", "reset"}
            assert origin.connections[0].mid_message


# Pooled connections.


@pytest.mark.parametrize(
    ("method", "how", "status"),
    [
        ("GET", "close", 200),
        ("GET", "reset", 200),
        ("PUT", "reset", 502),
        ("POST", "close", 502),
        ("POST", "reset", 502),
    ],
)
async def test_case_157_a_pooled_connection_that_closes_under_a_request(method: str, how: str, status: int) -> None:
    """What may have been carried out is not sent again, unless it may be carried out twice and has no body."""
    taken: list[bytes] = []

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append((await head_of(reader)).partition(b" ")[0])
        writer.write(OK)
        if len(taken) == 1:
            taken.append((await head_of(reader)).partition(b" ")[0])
            if how == "reset":
                reset_on_close(writer)
            return
        await reader.read()

    async with before(scene, PATIENT) as mesh, await Visitor.connect(mesh.port) as visitor:
        await visitor.send(GET)
        assert (await told(visitor)).status == 200
        body = b"" if method == "GET" else b"hello"
        fields = () if method == "GET" else (b"Content-Length: 5",)
        await visitor.send(request(b"%b / HTTP/1.1" % method.encode(), *fields, body=body))
        assert (await told(visitor, method)).status == status
        assert taken == [b"GET", method.encode()] + [method.encode()] * (status == 200)


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 502)])
async def test_case_157_a_new_connection_that_closes_under_a_request(method: str, status: int) -> None:
    """A target that is killed resets what waited for it: what may be carried out twice is asked of another target."""

    async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        reset_on_close(writer)

    async with Stage(dying) as one, Stage(answering(OK)) as other:
        route = msgspec.structs.replace(
            route_to(one.port), targets=(*route_to(one.port).targets, *route_to(other.port).targets)
        )
        async with await start_mesh(route, settings=PATIENT) as mesh:
            # Round robin begins with the first target.
            mesh.core.draw = lambda: 0.0
            answer = await ask(mesh.port, request(b"%b / HTTP/1.1" % method.encode()), method)
            assert (answer.status, one.entered) == (status, 1)
            assert other.entered == (status == 200)


async def test_case_157_a_pooled_connection_that_closed_before_is_not_used() -> None:
    """POST is sent on another one, once."""
    async with Origin() as origin, await start_mesh(route_to(origin.port), settings=PATIENT) as mesh:
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(GET)
            assert (await told(visitor)).status == 200
            (upstream,) = next(mesh.core.targets(1)).pool._idle
            origin._writers[origin.connections[-1]].close()
            await until(lambda: upstream.is_closed)
            await visitor.send(request(b"POST /post HTTP/1.1", b"Content-Length: 5", body=b"hello"))
            assert (await told(visitor, "POST")).json["target"] == "/post"
        assert [one.target for one in origin.requests].count(b"/post") == 1


async def test_case_158_an_answer_ahead_of_its_question_is_nobodys() -> None:
    """Sent with the answer before, alone, or at the very moment of the next request: no visitor ever sees it."""
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned"

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await head_of(reader)
        if head.startswith(b"GET /with"):
            writer.write(OK + poison)
        elif head.startswith(b"GET /part"):
            writer.write(OK + poison[:10])
        else:
            writer.write(OK)
            await writer.drain()
            writer.write(poison)
        await reader.read()

    async with (
        before(scene, PATIENT) as mesh,
        await FrameVisitor.connect(mesh.port) as frames,
        connected(mesh.port, 8) as visitors,
    ):
        for path in (b"/with", b"/part", b"/later") * 3:
            for visitor in visitors:
                await visitor.send(request(b"GET %b HTTP/1.1" % path))
            for visitor in visitors:
                answer = await told(visitor)
                assert (answer.status, answer.body) in {(200, b"hello"), (502, answer.body)}
                assert b"poisoned" not in answer.body
            assert b"poisoned" not in (await frames.ask(path)).body


# Upgrades.

ASK: Final = request(b"GET /chat HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket")
SWITCH: Final = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
WORDS: Final = b"\x81\x05hello"


async def test_case_159_a_frame_in_the_packet_of_the_101() -> None:
    """It is the first of the tunnel, whole or cut anywhere."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cut = int((await head_of(reader)).partition(b"/")[2].partition(b" ")[0])
        writer.write((SWITCH + WORDS)[:cut])
        await asyncio.sleep(0.002)
        writer.write((SWITCH + WORDS)[cut:])
        await reader.read()

    async def play(port: int, cut: int) -> bytes:
        async with await Visitor.connect(port) as visitor:
            await visitor.send(ASK.replace(b"/chat", b"/%d" % cut))
            assert (await told(visitor)).status == 101
            return await visitor.octets(len(WORDS))

    async with before(scene, PATIENT) as mesh:
        cuts = [0, 1, len(SWITCH) - 1, len(SWITCH), len(SWITCH) + 1, len(SWITCH + WORDS)]
        assert await asyncio.gather(*(play(mesh.port, cut) for cut in cuts)) == [WORDS] * len(cuts)


async def test_case_160_frames_before_the_101_wait_for_it() -> None:
    """Bounded, and in order."""
    go = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await go.wait()
        assert not reader._buffer  # type: ignore[attr-defined]
        writer.write(SWITCH)
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()

    async with before(scene, PATIENT) as mesh, await Visitor.connect(mesh.port) as visitor:
        await visitor.send(ASK + WORDS * 3)
        await visitor.send(WORDS * 5)
        go.set()
        assert (await told(visitor)).status == 101
        assert await visitor.octets(8 * len(WORDS)) == WORDS * 8


async def test_case_160_frames_that_no_101_follows_go_nowhere() -> None:
    """They are no request, and no target sees them."""
    async with Origin() as origin, await start_mesh(route_to(origin.port), settings=PATIENT) as mesh:
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(ASK + WORDS * 10)
            assert (await told(visitor)).status == 200
            answer = await visitor.answer()
            assert answer is None or answer.status == 400
            await visitor.end()
        assert WORDS not in origin.received
        assert len(origin.requests) == 1


@pytest.mark.parametrize("first", ["visitor", "target"])
async def test_case_161_one_side_ends_and_the_other_goes_on(first: str) -> None:
    """The end is passed on, and what comes from the other side afterwards still arrives."""
    heard = asyncio.get_running_loop().create_future()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(SWITCH)
        if first == "target":
            writer.write(b"mine")
            writer.write_eof()
            heard.set_result(await reader.read())
        else:
            heard.set_result(await reader.read())
            for piece in (b"mi", b"ne"):
                writer.write(piece)
                await writer.drain()

    async with before(scene, PATIENT) as mesh, await Visitor.connect(mesh.port) as visitor:
        await visitor.send(ASK)
        assert (await told(visitor)).status == 101
        if first == "target":
            assert await visitor.octets(5) == b"mine"
            await visitor.send(b"yours")
            visitor.half_close()
        else:
            await visitor.send(b"yours")
            visitor.half_close()
            assert await visitor.octets(5) == b"mine"
        async with asyncio.timeout(3):
            assert await heard == b"yours"
        await until(lambda: in_flight(mesh) == 0)


async def test_case_161_a_half_that_stays_silent_is_ended() -> None:
    """The idle time of tunnels holds for one direction as well."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(SWITCH)
        await reader.read()
        await asyncio.Event().wait()

    settings = msgspec.structs.replace(QUICK, tunnel_idle_s=0.15)
    async with before(scene, settings) as mesh, await Visitor.connect(mesh.port) as visitor:
        await visitor.send(ASK)
        assert (await told(visitor)).status == 101
        visitor.half_close()
        assert await visitor.end() in {"closed", "reset"}
        await until(lambda: in_flight(mesh) == 0)


# Expect.


@pytest.mark.parametrize("status", [b"417 Expectation Failed", b"413 Content Too Large", b"200 OK"])
@pytest.mark.parametrize("closes", [b"", b"Connection: close\r\n"])
async def test_case_162_a_final_answer_to_an_expectation(status: bytes, closes: bytes) -> None:
    """It is the answer; what the visitor sends then is its body or nothing, and never another request."""
    raw = b"HTTP/1.1 %b\r\n%bContent-Length: 5\r\n\r\nhello" % (status, closes)
    received = bytearray()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await head_of(reader))
        writer.write(raw)
        received.extend(await reader.read())

    async with before(scene, QUICK) as mesh, await Visitor.connect(mesh.port) as visitor:
        await visitor.send(request(b"POST / HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 50"))
        answer = await told(visitor, "POST")
        assert (answer.status, answer.interim) == (int(status[:3]), ())
        assert answer.announces_close
        await visitor.send(request(b"GET /smuggled HTTP/1.1"))
        assert await visitor.answer() is None
        assert await visitor.end() in {"closed", "reset"}
        await until(lambda: in_flight(mesh) == 0)
    assert b"smuggled" not in received


async def test_case_163_a_body_that_never_comes() -> None:
    """With and without the 100 the body has its time."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/asks" in await head_of(reader):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert not await reader.read()

    async with before(scene) as mesh:
        for path, interim in ((b"/asks", (100,)), (b"/mute", ())):
            async with await Visitor.connect(mesh.port) as visitor:
                line = b"POST %b HTTP/1.1" % path
                await visitor.send(request(line, b"Expect: 100-continue", b"Content-Length: 5"))
                answer = await told(visitor, "POST")
                assert (answer.status, answer.interim) == (408, interim)
                assert await visitor.end() == "closed"
        assert (idle(mesh), in_flight(mesh)) == (0, 0)


async def test_slow_readers_of_many_kinds_hold_up_nobody() -> None:
    """Fifty visitors that read nothing, and one that is served at once again and again."""
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + bytes(4_000_000)

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await head_of(reader)
            writer.write(large if b"/large" in head else OK)
            await writer.drain()

    # The target's work is done in this loop too, so heads may have to wait.
    settings = msgspec.structs.replace(QUICK, head_timeout_s=10.0, response_timeout_s=10.0)
    async with before(scene, settings) as mesh, AsyncExitStack() as open_ones:
        visitors = [await open_ones.enter_async_context(Visitor(reluctant_socket(mesh.port))) for _ in range(40)]
        narrow = [(INITIAL_WINDOW_SIZE, 10)]
        frames = [
            await open_ones.enter_async_context(
                await FrameVisitor.connect(mesh.port, settings=narrow, is_generous=False)
            )
            for _ in range(10)
        ]
        for visitor in visitors:
            await visitor.send(request(b"GET /large HTTP/1.1"))
        for one in frames:
            await one.send(one.head(1, request_fields(b"/large")))
        for _ in range(30):
            assert (await ask(mesh.port, GET)).status == 200
        await until(lambda: in_flight(mesh) == 0)
        for visitor in visitors:
            answer = await visitor.answer()
            assert visitor.ending == "reset" or (answer is not None and answer.ended == "truncated")
        for one in frames:
            assert (await one.reply(1)).reset is not None
