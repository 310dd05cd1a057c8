"""A visitor that writes any HTTP/2 frame, right or wrong, and sorts what comes by stream; it shares no code with us."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Self

import hpack
import msgspec

from tests.support.client import DEADLINE_S, Visitor
from tests.support.mesh_node import HOST
from tests.support.secure_visitor import Cut, SecureVisitor

# Frame types and flags of RFC 9113 section 6.
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
# Error codes of section 7.
(
    NO_ERROR,
    PROTOCOL_ERROR,
    INTERNAL_ERROR,
    FLOW_CONTROL_ERROR,
    SETTINGS_TIMEOUT,
    STREAM_CLOSED,
    FRAME_SIZE_ERROR,
    REFUSED_STREAM,
    CANCEL,
    COMPRESSION_ERROR,
    CONNECT_ERROR,
    ENHANCE_YOUR_CALM,
) = range(12)
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
ENABLE_CONNECT_PROTOCOL: Final = 8
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

Field = tuple[bytes, bytes]


class Frame(NamedTuple):
    """One frame as it came."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


class Reply(msgspec.Struct, kw_only=True):
    """What came on one stream. `reset` is the code of RST_STREAM, `ended` whether END_STREAM was seen."""

    status: int = 0
    fields: list[Field] = []
    interim: list[int] = []
    body: bytes = b""
    trailers: list[Field] = []
    ended: bool = False
    reset: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes on the stream."""
        return self.ended or self.reset is not None

    @property
    def json_target(self) -> str:
        """The target that the origin says it was asked for, empty where this is not its answer."""
        return str(json.loads(self.body)["target"]) if self.ended and self.status == 200 else ""

    def values(self, name: bytes) -> list[bytes]:
        """The values of the fields with this name; one per field."""
        return [value for key, value in self.fields if key == name]


def frame(kind: int, flags: int = 0, stream_id: int = 0, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """A frame; `length` is what it says of its payload when that is not true."""
    size = len(payload) if length is None else length
    return size.to_bytes(3) + bytes((kind, flags)) + stream_id.to_bytes(4) + payload


def settings_frame(settings: Iterable[tuple[int, int]] = ()) -> bytes:
    """SETTINGS with these values."""
    return frame(SETTINGS, payload=b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in settings))


def window_frame(stream_id: int, increment: int) -> bytes:
    """WINDOW_UPDATE of a stream, or with 0 of the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4))


def reset_frame(stream_id: int, code: int = CANCEL) -> bytes:
    """RST_STREAM."""
    return frame(RST_STREAM, 0, stream_id, code.to_bytes(4))


def request_fields(
    path: bytes = b"/",
    *fields: Field,
    method: bytes = b"GET",
    scheme: bytes = b"http",
    authority: bytes = HOST.encode(),
) -> list[Field]:
    """The fields of a request, those in `fields` behind the pseudo-headers."""
    pseudo = [(b":method", method), (b":scheme", scheme), (b":authority", authority), (b":path", path)]
    return [*pseudo, *fields]


