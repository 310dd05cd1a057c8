"""A visitor's HTTP/1.1 connection: requests in, in order, and their responses out."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Final

from mesh.connection import Connection
from mesh.deadlines import TICK_S
from mesh.errors import BAD_REQUEST, HEAD_TOO_LARGE, REQUEST_TIMEOUT, Failure
from mesh.exchange import Exchange
from mesh.wire import END_OF_HEAD, ChunkedBody, check_partial_head, start_of_head

if TYPE_CHECKING:
    from mesh.core import Core
    from mesh.forward import Peer, RequestFields
    from mesh.relay import Tunnel
    from mesh.wire import RequestLine

# What a visitor may send ahead of its turn before its connection is read no further.
_MAX_AHEAD: Final = 64 * 1024
_LINGER_S: Final = 2.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Downstream(Connection):
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
        "_is_head_begun",
        "_is_lingering",
        "_is_reading_heads",
        "_is_slow",
        "_left",
        "_requests",
        "_tunnel",
        "_unsent",
        "peer",
    )

    def __init__(self, core: Core) -> None:
        """A connection that is about to be made."""
        super().__init__()
        self._core = core
        self.peer: Peer
        self._exchange: Exchange | None = None
        self._tunnel: Tunnel | None = None
        self._buffer = b""
        self._chunks: ChunkedBody | None = None
        self._left = 0
        self._requests = 0
        self._is_head_begun = True
        self._is_reading_heads = False
        self._is_slow = False
        self._is_lingering = False
        self._unsent = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A visitor is here: it has the time for one request head."""
        super().connection_made(transport)
        name = transport.get_extra_info("peername")
        self.peer = self._core.peer(name[0] if isinstance(name, tuple) else "unix")
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
        if exchange.is_response_begun and not exchange.is_delimited:
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
                self._open(*known).begin()
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

    def exchange_done(self, *, keep: bool) -> None:
        """The response is written: on to the next request, or goodbye."""
        self._exchange = None
        if not keep:
            self._linger()
            return
        if self._core.is_draining and not self._holds_part_of_a_head():
            self._leave()
            return
        self.wait(self._core.settings.keepalive_idle_s)
        if self._is_reading_paused:
            self.resume_reading()
        if self._buffer and not self._is_reading_heads:
            self._read_heads(b"")

    def switch(self, tunnel: Tunnel) -> None:
        """Carry the bytes of `tunnel` from now on, those that came ahead first."""
        self._tunnel = tunnel
        ahead, self._buffer = self._buffer, b""
        self.resume_reading()
        if ahead:
            tunnel.from_visitor(ahead)
        if self._is_slow:
            tunnel.visitor_is_slow()
        self.wait(tunnel.idle_s)

    def cut(self, *, reset: bool) -> None:
        """End the connection so that the visitor cannot take the response for complete (RFC 9112 section 8).

        A response that only the end of the connection delimits needs a `reset`: a plain end would complete it.
        """
        self._exchange = None
        if reset and (connection := self._transport.get_extra_info("socket")) is not None:
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
        self._requests += 1
        exchange = self._exchange = Exchange(self._core, self, line, fields)
        if self._requests >= self._core.settings.max_requests_per_connection:
            exchange.keeps_visitor = False
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
        head, body = self._core.failure_answer(failure, b"", request_id)
        self.write(b"%bConnection: close\r\n\r\n%b" % (head, body))
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
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._watch_the_rest()
        else:
            self._transport.abort()
