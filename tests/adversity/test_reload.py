"""Case 175: routes, certificates, keys and settings change under everything that is under way, and nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec
import pytest

from mesh.policies import HeaderEdits, Target, Traffic
from mesh.routes import AccessKeys, Delta, MeshSettings, Route, RouteKey, VerifyKey
from tests.support.authority import Authority
from tests.support.client import Visitor
from tests.support.frame_visitor import DATA, END_HEADERS, END_STREAM, FrameVisitor, frame, request_fields, reset_frame
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.secure_visitor import SecureVisitor
from tests.support.stage import Scene, Stage, head_of, in_flight, request, until

AUTHORITY: Final = Authority()
SETTINGS: Final = MeshSettings(http2_cleartext=True)
GET: Final = request(b"GET / HTTP/1.1")
SWITCH: Final = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
EVENT: Final = b"data: %d\n\n"


class Application:
    """Answers `/slow` when it may, `/chat` with an echo, `/events` with an event for each that is given out."""

    def __init__(self) -> None:
        """Nobody may go on."""
        self.gate = asyncio.Event()
        self.slow = 0
        self.events: list[asyncio.Queue[int]] = []

    async def scene(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        while True:
            head = await head_of(reader)
            if b" /chat " in head:
                writer.write(SWITCH)
                while data := await reader.read(1000):
                    writer.write(data)
                return
            if b" /events " in head:
                await self._publish(writer)
            if b" /slow " in head:
                self.slow += 1
                await self.gate.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    async def _publish(self, writer: asyncio.StreamWriter) -> None:
        events: asyncio.Queue[int] = asyncio.Queue()
        self.events.append(events)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            event = EVENT % await events.get()
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()


def changes(port: int, old: tuple[str, ...]) -> list[Callable[[int], Delta]]:
    """What an operator may do to a node that is up, as deltas for a revision; `old` are fingerprints in force."""
    route = route_to(port)
    issued = AUTHORITY.issue(HOST)
    replace = msgspec.structs.replace
    elsewhere = replace(route, targets=(Target("http://127.0.0.1:1"),))
    fields = HeaderEdits(set=(("X-New", "1"),))
    return [
        lambda n: Delta(revision=n, put=(replace(route, request_headers=fields, response_headers=fields),)),
        lambda n: Delta(revision=n, put=(elsewhere,)),
        lambda n: Delta(revision=n, put=(replace(route, targets=(*route.targets, *elsewhere.targets)),)),
        lambda n: Delta(revision=n, put=(replace(route, targets=(replace(route.targets[0], is_draining=True),)),)),
        lambda n: Delta(revision=n, put=(replace(route, traffic=Traffic(mode="stop")),)),
        lambda n: Delta(revision=n, put=(replace(route, traffic=Traffic(mode="pause")),)),
        lambda n: Delta(revision=n, removed=(RouteKey(HOST),)),
        lambda n: Delta(revision=n, put=(route,), removed_certificates=old),
        lambda n: Delta(revision=n, put_certificates=(issued.certificate,)),
        lambda n: Delta(revision=n, settings=replace(SETTINGS, http2=False, max_head_bytes=1000, max_connections=1)),
        lambda n: Delta(revision=n, settings=SETTINGS),
        lambda n: Delta(
            revision=n, keys=AccessKeys(generation=n, keys=(VerifyKey(algorithm="HS256", material=b"k" * 32),))
        ),
    ]


@asynccontextmanager
async def before(scene: Scene) -> AsyncIterator[tuple[MeshUnderTest, int, tuple[str, ...]]]:
    """A proxy with a certificate, before an application; the port of that, and the certificate's fingerprint."""
    certificate = AUTHORITY.issue(HOST).certificate
    async with (
        Stage(scene) as stage,
        await start_mesh(route_to(stage.port), settings=SETTINGS, certificates=(certificate,)) as mesh,
    ):
        yield mesh, stage.port, (certificate.fingerprint,)


