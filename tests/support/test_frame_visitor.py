"""The visitor with frames of its own against a server of somebody else, the state machine of the package h2."""

from __future__ import annotations

import asyncio

import h2.config
import h2.connection
import h2.events

from tests.support.authority import Authority
from tests.support.frame_visitor import (
    ACK,
    CANCEL,
    ENHANCE_YOUR_CALM,
    INITIAL_WINDOW_SIZE,
    PING,
    Frame,
    FrameVisitor,
    frame,
    request_fields,
)
from tests.support.stage import Stage

BODY = b"a" * 100_000


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    machine = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    machine.initiate_connection()
    left: dict[int, bytes] = {}
    while True:
        writer.write(machine.data_to_send())
        await writer.drain()
        for event in machine.receive_data(await _some(reader)):
            if isinstance(event, h2.events.RequestReceived):
                assert event.stream_id is not None
                _answer(machine, event.stream_id, dict(event.headers or ()), left)
        for stream_id in tuple(left):
            _send(machine, stream_id, left)


async def _some(reader: asyncio.StreamReader) -> bytes:
    data = await reader.read(65_536)
    if not data:
        raise EOFError
    return data


def _answer(
    machine: h2.connection.H2Connection, stream_id: int, fields: dict[bytes, bytes], left: dict[int, bytes]
) -> None:
    path = fields[b":path"]
    if path == b"/reset":
        machine.reset_stream(stream_id, CANCEL)
    elif path == b"/goaway":
        machine.close_connection(ENHANCE_YOUR_CALM)
    else:
        machine.send_headers(stream_id, [(b":status", b"103")])
        machine.send_headers(stream_id, [(b":status", b"200"), (b"x-path", path)])
        left[stream_id] = BODY


def _send(machine: h2.connection.H2Connection, stream_id: int, left: dict[int, bytes]) -> None:
    while left[stream_id] and (size := min(machine.local_flow_control_window(stream_id), 16_384)):
        machine.send_data(stream_id, left[stream_id][:size])
        left[stream_id] = left[stream_id][size:]
    if not left[stream_id]:
        del left[stream_id]
        machine.send_headers(stream_id, [(b"x-sum", b"7")], end_stream=True)


async def test_replies_are_sorted_by_stream() -> None:
    """Several at a time, with interim heads, bodies larger than the window, and trailers."""
    async with Stage(_serve) as stage, await FrameVisitor.connect(stage.port) as visitor:
        ids = [visitor.next_id() for _ in range(3)]
        await visitor.send(*(visitor.head(one, request_fields(b"/%d" % one)) for one in ids))
        for one in ids:
            reply = await visitor.reply(one)
            assert (reply.interim, reply.status, reply.values(b"x-path")) == ([103], 200, [b"/%d" % one])
            assert (reply.body == BODY, reply.trailers, reply.ended, reply.reset) == (
                True,
                [(b"x-sum", b"7")],
                True,
                None,
            )


async def test_resets_and_goodbyes_are_noted() -> None:
    """A stream's end by its code, and the connection's."""
    async with Stage(_serve) as stage, await FrameVisitor.connect(stage.port) as visitor:
        assert (await visitor.ask(b"/reset")).reset == CANCEL
        await visitor.send(visitor.head(visitor.next_id(), request_fields(b"/goaway")))
        await visitor.until(lambda: visitor.goaway is not None)
        assert visitor.goaway == ENHANCE_YOUR_CALM


async def test_nothing_is_given_back_when_it_is_not_generous() -> None:
    """A body stops where the window ends."""
    async with Stage(_serve) as stage:
        settings = [(INITIAL_WINDOW_SIZE, 1000)]
        async with await FrameVisitor.connect(stage.port, settings=settings, is_generous=False) as visitor:
            stream_id = visitor.next_id()
            ping = frame(PING, payload=b"12345678")
            await visitor.send(visitor.head(stream_id, request_fields()), ping)
            await visitor.until(lambda: any(one.kind == PING for one in visitor.frames))
            await visitor.until(lambda: len(visitor.on(stream_id).body) == 1000)
            assert Frame(PING, ACK, 0, b"12345678") in visitor.frames


async def test_over_tls() -> None:
    """The same behind a handshake."""
    authority = Authority()
    context = authority.issue("a.example").server_context()
    context.set_alpn_protocols(["h2"])
    async with Stage(_serve, tls=context) as stage:
        tls = authority.visitor_context("h2")
        async with await FrameVisitor.connect(stage.port, tls, name="a.example") as visitor:
            assert (await visitor.ask(b"/tls")).body == BODY
