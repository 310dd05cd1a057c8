"""A visitor's HTTP/1.1 connection: requests in, in order, and their responses out."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Final

from mesh.arrival import Arrival
from mesh.connection import Connection
from mesh.deadlines import TICK_S
from mesh.errors import BAD_REQUEST, HEAD_TOO_LARGE, REQUEST_TIMEOUT, Failure
from mesh.exchange import Exchange
from mesh.sides import Visitor
from mesh.wire import END_OF_HEAD, LAST_CHUNK, ChunkedBody, check_partial_head, chunk, start_of_head

if TYPE_CHECKING:
    from mesh.core import Core
    from mesh.forward import Peer, RequestFields, ResponseFields
    from mesh.relay import Tunnel
    from mesh.wire import RequestLine, StatusLine

# What a visitor may send ahead of its turn before its connection is read no further.
_MAX_AHEAD: Final = 64 * 1024
# Not Final: tests shorten it, and compiled code contains the values of those that are.
_LINGER_S = 2.0
# RFC 9113 section 3.4.
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Downstream(Connection, Visitor):
    """The visitor's side of exchanges.

    Requests are taken one at a time; what is sent ahead waits, bounded, in `_buffer`. A connection that has to be
    closed while the visitor may still be sending lingers: it says that nothing more follows and reads on for a while,
    because closing with unread bytes would reset the connection and take the answer with it (RFC 9112 section 9.6).
    """

    __slots__ = (
        "_buffer",
        "_chunks",
        "_core",
        "_exchange",
        "_is_announced",
        "_is_chunking",
        "_is_delimited",
        "_is_head_begun",
        "_is_kept",
        "_is_lingering",
        "_is_reading_heads",
        "_is_slow",
        "_left",
        "_tunnel",
        "_unsent",
        "arrival",
        "peer",
        "requests",
    )

    def __init__(self, core: Core, arrival: Arrival | None = None) -> None:
        """A connection that is about to be made; `arrival` is what is known of it already."""
        super().__init__()
        self._core = core
        self.arrival: Arrival
        self.peer: Peer
        if arrival is not None:
            self.arrival, self.peer = arrival, arrival.peer
        self._is_announced = arrival is not None
        self._exchange: Exchange | None = None
        self._tunnel: Tunnel | None = None
        self._buffer = b""
        self._chunks: ChunkedBody | None = None
        self._left = 0
        self.requests = 0
        # How the response that is being written ends, and whether the connection outlives it.
        self._is_chunking = False
        self._is_delimited = True
        self._is_kept = True
        self._is_head_begun = True
        self._is_reading_heads = False
        self._is_slow = False
        self._is_lingering = False
        self._unsent = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A visitor is here: it has the time for one request head."""
        super().connection_made(transport)
        if not self._is_announced:
            name = transport.get_extra_info("peername")
            self.peer = self._core.peer(name[0] if isinstance(name, tuple) else "unix")
            self.arrival = Arrival(self.peer)
        if not self._core.visitor_arrived(self):
            self._leave()
            return
        self.wait(self._core.settings.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The visitor is gone."""
        self.is_closed = True
        self._core.visitor_left(self)
        exchange, tunnel = self._exchange, self._tunnel
        self._exchange = self._tunnel = None
        self._buffer = b""
        if tunnel is not None:
            tunnel.lost()
        elif exchange is not None:
            exchange.visitor_lost()

    def eof_received(self) -> bool:
        """The visitor sends nothing more: it has left, unless a tunnel or an unfinished request says otherwise."""
        if self._tunnel is not None:
            self._tunnel.visitor_ended()
            return True
        exchange = self._exchange
        if exchange is None:
            self.is_closed = True
            return False
        if exchange.is_response_begun and not self._is_delimited:
            # Ending now would make what was sent look complete; one who left will reset the connection.
            return True
        if not exchange.is_request_complete and not exchange.is_response_begun:
            exchange.fail(Failure(BAD_REQUEST, "The request broke off."))
        self.is_closed = True
        return False

    def pause_writing(self) -> None:
        """The visitor is slow."""
        self._is_slow = True
        flow = self._tunnel or self._exchange
        if flow is not None:
            flow.visitor_is_slow()

    def resume_writing(self) -> None:
        """The visitor has caught up."""
        self._is_slow = False
        flow = self._tunnel or self._exchange
        if flow is not None:
            flow.visitor_caught_up()
        elif self._buffer:
            self._read_heads(b"")

    def data_received(self, data: bytes) -> None:
        """Bytes of a head, of a body, of a tunnel, or ahead of their turn."""
        if self._exchange is None:
            known = None
            if not (self._buffer or self._is_slow or self._is_lingering):
                known = self._core.request_heads.known(data)
            if known is None:
                self._read_heads(data)
            else:
                # Exactly one head whose lines were all seen before: nothing is left to check.
                self._open(known.line, known.fields).begin()
        elif self._tunnel is not None:
            self._tunnel.from_visitor(data)
        elif self._left or self._chunks is not None:
            self._keep_ahead(self._read_body(self._exchange, data))
        else:
            self._keep_ahead(data)

    # What the exchange and the tunnel call.

    def wait(self, seconds: float) -> None:
        """Give up when nothing moves for so long."""
        self.deadline = self._core.now + seconds
        if self.deadline < self.looked_at * TICK_S or not self.looked_at:
            self._core.deadlines.watch(self)

    def stretch(self, seconds: float, at_most: float) -> None:
        """Put off the deadline by `seconds`, to no more than `at_most` seconds from now."""
        self.deadline = min(self._core.now + at_most, max(self.deadline, self._core.now) + seconds)

    def interim(self, status: StatusLine, fields: ResponseFields) -> None:
        """Write a 1xx response."""
        self.write(b"%b\r\n%b\r\n" % (status.line, fields.passing))

    def respond(self, status: StatusLine, fields: ResponseFields, body: bytes) -> None:
        """Write the head of the response and what is there of its body."""
        exchange = self._exchange
        if exchange is None:
            return
        if not exchange.is_request_complete or self._core.is_draining:
            self._is_kept = False
        if fields.ready_for is status and self._is_kept and exchange.line.minor:
            self.write(fields.ready + body)
            return
        head = self._head(exchange, status, fields)
        self.write(head + (chunk(body) if self._is_chunking else body))

    def _head(self, exchange: Exchange, status: StatusLine, fields: ResponseFields) -> bytes:
        lines = fields.passing if fields.has_date else b"%bDate: %b\r\n" % (fields.passing, self._core.date())
        framing = self._framing(exchange, status, fields)
        connection = b""
        if not self._is_kept:
            connection = b"Connection: close\r\n"
        elif not exchange.line.minor:
            connection = b"Connection: keep-alive\r\n"
        head = b"%b\r\n%b%b%b\r\n" % (status.line, lines, framing, connection)
        if fields.framing.length is not None and fields.has_date and not connection:
            fields.ready, fields.ready_for = head, status
        return head

    def _framing(self, exchange: Exchange, status: StatusLine, fields: ResponseFields) -> bytes:
        if fields.framing.length is not None:
            return b"" if status.status == 204 else fields.length_line
        if exchange.line.method == b"HEAD" or status.status in (204, 304):
            return b""
        if not exchange.line.minor:
            self._is_kept = self._is_delimited = False
            return b""
        self._is_chunking = True
        return b"Transfer-Encoding: chunked\r\n"

    def send(self, data: bytes) -> None:
        """Write a piece of the body."""
        self.write(chunk(data) if self._is_chunking else data)

    def finish(self, trailers: bytes) -> None:
        """The response is written: on to the next request, or goodbye."""
        if self._is_chunking:
            self._is_chunking = False
            self.write(b"0\r\n%b\r\n" % trailers if trailers else LAST_CHUNK)
        exchange, self._exchange = self._exchange, None
        if not self._is_kept or (exchange is not None and not exchange.is_request_complete):
            self._linger()
            return
        if self._core.is_draining and not self._holds_part_of_a_head():
            self._leave()
            return
        self.wait(self._core.keepalive_idle_s)
        if self._is_reading_paused:
            self.resume_reading()
        if self._buffer and not self._is_reading_heads:
            self._read_heads(b"")

    def distrust(self) -> None:
        """Close after this response."""
        self._is_kept = False

    def take_no_more(self) -> None:
        """This request is the last one."""
        self._is_kept = False

    def switch(self, status: StatusLine, fields: ResponseFields, tunnel: Tunnel, surplus: bytes) -> None:
        """Carry the bytes of `tunnel` from now on, those that came ahead first."""
        upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % fields.upgrade
        self.write(b"%b\r\n%b%b\r\n%b" % (status.line, fields.passing, upgrade, surplus))
        self._tunnel = tunnel
        ahead, self._buffer = self._buffer, b""
        self.resume_reading()
        if ahead:
            tunnel.from_visitor(ahead)
        if self._is_slow:
            tunnel.visitor_is_slow()
        self.wait(tunnel.idle_s)

    def cut(self) -> None:
        """End the connection so that the visitor cannot take the response for complete (RFC 9112 section 8).

        A response that only the end of the connection delimits needs a reset: a plain end would complete it.
        """
        self._exchange = None
        if self._is_delimited and not self._transport.get_write_buffer_size():
            self.is_closed = True
            self._transport.abort()
        else:
            self._reset()

    def _reset(self) -> None:
        """Close with an RST: for one who does not read, the kernel would keep what is unread for minutes."""
        if (connection := self._transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.is_closed = True
        self._transport.abort()

    def close(self) -> None:
        """Close when everything is written."""
        self._exchange = self._tunnel = None
        self._leave()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None and self._tunnel is None:
            exchange.visitor_lost()
        self.is_closed = True
        self._transport.abort()

    def retire(self) -> None:
        """The worker drains: close now if nothing is under way."""
        if self._exchange is None and not self._holds_part_of_a_head():
            self._leave()

    def expired(self) -> None:
        """The deadline has passed."""
        if self._is_lingering:
            self._give_up_unless_it_moves()
        elif self._tunnel is not None:
            self._transport.abort()
        elif self._exchange is not None:
            self._exchange.expired()
        elif self._holds_part_of_a_head():
            self._refuse(Failure(REQUEST_TIMEOUT))
        else:
            self._leave()

    def _holds_part_of_a_head(self) -> bool:
        # Empty lines between requests begin none (RFC 9112 section 2.2).
        return bool(self._buffer.strip(b"\r\n"))

    # Reading requests.

    def _read_heads(self, data: bytes) -> None:
        """Begin an exchange for each complete head, as long as the one before is over."""
        if self._is_lingering:
            return
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        if data[:4] == PREFACE[:4] and self._core.settings.http2_cleartext and self._is_http2(data):
            return
        self._is_reading_heads = True
        try:
            while data and self._is_ready():
                start = start_of_head(data)
                end = data.find(END_OF_HEAD, start)
                if end < 0:
                    self._keep_partial_head(data, start)
                    return
                data = self._begin(data[start:], end - start)
        except Failure as failure:
            self._refuse(failure)
            return
        finally:
            self._is_reading_heads = False
        if data:
            self._keep_ahead(data)

    def _is_http2(self, data: bytes) -> bool:
        """Hand a connection that begins as one of HTTP/2 over (RFC 9113 section 3.3); whether that was done."""
        if self.requests or not PREFACE.startswith(data[: len(PREFACE)]):
            return False
        if len(data) < len(PREFACE):
            self._buffer = data
            return True
        self.is_closed = True
        self._core.visitor_left(self)
        successor = self._core.http2_visitor(self.arrival)
        self._transport.set_protocol(successor)
        successor.connection_made(self._transport)
        successor.data_received(data)
        return True

    def _is_ready(self) -> bool:
        return self._exchange is None and not (self._is_slow or self._is_lingering or self.is_closed)

    def _begin(self, data: bytes, end: int) -> bytes:
        """Begin the exchange whose head ends at `end`; gives what follows its body."""
        core = self._core
        line_end = data.find(b"\r\n")
        line = core.request_heads.line(data[:line_end])
        if end > core.settings.max_head_bytes:
            raise Failure(HEAD_TOO_LARGE)
        fields = core.request_heads.fields(data[line_end + 2 : end + 4], line.minor)
        rest = data[end + 4 :]
        exchange = self._open(line, fields)
        if not fields.has_body:
            exchange.begin()
            return rest
        is_chunked = fields.framing.chunked
        exchange.is_request_complete = False
        self._chunks = ChunkedBody() if is_chunked else None
        self._left = fields.framing.length or 0
        # What a chunked body is worth shows in its first line: until then no target hears of the request. A visitor who
        # expects a 100 sends that line only when told to.
        exchange.begin(hold=is_chunked and not fields.expects_continue)
        return self._read_body(exchange, rest) if rest else rest

    def _open(self, line: RequestLine, fields: RequestFields) -> Exchange:
        self._is_head_begun = False
        self.requests += 1
        most = self._core.max_requests_per_connection
        self._is_kept = fields.keep_alive and (self.requests < most or not most)
        self._is_delimited = True
        self._is_chunking = False
        exchange = self._exchange = Exchange(self._core, self, line, fields)
        return exchange

    def _read_body(self, exchange: Exchange, data: bytes) -> bytes:
        """Hand body bytes to the exchange; gives what follows the body."""
        if exchange.is_settled:
            return b""
        chunks = self._chunks
        if chunks is None:
            size = min(self._left, len(data))
            self._left -= size
            body, rest = (data, b"") if size == len(data) else (data[:size], data[size:])
            exchange.request_data(body)
            if not self._left:
                exchange.request_end(None)
            return rest
        try:
            pieces = chunks.feed(data)
        except ValueError as error:
            exchange.fail(Failure(BAD_REQUEST, str(error)))
            return b""
        if chunks.is_begun:
            exchange.unhold()
        if pieces:
            exchange.request_data(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if chunks.trailers is None:
            return b""
        self._chunks = None
        exchange.request_end(chunks.trailers)
        return chunks.surplus

    def _keep_partial_head(self, data: bytes, start: int) -> None:
        settings = self._core.settings
        check_partial_head(data[start:], settings.max_target_bytes, settings.max_head_bytes)
        self._buffer = data
        if start < len(data) and not self._is_head_begun:
            # The deadline of a head counts from its first byte, however slowly the others drip in.
            self._is_head_begun = True
            self.wait(settings.head_timeout_s)

    def _keep_ahead(self, data: bytes) -> None:
        if not data or self._is_lingering:
            return
        self._buffer += data
        if len(self._buffer) > _MAX_AHEAD:
            self.pause_reading()

    def _refuse(self, failure: Failure) -> None:
        """Answer a request that never became an exchange, and close."""
        self._buffer = b""
        request_id = self._core.next_request_id()
        status, fields, body = self._core.rules.failure_answer(failure, b"", request_id)
        lines = b"%b%bDate: %b\r\n" % (fields.passing, fields.length_line, self._core.date())
        self.write(b"%b\r\n%bConnection: close\r\n\r\n%b" % (status.line, lines, body))
        self._core.refused(failure, self.peer, request_id, len(body))
        self._linger()

    # Leaving: nothing more is read as HTTP, and what is written has the time it takes, as long as it moves.

    def _linger(self) -> None:
        """Say goodbye to a visitor who may still be sending."""
        self._buffer = b""
        self._chunks = None
        self._left = 0
        self.write_eof()
        self.resume_reading()
        self._watch_the_rest()

    def _leave(self) -> None:
        """Close when everything is written."""
        self.is_closed = True
        self._transport.close()
        self._watch_the_rest()

    def _watch_the_rest(self) -> None:
        self._is_lingering = True
        self._unsent = self._transport.get_write_buffer_size()
        self.wait(self._core.settings.body_idle_s if self._unsent else _LINGER_S)

    def _give_up_unless_it_moves(self) -> None:
        settings = self._core.settings
        due = max(1.0, settings.min_bytes_per_s * settings.body_idle_s)
        unsent = self._transport.get_write_buffer_size()
        if unsent <= self._unsent - due:
            self._watch_the_rest()
        elif unsent:
            self._reset()
        else:
            self._transport.abort()