class Crowd:
    """Visitors of every kind, each in the middle of something."""

    def __init__(self, mesh: MeshUnderTest) -> None:
        """None yet."""
        self.slow: list[Visitor | SecureVisitor] = []
        self.streams: list[tuple[FrameVisitor, int]] = []
        self.chats: list[Visitor | SecureVisitor] = []
        self.chat_streams: list[tuple[FrameVisitor, int]] = []
        self.listeners: list[Visitor] = []
        self._mesh = mesh

    async def come(self, stack: AsyncExitStack) -> None:
        """Sixty requests of HTTP/1 and eighty of HTTP/2, thirty WebSockets and five listeners to events."""
        mesh, context, tls = self._mesh, AUTHORITY.visitor_context("http/1.1"), AUTHORITY.visitor_context("h2")
        for _ in range(30):
            self.slow.append(await stack.enter_async_context(await Visitor.connect(mesh.port)))
            self.slow.append(await stack.enter_async_context(await SecureVisitor.connect(mesh.tls_port, context, HOST)))
        for one in self.slow:
            await one.send(request(b"GET /slow HTTP/1.1"))
        for _ in range(5):
            self.listeners.append(await stack.enter_async_context(await Visitor.connect(mesh.port)))
            await self.listeners[-1].send(request(b"GET /events HTTP/1.1"))
        for _ in range(10):
            self.chats.append(await stack.enter_async_context(await Visitor.connect(mesh.port)))
            self.chats.append(
                await stack.enter_async_context(await SecureVisitor.connect(mesh.tls_port, context, HOST))
            )
        for one in self.chats:
            await one.send(request(b"GET /chat HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket"))
            assert b" 101 " in await _until(one, b"\r\n\r\n")
        for port, secure in ((mesh.port, None), (mesh.tls_port, tls)):
            frames = await stack.enter_async_context(await FrameVisitor.connect(port, secure))
            await self._open_streams(frames, b"https" if secure else b"http")

    async def _open_streams(self, frames: FrameVisitor, scheme: bytes) -> None:
        for _ in range(40):
            self.streams.append((frames, frames.next_id()))
            await frames.send(frames.head(self.streams[-1][1], request_fields(b"/slow", scheme=scheme)))
        connect = [(b":method", b"CONNECT"), (b":protocol", b"websocket")]
        for _ in range(5):
            self.chat_streams.append((frames, frames.next_id()))
            fields = [*connect, *request_fields(b"/chat", scheme=scheme)[1:]]
            await frames.send(frames.head(self.chat_streams[-1][1], fields, END_HEADERS))
            await frames.until(lambda: frames.on(self.chat_streams[-1][1]).status == 200)

    async def chat(self, word: bytes) -> None:
        """Every WebSocket echoes."""
        for one in self.chats:
            await one.send(word)
        for frames, stream_id in self.chat_streams:
            await frames.send(frame(DATA, 0, stream_id, word))
        for one in self.chats:
            assert await _until(one, word) == word
        for frames, stream_id in self.chat_streams:
            await frames.until(lambda: frames.on(stream_id).body.endswith(word))  # noqa: B023

    async def end(self) -> None:
        """Every answer comes, whole."""
        for one in self.slow:
            assert (await _until(one, b"done")).startswith(b"HTTP/1.1 200 ")
        for frames, stream_id in self.streams:
            reply = await frames.reply(stream_id)
            assert (reply.status, reply.body, reply.ended) == (200, b"done", True)
        for frames, stream_id in self.chat_streams:
            await frames.send(frame(DATA, END_STREAM, stream_id))
            assert (await frames.reply(stream_id)).ended


async def _until(visitor: Visitor | SecureVisitor, ending: bytes) -> bytes:
    if isinstance(visitor, SecureVisitor):
        return await visitor.receive_until(ending)
    async with asyncio.timeout(3):
        return await visitor._until(ending)


async def test_case_175_everything_changes_under_everybody() -> None:
    """Requests, streams, WebSockets and event streams outlive every change: none fails, and none is cut."""
    app = Application()
    async with before(app.scene) as (mesh, port, old), AsyncExitStack() as stack:
        crowd = Crowd(mesh)
        await crowd.come(stack)
        await until(lambda: app.slow == len(crowd.slow) + len(crowd.streams) and len(app.events) == 5)
        revision = 1
        for change in changes(port, old) * 2:
            revision += 1
            mesh.apply(change(revision))
            await crowd.chat(b"word %d" % revision)
            for events, listener in zip(app.events, crowd.listeners, strict=True):
                events.put_nowait(revision)
                await _until(listener, EVENT % revision)
        app.gate.set()
        await crowd.end()
        assert mesh.core.revision == revision


