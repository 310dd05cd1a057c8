"""One HTTP/2 connection as a state machine (RFC 9113): bytes in, calls on streams out; calls in, bytes out.

There is no socket and no clock here. It serves both ends: visitors of ours, and targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeVar

from mesh.frames import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME_SIZE,
    DEFAULT_WINDOW,
    ENABLE_CONNECT_PROTOCOL,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HAS_PRIORITY,
    HEADER_SIZE,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_FRAME_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    MAX_STREAM_ID,
    MAX_WINDOW,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ACK,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    ConnectionFault,
    StreamFault,
    goaway_frame,
    ping_frame,
    read_settings,
    reset_frame,
    settings_frame,
    unpack_header,
    window_frame,
    without_padding,
)
from mesh.h2_heads import RequestHead, ResponseHead, read_request, read_response, read_trailers
from mesh.h2_sending import Sender
from mesh.h2_stream import Handler, Limits, Nobody, Stream
from mesh.hpack import NO_TABLE, TABLE_SIZE, Decoder, Field, size_of

# Header blocks that mean the same until the peer's table changes.
_MAX_REMEMBERED_BLOCK: Final = 512
_MAX_REMEMBERED: Final = 32 * 1024
# After so many frames the others have their turn; one that opens a stream counts as more.
_FRAMES_PER_TURN: Final = 512
_FRAMES_PER_STREAM: Final = 4
# Streams that were reset lately: frames for them may still be on their way.
_MAX_RESET_STREAMS: Final = 512
_MAX_CONTINUATIONS: Final = 32
# Control frames that cost nothing yet are never more than this.
_MOST_CHATTER: Final = 2000
_GLITCHES_PER_S: Final = 0.1
_GLITCH_FORGIVEN: Final = 0.5
_HEAD_FLAGS: Final = END_HEADERS | PADDED | HAS_PRIORITY
_SHUTDOWN_PING: Final = b"goodbye!"
_ANY: Final = -1
_BY_US: Final = True

H = TypeVar("H", RequestHead, ResponseHead)


class Connection(Sender):
    """The state of one connection, in either role.

    `receive` takes what was read; faults of the peer end in `Stream.on_reset` and `Handler.on_fault`, never in an
    exception. What is to be written is taken by `take`.
    """

    __slots__ = (
        "_block",
        "_block_ends",
        "_block_frames",
        "_decoder",
        "_glitches",
        "_glitches_at",
        "_is_server",
        "_is_shutting_down",
        "_last_allowed",
        "_limits",
        "_next_id",
        "_now",
        "_only",
        "_only_id",
        "_preface_left",
        "_receive_window",
        "_remembered",
        "_requests",
        "_reset_streams",
        "_responses",
        "_rest",
        "_unreturned",
        "has_more",
        "is_ending",
        "is_leaving",
        "is_over",
        "last_id",
        "peer_allows_connect",
        "peer_max_streams",
        "streams",
    )

    def __init__(self, handler: Handler, *, is_server: bool, limits: Limits) -> None:
        """Nothing has been sent or received; `start` says what the peer may do."""
        super().__init__(handler)
        self._is_server = is_server
        self._limits = limits
        self.streams: dict[int, Stream] = {}
        self._decoder = Decoder()
        # Heads by their blocks, and the bytes of both.
        self._remembered = 0
        self._requests: dict[bytes, RequestHead] = {}
        self._responses: dict[bytes, ResponseHead] = {}
        self._rest = b""
        self._preface_left = PREFACE if is_server else b""
        # The one frame type that may come next, and for which stream: SETTINGS first, then whatever comes.
        self._only = SETTINGS
        self._only_id = 0
        self._block: list[bytes] = []
        self._block_ends = False
        self._block_frames = 0
        # The highest stream that the peer opened, and the highest that it may still open.
        self.last_id = 0
        self._last_allowed = MAX_STREAM_ID
        self._next_id = 1
        self._reset_streams: dict[int, bool] = {}
        self._receive_window = limits.connection_window
        self._unreturned = 0
        self._now = 0.0
        self._glitches = 0.0
        self._glitches_at = 0.0
        # Whether `receive` stopped before everything was read, and wants to be called again.
        self.has_more = False
        self._is_shutting_down = False
        # Whether the peer opens or takes no new streams, and whether that holds for either of us.
        self.is_leaving = False
        self.is_ending = False
        self.is_over = False
        self.peer_max_streams = 100
        self.peer_allows_connect = False

    def start(self) -> None:
        """Queue our own preface (section 3.4)."""
        limits = self._limits
        settings = {INITIAL_WINDOW_SIZE: limits.window, MAX_HEADER_LIST_SIZE: limits.head}
        if self._is_server:
            settings[MAX_CONCURRENT_STREAMS] = limits.streams
            if limits.connect_protocol:
                settings[ENABLE_CONNECT_PROTOCOL] = 1
        else:
            settings[ENABLE_PUSH] = 0
            self._emit(PREFACE)
        self._emit(settings_frame(settings) + window_frame(0, limits.connection_window - DEFAULT_WINDOW))

    # What comes in.

    def receive(self, data: bytes, now: float) -> None:
        """Read bytes from the peer at the time `now`, in seconds of any steady clock; see `has_more`."""
        if self.is_over:
            return
        self._now = now
        self.has_more = False
        if self._rest:
            data = self._rest + data
        try:
            position = self._read_preface(data) if self._preface_left else 0
            position = self._read_frames(data, position)
        except ConnectionFault as fault:
            self._fail(fault)
            return
        self._rest = data[position:] if position < len(data) else b""

    def _read_preface(self, data: bytes) -> int:
        expected = self._preface_left
        if data[: len(expected)] != expected[: len(data)]:
            raise ConnectionFault(PROTOCOL_ERROR, "A connection begins with the preface.")
        size = min(len(data), len(expected))
        self._preface_left = expected[size:]
        return size

    def _read_frames(self, data: bytes, position: int) -> int:
        """Handle every complete frame; gives the offset of what is left."""
        size = len(data) - HEADER_SIZE
        left = _FRAMES_PER_TURN
        while position <= size:
            if left <= 0:
                self.has_more = True
                return position
            left -= 1
            high, low, kind, flags, stream_id = unpack_header(data, position)
            if high or low > DEFAULT_FRAME_SIZE:
                raise ConnectionFault(FRAME_SIZE_ERROR, "A frame is larger than allowed.")
            begin = position + HEADER_SIZE
            position = begin + low
            if position > size + HEADER_SIZE:
                return begin - HEADER_SIZE
            stream_id &= MAX_STREAM_ID
            if self._only != _ANY and (kind != self._only or stream_id != self._only_id or self._is_ack(kind, flags)):
                raise ConnectionFault(PROTOCOL_ERROR, "A frame is out of place.")
            payload = data[begin:position]
            if kind == HEADERS:
                left -= _FRAMES_PER_STREAM
                if flags & _HEAD_FLAGS == END_HEADERS and stream_id:
                    self._on_block(stream_id, payload, ends=flags & END_STREAM != 0)
                else:
                    self._begin_block(stream_id, payload, flags)
            elif kind == DATA:
                self._on_data(stream_id, payload, flags)
            else:
                self._on_control(kind, stream_id, payload, flags)
            if self.is_over:
                return position
        return position

    def _is_ack(self, kind: int, flags: int) -> bool:
        # The first SETTINGS acknowledge nothing.
        return kind == SETTINGS and flags & ACK != 0

    def _on_control(self, kind: int, stream_id: int, payload: bytes, flags: int) -> None:
        if kind > CONTINUATION:
            # Section 5.5: unknown types are ignored.
            self._chatter("unknown frames")
            return
        check = _CHECKS[kind]
        if check.size is not None and len(payload) != check.size:
            raise ConnectionFault(FRAME_SIZE_ERROR, "A frame does not have the size of its type.")
        if check.is_for_streams is not None and check.is_for_streams != (stream_id != 0):
            raise ConnectionFault(PROTOCOL_ERROR, "A frame is not for that stream.")
        check.handle(self, stream_id, payload, flags)

    # Header blocks.

    def _begin_block(self, stream_id: int, part: bytes, flags: int) -> None:
        """A header block with something around it, or in several frames."""
        if not stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "A header block is for a stream.")
        if flags & PADDED:
            part = without_padding(part)
        if flags & HAS_PRIORITY:
            if len(part) < 5:
                raise ConnectionFault(FRAME_SIZE_ERROR, "A frame is too short for its priority.")
            part = part[5:]
        if flags & END_HEADERS:
            self._on_block(stream_id, part, ends=flags & END_STREAM != 0)
            return
        self._only, self._only_id = CONTINUATION, stream_id
        self._block = [part]
        self._block_ends = flags & END_STREAM != 0
        self._block_frames = 0

    def _on_continuation(self, stream_id: int, payload: bytes, flags: int) -> None:
        if self._only != CONTINUATION:
            raise ConnectionFault(PROTOCOL_ERROR, "There is no header block to continue.")
        self._block.append(payload)
        self._block_frames += 1
        if not payload:
            self._glitch(1, "empty CONTINUATION frames")
        # A block cannot be skipped: the tables would differ. One that is not much too large may still get an answer.
        if self._block_frames > _MAX_CONTINUATIONS or sum(map(len, self._block)) > 2 * self._limits.head:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "A header block is too large.")
        if flags & END_HEADERS:
            block, self._block = b"".join(self._block), []
            self._only, self._only_id = _ANY, 0
            self._on_block(stream_id, block, ends=self._block_ends)

    def _on_block(self, stream_id: int, block: bytes, *, ends: bool) -> None:
        stream = self.streams.get(stream_id)
        try:
            if stream is None:
                self._open_by_peer(stream_id, block, ends=ends)
            elif self._is_server or stream.is_head_done:
                self._on_trailers(stream, block, ends=ends)
            else:
                self._on_response(stream, block, ends=ends)
        except StreamFault as fault:
            self._glitch(1, fault.detail)
            if stream is None:
                self._emit_reset(stream_id, fault.code)
            else:
                self._break(stream, fault.code)

    def _decode(self, block: bytes) -> list[Field]:
        decoder = self._decoder
        fields = decoder.decode(block)
        if decoder.is_changed:
            self._requests.clear()
            self._responses.clear()
            self._remembered = 0
        return fields

    def _keep(self, known: dict[bytes, H], block: bytes, head: H) -> H:
        """Remember what a block says, if it will say so again."""
        if not self._decoder.is_changed and len(block) <= _MAX_REMEMBERED_BLOCK:
            # A short block may stand for long lines, and strangers decide what comes in.
            self._remembered += len(block) + len(head.lines)
            if self._remembered > _MAX_REMEMBERED:
                known.clear()
                self._remembered = len(block) + len(head.lines)
            known[block] = head
        return head

    def _read_request(self, block: bytes) -> RequestHead:
        fields = self._decode(block)
        if size_of(fields) > self._limits.head:
            self._glitch(1, "too large heads")
            head = RequestHead()
            head.is_too_large = True
            return head
        return self._keep(self._requests, block, read_request(fields))

    def _read_response(self, block: bytes) -> ResponseHead:
        fields = self._decode(block)
        if size_of(fields) > self._limits.head:
            raise StreamFault(CANCEL, "The head of a response is too large.")
        return self._keep(self._responses, block, read_response(fields))

    def _open_by_peer(self, stream_id: int, block: bytes, *, ends: bool) -> None:
        if stream_id <= self.last_id or not self._is_server:
            self._on_stray_block(stream_id, block)
            return
        if not stream_id & 1:
            raise ConnectionFault(PROTOCOL_ERROR, "A client's streams have odd numbers.")
        self.last_id = stream_id
        head = self._requests.get(block) or self._read_request(block)
        limits = self._limits
        if len(self.streams) >= limits.streams or stream_id > self._last_allowed or self._queued > limits.queued:
            raise StreamFault(REFUSED_STREAM, "more streams than allowed")
        if ends and head.length > 0:
            raise StreamFault(PROTOCOL_ERROR, "A body is shorter than its Content-Length.")
        stream = self._handler.make_stream(stream_id)
        self._take_in(stream)
        stream.left = head.length
        stream.is_remote_done = ends
        stream.on_request(head)

    def _on_stray_block(self, stream_id: int, block: bytes) -> None:
        """A block for no open stream; it is read in any case, because the tables of both ends have to agree."""
        self._decode(block)
        self._check_stray(stream_id)

    def _check_stray(self, stream_id: int) -> None:
        """A frame came for a stream that is not open (section 5.1); raises ConnectionFault when that is no accident."""
        self._chatter("frames for closed streams")
        if self._is_idle(stream_id):
            raise ConnectionFault(PROTOCOL_ERROR, "A frame is for a stream that was never opened.")
        is_by_us = self._reset_streams.get(stream_id)
        if is_by_us is None:
            raise ConnectionFault(STREAM_CLOSED, "A frame is for a stream that has ended.")
        if not is_by_us:
            self._glitch(1, "frames for streams that were reset")
            self._emit(reset_frame(stream_id, STREAM_CLOSED))

    def _is_idle(self, stream_id: int) -> bool:
        if self._is_server:
            return stream_id > self.last_id or not stream_id & 1
        return stream_id >= self._next_id or not stream_id & 1

    def _on_trailers(self, stream: Stream, block: bytes, *, ends: bool) -> None:
        fields = self._decode(block)
        if stream.is_remote_done:
            raise StreamFault(STREAM_CLOSED, "A header block came behind the end.")
        if not ends or stream.left > 0:
            raise StreamFault(PROTOCOL_ERROR, "A second header block ends a message that is complete.")
        if size_of(fields) > self._limits.head:
            raise StreamFault(ENHANCE_YOUR_CALM, "A trailer section is too large.")
        self._end_remote(stream, read_trailers(fields))

    def _on_response(self, stream: Stream, block: bytes, *, ends: bool) -> None:
        head = self._responses.get(block) or self._read_response(block)
        status = head.status
        if status < 200:
            if ends or status == 101:
                raise StreamFault(PROTOCOL_ERROR, "An interim response ends nothing and switches to nothing.")
            self._chatter("interim responses")
            stream.on_response(head)
            return
        stream.is_head_done = True
        if not stream.expects_body or status in (204, 304):
            stream.left = 0
        else:
            stream.left = head.length
            if ends and head.length > 0:
                raise StreamFault(PROTOCOL_ERROR, "A body is shorter than its Content-Length.")
        stream.is_remote_done = ends
        stream.on_response(head)
        if ends and stream.is_local_done and not stream.is_closed:
            self._remove(stream)

    # Bodies.

    def _on_data(self, stream_id: int, payload: bytes, flags: int) -> None:
        size = len(payload)
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "More was sent than the connection's window allows.")
        if flags & PADDED:
            payload = without_padding(payload)
        ends = flags & END_STREAM != 0
        stream = self.streams.get(stream_id)
        if stream is None:
            self._on_stray_data(stream_id, size)
            return
        try:
            self._check_data(stream, size, len(payload), ends=ends)
        except StreamFault as fault:
            self._return_to_connection(size)
            self._glitch(1, fault.detail)
            self._break(stream, fault.code)
            return
        stream.is_remote_done = ends
        if payload:
            stream.on_data(payload)
        elif not ends:
            self._glitch(0.25, "empty DATA frames")
        if size:
            self._return(stream, size)
        if ends and not stream.is_closed:
            self._end_remote(stream, None)

    def _on_stray_data(self, stream_id: int, size: int) -> None:
        if not stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "DATA is for a stream.")
        self._return_to_connection(size)
        self._check_stray(stream_id)

    def _check_data(self, stream: Stream, size: int, length: int, *, ends: bool) -> None:
        if stream.is_remote_done:
            raise StreamFault(STREAM_CLOSED, "DATA came behind the end.")
        if not (self._is_server or stream.is_head_done):
            raise StreamFault(PROTOCOL_ERROR, "DATA came before the head.")
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise StreamFault(FLOW_CONTROL_ERROR, "More was sent than the stream's window allows.")
        if stream.left >= 0:
            stream.left -= length
            if stream.left < 0 or (ends and stream.left):
                raise StreamFault(PROTOCOL_ERROR, "The body does not have the size of its Content-Length.")

    def _end_remote(self, stream: Stream, trailers: list[bytes] | None) -> None:
        stream.is_remote_done = True
        stream.on_end(trailers)
        if stream.is_local_done and not stream.is_closed:
            self._remove(stream)

    # Windows of what we receive.

    def _return(self, stream: Stream, size: int) -> None:
        """Allow the peer as many bytes again, unless the stream is held."""
        if stream.is_closed:
            self._return_to_connection(size)
            return
        stream.unreturned += size
        if stream.is_held and self._is_server:
            # What one visitor sends is kept for it, and all of its streams together must not fill the memory.
            stream.withheld += size
            return
        # A target's streams belong to many visitors: a slow one must not hold up the others.
        self._return_to_connection(size)
        if not stream.is_held:
            self._return_to_stream(stream)

    def _return_to_connection(self, size: int) -> None:
        self._unreturned += size
        # At the latest when the peer has no more left than is owed to it: held streams keep the rest back.
        if self._unreturned >= min(self._limits.connection_window >> 1, max(1, self._receive_window)):
            self._receive_window += self._unreturned
            self._emit(window_frame(0, self._unreturned))
            self._unreturned = 0

    def _return_to_stream(self, stream: Stream) -> None:
        if stream.unreturned >= self._limits.window >> 1 and not stream.is_remote_done:
            stream.receive_window += stream.unreturned
            self._emit(window_frame(stream.id, stream.unreturned))
            stream.unreturned = 0

    def hold(self, stream: Stream) -> None:
        """Allow the peer no more bytes of this stream than it may send already."""
        stream.is_held = True

    def release(self, stream: Stream) -> None:
        """Take more of this stream again."""
        if not stream.is_held:
            return
        stream.is_held = False
        if stream.is_closed:
            return
        self._return_withheld(stream)
        self._return_to_stream(stream)

    def _return_withheld(self, stream: Stream) -> None:
        if stream.withheld:
            size, stream.withheld = stream.withheld, 0
            self._return_to_connection(size)

    # Control frames.

    def _on_priority(self, stream_id: int, payload: bytes, flags: int) -> None:
        # Section 5.3.2: deprecated; read and forgotten.
        self._chatter("PRIORITY frames")

    def _on_rst_stream(self, stream_id: int, payload: bytes, flags: int) -> None:
        if self._is_idle(stream_id):
            raise ConnectionFault(PROTOCOL_ERROR, "A stream is reset that was never opened.")
        stream = self.streams.get(stream_id)
        if stream is None:
            self._chatter("resets of closed streams")
            return
        if self._is_server:
            # CVE-2023-44487: a reset gives the place of a stream back at once, whatever the stream has cost.
            self._glitch(1, "resets")
        self._remember_reset(stream_id, by_us=False)
        self._remove(stream)
        stream.on_reset(int.from_bytes(payload))

    def _on_settings(self, stream_id: int, payload: bytes, flags: int) -> None:
        self._only = _ANY
        if flags & ACK:
            self._chatter("acknowledgements")
            if payload:
                raise ConnectionFault(FRAME_SIZE_ERROR, "An acknowledgement has no content.")
            return
        if len(payload) % 6:
            raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS come in sixes.")
        self._glitch(1, "SETTINGS frames")
        self._owe(SETTINGS_ACK)
        self._use_settings(dict(read_settings(payload)))

    def _use_settings(self, settings: Mapping[int, int]) -> None:
        for key, value in settings.items():
            if key in _SETTING_RANGES:
                least, most, code = _SETTING_RANGES[key]
                if not least <= value <= most:
                    raise ConnectionFault(code, "A setting has a value that is not allowed.")
        if settings.get(HEADER_TABLE_SIZE, TABLE_SIZE) < TABLE_SIZE:
            # RFC 7541 section 4.2: said once; the table of nothing that we keep never grows again.
            self._prefix = NO_TABLE
        self.peer_max_streams = settings.get(MAX_CONCURRENT_STREAMS, self.peer_max_streams)
        self.peer_allows_connect = bool(settings.get(ENABLE_CONNECT_PROTOCOL, self.peer_allows_connect))
        window = settings.get(INITIAL_WINDOW_SIZE, self._initial_window)
        if window != self._initial_window:
            self._move_windows(window - self._initial_window)
            self._initial_window = window

    def _move_windows(self, difference: int) -> None:
        """Section 6.9.2: a new initial window changes the window of every stream, below zero if need be."""
        for stream in self.streams.values():
            stream.send_window += difference
            if stream.send_window > MAX_WINDOW:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "A window grows too large.")
        if difference > 0:
            self.pump()

    def _on_ping(self, stream_id: int, payload: bytes, flags: int) -> None:
        self._chatter("PING frames")
        if not flags & ACK:
            self._owe(ping_frame(payload, is_ack=True))
        elif payload == _SHUTDOWN_PING and self._is_shutting_down:
            self.end_shutdown()

    def _on_goaway(self, stream_id: int, payload: bytes, flags: int) -> None:
        self._chatter("GOAWAY frames")
        if len(payload) < 8:
            raise ConnectionFault(FRAME_SIZE_ERROR, "GOAWAY is too short.")
        last_id, code = int.from_bytes(payload[:4]) & MAX_STREAM_ID, int.from_bytes(payload[4:8])
        self.is_leaving = self.is_ending = True
        self._handler.on_goaway(code)
        if self._is_server:
            return
        for stream in [stream for stream_id, stream in self.streams.items() if stream_id > last_id]:
            # Section 6.8: the target has not looked at these and will not.
            if not stream.is_closed:
                self._remove(stream)
                stream.on_reset(REFUSED_STREAM)

    def _on_window_update(self, stream_id: int, payload: bytes, flags: int) -> None:
        self._chatter("WINDOW_UPDATE frames")
        increment = int.from_bytes(payload) & MAX_WINDOW
        if not stream_id:
            self._send_window += increment
            if not increment or self._send_window > MAX_WINDOW:
                code = FLOW_CONTROL_ERROR if increment else PROTOCOL_ERROR
                raise ConnectionFault(code, "The connection's window grows by nothing, or too large.")
            if self._blocked:
                self.pump()
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self._is_idle(stream_id):
                raise ConnectionFault(PROTOCOL_ERROR, "A window grows of a stream that was never opened.")
            return
        stream.send_window += increment
        if not increment or stream.send_window > MAX_WINDOW:
            # CVE-2025-8671: an error that makes us reset a stream is worth as much as the peer's own reset.
            self._glitch(1, "errors in WINDOW_UPDATE frames")
            self._break(stream, FLOW_CONTROL_ERROR if increment else PROTOCOL_ERROR)
        elif stream.queue is not None:
            self._pump_stream(stream)

    def _on_push_promise(self, stream_id: int, payload: bytes, flags: int) -> None:
        raise ConnectionFault(PROTOCOL_ERROR, "Nothing may be pushed here.")

    # What peers may not do too often.

    def _chatter(self, what: str) -> None:
        """Count a frame that asks for little; they are free in proportion to what we send."""
        left = min(self._chatter_left, _MOST_CHATTER)
        if left > 0:
            self._chatter_left = left - 1
        else:
            self._glitch(1, what)

    def _glitch(self, cost: float, what: str) -> None:
        """Count something that no busy peer does often; raises ConnectionFault when it does."""
        limit, now = self._limits.glitches, self._now
        left = self._glitches - (now - self._glitches_at) * limit * _GLITCHES_PER_S
        self._glitches = max(left, 0.0) + cost
        self._glitches_at = now
        if self._glitches > limit:
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"Too many glitches, the last: {what}.")

    def _owe(self, answer: bytes) -> None:
        """Answer a control frame; a peer that asks and does not read is not kept."""
        if self.is_write_paused:
            self._owed += 1
            if self._owed > self._limits.owed:
                raise ConnectionFault(ENHANCE_YOUR_CALM, "Answers are asked for and not read.")
        self._emit(answer)

    # What goes out.

    def open(self, stream: Stream, block: bytes, *, ends: bool) -> None:
        """Begin a request on a stream of ours, which gets its number here."""
        stream.id = self._next_id
        self._next_id += 2
        self._take_in(stream)
        self.send_head(stream, block, ends=ends)

    @property
    def has_numbers(self) -> bool:
        """Whether streams of ours can still be numbered."""
        return self._next_id <= MAX_STREAM_ID

    def _take_in(self, stream: Stream) -> None:
        stream.send_window = self._initial_window
        stream.receive_window = self._limits.window
        self.streams[stream.id] = stream

    @property
    def is_begun(self) -> bool:
        """Whether the peer's own preface has come."""
        return self._only != SETTINGS

    def _end_local(self, stream: Stream) -> None:
        stream.is_local_done = True
        if self._is_server:
            if self._glitches:
                self._glitches = max(0.0, self._glitches - _GLITCH_FORGIVEN)
            if not (stream.is_remote_done or stream.is_tunnel):
                # Section 8.1: the rest of the request is of no use to anybody.
                self.reset(stream, NO_ERROR)
                return
        if stream.is_remote_done:
            self._remove(stream)

    def reset(self, stream: Stream, code: int) -> None:
        """Close a stream of which nothing more is wanted; its `on_reset` is not called."""
        if not stream.is_closed:
            self._remove(stream)
            self._emit_reset(stream.id, code)

    def _break(self, stream: Stream, code: int) -> None:
        """Close a stream because of what the peer did on it."""
        self.reset(stream, code)
        stream.on_reset(code)

    def _emit_reset(self, stream_id: int, code: int) -> None:
        self._remember_reset(stream_id, by_us=_BY_US)
        self._owe(reset_frame(stream_id, code))

    def _remember_reset(self, stream_id: int, *, by_us: bool) -> None:
        known = self._reset_streams
        known[stream_id] = by_us
        if len(known) > _MAX_RESET_STREAMS:
            del known[next(iter(known))]

    def _remove(self, stream: Stream) -> None:
        stream.is_closed = True
        del self.streams[stream.id]
        self._forget_queue(stream)
        self._return_withheld(stream)
        if not self.streams:
            self._handler.on_idle()

    def ping(self, payload: bytes) -> None:
        """Ask the peer, in eight bytes, to say something."""
        if not self.is_over:
            self._emit(ping_frame(payload))

    # The end.

    def begin_shutdown(self) -> None:
        """Tell the peer to open no more streams; those on their way are still taken (section 6.8)."""
        if not (self._is_shutting_down or self.is_over):
            self._is_shutting_down = True
            self._emit(goaway_frame(MAX_STREAM_ID, NO_ERROR) + ping_frame(_SHUTDOWN_PING))

    def end_shutdown(self) -> None:
        """Take no stream any more that is not here yet."""
        if self._last_allowed == MAX_STREAM_ID and not self.is_over:
            self._is_shutting_down = self.is_ending = True
            self._last_allowed = self.last_id
            self._emit(goaway_frame(self.last_id, NO_ERROR))

    def close(self, code: int = NO_ERROR, detail: str = "") -> None:
        """Close every stream and say goodbye; nothing is received or sent any more."""
        self._fail(ConnectionFault(code, detail))

    def abandon(self) -> None:
        """The connection is gone: close every stream."""
        self.is_over = True
        streams = tuple(self.streams.values())
        self.streams.clear()
        self._blocked.clear()
        self._out.clear()
        for stream in streams:
            stream.is_closed = True
            stream.queue = None
        for stream in streams:
            stream.on_reset(CANCEL)

    def leave(self) -> None:
        """The connection is gone: close every stream, and let go of who had it.

        In a circle the two would wait for a rare full collection.
        """
        self.abandon()
        self._handler = Nobody()

    def _fail(self, fault: ConnectionFault) -> None:
        if self.is_over:
            return
        goodbye = goaway_frame(self.last_id, fault.code, fault.detail)
        waiting = self.take()
        self.abandon()
        self._emit(waiting + goodbye)
        self._rest = b""
        self._handler.on_fault(fault)


