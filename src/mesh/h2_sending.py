"""What goes out on an HTTP/2 connection: frames as far as the peer's windows allow, and queues for the rest."""

from __future__ import annotations

from collections import deque
from typing import Final

from mesh.frames import (
    DATA,
    DEFAULT_FRAME_SIZE,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    data_frame,
    head_frames,
    pack_header,
)
from mesh.h2_stream import Handler, Stream

# How much is taken from the streams' queues before it is written.
_PUMP_BYTES: Final = 256 * 1024
# Control frames that cost the peer nothing yet: so many in advance, and more for every frame that it is sent.
_CHATTER: Final = 300
_CHATTER_PER_FRAME: Final = 4


class Sender:
    """The sending half of a connection.

    Everything to be written is collected until `take`; the handler hears once that something waits. While
    `is_write_paused` is set, bodies stay in their queues.
    """

    __slots__ = (
        "_blocked",
        "_chatter_left",
        "_handler",
        "_initial_window",
        "_out",
        "_owed",
        "_prefix",
        "_queued",
        "_send_window",
        "is_write_paused",
    )

    def __init__(self, handler: Handler) -> None:
        """Nothing has been sent, and the peer's windows are those of the RFC."""
        self._handler = handler
        self._out: list[bytes] = []
        # Streams with a queue, the longest waiting first.
        self._blocked: dict[Stream, None] = {}
        # Bytes in all queues together.
        self._queued = 0
        self._initial_window = DEFAULT_WINDOW
        self._send_window = DEFAULT_WINDOW
        # What has to stand before the next header block.
        self._prefix = b""
        self._chatter_left = _CHATTER
        # Answers to control frames that were made while the peer did not read.
        self._owed = 0
        self.is_write_paused = False

    def take(self) -> bytes:
        """What is to be written now."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def _emit(self, data: bytes) -> None:
        out = self._out
        if not out:
            self._handler.on_output()
        out.append(data)

    def send_head(self, stream: Stream, block: bytes, *, ends: bool = False) -> None:
        """Send a header block: a head, an interim one, or (with `ends`) trailers where no body waits."""
        if stream.is_closed or stream.is_local_done:
            return
        if self._prefix:
            block, self._prefix = self._prefix + block, b""
        self._chatter_left += _CHATTER_PER_FRAME
        self._emit(head_frames(stream.id, block, END_STREAM if ends else 0))
        if ends:
            self._end_local(stream)

    def respond(self, stream: Stream, block: bytes, body: bytes, *, ends: bool) -> None:
        """Send a head and the beginning of its body, as one piece if that can be."""
        size, length = len(block), len(body)
        if (
            not length
            or length > stream.send_window
            or length > self._send_window
            or max(size, length) > DEFAULT_FRAME_SIZE
            or self._prefix
            or self.is_write_paused
            or stream.is_closed
        ):
            self.send_head(stream, block, ends=ends and not length)
            if length:
                self.send_data(stream, body, ends=ends)
            return
        stream.send_window -= length
        self._send_window -= length
        self._chatter_left += _CHATTER_PER_FRAME
        stream_id = stream.id
        self._emit(
            b"%b%b%b%b"
            % (
                pack_header(0, size, HEADERS, END_HEADERS, stream_id),
                block,
                pack_header(0, length, DATA, ends, stream_id),
                body,
            )
        )
        if ends:
            self._end_local(stream)

    def send_data(self, stream: Stream, data: bytes, *, ends: bool = False) -> None:
        """Send a piece of a body; what the windows do not allow waits, and the stream hears that the peer is slow."""
        length = len(data)
        if stream.is_closed or stream.is_local_done or stream.ending is not None or not (length or ends):
            return
        if (
            stream.queue is None
            and length <= stream.send_window
            and length <= self._send_window
            and length <= DEFAULT_FRAME_SIZE
            and not self.is_write_paused
        ):
            stream.send_window -= length
            self._send_window -= length
            self._chatter_left += _CHATTER_PER_FRAME
            self._emit(pack_header(0, length, DATA, ends, stream.id) + data)
            if ends:
                self._end_local(stream)
            return
        if stream.queue is None:
            stream.queue = deque()
            self._blocked[stream] = None
        stream.queue.append(data)
        self._queued += length
        if ends:
            stream.ending = b""
        self._pump_stream(stream, length + _PUMP_BYTES)
        if stream in self._blocked and not stream.is_slow:
            stream.is_slow = True
            stream.on_slow()

    def finish(self, stream: Stream, trailers: bytes = b"") -> None:
        """Say that nothing more follows, but the block of `trailers` if there is one."""
        if stream.is_closed or stream.is_local_done or stream.ending is not None:
            return
        if stream.queue is not None:
            stream.ending = trailers
        else:
            self._send_ending(stream, trailers)

    def _send_ending(self, stream: Stream, trailers: bytes) -> None:
        if trailers:
            self.send_head(stream, trailers, ends=True)
        else:
            self._emit(pack_header(0, 0, DATA, END_STREAM, stream.id))
            self._end_local(stream)

    def pump(self) -> None:
        """Send what waits on the streams, a frame of each in turn, as far as the windows allow."""
        left = _PUMP_BYTES
        waiting = deque(self._blocked)
        while waiting and left > 0 and self._send_window > 0 and not self.is_write_paused:
            stream = waiting.popleft()
            left -= self._pump_stream(stream, DEFAULT_FRAME_SIZE)
            if stream.queue is not None and stream.send_window > 0 and not stream.is_closed:
                waiting.append(stream)

    def resume_writing(self) -> None:
        """What was written has left: go on with what waits."""
        self.is_write_paused = False
        self._owed = 0
        self.pump()

    @property
    def can_pump(self) -> bool:
        """Whether `pump` has more to send."""
        return (
            bool(self._blocked)
            and self._send_window > 0
            and not self.is_write_paused
            and any(stream.send_window > 0 for stream in self._blocked)
        )

    def _pump_stream(self, stream: Stream, most: int = _PUMP_BYTES) -> int:
        """Send at most about `most` bytes of what waits on a stream; gives how many."""
        queue = stream.queue
        sent = 0
        while queue and sent < most and not self.is_write_paused:
            data, offset = queue[0], stream.offset
            size = max(0, min(len(data) - offset, stream.send_window, self._send_window, DEFAULT_FRAME_SIZE))
            if not size and data:
                return sent
            is_last = offset + size == len(data)
            if is_last:
                queue.popleft()
            stream.offset = 0 if is_last else offset + size
            ends = not queue and stream.ending == b""
            stream.send_window -= size
            self._send_window -= size
            self._queued -= size
            self._chatter_left += _CHATTER_PER_FRAME
            self._emit(data_frame(stream.id, data[offset : offset + size], ends))
            sent += size
            if not queue:
                self._caught_up(stream, ended=ends)
        return sent

    def _forget_queue(self, stream: Stream) -> None:
        """Nothing of what waits on a stream is wanted any more."""
        if stream.queue is not None:
            self._queued -= sum(map(len, stream.queue)) - stream.offset
            stream.queue = None
            self._blocked.pop(stream, None)

    def _caught_up(self, stream: Stream, *, ended: bool) -> None:
        stream.queue = None
        del self._blocked[stream]
        if ended:
            self._end_local(stream)
        elif stream.ending is not None:
            self._send_ending(stream, stream.ending)
        elif stream.is_slow:
            stream.is_slow = False
            stream.on_writable()

    def _end_local(self, stream: Stream) -> None:
        """The last frame of ours was sent; what that means depends on the role."""