@pytest.mark.parametrize("kind", ["http/1", "http/1 over tls", "http/2"])
async def test_case_175_routes_change_under_load(kind: str) -> None:
    """A hundred changes between two targets while requests come as fast as they can: each is answered by one."""
    statuses: list[int] = []
    is_over = asyncio.Event()

    async def by_lines(visitor: Visitor | SecureVisitor) -> None:
        while not is_over.is_set():
            await visitor.send(GET)
            head = await _until(visitor, b"\r\n\r\n")
            statuses.append(int(head.split(b" ")[1]))
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            if isinstance(visitor, Visitor):
                await visitor.octets(size)

    async def by_frames(visitor: FrameVisitor) -> None:
        while not is_over.is_set():
            statuses.append((await visitor.ask()).status)

    async with (
        Origin() as one,
        Origin() as other,
        await start_mesh(
            route_to(one.port), settings=SETTINGS, certificates=(AUTHORITY.issue(HOST).certificate,)
        ) as mesh,
        AsyncExitStack() as stack,
        asyncio.TaskGroup() as group,
    ):
        context = AUTHORITY.visitor_context("http/1.1")
        for number in range(8):
            if kind == "http/2":
                frames = await stack.enter_async_context(await FrameVisitor.connect(mesh.port))
                group.create_task(by_frames(frames), name=f"visitor {number}")
                continue
            visitor: Visitor | SecureVisitor
            if kind == "http/1":
                visitor = await stack.enter_async_context(await Visitor.connect(mesh.port))
            else:
                visitor = await stack.enter_async_context(await SecureVisitor.connect(mesh.tls_port, context, HOST))
            group.create_task(by_lines(visitor), name=f"visitor {number}")
        for revision in range(2, 102):
            mesh.apply(Delta(revision=revision, put=(route_to(other.port if revision % 2 else one.port),)))
            await asyncio.sleep(0.002)
        is_over.set()
    assert set(statuses) == {200}
    assert len(statuses) > 100
    assert one.requests
    assert other.requests


async def test_case_175_a_new_certificate_is_shown_at_once() -> None:
    """To whoever comes then; connections with the old one go on."""
    app = Application()
    async with before(app.scene) as (mesh, _, shown):
        context = AUTHORITY.visitor_context("http/1.1")
        async with await SecureVisitor.connect(mesh.tls_port, context, HOST) as before_it:
            for revision in range(2, 12):
                issued = AUTHORITY.issue(HOST)
                mesh.apply(Delta(revision=revision, put_certificates=(issued.certificate,), removed_certificates=shown))
                shown = (issued.certificate.fingerprint,)  # noqa: PLW2901
                async with await SecureVisitor.connect(mesh.tls_port, context, HOST) as visitor:
                    assert visitor.tls.getpeercert(binary_form=True) == issued.der
                await before_it.send(GET)
                assert b" 200 " in await before_it.receive_until(b"done")


async def test_case_175_a_smaller_limit_cuts_nobody_who_is_here() -> None:
    """Settings hold for what comes."""
    app = Application()
    async with before(app.scene) as (mesh, _, _old), AsyncExitStack() as stack:
        visitors = [await stack.enter_async_context(await Visitor.connect(mesh.port)) for _ in range(20)]
        mesh.apply(Delta(revision=2, settings=msgspec.structs.replace(SETTINGS, max_connections=1)))
        for visitor in visitors:
            await visitor.send(GET)
            assert b" 200 " in await _until(visitor, b"done")
        async with await Visitor.connect(mesh.port) as late:
            assert await late.end() in {"closed", "reset"}


@pytest.mark.parametrize("mode", ["pause", "stop"])
async def test_case_175_a_pause_during_a_restart_costs_time_alone(mode: str) -> None:
    """The target goes away and comes back under a pause: no request fails. Stopped, each is told so at once."""
    async with Origin() as first:
        port = first.port
        route = route_to(port)
        async with await start_mesh(route, settings=SETTINGS) as mesh, AsyncExitStack() as stack:
            visitors = [await stack.enter_async_context(await Visitor.connect(mesh.port)) for _ in range(20)]
            for visitor in visitors:
                await visitor.send(GET)
                assert b" 200 " in await _until(visitor, b"}")
            mesh.apply(Delta(revision=2, put=(msgspec.structs.replace(route, traffic=Traffic(mode=mode)),)))  # type: ignore[arg-type]
            await until(lambda: in_flight(mesh) == 0)
            await first.__aexit__()
            for visitor in visitors:
                await visitor.send(GET)
            if mode == "stop":
                for visitor in visitors:
                    assert b" 503 " in await _until(visitor, b"\r\n\r\n")
                return
            await asyncio.sleep(0.02)
            async with Origin(port):
                mesh.apply(Delta(revision=3, put=(route,)))
                for visitor in visitors:
                    assert b" 200 " in await _until(visitor, b"\r\n\r\n")


