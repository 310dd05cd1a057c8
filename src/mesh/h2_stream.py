"""One stream of HTTP/2 as its connection knows it, and what whoever has a connection is told."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from mesh.frames import ConnectionFault
from mesh.h2_heads import RequestHead, ResponseHead
from mesh.native import mypyc_attr


class Limits(NamedTuple):
    """What a peer may do: `streams` at a time, `window` bytes ahead on each, `connection_window` on all of them.

    `head` bounds a header list as section 6.5.2 counts. `glitches` may happen at once, and a tenth of that per second:
    resets, refusals, empty and idle frames. `owed` answers to control frames may wait for a peer that does not read;
    with more than `queued` bytes of bodies waiting for it, it opens no new streams.
    """

    streams: int = 100
    window: int = 256 * 1024
    connection_window: int = 1024 * 1024
    head: int = 32 * 1024
    glitches: int = 200
    owed: int = 256
    queued: int = 4 * 1024 * 1024
    connect_protocol: bool = False


class Handler(Protocol):
    """Who has the connection."""

    def make_stream(self, stream_id: int) -> Stream:
        """The stream for a request; `Stream.on_request` follows."""

    def on_output(self) -> None:
        """Bytes wait for `Connection.take`."""

    def on_idle(self) -> None:
        """The last stream is gone."""

    def on_goaway(self, code: int) -> None:
        """The peer opens or takes no new streams."""

    def on_fault(self, fault: ConnectionFault) -> None:
        """The connection is over, and every stream has heard of it: write what waits, and close."""


class Nobody:
    """Has a connection that is gone: to whom it belonged is not kept alive by it."""

    def make_stream(self, stream_id: int) -> Stream:
        """No stream begins any more."""
        raise RuntimeError(f"stream {stream_id} on a connection that is gone")

    def on_output(self) -> None:
        """Nobody takes it."""

    def on_idle(self) -> None:
        """It is always."""

    def on_goaway(self, code: int) -> None:
        """It has left already."""

    def on_fault(self, fault: ConnectionFault) -> None:
        """It is over already."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Stream:
    """One stream; a subclass says what its events mean.

    `is_remote_done` says that the peer has sent everything, `is_local_done` that we have.
    """

    __slots__ = (
        "ending",
        "expects_body",
        "id",
        "is_closed",
        "is_head_done",
        "is_held",
        "is_local_done",
        "is_remote_done",
        "is_slow",
        "is_tunnel",
        "left",
        "offset",
        "queue",
        "receive_window",
        "send_window",
        "unreturned",
        "withheld",
    )

    def __init__(self, stream_id: int) -> None:
        """A stream that the connection is about to take in."""
        self.id = stream_id
        self.send_window = 0
        self.receive_window = 0
        # Bytes that were received and not yet allowed again: on the stream, and on the connection while it is held.
        self.unreturned = 0
        self.withheld = 0
        # Of Content-Length, -1 without one.
        self.left = -1
        self.queue: deque[bytes] | None = None
        self.offset = 0
        # What ends the queue: nothing yet, END_STREAM (empty), or a block of trailers.
        self.ending: bytes | None = None
        self.is_held = False
        self.is_slow = False
        self.is_closed = False
        self.is_remote_done = False
        self.is_local_done = False
        # A tunnel's directions end on their own.
        self.is_tunnel = False
        # As a client: whether the final head was read, and whether DATA may follow it.
        self.is_head_done = False
        self.expects_body = True

    def on_request(self, head: RequestHead) -> None:
        """The head of a request: `is_remote_done` tells whether anything follows."""
        raise NotImplementedError

    def on_response(self, head: ResponseHead) -> None:
        """The head of a response, or of an interim one: `is_remote_done` tells whether anything follows."""
        raise NotImplementedError

    def on_data(self, data: bytes) -> None:
        """A piece of the body."""
        raise NotImplementedError

    def on_end(self, trailers: list[bytes] | None) -> None:
        """The message is complete; not called when it was with its head."""
        raise NotImplementedError

    def on_reset(self, code: int) -> None:
        """The stream is closed: by the peer, by an error in what it sent, or with the connection."""
        raise NotImplementedError

    def on_slow(self) -> None:
        """The peer does not take what was sent."""
        raise NotImplementedError

    def on_writable(self) -> None:
        """The peer has taken everything that was sent."""
        raise NotImplementedError
