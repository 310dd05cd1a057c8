"""Our end of an HTTP/2 connection without a socket: what it said, as frames, and what it heard, as calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import hpack as reference

from mesh import frames, h2, h2_stream
from mesh.h2_heads import RequestHead, ResponseHead
from mesh.h2_stream import Limits

GET: Final = ((":method", "GET"), (":scheme", "https"), (":authority", "shop.example.com"), (":path", "/"))
POST: Final = ((":method", "POST"), *GET[1:])


class Frame(NamedTuple):
    """One frame of what was said."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def number(self) -> int:
        """The last four bytes: an error code, or an increment."""
        return int.from_bytes(self.payload[-4:])


def read_frames(data: bytes) -> list[Frame]:
    """The frames in `data`, which holds nothing else."""
    found = []
    while data:
        size = int.from_bytes(data[:3])
        assert len(data) >= 9 + size
        stream_id = int.from_bytes(data[5:9])
        found.append(Frame(data[3], data[4], stream_id, data[9 : 9 + size]))
        data = data[9 + size :]
    return found


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Any frame, right or wrong."""
    size = len(payload)
    return frames.pack_header(size >> 16, size & 0xFFFF, kind, flags, stream_id) + payload


class Recorder(h2_stream.Stream):
    """A stream that writes down what it is told."""

    def __init__(self, end: End, stream_id: int = 0) -> None:
        """One of the streams of `end`."""
        super().__init__(stream_id)
        self.end = end
        self.request: RequestHead | None = None

    def on_request(self, head: RequestHead) -> None:
        """Note it, and answer if the test said how."""
        self.request = head
        self.end.calls.append(("request", self.id, head.method, head.path, self.is_remote_done))
        if self.end.answer is not None:
            self.end.machine.respond(self, *self.end.answer, ends=True)

    def on_response(self, head: ResponseHead) -> None:
        """Note it."""
        self.end.calls.append(("response", self.id, head.status, head.lines, self.is_remote_done))

    def on_data(self, data: bytes) -> None:
        """Note it, together with what came before it."""
        if self.end.on_data is not None:
            self.end.on_data()
        last = self.end.calls[-1] if self.end.calls else ()
        if last[:2] == ("data", self.id):
            self.end.calls[-1] = ("data", self.id, last[2] + data)
        else:
            self.end.calls.append(("data", self.id, data))

    def on_end(self, trailers: list[bytes] | None) -> None:
        """Note it."""
        self.end.calls.append(("end", self.id, trailers))

    def on_reset(self, code: int) -> None:
        """Note it."""
        self.end.calls.append(("reset", self.id, code))
        if self.end.on_reset is not None:
            self.end.on_reset()

    def on_slow(self) -> None:
        """Note it."""
        self.end.calls.append(("slow", self.id))

    def on_writable(self) -> None:
        """Note it."""
        self.end.calls.append(("writable", self.id))


class End:
    """Our end of a connection, with the codec of somebody else for the other one."""

    def __init__(self, *, is_server: bool = True, limits: Limits | None = None) -> None:
        """Our preface has been sent; that of the peer has not come."""
        self.calls: list[tuple[Any, ...]] = []
        self.answer: tuple[bytes, bytes] | None = None
        # What else happens when a stream hears of data, or of its end.
        self.on_data: Callable[[], None] | None = None
        self.on_reset: Callable[[], None] | None = None
        self.encoder = reference.Encoder()
        self.decoder = reference.Decoder()
        self.is_server = is_server
        self.machine = h2.Connection(self, is_server=is_server, limits=limits or Limits())
        self.machine.start()
        self.preface = self.machine.take()

    @classmethod
    def begun(cls, *, is_server: bool = True, limits: Limits | None = None) -> End:
        """Both prefaces have been exchanged."""
        end = cls(is_server=is_server, limits=limits)
        end.hear((frames.PREFACE if is_server else b"") + frames.settings_frame({}))
        return end

    def make_stream(self, stream_id: int) -> Recorder:
        """For a request of the peer."""
        return Recorder(self, stream_id)

    def on_output(self) -> None:
        """Taken by `hear`."""

    def on_idle(self) -> None:
        """Note it."""
        self.calls.append(("idle",))

    def on_goaway(self, code: int) -> None:
        """Note it."""
        self.calls.append(("goaway", code))

    def on_fault(self, fault: frames.ConnectionFault) -> None:
        """Note it."""
        self.calls.append(("fault", fault.code))

    def hear(self, data: bytes, now: float = 0.0) -> list[Frame]:
        """Receive `data`; what is said to it."""
        self.machine.receive(data, now)
        while self.machine.has_more:
            self.machine.receive(b"", now)
        return self.said()

    def said(self) -> list[Frame]:
        """What waited to be written."""
        return read_frames(self.machine.take())

    def stream(self, stream_id: int) -> Recorder:
        """One of the open streams."""
        stream = self.machine.streams[stream_id]
        assert isinstance(stream, Recorder)
        return stream

    def head(self, stream_id: int, *fields: tuple[str, str], flags: int = 5) -> bytes:
        """HEADERS as the peer writes them; `flags` are END_STREAM and END_HEADERS unless said otherwise."""
        return frame(frames.HEADERS, flags, stream_id, self.encoder.encode(fields))

    def request(self, stream_id: int, method: str = "GET", *fields: tuple[str, str], flags: int = 5) -> bytes:
        """A complete request, or with flags=4 the head of one whose body follows."""
        return self.head(stream_id, (":method", method), *GET[1:], *fields, flags=flags)

    def fields(self, said: Iterable[Frame]) -> list[tuple[bytes, bytes]]:
        """The fields of the first header block among what was said."""
        block = next(one.payload for one in said if one.kind == frames.HEADERS)
        return [(bytes(name), bytes(value)) for name, value in self.decoder.decode(block, raw=True)]

    @property
    def fault(self) -> int | None:
        """The code with which the connection ended."""
        codes = [call[1] for call in self.calls if call[0] == "fault"]
        return codes[0] if codes and isinstance(codes[0], int) else None


def resets(said: list[Frame]) -> list[tuple[int, int]]:
    """Which streams were reset, and with which codes."""
    return [(one.stream_id, one.number) for one in said if one.kind == frames.RST_STREAM]


def kinds(said: list[Frame]) -> list[int]:
    """What was said, by type."""
    return [one.kind for one in said]


def data_of(said: list[Frame], stream_id: int = 1) -> bytes:
    """The body that was sent on a stream."""
    return b"".join(one.payload for one in said if one.kind == frames.DATA and one.stream_id == stream_id)


def data(stream_id: int, payload: bytes = b"", *, ends: bool = False) -> bytes:
    """DATA of the peer."""
    return frame(frames.DATA, ends, stream_id, payload)


def opened(end: End, stream_id: int = 1) -> Recorder:
    """A stream whose request goes on."""
    end.hear(end.request(stream_id, "POST", flags=4))
    return end.stream(stream_id)