async def test_case_175_who_leaves_during_a_pause_is_asked_for_no_more() -> None:
    """Requests that were held go nowhere when their visitors are gone; those of others do."""
    async with Origin() as origin:
        route = route_to(origin.port)
        paused = msgspec.structs.replace(route, traffic=Traffic(mode="pause"))
        async with await start_mesh(paused, settings=SETTINGS) as mesh, await Visitor.connect(mesh.port) as patient:
            await patient.send(request(b"POST /stays HTTP/1.1", b"Content-Length: 5", body=b"hello"))
            async with AsyncExitStack() as stack:
                for _ in range(10):
                    visitor = await stack.enter_async_context(await Visitor.connect(mesh.port))
                    await visitor.send(GET)
                frames = await stack.enter_async_context(await FrameVisitor.connect(mesh.port))
                ids = [frames.next_id() for _ in range(10)]
                await frames.send(*(frames.head(one, request_fields()) for one in ids))
                await frames.send(*(reset_frame(one) for one in ids[:5]))
                await until(lambda: len(mesh.core.visitors) == 12)
            await until(lambda: len(mesh.core.visitors) == 1)
            assert not origin.requests
            mesh.apply(Delta(revision=2, put=(route,)))
            answer = await patient.answer("POST")
            assert answer is not None
            assert (answer.status, answer.json["body"]) == (200, "hello")
            assert [one.target for one in origin.requests] == [b"/stays"]


async def test_case_175_a_target_that_dies_under_load_costs_no_idempotent_request() -> None:
    """Of two, one is killed and comes back again and again; what it had is asked of the other."""
    statuses: list[int] = []
    is_over = asyncio.Event()

    async def visit(port: int) -> None:
        async with await FrameVisitor.connect(port) as visitor:
            while not is_over.is_set():
                statuses.append((await visitor.ask()).status)

    async with Origin() as steady:
        shaky = Origin()
        await shaky.__aenter__()
        port = shaky.port
        route = Route(
            host=HOST,
            targets=tuple(Target(f"http://127.0.0.1:{one}") for one in (port, steady.port)),
            retries=2,
            retry_budget=msgspec.structs.replace(Route(host="", targets=()).retry_budget, min_per_s=1000.0),
        )
        async with await start_mesh(route, settings=SETTINGS) as mesh, asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(visit(mesh.port), name=f"visitor {number}")
            for _ in range(5):
                await asyncio.sleep(0.03)
                await shaky.__aexit__()
                await asyncio.sleep(0.03)
                shaky = Origin(port)
                await shaky.__aenter__()
            is_over.set()
        await shaky.__aexit__()
    assert set(statuses) == {200}


async def test_a_worker_that_drains_finishes_everything() -> None:
    """Streams under way are answered whole, visitors of HTTP/2 are told where the last one was, and nothing is cut."""
    app = Application()
    async with before(app.scene) as (mesh, _, _old), AsyncExitStack() as stack:
        frames = await stack.enter_async_context(await FrameVisitor.connect(mesh.port))
        ids = [frames.next_id() for _ in range(20)]
        await frames.send(*(frames.head(one, request_fields(b"/slow")) for one in ids))
        lines = await stack.enter_async_context(await Visitor.connect(mesh.port))
        idle = await stack.enter_async_context(await FrameVisitor.connect(mesh.port))
        await lines.send(request(b"GET /slow HTTP/1.1"))
        await until(lambda: app.slow == 21)
        async with asyncio.TaskGroup() as group:
            group.create_task(mesh.core.drain(5.0), name="drain")
            assert await idle.gone() == 0
            idle.close()
            await frames.until(lambda: frames.goaway == 0)
            app.gate.set()
            for one in ids:
                reply = await frames.reply(one)
                assert (reply.status, reply.body, reply.ended) == (200, b"done", True)
            answer = await lines.answer()
            assert answer is not None
            assert (answer.body, answer.announces_close) == (b"done", True)
            lines.close()
            assert await frames.gone() == 0
            frames.close()