class FrameVisitor:
    """One HTTP/2 connection to the proxy. Every wait ends by a frame, by the end, or fails after some seconds.

    `is_generous` answers pings, and gives back the window of everything that comes.
    """

    def __init__(self, wire: Visitor | SecureVisitor, *, is_generous: bool = True) -> None:
        """Use `connect` to make one."""
        self.encoder = hpack.Encoder()
        self.replies: dict[int, Reply] = {}
        self.settings: dict[int, int] = {}
        self.goaway: int | None = None
        self.frames: list[Frame] = []
        self.is_over = False
        self._wire = wire
        self._is_generous = is_generous
        self._decoder = hpack.Decoder()
        self._ahead = bytearray()
        self._block = b""
        self._next_id = 1

    @classmethod
    async def connect(
        cls,
        port: int,
        tls: ssl.SSLContext | None = None,
        *,
        settings: Iterable[tuple[int, int]] = (),
        name: str = HOST,
        is_generous: bool = True,
    ) -> Self:
        """Connect to a port on loopback and send preface and SETTINGS; `tls` has to offer h2."""
        wire = await (Visitor.connect(port) if tls is None else SecureVisitor.connect(port, tls, name))
        visitor = cls(wire, is_generous=is_generous)
        await visitor.send(PREFACE, settings_frame(settings))
        return visitor

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def raw(self) -> Visitor:
        """The connection below everything else."""
        return self._wire.wire if isinstance(self._wire, SecureVisitor) else self._wire

    def close(self) -> None:
        """Close the connection."""
        self.raw.close()

    async def send(self, *frames: bytes) -> None:
        """Send frames, or anything."""
        if frames:
            await self._wire.send(b"".join(frames))

    def next_id(self) -> int:
        """The number of a new stream."""
        self._next_id += 2
        return self._next_id - 2

    def head(self, stream_id: int, fields: Iterable[Field], flags: int = END_STREAM | END_HEADERS) -> bytes:
        """A HEADERS frame."""
        return frame(HEADERS, flags, stream_id, self.encode(fields))

    def encode(self, fields: Iterable[Field]) -> bytes:
        """A header block."""
        return bytes(self.encoder.encode(list(fields)))

    async def ask(self, path: bytes = b"/", *fields: Field, method: bytes = b"GET", scheme: bytes = b"http") -> Reply:
        """What a request without a body gets."""
        stream_id = self.next_id()
        await self.send(self.head(stream_id, request_fields(path, *fields, method=method, scheme=scheme)))
        return await self.reply(stream_id)

    async def reply(self, stream_id: int) -> Reply:
        """What comes on a stream, when it is over or the connection is."""
        await self.until(lambda: self.on(stream_id).is_over)
        return self.on(stream_id)

    def on(self, stream_id: int) -> Reply:
        """What has come on a stream so far."""
        return self.replies.setdefault(stream_id, Reply())

    async def gone(self) -> int | None:
        """Read until the connection ends; the code of the last GOAWAY."""
        await self.until(lambda: False)
        return self.goaway

    async def until(self, condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
        """Read frames until the condition holds, or the connection ends."""
        async with asyncio.timeout(deadline_s):
            while not condition() and await self._more():
                continue

    async def _more(self) -> bool:
        if self.is_over:
            return False
        data = await self._read()
        self.is_over = not data
        self._ahead += data
        received, known = 0, len(self.frames)
        while len(self._ahead) >= 9 and len(self._ahead) >= 9 + (size := int.from_bytes(self._ahead[:3])):
            kind, flags, stream_id = self._ahead[3], self._ahead[4], int.from_bytes(self._ahead[5:9])
            received += self._take_in(Frame(kind, flags, stream_id, bytes(self._ahead[9 : 9 + size])))
            del self._ahead[: 9 + size]
        if self._is_generous:
            pings = [one.payload for one in self.frames[known:] if one.kind == PING and not one.flags & ACK]
            await self.send(*(frame(PING, ACK, 0, payload) for payload in pings))
            await self._return(received)
        return bool(data)

    async def _read(self) -> bytes:
        if isinstance(self._wire, SecureVisitor):
            try:
                return await self._wire.receive()
            except Cut:
                return b""
        return await self._wire.octets(1) + self._wire._take(len(self._wire._ahead))

    async def _return(self, size: int) -> None:
        if not size:
            return
        streams = [stream_id for stream_id, reply in self.replies.items() if reply.body and not reply.is_over]
        await self.send(window_frame(0, size), *(window_frame(stream_id, size) for stream_id in streams))

    def _take_in(self, got: Frame) -> int:
        self.frames.append(got)
        if got.kind == SETTINGS and not got.flags & ACK:
            pieces = [got.payload[start : start + 6] for start in range(0, len(got.payload), 6)]
            self.settings |= {int.from_bytes(piece[:2]): int.from_bytes(piece[2:]) for piece in pieces}
        elif got.kind == GOAWAY:
            self.goaway = int.from_bytes(got.payload[4:8])
        elif got.kind == RST_STREAM:
            self.on(got.stream_id).reset = int.from_bytes(got.payload)
        elif got.kind in (HEADERS, CONTINUATION):
            self._take_block(got)
        elif got.kind == DATA:
            reply = self.on(got.stream_id)
            reply.body += got.payload
            reply.ended = bool(got.flags & END_STREAM)
            return len(got.payload)
        return 0

    def _take_block(self, got: Frame) -> None:
        self._block += got.payload
        reply = self.on(got.stream_id)
        if got.kind == HEADERS:
            reply.ended = bool(got.flags & END_STREAM)
        if not got.flags & END_HEADERS:
            return
        fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(self._block, raw=True)]
        self._block = b""
        if reply.status:
            reply.trailers = fields
            return
        status = int(dict(fields)[b":status"])
        if status < 200:
            reply.interim.append(status)
        else:
            reply.status, reply.fields = status, fields
