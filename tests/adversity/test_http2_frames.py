"""Case 168: frames that are wrong, floods, bombs and stalls; the connection pays for them, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from mesh.h2_downstream import H2Downstream
from mesh.routes import MeshSettings
from tests.adversity.frame_cases import FLOODS, FRAMES, Flood, FrameCase
from tests.support.client import Visitor, ask
from tests.support.frame_visitor import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    PING,
    PREFACE,
    REFUSED_STREAM,
    SETTINGS,
    FrameVisitor,
    frame,
    request_fields,
    settings_frame,
    window_frame,
)
from tests.support.mesh_node import MeshUnderTest, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.stage import Stage, head_of, request, until

SETTINGS_OF_MESH: Final = MeshSettings(http2_cleartext=True, body_idle_s=0.2, idle_timeout_s=0.2)
GET: Final = request(b"GET / HTTP/1.1")
FIRST_OWN_STREAM: Final = 1001


@asynccontextmanager
async def door() -> AsyncIterator[tuple[MeshUnderTest, Origin, FrameVisitor]]:
    """A proxy, the origin behind it, and a visitor."""
    async with (
        Origin() as origin,
        await start_mesh(route_to(origin.port), settings=SETTINGS_OF_MESH) as mesh,
        await FrameVisitor.connect(mesh.port) as visitor,
    ):
        yield mesh, origin, visitor


async def next_answer(visitor: FrameVisitor) -> str:
    """What the origin was asked for by one more request on the connection."""
    while visitor.next_id() < FIRST_OWN_STREAM:
        pass
    return (await visitor.ask(b"/next")).json_target


@pytest.mark.parametrize("case", FRAMES, ids=str)
async def test_frames(case: FrameCase) -> None:
    """The connection ends with the right word, or the stream, or neither; and others are served."""
    async with door() as (mesh, origin, visitor):
        await visitor.send(case.say(visitor))
        if case.reset:
            await visitor.until(lambda: visitor.goaway is not None or visitor.on(1).reset is not None)
        elif case.goaway:
            assert await visitor.gone() in case.goaway
        if case.goaway and visitor.goaway is not None:
            assert visitor.goaway in case.goaway
            assert await visitor.gone() in case.goaway
            assert await visitor.raw.end() == "closed"
        else:
            assert visitor.on(1).reset in (case.reset or (None,))
            assert await next_answer(visitor) == "/next"
        assert (await ask(mesh.port, GET)).status == 200
        await until(lambda: mesh.core.in_flight == 0)
        assert not [one for one in origin.requests if one.method == b"POST" and one.complete]


@pytest.mark.parametrize(
    "raw",
    [
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(PING, payload=bytes(8)),
        PREFACE + frame(SETTINGS, ACK),
        PREFACE + GET,
        PREFACE + PREFACE,
    ],
    ids=["other preface", "ping first", "acknowledgement first", "http/1", "preface twice"],
)
async def test_what_begins_otherwise_is_no_http2(raw: bytes) -> None:
    """Section 3.4: the connection ends, with or without a word."""
    async with Origin() as origin, await start_mesh(route_to(origin.port), settings=SETTINGS_OF_MESH) as mesh:
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(raw)
            assert await visitor.end() in {"closed", "reset"}
        assert not origin.requests


async def test_any_split_of_the_frames_is_the_same() -> None:
    """Octet by octet."""
    async with door() as (_, origin, visitor):
        head = visitor.head(1, request_fields(b"/split", method=b"POST"), END_HEADERS)
        await visitor.raw.send(head + frame(DATA, END_STREAM, 1, b"hello"), fragment=1)
        assert (await visitor.reply(1)).json_target == "/split"
        assert origin.requests[0].body == b"hello"


async def test_a_ping_is_answered_with_its_own_octets() -> None:
    """And before anything that takes longer."""
    async with door() as (_, _origin, visitor):
        await visitor.send(frame(PING, payload=b"12345678"))
        await visitor.until(lambda: any(one[:2] == (PING, ACK) for one in visitor.frames))
        assert next(one.payload for one in visitor.frames if one.kind == PING) == b"12345678"


@pytest.mark.parametrize("flood", FLOODS, ids=str)
async def test_floods(flood: Flood) -> None:
    """Stopped with ENHANCE_YOUR_CALM long before their end, at little cost for the target, and at none for others."""
    async with door() as (mesh, origin, visitor):
        done = 0
        async with asyncio.TaskGroup() as group, await Visitor.connect(mesh.port) as neighbour:
            listening = group.create_task(visitor.gone(), name="listen to what the proxy says")
            await visitor.send(flood.begin(visitor))
            while done < flood.rounds and not listening.done():
                # A piece as large as the proxy reads at once would hide when it stops.
                await visitor.send(*(flood.again(visitor, number) for number in range(done, done + 10)))
                done += 10
                if not done % 200:
                    await neighbour.send(GET)
                    answer = await neighbour.answer()
                    assert answer is not None
                    assert answer.status == 200
        assert visitor.goaway in flood.goaway
        assert done < flood.rounds
        assert len([one for one in origin.requests if one.target == b"/"]) < 400
        assert (await ask(mesh.port, GET)).status == 200
        await until(lambda: mesh.core.in_flight == 0)


async def test_a_busy_visitor_is_no_flood() -> None:
    """Thousands of requests, some of them cancelled, with the pings and windows that clients send."""
    async with door() as (_, _origin, visitor):
        for number in range(40):
            ids = [visitor.next_id() for _ in range(25)]
            heads = [visitor.head(one, request_fields(b"/%d" % one)) for one in ids]
            await visitor.send(*heads, frame(PING, payload=bytes(8)), window_frame(0, 1000))
            for one in ids:
                assert (await visitor.reply(one)).status == 200, number
        assert visitor.goaway is None


async def test_streams_beyond_the_number_are_refused() -> None:
    """REFUSED_STREAM says that nothing was done, so that the visitor may try again; the others go on."""
    free = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await head_of(reader)
            await free.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    settings = MeshSettings(http2_cleartext=True, http2_max_streams=10)
    async with (
        Stage(scene) as stage,
        await start_mesh(route_to(stage.port), settings=settings) as mesh,
        await FrameVisitor.connect(mesh.port) as visitor,
    ):
        ids = [visitor.next_id() for _ in range(15)]
        await visitor.send(*(visitor.head(one, request_fields()) for one in ids))
        for one in ids[10:]:
            assert (await visitor.reply(one)).reset == REFUSED_STREAM
        assert visitor.settings[MAX_CONCURRENT_STREAMS] == 10
        free.set()
        for one in ids[:10]:
            assert (await visitor.reply(one)).status == 200
        assert stage.entered == 10


async def test_a_bomb_is_not_unpacked() -> None:
    """A small block that stands for megabytes is refused, the connection goes on, and many of them end it."""
    async with door() as (mesh, origin, visitor):
        assert (await visitor.ask(b"/first", (b"x-large", b"a" * 3000))).status == 200
        # The large field is the newest of the table, and one octet stands for it: 12 MB in all.
        bomb = visitor.encode(request_fields()) + b"\xbe" * 4000
        stream_id = visitor.next_id()
        await visitor.send(frame(HEADERS, END_STREAM | END_HEADERS, stream_id, bomb))
        assert (await visitor.reply(stream_id)).status == 431
        assert (await visitor.ask(b"/next")).json_target == "/next"
        async with asyncio.TaskGroup() as group:
            group.create_task(visitor.gone(), name="listen to what the proxy says")
            for _ in range(600):
                await visitor.send(frame(HEADERS, END_STREAM | END_HEADERS, visitor.next_id(), bomb))
        assert visitor.goaway == ENHANCE_YOUR_CALM
        assert [one.target for one in origin.requests] == [b"/first", b"/next"]
        assert (await ask(mesh.port, GET)).status == 200


@pytest.mark.parametrize(
    "settings", [[(INITIAL_WINDOW_SIZE, 0)], [(INITIAL_WINDOW_SIZE, 1 << 24)]], ids=["stream", "all"]
)
async def test_a_visitor_that_gives_no_window_is_given_up(settings: list[tuple[int, int]]) -> None:
    """Its streams are reset in their time, what waits for them is bounded, and the targets are told to stop."""
    written = ended = most = 0

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written, ended
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
                written += 65_536
                await writer.drain()
        finally:
            ended += 1

    def held(mesh: MeshUnderTest) -> int:
        machines = [visitor.h2 for visitor in mesh.core.visitors if isinstance(visitor, H2Downstream)]
        streams = [stream for machine in machines for stream in machine.streams.values()]
        return sum(len(piece) for stream in streams for piece in stream.queue or ())

    async with (
        Stage(scene) as stage,
        await start_mesh(route_to(stage.port), settings=SETTINGS_OF_MESH) as mesh,
        await FrameVisitor.connect(mesh.port, settings=settings, is_generous=False) as visitor,
    ):
        ids = [visitor.next_id() for _ in range(50)]
        await visitor.send(*(visitor.head(one, request_fields()) for one in ids))
        await visitor.until(lambda: all(visitor.on(one).status for one in ids))
        most = held(mesh)
        for one in ids:
            await visitor.reply(one)
            most = max(most, held(mesh))
        assert not any(visitor.on(one).ended for one in ids)
        await until(lambda: ended == 50)
        # A read of the target's socket or two for each of them.
        assert 0 < most < 50 * 600_000
        assert mesh.core.in_flight == 0


async def test_a_stream_without_window_holds_up_no_other() -> None:
    """On the same connection."""
    async with door() as (_, _origin, visitor):
        await visitor.send(settings_frame([(INITIAL_WINDOW_SIZE, 0)]))
        stalled, other = visitor.next_id(), visitor.next_id()
        await visitor.send(visitor.head(stalled, request_fields()), visitor.head(other, request_fields(b"/other")))
        await visitor.send(window_frame(other, 10_000))
        assert (await visitor.reply(other)).json_target == "/other"
        assert not visitor.on(stalled).body
        await visitor.send(window_frame(stalled, 10_000))
        assert (await visitor.reply(stalled)).json_target == "/"


async def test_more_than_the_window_allows_is_an_error() -> None:
    """Where the target does not take a body in, its visitor may send the window and no more."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await asyncio.Event().wait()

    async with (
        Stage(scene) as stage,
        await start_mesh(route_to(stage.port), settings=MeshSettings(http2_cleartext=True)) as mesh,
        await FrameVisitor.connect(mesh.port) as visitor,
        asyncio.TaskGroup() as group,
    ):
        listening = group.create_task(visitor.gone(), name="listen to what the proxy says")
        await visitor.send(visitor.head(1, request_fields(method=b"POST"), END_HEADERS))
        while not (listening.done() or visitor.on(1).is_over):
            await visitor.send(frame(DATA, 0, 1, bytes(16_384)))
        assert FLOW_CONTROL_ERROR in {visitor.on(1).reset, visitor.goaway}
        visitor.raw.half_close()