class _Check(NamedTuple):
    """What holds for every frame of a type, and what takes it."""

    handle: Callable[[Connection, int, bytes, int], None]
    size: int | None
    is_for_streams: bool | None


# By frame type; DATA and HEADERS come another way.
_CHECKS: Final[Mapping[int, _Check]] = {
    PRIORITY: _Check(Connection._on_priority, 5, is_for_streams=True),  # noqa: SLF001
    RST_STREAM: _Check(Connection._on_rst_stream, 4, is_for_streams=True),  # noqa: SLF001
    SETTINGS: _Check(Connection._on_settings, None, is_for_streams=False),  # noqa: SLF001
    5: _Check(Connection._on_push_promise, None, is_for_streams=None),  # noqa: SLF001
    PING: _Check(Connection._on_ping, 8, is_for_streams=False),  # noqa: SLF001
    GOAWAY: _Check(Connection._on_goaway, None, is_for_streams=False),  # noqa: SLF001
    WINDOW_UPDATE: _Check(Connection._on_window_update, 4, is_for_streams=None),  # noqa: SLF001
    CONTINUATION: _Check(Connection._on_continuation, None, is_for_streams=True),  # noqa: SLF001
}
# The least and the most of a setting, and the error for anything else (section 6.5.2).
_SETTING_RANGES: Final[Mapping[int, tuple[int, int, int]]] = {
    ENABLE_PUSH: (0, 1, PROTOCOL_ERROR),
    ENABLE_CONNECT_PROTOCOL: (0, 1, PROTOCOL_ERROR),
    INITIAL_WINDOW_SIZE: (0, MAX_WINDOW, FLOW_CONTROL_ERROR),
    MAX_FRAME_SIZE: (DEFAULT_FRAME_SIZE, LARGEST_FRAME_SIZE, PROTOCOL_ERROR),
}
