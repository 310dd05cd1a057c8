"""Server-sent events over real sockets: in order, kept alive, bounded, and over when either side is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import pytest
from aiohttp import ClientSession, TCPConnector, web

from admin_api.errors import ApiError
from admin_api.sse import Event, Outbox, StreamLimits, Streams
from tests.admin_api.served import BRISK, EventReader, eventually, port_of, serve_app

BIG = b"x" * 65_536

Source = Callable[[], AsyncGenerator[Event]]


class Stage(msgspec.Struct, frozen=True):
    """A server whose only path streams a source, and a client of it."""

    streams: Streams
    runner: web.AppRunner
    client: ClientSession


@pytest.mark.parametrize(
    ("event", "encoded"),
    [
        (Event(b"a"), b"data: a\n\n"),
        (Event(b""), b"data: \n\n"),
        (Event(b"a\nb\r\nc"), b"data: a\ndata: b\ndata: c\n\n"),
        (Event(b"a", id="7-1"), b"id: 7-1\ndata: a\n\n"),
        (Event(b"a", id="7-1", name="logs"), b"id: 7-1\nevent: logs\ndata: a\n\n"),
    ],
)
def test_event_is_written_as_the_standard_says(event: Event, encoded: bytes) -> None:
    """HTML standard, section 9.2.5: no data can pass for a field of its own."""
    assert event.encode() == encoded


async def test_full_outbox_makes_the_source_wait() -> None:
    """Nothing is lost and nothing piles up."""
    outbox = Outbox(2)
    async with asyncio.TaskGroup() as tasks:
        put = tasks.create_task(fill(outbox, 5))
        await asyncio.sleep(0)
        assert outbox.take() == b"data: 0\n\ndata: 1\n\n"
        await asyncio.sleep(0)
        assert outbox.take() == b"data: 2\n\ndata: 3\n\n"
        await put
    assert outbox.take() == b"data: 4\n\n"


async def test_closed_outbox_still_gives_what_it_has() -> None:
    """An end is not a loss."""
    outbox = Outbox(2)
    await outbox.put(Event(b"last"))
    outbox.close()
    await outbox.wait(60)
    assert (outbox.take(), outbox.is_closed) == (b"data: last\n\n", True)


async def test_events_arrive_one_by_one() -> None:
    """An event is on its way before the next one exists."""
    arrived = asyncio.Event()

    async def source() -> AsyncGenerator[Event]:
        yield Event(b"first", id="1")
        await arrived.wait()
        yield Event(b"second", id="2")

    async with stage(source) as on, on.client.get("/") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert (answer.headers["Cache-Control"], answer.headers["X-Accel-Buffering"]) == ("no-cache", "no")
        reader = EventReader(answer)
        assert await reader.block() == {"retry": "1000"}
        assert await reader.event() == {"id": "1", "data": "first"}
        arrived.set()
        assert await reader.event() == {"id": "2", "data": "second"}
        assert await reader.block() == {}


async def test_silence_is_filled_with_comments() -> None:
    """So that nothing between client and node takes the connection for dead."""
    async with stage(silence) as on, on.client.get("/") as answer:
        reader = EventReader(answer)
        assert await reader.block() == {"retry": "1000"}
        for _ in range(2):
            assert await reader.block() == {"": "keep-alive"}


async def test_too_many_streams_are_refused() -> None:
    """Each costs a connection and a task, so there is an end to them."""
    async with stage(silence, msgspec.structs.replace(BRISK, streams=1)) as on:
        async with on.client.get("/") as first:
            await EventReader(first).block()
            async with on.client.get("/") as second:
                assert (second.status, second.headers["Retry-After"]) == (503, "5")
        await eventually(lambda: len(on.streams) == 0)
        async with on.client.get("/") as third:
            assert third.status == 200


async def test_one_address_cannot_take_every_stream() -> None:
    """Streams are public, and the operator wants one too."""
    async with stage(silence, msgspec.structs.replace(BRISK, streams_per_address=1)) as on:
        elsewhere = TCPConnector(local_addr=("127.0.0.2", 0))
        async with on.client.get("/") as first, ClientSession(connector=elsewhere) as operator:
            await EventReader(first).block()
            async with on.client.get("/") as second:
                assert second.status == 503
            async with operator.get(f"http://127.0.0.1:{port_of(on.runner)}/") as third:
                assert third.status == 200


async def test_client_that_goes_frees_its_stream() -> None:
    """Also when nothing is being sent, and the source is closed with it."""
    closed = asyncio.Event()

    async def source() -> AsyncGenerator[Event]:
        try:
            yield Event(b"first")
            await asyncio.Event().wait()
        finally:
            closed.set()

    limits = msgspec.structs.replace(BRISK, heartbeat_s=3600.0)
    async with stage(source, limits) as on:
        answer = await on.client.get("/")
        await EventReader(answer).event()
        answer.close()
        await closed.wait()
        await eventually(lambda: len(on.streams) == 0)


async def test_broken_source_ends_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    """The client has what came before, and will ask again."""

    async def source() -> AsyncGenerator[Event]:
        yield Event(b"first")
        raise RuntimeError("the inside story")

    async with stage(source) as on, on.client.get("/") as answer:
        reader = EventReader(answer)
        assert (await reader.event())["data"] == "first"
        assert await reader.block() == {}
    assert "the inside story" in caplog.text


async def test_slow_reader_is_bounded() -> None:
    """A client that reads nothing makes its source wait, whatever the source has."""
    flood = Flood()
    async with stage(flood.source) as on, reader_of_nothing(on):
        await flood.has_stopped()
        assert flood.sent < 1000


async def test_slow_reader_gets_everything_once_it_reads() -> None:
    """Waiting loses nothing."""
    flood = Flood(last=400)
    async with stage(flood.source) as on, on.client.get("/") as answer:
        await flood.has_stopped()
        reader = EventReader(answer)
        assert [int((await reader.event())["id"]) for _ in range(400)] == list(range(1, 401))
        assert await reader.block() == {}


async def test_stalled_client_is_cut_off() -> None:
    """It gives its place to others."""
    limits = msgspec.structs.replace(BRISK, stall_s=0.02)
    async with stage(Flood().source, limits) as on, reader_of_nothing(on):
        await eventually(lambda: len(on.streams) == 1)
        await eventually(lambda: len(on.streams) == 0)


async def test_stalled_client_does_not_hold_up_the_end() -> None:
    """A node that stops has no time for a client that takes nothing."""
    flood = Flood()
    async with stage(flood.source) as on, reader_of_nothing(on):
        await flood.has_stopped()
        await on.runner.cleanup()
        assert len(on.streams) == 0


async def test_closed_streams_take_no_new_one() -> None:
    """What is ending does not begin anything."""
    async with stage(silence) as on:
        on.streams.close()
        async with on.client.get("/") as answer:
            assert answer.status == 503


class Flood:
    """A source that always has more, up to the event `last` if there is one."""

    def __init__(self, last: int | None = None) -> None:
        self.sent = 0
        self._last = last

    async def source(self) -> AsyncGenerator[Event]:
        """Events as fast as they are taken."""
        while self.sent != self._last:
            self.sent += 1
            yield Event(BIG, id=str(self.sent))

    async def has_stopped(self) -> None:
        """Return when nothing has been taken for a while."""
        quiet, before = 0, -1
        while quiet < 10:
            await asyncio.sleep(0.005)
            quiet = quiet + 1 if self.sent == before else 0
            before = self.sent


async def silence() -> AsyncGenerator[Event]:
    """A source that never has anything."""
    await asyncio.Event().wait()
    yield Event(b"never")


async def fill(outbox: Outbox, count: int) -> None:
    """Put numbered events."""
    for number in range(count):
        await outbox.put(Event(str(number).encode()))


def stage(source: Source, limits: StreamLimits = BRISK) -> AbstractAsyncContextManager[Stage]:
    """A server that streams `source` to everybody who asks."""
    return _stage(source, Streams(limits))


@asynccontextmanager
async def _stage(source: Source, streams: Streams) -> AsyncIterator[Stage]:
    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            return await streams.serve(request, source())
        except ApiError as error:
            return web.Response(status=error.status, headers=error.headers)

    async def end(_app: web.Application) -> None:
        streams.close()

    app = web.Application()
    app.router.add_get("/", handler)
    app.on_shutdown.append(end)
    async with serve_app(app) as runner, ClientSession(f"http://127.0.0.1:{port_of(runner)}") as client:
        yield Stage(streams, runner, client)


@asynccontextmanager
async def reader_of_nothing(on: Stage) -> AsyncIterator[None]:
    """A client that asks and then never reads."""
    _reader, writer = await asyncio.open_connection("127.0.0.1", port_of(on.runner), limit=1)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    try:
        yield
    finally:
        writer.transport.abort()
