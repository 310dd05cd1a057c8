"""A connection to a target: requests out, responses in, one at a time."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from mesh.abandoned import Abandoned
from mesh.connection import Connection
from mesh.deadlines import TICK_S
from mesh.errors import BAD_RESPONSE, RESPONSE_TOO_LARGE, Failure
from mesh.sides import TargetSide
from mesh.wire import END_OF_HEAD, LAST_CHUNK, ChunkedBody, chunk, has_bare_lf

if TYPE_CHECKING:
    from mesh.core import Core
    from mesh.forward import ResponseFields
    from mesh.relay import Tunnel
    from mesh.sides import Answered, Asking
    from mesh.targets import TargetState
    from mesh.wire import StatusLine

_MAX_HEAD: Final = 64 * 1024


class _Body(Enum):
    """What the bytes that come next are."""

    IDLE = auto()
    HEAD = auto()
    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()
    TUNNEL = auto()


_IDLE: Final = _Body.IDLE
_HEAD: Final = _Body.HEAD
_LENGTH: Final = _Body.LENGTH
_CHUNKED: Final = _Body.CHUNKED


class Upstream(Connection, TargetSide):
    """The target's side of exchanges, kept between them in the target's pool."""

    __slots__ = (
        "_body",
        "_buffer",
        "_chunks",
        "_core",
        "_exchange",
        "_is_chunking",
        "_is_ended",
        "_is_head",
        "_is_reusable",
        "_left",
        "_target",
        "_tunnel",
        "is_private",
        "is_reused",
    )

    def __init__(self, core: Core, target: TargetState[TargetSide]) -> None:
        """A connection to `target` that is being made."""
        super().__init__()
        self._core = core
        self._target = target
        self._exchange: Answered | None = None
        self._tunnel: Tunnel | None = None
        self._body = _IDLE
        self._buffer = b""
        self._chunks: ChunkedBody | None = None
        self._left = 0
        self._is_chunking = False
        self._is_ended = False
        self._is_head = False
        self._is_reusable = False
        # Whether the target was told on this connection who it is for, so that nobody else may use it.
        self.is_private = False
        self.is_reused = False

    # What asyncio calls.

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.is_closed = True
        self._core.deadlines.forget(self)
        exchange, tunnel = self._exchange, self._tunnel
        self._exchange = self._tunnel = None
        if tunnel is not None:
            tunnel.lost()
        elif exchange is not None:
            if self._body is _Body.UNTIL_CLOSE and self._is_ended and exc is None:
                exchange.response_end(None, is_reusable=False)
            else:
                exchange.target_lost(exc)

    def eof_received(self) -> bool:
        """The target sends nothing more; only a tunnel goes on in the other direction.

        Over TLS that is said by a close_notify: without one the connection was cut, by whomever (RFC 9112 section 9.8).
        """
        self._is_ended = True
        self.is_closed = self._tunnel is None
        if self._tunnel is not None:
            self._tunnel.target_ended()
            return True
        return False

    def pause_writing(self) -> None:
        """The target is slow."""
        flow = self._tunnel or self._exchange
        if flow is not None:
            flow.target_is_slow()

    def resume_writing(self) -> None:
        """The target has caught up."""
        flow = self._tunnel or self._exchange
        if flow is not None:
            flow.target_caught_up()

    def data_received(self, data: bytes) -> None:
        """Bytes of a response, or of a tunnel."""
        exchange = self._exchange
        if exchange is None:
            # Nobody asked: reusing the connection would give this answer to another visitor.
            self.abort()
            return
        try:
            if self._body is _HEAD:
                self._read_head(exchange, self._buffer + data if self._buffer else data)
            elif self._tunnel is not None:
                self._tunnel.from_target(data)
            else:
                self._read_body(exchange, data)
        except Failure as failure:
            exchange.fail(failure)

    # What the exchange calls.

    def begin(self, exchange: Asking, method: bytes, path: bytes, lines: bytes) -> None:
        """Send the head of a request and expect the response for `exchange`."""
        self._exchange = exchange
        # A response to HEAD has no body (RFC 9112 section 6.3).
        self._is_head = method == b"HEAD"
        self._is_chunking = exchange.fields.framing.chunked
        self._body = _HEAD
        self.write(b"%b %b HTTP/1.1\r\n%b\r\n" % (method, path, lines))

    def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        self.write(chunk(data) if self._is_chunking else data)

    def finish(self, trailers: bytes) -> None:
        """End the body."""
        if self._is_chunking:
            self.write(b"0\r\n%b\r\n" % trailers if trailers else LAST_CHUNK)

    def abandon(self, until: float) -> None:
        """Read the rest of the response for nobody."""
        self._exchange = Abandoned(self)
        self.deadline = until
        if self._is_reading_paused:
            self.resume_reading()
        if until < self.looked_at * TICK_S or not self.looked_at:
            self._core.deadlines.watch(self)

    def release(self, *, is_reusable: bool) -> None:
        """The exchange is over: back to the pool, or closed."""
        self._exchange = None
        self._body = _IDLE
        self._chunks = None
        if self._is_reading_paused:
            self.resume_reading()
        if self._transport.get_write_buffer_size():
            # A target that answered before it took the whole body: the rest must not run into the next request.
            self.abort()
            return
        if not is_reusable or self.is_private or self.is_closed or self._transport.is_closing():
            self.close()
            return
        self.is_reused = True
        self.deadline = self._core.now + self._core.pool_idle_s
        if not self.looked_at:
            self._core.deadlines.watch(self)
        surplus = self._target.pool.give(self)
        if surplus is not None:
            surplus.close()

    def expired(self) -> None:
        """The deadline has passed: an idle connection is closed, a busy one is its exchange's business."""
        if self._exchange is None:
            self.close()
        elif isinstance(self._exchange, Abandoned):
            self.abort()

    def switch(self, tunnel: Tunnel) -> None:
        """Carry the bytes of `tunnel` from now on."""
        self._tunnel = tunnel
        self._body = _Body.TUNNEL

    def close(self) -> None:
        """Close when everything is written."""
        self._exchange = self._tunnel = None
        self.is_closed = True
        self._transport.close()

    def abort(self) -> None:
        """Close at once: the target must not take a broken request for a complete one."""
        self._exchange = self._tunnel = None
        self.is_closed = True
        self._transport.abort()

    # Reading a response.

    def _read_head(self, exchange: Answered, data: bytes) -> None:
        known = self._core.response_heads.known(data)
        if known is not None:
            self._buffer = b""
            self._begin_body(exchange, known.status, known.fields, data[len(known.head) :])
            return
        end = data.find(END_OF_HEAD)
        if end < 0:
            self._keep_partial_head(data)
            return
        if end > _MAX_HEAD:
            raise Failure(RESPONSE_TOO_LARGE)
        line_end = data.find(b"\r\n")
        heads = self._core.response_heads
        status = heads.status(data[:line_end])
        fields = heads.fields(data[line_end + 2 : end + 4], status.minor)
        if status.status >= 200:
            heads.remember(data[: end + 4], status, fields)
        rest = data[end + 4 :]
        self._buffer = b""
        if status.status >= 200:
            self._begin_body(exchange, status, fields, rest)
        elif status.status == 101:
            exchange.switch(status, fields, rest)
        else:
            exchange.interim(status, fields)
            if rest:
                self._read_head(exchange, rest)

    def _keep_partial_head(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1."[: len(data)]) or has_bare_lf(data):
            raise Failure(BAD_RESPONSE, "The target does not speak HTTP/1.1.")
        if len(data) > _MAX_HEAD:
            raise Failure(RESPONSE_TOO_LARGE)
        self._buffer = data

    def _begin_body(self, exchange: Answered, status: StatusLine, fields: ResponseFields, rest: bytes) -> None:
        framing = fields.framing
        self._is_reusable = fields.keep_alive
        if self._is_head or status.status in (204, 304):
            self._take_length(exchange, (status, fields), rest, 0)
        elif framing.length is not None:
            self._take_length(exchange, (status, fields), rest, framing.length)
        elif framing.chunked:
            self._body, self._chunks = _CHUNKED, ChunkedBody()
            data = self._decoded(self._chunks, rest)
            exchange.response(status, fields, data)
            exchange.response_goes_on()
            self._end_if_complete(exchange, self._chunks)
        else:
            self._body = _Body.UNTIL_CLOSE
            exchange.response(status, fields, rest)
            exchange.response_goes_on()

    def _take_length(
        self, exchange: Answered, head: tuple[StatusLine, ResponseFields], rest: bytes, length: int
    ) -> None:
        status, fields = head
        size = len(rest)
        if size < length:
            self._body, self._left = _LENGTH, length - size
            exchange.response(status, fields, rest)
            exchange.response_goes_on()
            return
        if size > length:
            # Surplus bytes would be read as the answer to the next request: drop them, and the connection with them.
            self._is_reusable = False
            rest = rest[:length]
        exchange.response(status, fields, rest)
        self._end(exchange, None)

    def _read_body(self, exchange: Answered, data: bytes) -> None:
        if self._body is _LENGTH:
            if len(data) > self._left:
                self._is_reusable = False
                data = data[: self._left]
            self._left -= len(data)
            exchange.response_data(data)
            if not self._left:
                self._end(exchange, None)
        elif self._chunks is not None:
            data = self._decoded(self._chunks, data)
            if data:
                exchange.response_data(data)
            self._end_if_complete(exchange, self._chunks)
        else:
            exchange.response_data(data)

    @staticmethod
    def _decoded(chunks: ChunkedBody, data: bytes) -> bytes:
        try:
            pieces = chunks.feed(data)
        except ValueError as error:
            raise Failure(BAD_RESPONSE, f"The target's answer is malformed: {error}") from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _end_if_complete(self, exchange: Answered, chunks: ChunkedBody) -> None:
        if chunks.trailers is not None:
            self._is_reusable = self._is_reusable and not chunks.surplus
            self._end(exchange, chunks.trailers)

    def _end(self, exchange: Answered, trailers: list[bytes] | None) -> None:
        # The exchange may have been cut while the last piece was written.
        if not exchange.is_settled:
            exchange.response_end(trailers, is_reusable=self._is_reusable)
