"""Visitors and targets that do anything at all, at random: nothing raises, nothing hangs, nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Final

import pytest

from mesh.policies import Compression, Ejection, RetryBudget, Target, Traffic
from mesh.routes import Delta, MeshSettings, Route
from tests.support.client import Visitor
from tests.support.frame_target import FrameTarget, playing
from tests.support.frame_visitor import (
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    Field,
    FrameVisitor,
    frame,
    request_fields,
    reset_frame,
    settings_frame,
    window_frame,
)
from tests.support.mesh_node import HOST, MeshUnderTest, start_mesh
from tests.support.stage import Stage, request, until

ROUNDS: Final = 12
# Every wait of the proxy is short, so that whatever hangs is seen to hang.
SETTINGS: Final = MeshSettings(
    http2_cleartext=True,
    head_timeout_s=0.2,
    body_idle_s=0.2,
    keepalive_idle_s=0.2,
    response_timeout_s=0.2,
    idle_timeout_s=0.2,
    tunnel_idle_s=0.2,
)
CONNECT: Final[tuple[Field, ...]] = ((b":method", b"CONNECT"), (b":protocol", b"websocket"))
WEBSOCKET: Final[list[Field]] = [*CONNECT, *request_fields(b"/chat")[1:]]
LINES: Final = (
    request(b"GET / HTTP/1.1"),
    request(b"HEAD / HTTP/1.0"),
    request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"),
    request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
    request(b"POST / HTTP/1.1", b"Content-Length: 100000", body=bytes(100_000)),
    request(b"POST / HTTP/1.1", b"Content-Length: 100000", body=bytes(10)),
    request(b"POST / HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 5"),
    request(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: a", body=b"ahead"),
    request(b"GET / HTTP/1.1")[:-3],
)
ANSWERS: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 7\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + bytes(500_000),
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst",
    b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nhello",
    b"",
)


class Disorder:
    """Everybody's next step, drawn from one seed."""

    def __init__(self, seed: int) -> None:
        """The same seed draws the same steps, though not at the same time."""
        self._random = random.Random(seed)

    async def by_lines(self, port: int) -> None:
        """A visitor of HTTP/1."""
        async with await Visitor.connect(port) as visitor:
            for _ in range(self._random.randrange(1, 4)):
                await visitor.send(self._random.choice(LINES))
                await asyncio.sleep(self._random.random() * 0.02)
            with contextlib.suppress(OSError):
                self._random.choice((visitor.close, visitor.reset, visitor.half_close))()

    async def by_frames(self, port: int) -> None:
        """A visitor of HTTP/2."""
        settings = [(INITIAL_WINDOW_SIZE, self._random.choice((0, 10, 65_535)))]
        async with await FrameVisitor.connect(port, settings=settings) as visitor:
            for _ in range(self._random.randrange(1, 30)):
                await visitor.send(*(self._say(visitor) for _ in range(self._random.randrange(1, 4))))
                await asyncio.sleep(self._random.random() * 0.005)
            with contextlib.suppress(OSError):
                self._random.choice((visitor.raw.close, visitor.raw.reset))()

    def _say(self, visitor: FrameVisitor) -> bytes:
        new = visitor.next_id()
        old = self._random.randrange(1, new + 2, 2)
        fields = request_fields(b"/", method=self._random.choice((b"GET", b"POST", b"HEAD")))
        flags = self._random.choice((4, 5))
        says = (
            *(visitor.head(new, one, flags) for one in (fields, fields, fields, WEBSOCKET)),
            *(frame(DATA, self._random.choice((0, 0, 1)), old, bytes(size)) for size in (0, 5, 16_384)),
            visitor.head(old, [(b"x-sum", b"7")]),
            reset_frame(old),
            window_frame(self._random.choice((0, old)), 1000),
            settings_frame([(INITIAL_WINDOW_SIZE, self._random.choice((0, 100, 65_535)))]),
            frame(PING, payload=bytes(8)),
        )
        choice = self._random.randrange(len(says) + 1)
        # A block that is made and not sent spoils the table of HPACK, which is one more thing that may be wrong.
        return says[choice] if choice < len(says) else frame(self._random.randrange(12), 255, old, bytes(9))

    async def answer_lines(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A target of HTTP/1."""
        while True:
            # A body is answered as often as it comes in pieces.
            if not await reader.read(200_000):
                return
            await asyncio.sleep(self._random.random() * 0.02)
            writer.write(self._random.choice(ANSWERS))
            if self._random.random() < 0.2:
                return

    async def answer_frames(self, target: FrameTarget) -> None:
        """A target of HTTP/2."""
        while self._random.random() > 0.01:
            got = await target.next()
            if got.kind == HEADERS:
                target.decoder.decode(got.payload)
            one = got.stream_id
            if one:
                await target.send(self._reply(target, one))

    def _reply(self, target: FrameTarget, one: int) -> bytes:
        goodbye = frame(GOAWAY, payload=one.to_bytes(4) + bytes(4))
        choice = self._random.randrange(12)
        if choice < 6:
            return target.answer(one, bytes(self._random.choice((0, 5, 10_000))))
        if choice < 8:
            return target.head(one) + frame(DATA, 0, one, b"hello")
        broken = (b"", goodbye, reset_frame(one, self._random.choice((0, 2, 7, 8))), target.block(one, (b"x", b"y")))
        return broken[choice - 8]

    def route(self, *targets: str) -> Route:
        """One that tries everything, and hides nothing."""
        return Route(
            host=HOST,
            targets=tuple(Target(address) for address in targets),
            retries=2,
            retry_budget=RetryBudget(share=1.0, min_per_s=1000.0),
            ejection=Ejection(after=0),
            finish_abandoned=self._random.random() < 0.5,
            compression=self._random.choice((None, Compression(min_bytes=0))),
            traffic=Traffic(mode=self._random.choice(("serve", "serve", "pause")), hold_s=0.1),
        )


async def _visit(disorder: Disorder, mesh: MeshUnderTest, *targets: str) -> None:
    for revision in range(2, ROUNDS + 2):
        visits = [*(disorder.by_lines(mesh.port) for _ in range(8)), *(disorder.by_frames(mesh.port) for _ in range(8))]
        await asyncio.gather(*visits)
        mesh.apply(Delta(revision=revision, put=(disorder.route(*targets),)))


@pytest.mark.parametrize("seed", [1, 2])
async def test_disorder(seed: int) -> None:
    """When all is over no visitor and no request is left, and the loop has seen no error."""
    disorder = Disorder(seed)
    frames = playing(disorder.answer_frames, [(ENABLE_CONNECT_PROTOCOL, 1)])
    async with Stage(frames) as modern, Stage(disorder.answer_lines) as classic:
        targets = f"h2c://127.0.0.1:{modern.port}", f"http://127.0.0.1:{classic.port}"
        async with await start_mesh(disorder.route(*targets), settings=SETTINGS) as mesh:
            await _visit(disorder, mesh, *targets)
            await until(lambda: not (mesh.core.in_flight or mesh.core.visitors))
            assert all(not target.awaited for target in mesh.core.targets(9))
            assert sum(mesh.core.counters.statuses) > 100
