"""A target of HTTP/2 that writes any frame, right or wrong; it shares no code with us."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import hpack

from tests.support.frame_visitor import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    SETTINGS,
    Field,
    Frame,
    frame,
    settings_frame,
)
from tests.support.stage import Scene


class FrameTarget:
    """One connection from the proxy, whose preface has been read and answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use `playing` to make one."""
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.frames: list[Frame] = []
        self._reader = reader
        self._writer = writer

    async def next(self) -> Frame:
        """The next frame but SETTINGS, which are acknowledged; raises EOFError."""
        while True:
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3]))
            got = Frame(head[3], head[4], int.from_bytes(head[5:]), payload)
            self.frames.append(got)
            if got.kind != SETTINGS:
                return got
            if not got.flags & ACK:
                await self.send(frame(SETTINGS, ACK))

    async def request(self) -> tuple[int, dict[bytes, bytes]]:
        """The stream and the fields of the next request; frames before it are noted."""
        while (got := await self.next()).kind != HEADERS:
            continue
        fields = self.decoder.decode(got.payload, raw=True)
        return got.stream_id, {bytes(name): bytes(value) for name, value in fields}

    async def send(self, *frames: bytes) -> None:
        """Send frames, or anything."""
        self._writer.write(b"".join(frames))
        await self._writer.drain()

    def head(self, stream_id: int, *fields: Field, status: bytes = b"200", flags: int = END_HEADERS) -> bytes:
        """HEADERS of a response."""
        return self.block(stream_id, (b":status", status), *fields, flags=flags)

    def block(self, stream_id: int, *fields: Field, flags: int = END_HEADERS) -> bytes:
        """HEADERS with exactly these fields."""
        return frame(HEADERS, flags, stream_id, self.encoder.encode(fields))

    def answer(self, stream_id: int, body: bytes = b"hello", *fields: Field) -> bytes:
        """A whole response."""
        return self.head(stream_id, *fields) + frame(DATA, END_STREAM, stream_id, body)


def playing(
    play: Callable[[FrameTarget], Coroutine[Any, Any, None]], settings: Iterable[tuple[int, int]] = ()
) -> Scene:
    """A scene in which `play` has a connection behind both prefaces."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(len(PREFACE)) != PREFACE:
            raise AssertionError("no preface")
        writer.write(settings_frame(settings))
        await play(FrameTarget(reader, writer))

    return scene
