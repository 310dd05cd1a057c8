"""A visitor's HTTP/2 connection: many exchanges at a time, one on each stream (RFC 9113)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from mesh import h2_stream
from mesh.arrival import Arrival
from mesh.deadlines import TICK_S
from mesh.errors import BAD_REQUEST, HEAD_TOO_LARGE, MISDIRECTED, NOT_IMPLEMENTED, Failure
from mesh.exchange import Exchange
from mesh.frames import CANCEL, INTERNAL_ERROR, NO_ERROR
from mesh.h2_connection import H2Connection
from mesh.h2_stream import Limits
from mesh.hpack import encode, encode_line, encode_lines
from mesh.wire import RequestLine

if TYPE_CHECKING:
    import asyncio

    from mesh.core import Core
    from mesh.forward import Peer, RequestFields, ResponseFields
    from mesh.frames import ConnectionFault
    from mesh.h2_heads import RequestHead, ResponseHead
    from mesh.relay import Tunnel
    from mesh.wire import StatusLine

_LINGER_S: Final = 2.0
# How long the peer has to hear that no more streams are taken.
_SHUTDOWN_S: Final = 1.0
_BODYLESS: Final = frozenset({204, 304})
_SCHEMES: Final = frozenset({b"http", b"https"})
_OK: Final = encode(b":status", b"200")

_CONTENT_TYPE: Final = b"content-type"
_ACCEPT: Final = b"sec-websocket-accept:"
_GRPC: Final = b"application/grpc"
# The status of a call that the proxy answers by itself, by that of HTTP; all others are UNKNOWN (2).
_GRPC_STATUSES: Final[Mapping[int, int]] = {
    400: 13,
    401: 16,
    403: 7,
    404: 12,
    405: 12,
    408: 4,
    413: 8,
    421: 14,
    429: 14,
    431: 8,
    501: 12,
    502: 14,
    503: 14,
    504: 14,
}
_GRPC_UNKNOWN: Final = 2

Request = tuple[RequestLine, "RequestFields"]


class H2Downstream(H2Connection):
    """The visitor's connection: it reads frames, keeps the time of all streams, and writes once for what is collected.

    What waits to be written leaves at the end of the turn in which it was made. A connection whose last stream has
    ended is kept for a while, and closed with a word about which requests it has taken.
    """

    __slots__ = ("_idle_since", "_is_lingering", "_unsent", "arrival", "peer", "requests")

    def __init__(self, core: Core, arrival: Arrival | None = None) -> None:
        """A connection that is about to be made; `arrival` is what is known of it already."""
        settings = core.settings
        limits = Limits(streams=settings.http2_max_streams, head=settings.max_head_bytes, connect_protocol=True)
        super().__init__(core, is_server=True, limits=limits)
        self.arrival: Arrival
        self.peer: Peer
        if arrival is not None:
            self.arrival, self.peer = arrival, arrival.peer
        self.requests = 0
        self._is_lingering = False
        self._idle_since = 0.0
        self._unsent = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A visitor is here."""
        super().connection_made(transport)
        core = self.core
        if not hasattr(self, "peer"):
            name = transport.get_extra_info("peername")
            self.peer = core.peer(name[0] if isinstance(name, tuple) else "unix")
            self.arrival = Arrival(self.peer)
        if not core.visitor_arrived(self):
            self._leave()
            return
        core.counters.h2_connections += 1
        self._idle_since = core.now
        self.h2.start()
        # Whoever does not begin has the time for a head; see `expired`.
        self.look_at(core.now + core.settings.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The visitor is gone, and with it every stream."""
        self.is_closed = True
        self.core.visitor_left(self)
        self.h2.leave()

    def eof_received(self) -> bool:
        """The visitor sends nothing more, not even the windows for what it would have to be sent: it has left."""
        return False

    def data_received(self, data: bytes) -> None:
        """Frames, unless the last word is said."""
        if not self._is_lingering:
            super().data_received(data)

    # What the state machine calls.

    def make_stream(self, stream_id: int) -> Stream:
        """The stream for a request."""
        self.requests += 1
        return Stream(self, stream_id)

    def on_idle(self) -> None:
        """The last stream has ended: the connection has its time to wait for another one."""
        self._idle_since = now = self.core.now
        due = now + self.core.settings.keepalive_idle_s
        if due < self.deadline:
            self.look_at(due)
        if self.h2.is_ending:
            self.on_output()

    def on_goaway(self, code: int) -> None:
        """The visitor opens no more streams; `flush` closes behind the last one."""

    def on_fault(self, fault: ConnectionFault) -> None:
        """The visitor broke the protocol, or asked for too much."""
        self.flush()
        self._linger()

    def on_end(self) -> None:
        """Every request that was taken has been answered (section 6.8)."""
        self._linger()

    # Time.

    def expired(self) -> None:
        """The earliest deadline has passed: see what is due, and find the next one."""
        if self._is_lingering:
            self._give_up_unless_it_moves()
            return
        if self.is_closed:
            return
        now = self.core.now
        for stream in tuple(self.h2.streams.values()):
            if isinstance(stream, Stream) and stream.deadline <= now and not stream.is_closed:
                stream.expired()
        self._look_again(now)

    def _look_again(self, now: float) -> None:
        streams = self.h2.streams
        if streams:
            due = min(stream.deadline for stream in streams.values() if isinstance(stream, Stream))
            self.look_at(max(due, now + TICK_S))
            return
        settings = self.core.settings
        due = self._idle_since + (settings.keepalive_idle_s if self.h2.is_begun else settings.head_timeout_s)
        if due > now:
            self.look_at(due)
        else:
            self._say_goodbye()

    # Leaving.

    def retire(self) -> None:
        """The worker drains: take no new streams, and close behind the last one."""
        if self._is_lingering or self.is_closed:
            return
        self.h2.begin_shutdown()
        self.core.call_later(_SHUTDOWN_S, self._end_shutdown)

    def _end_shutdown(self) -> None:
        if not (self.is_closed or self._is_lingering):
            self.h2.end_shutdown()
            self.flush()

    def _say_goodbye(self) -> None:
        """Close a connection without streams."""
        self.is_turn = True
        self.h2.close(NO_ERROR)
        self.is_turn = False

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self.h2.leave()
        self.is_closed = True
        self._transport.abort()

    def _linger(self) -> None:
        """Close when everything is written, and read on for a while: a reset would take the last words with it."""
        if self._is_lingering:
            return
        self.write_eof()
        self.resume_reading()
        self._watch_the_rest()

    def _leave(self) -> None:
        self.is_closed = True
        self._transport.close()
        self._watch_the_rest()

    def _watch_the_rest(self) -> None:
        self._is_lingering = True
        self._unsent = self._transport.get_write_buffer_size()
        settings = self.core.settings
        self.look_at(self.core.now + (settings.body_idle_s if self._unsent else _LINGER_S))

    def _give_up_unless_it_moves(self) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._watch_the_rest()
        else:
            self._transport.abort()

    # Requests in the form that the rest of the proxy reads.

    def request(self, head: RequestHead, *, has_body: bool) -> Request:
        """The request line and the section of a head; raises Failure."""
        if head.is_too_large:
            raise Failure(HEAD_TOO_LARGE)
        method, target, lines = head.method, head.path, head.lines
        if method == b"CONNECT":
            if head.protocol is not None:
                return self._upgrade(head)
            target = head.authority
        elif head.scheme != self._scheme and (self.arrival.tls is not None or head.scheme not in _SCHEMES):
            raise Failure(MISDIRECTED)
        if has_body and head.length < 0:
            lines += b"transfer-encoding: chunked\r\n"
        request = self._read(method, target, lines)
        if has_body:
            head.kept_with_body = request
        else:
            head.kept = request
        return request

    @property
    def _scheme(self) -> bytes:
        return b"http" if self.arrival.tls is None else b"https"

    def _read(self, method: bytes, target: bytes, lines: bytes) -> Request:
        heads = self.core.request_heads
        line = heads.line(b"%b %b HTTP/1.1" % (method, target))
        fields = heads.fields(lines + b"\r\n", 2)
        return RequestLine(line.method, line.target, 2, None), fields

    def _upgrade(self, head: RequestHead) -> Request:
        """Extended CONNECT (RFC 8441) as the Upgrade that a target of HTTP/1 knows; raises Failure."""
        if head.protocol is None or head.protocol.lower() != b"websocket":
            raise Failure(NOT_IMPLEMENTED, "Only WebSockets can be connected to.")
        if head.scheme != self._scheme and self.arrival.tls is not None:
            raise Failure(MISDIRECTED)
        if head.length > 0:
            raise Failure(BAD_REQUEST, "A WebSocket has no Content-Length.")
        kept = [line for line in head.lines.split(b"\r\n") if line and not line.startswith(b"sec-websocket-key:")]
        key = base64.b64encode(self.core.random_bytes(16))
        kept += (b"connection: upgrade", b"upgrade: websocket", b"sec-websocket-key: %b" % key, b"")
        return self._read(b"GET", head.path, b"\r\n".join(kept))


class Stream(h2_stream.Stream):
    """The visitor's side of one exchange."""

    __slots__ = (
        "_ahead",
        "_connection",
        "_core",
        "_head",
        "_is_head_request",
        "_to_send",
        "_tunnel",
        "_unsent",
        "arrival",
        "deadline",
        "exchange",
        "peer",
        "requests",
    )

    def __init__(self, connection: H2Downstream, stream_id: int) -> None:
        """A stream of `connection` whose request is about to be read."""
        super().__init__(stream_id)
        self._connection = connection
        self._core = connection.core
        self.peer = connection.peer
        self.arrival = connection.arrival
        self.requests = connection.requests
        self.deadline = self._core.now + self._core.settings.body_idle_s
        self.exchange: Exchange | None = None
        self._tunnel: Tunnel | None = None
        # What came for a tunnel that is not there yet.
        self._ahead: list[bytes] | None = None
        self._is_head_request = False
        # That of a response of which it is not known whether anything follows.
        self._head = b""
        # Of a response of known length, else -1.
        self._to_send = -1
        self._unsent = 0

    def endpoints(self) -> tuple[object, object]:
        """The names of the visitor's socket and of ours."""
        return self._connection.endpoints()

    # What the state machine calls.

    def on_request(self, head: RequestHead) -> None:
        """Begin the exchange."""
        connection, core = self._connection, self._core
        has_body = not self.is_remote_done
        request = head.kept_with_body if has_body else head.kept
        try:
            if request is None:
                request = connection.request(head, has_body=has_body)
            line, fields = request
        except Failure as failure:
            self._is_head_request = head.method == b"HEAD"
            self._refuse(failure)
            return
        core.counters.h2_streams += 1
        if connection.requests == core.settings.max_requests_per_connection:
            connection.retire()
        self._is_head_request = line.method == b"HEAD"
        exchange = self.exchange = Exchange(core, self, line, fields)
        if has_body:
            self._expect_body(exchange, head)
        exchange.begin()

    def _expect_body(self, exchange: Exchange, head: RequestHead) -> None:
        if head.protocol is not None:
            # What comes now is for the tunnel: no more than the window holds, before there is one.
            self._ahead = []
            self.is_held = True
        else:
            exchange.is_request_complete = not exchange.fields.has_body

    def on_response(self, head: ResponseHead) -> None:
        """No visitor answers."""

    def on_data(self, data: bytes) -> None:
        """A piece of the body, or of a tunnel."""
        if self._tunnel is not None:
            self._tunnel.from_visitor(data)
        elif self._ahead is not None:
            self._ahead.append(data)
        elif self.exchange is not None:
            self.exchange.request_data(data)

    def on_end(self, trailers: list[bytes] | None) -> None:
        """The request is complete."""
        if self._tunnel is not None:
            self._tunnel.visitor_ended()
        elif self.exchange is not None and not self.exchange.is_request_complete:
            self.exchange.request_end(trailers)
        if self.is_local_done:
            self.exchange = None

    def on_reset(self, code: int) -> None:
        """The visitor wants nothing more of this."""
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            tunnel.lost()
        elif self.exchange is not None:
            self.exchange.visitor_lost()
        self.exchange = None

    def on_slow(self) -> None:
        """The visitor does not take what was sent."""
        self._unsent = self._waiting
        if self._tunnel is not None:
            self._tunnel.visitor_is_slow()
        elif self.exchange is not None:
            self.exchange.visitor_is_slow()

    def on_writable(self) -> None:
        """The visitor has caught up."""
        if self._tunnel is not None:
            self._tunnel.visitor_caught_up()
        elif self.exchange is not None:
            self.exchange.visitor_caught_up()

    # Time.

    def wait(self, seconds: float) -> None:
        """Give up when nothing moves for so long."""
        connection = self._connection
        deadline = self.deadline = self._core.now + seconds
        if deadline < connection.deadline:
            connection.look_at(deadline)

    def stretch(self, seconds: float, at_most: float) -> None:
        """Put off the deadline by `seconds`, to no more than `at_most` seconds from now."""
        now = self._core.now
        self.deadline = min(now + at_most, max(self.deadline, now) + seconds)

    def expired(self) -> None:
        """The deadline has passed."""
        waiting = self._waiting
        settings = self._core.settings
        due = max(1, settings.min_bytes_per_s * settings.body_idle_s)
        if self.is_slow and waiting <= self._unsent - due:
            # Slow, but alive.
            self._unsent = waiting
            self.wait(settings.body_idle_s)
            return
        self.deadline = self._core.now + settings.body_idle_s
        if self._tunnel is not None:
            self._reset(CANCEL)
            self.on_reset(CANCEL)
        elif self.exchange is not None and not self.exchange.is_settled:
            self.exchange.expired()
        else:
            self._reset(CANCEL)

    @property
    def _waiting(self) -> int:
        return sum(map(len, self.queue)) - self.offset if self.queue else 0

    # What the exchange calls.

    def pause_reading(self) -> None:
        """Allow the visitor no more than it may send already."""
        self._connection.h2.hold(self)

    def resume_reading(self) -> None:
        """Take more again."""
        self._connection.h2.release(self)

    def interim(self, status: StatusLine, fields: ResponseFields) -> None:
        """Send a 1xx response."""
        block = encode(b":status", b"%d" % status.status) + encode_lines(fields.passing)
        self._connection.h2.send_head(self, block)

    def respond(self, status: StatusLine, fields: ResponseFields, body: bytes) -> None:
        """Send the head of the response and what is there of its body."""
        exchange = self.exchange
        if exchange is not None and exchange.failure is not None and _is_call(exchange.fields):
            self._respond_to_call(status, fields, exchange.failure)
            return
        if self._ahead is not None and 200 <= status.status < 300:
            # RFC 8441 section 5: any 2xx would say that the other protocol has begun.
            self._to_send = 0
            self._send_head(encode(b":status", b"502"), b"")
            if exchange is not None:
                # Its stream is closed, so nobody else would tell it. Not here, where the target's answer is being read.
                self._core.call_soon(exchange.visitor_lost)
            return
        block = fields.h2_block if fields.h2_block_for is status else _block(status, fields)
        if not fields.has_date:
            block += encode(b"date", self._core.date())
        length = fields.framing.length
        if self._is_head_request or status.status in _BODYLESS:
            body, length = b"", 0
        if length is not None:
            self._to_send = length - len(body)
        elif not body:
            # The end may follow at once, and then it has to be in the frame of the head: gRPC's clients take a head
            # with a status and an empty frame behind it for a broken call.
            self._head = block
            self._core.call_soon(self._release_head)
            return
        self._send_head(block, body)

    def _release_head(self) -> None:
        head, self._head = self._head, b""
        if head and not self.is_closed:
            self._send_head(head, b"")

    def _send_head(self, block: bytes, body: bytes) -> None:
        connection = self._connection
        machine = connection.h2
        if connection.is_turn or len(machine.streams) > 1:
            machine.respond(self, block, body, ends=self._to_send == 0)
            return
        # Nobody else has anything to add to what is written.
        connection.is_turn = True
        machine.respond(self, block, body, ends=self._to_send == 0)
        connection.is_turn = False
        connection.flush()

    def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        if self.is_local_done:
            return
        if self._to_send >= 0:
            self._to_send -= len(data)
        if self._head:
            head, self._head = self._head, b""
            self._send_head(head, data)
            return
        self._connection.h2.send_data(self, data, ends=self._to_send == 0)

    def finish(self, trailers: bytes) -> None:
        """The response is complete; what waits for the visitor has its own time."""
        if self.is_remote_done:
            # The exchange holds this stream: in a circle both would wait for a rare full collection.
            self.exchange = None
        if self._head:
            head, self._head = self._head, b""
            if not trailers:
                self._to_send = 0
            self._send_head(head, b"")
        if self.is_local_done or self.is_closed:
            return
        if self._to_send > 0:
            self._reset(INTERNAL_ERROR)
            return
        self._connection.h2.finish(self, encode_lines(trailers) if trailers else b"")
        if self.queue:
            self._unsent = self._waiting
            self.wait(self._core.settings.body_idle_s)

    def distrust(self) -> None:
        """Frames cannot be mistaken for others."""

    def take_no_more(self) -> None:
        """No stream is opened after this one."""
        self._connection.retire()

    def cut(self) -> None:
        """Reset the stream, so that the visitor cannot take the response for complete."""
        self._reset(INTERNAL_ERROR)

    def _reset(self, code: int) -> None:
        self.exchange = None
        self._head = b""
        self._connection.h2.reset(self, code)

    def _refuse(self, failure: Failure) -> None:
        """Answer a request that never became an exchange."""
        core = self._core
        request_id = core.next_request_id()
        status, fields, body = core.rules.failure_answer(failure, b"", request_id)
        self.respond(status, fields, body)
        self.finish(b"")
        core.refused(failure, self.peer, request_id, len(body))

    def _respond_to_call(self, status: StatusLine, fields: ResponseFields, failure: Failure) -> None:
        """Tell a caller of gRPC what happened in the way that it understands: by trailers alone."""
        code = _GRPC_STATUSES.get(status.status, _GRPC_UNKNOWN)
        message = _percent_encoded(failure.detail.encode("utf-8"))
        lines = [line for line in fields.passing.split(b"\r\n") if not line.lower().startswith(_CONTENT_TYPE)]
        block = b"".join(
            (
                _OK,
                encode(_CONTENT_TYPE, _GRPC),
                encode(b"grpc-status", b"%d" % code),
                encode(b"grpc-message", message),
                *(encode_line(line) for line in lines if line),
                encode(b"date", self._core.date()),
            )
        )
        self._connection.h2.send_head(self, block, ends=True)

    # A tunnel.

    def switch(self, status: StatusLine, fields: ResponseFields, tunnel: Tunnel, surplus: bytes) -> None:
        """Say 200, and carry the bytes of `tunnel` from now on, those that came ahead first (RFC 8441 section 5)."""
        lines = [line for line in fields.passing.split(b"\r\n") if not line.lower().startswith(_ACCEPT)]
        machine = self._connection.h2
        machine.send_head(self, _OK + b"".join([encode_line(line) for line in lines if line]))
        if surplus:
            machine.send_data(self, surplus)
        self._tunnel, self.is_tunnel = tunnel, True
        self.wait(tunnel.idle_s)
        ahead, self._ahead = self._ahead, None
        machine.release(self)
        if ahead:
            tunnel.from_visitor(b"".join(ahead))
        if self.is_slow:
            tunnel.visitor_is_slow()
        if self.is_remote_done and self._tunnel is not None:
            tunnel.visitor_ended()

    def write(self, data: bytes) -> None:
        """Send bytes of the tunnel."""
        self._connection.h2.send_data(self, data)

    def write_eof(self) -> None:
        """Say that nothing more follows, and go on reading."""
        self._connection.h2.finish(self)

    def close(self) -> None:
        """Close the stream when everything is sent."""
        self._tunnel = None
        self.is_tunnel = False
        if self.is_local_done:
            self._reset(NO_ERROR)
        else:
            self._connection.h2.finish(self)


def _block(status: StatusLine, fields: ResponseFields) -> bytes:
    """The head of a response but for its date, kept with its fields: it means the same on every connection."""
    length = fields.framing.length
    lines = fields.passing if length is None or status.status == 204 else fields.passing + fields.length_line
    fields.h2_block = encode(b":status", b"%d" % status.status) + encode_lines(lines)
    fields.h2_block_for = status
    return fields.h2_block


def _is_call(fields: RequestFields) -> bool:
    return fields.value(_CONTENT_TYPE).startswith(_GRPC)


def _percent_encoded(message: bytes) -> bytes:
    """As gRPC writes messages: printable ASCII, all else and the percent sign as %XX."""
    octets = [bytes((octet,)) for octet in message]
    return b"".join([octet if b" " <= octet <= b"~" and octet != b"%" else b"%%%02X" % ord(octet) for octet in octets])
