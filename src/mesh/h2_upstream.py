"""An HTTP/2 connection to a target, shared by many exchanges, one on each of its streams (RFC 9113)."""

from __future__ import annotations

import base64
import hashlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from mesh import h2_stream
from mesh.errors import BAD_RESPONSE, Failure, NotProcessed
from mesh.forward import ResponseFields
from mesh.frames import CANCEL, NO_ERROR, REFUSED_STREAM
from mesh.h2_connection import H2Connection
from mesh.h2_stream import Limits
from mesh.hpack import encode, encode_lines
from mesh.wire import UNFRAMED

if TYPE_CHECKING:
    import asyncio

    from mesh.core import Core
    from mesh.frames import ConnectionFault
    from mesh.h2_heads import RequestHead, ResponseHead
    from mesh.relay import Tunnel
    from mesh.sides import Answered, TargetSide
    from mesh.targets import TargetState
    from mesh.wire import StatusLine

_LIMITS: Final = Limits(head=64 * 1024, glitches=1000)
# Neither is Final, as tests shorten them and compiled code contains the values of those that are.
# A target that has said nothing since a request began, and that does not answer a PING within these seconds, is gone.
_PING_S = 5.0
# Silence for less than these seconds means nothing.
_SILENT_S = 1.0
_LAST_WORD_S: Final = 1.0
_PING: Final = b"areyouok"
_MAX_REMEMBERED: Final = 512
_LONGEST_REMEMBERED: Final = 256
_MAX_SECTIONS: Final = 256
_LONGEST_SECTION: Final = 2048
_MAX_METHODS: Final = 32
# What stands between the lines that come again and those that do not.
_REQUEST_ID_LINE: Final = b"\r\nX-Request-Id: "
_WEBSOCKET_PROTOCOL: Final = encode(b":protocol", b"websocket")
# What a line is about, beside being a field.
_FIELD: Final = 0
_AUTHORITY: Final = 1
_BODY: Final = 2
_WEBSOCKET: Final = 3
_KEY: Final = 4
# Fields about the connection (RFC 9113 section 8.2.2).
_DROPPED: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"http2-settings"})
_WEBSOCKET_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class StreamRefused(NotProcessed):
    """The target did not look at the request (RFC 9113 section 8.7): any request may be sent again."""


class StreamReset(Exception):
    """The target gave up on a request, however far it had come."""

    def __init__(self, code: int) -> None:
        """`code` is an error code of RFC 9113 section 7."""
        super().__init__(f"The target reset the stream with the code {code}.")
        self.code = code


class H2Upstream(H2Connection):
    """A session with a target: it has a place in `target.sessions` as long as it opens streams."""

    __slots__ = (
        "_answered",
        "_doubted_at",
        "_heads_held",
        "_heard_at",
        "_idle_since",
        "_known",
        "_lost",
        "_methods",
        "_sections",
        "_target",
    )

    def __init__(self, core: Core, target: TargetState[TargetSide]) -> None:
        """A connection to `target` that is being made."""
        super().__init__(core, is_server=False, limits=_LIMITS)
        self._target = target
        self._idle_since = core.now
        self._heard_at = core.now
        self._doubted_at = 0.0
        self._lost: Exception | None = None
        # Whether a request was answered here, so that the target may have closed the connection for being idle.
        self._answered = False
        # What was sent in HPACK, by its form in HTTP/1: nearly everything in a request comes again with the next one.
        self._methods: dict[bytes, bytes] = {}
        self._sections: dict[bytes, Section] = {}
        self._known: dict[bytes, tuple[bytes, int]] = {}
        # Streams whose head waits for the data that came in the same piece.
        self._heads_held: list[H2UpstreamStream] = []

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The target is there: requests need not wait for its settings (RFC 9113 section 3.4)."""
        super().connection_made(transport)
        self._target.sessions.append(self)
        self.h2.start()
        self.look_at(self.core.now + self.core.settings.pool_idle_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The target is gone, and with it every stream."""
        self.is_closed = True
        self._leave()
        self._lost = exc
        self.core.deadlines.forget(self)
        self.h2.leave()

    def eof_received(self) -> bool:
        """The target sends nothing more."""
        self._leave()
        return False

    def data_received(self, data: bytes) -> None:
        """Frames."""
        self._heard_at = self.core.now
        super().data_received(data)

    def on_turn(self) -> None:
        """No data came with these heads."""
        if self._heads_held:
            held, self._heads_held = self._heads_held, []
            for stream in held:
                stream.pass_head(b"")

    # What exchanges and targets call.

    def open_stream(self) -> H2UpstreamStream | None:
        """The target's side of one more exchange, or None when there is no room for it."""
        machine = self.h2
        if (
            self.is_closed
            or machine.is_ending
            or machine.is_over
            or self._doubted_at
            or len(machine.streams) >= machine.peer_max_streams
            or not machine.has_numbers
        ):
            return None
        return H2UpstreamStream(self)

    def retire(self) -> None:
        """Open no more streams, and close when the last one has ended."""
        self._leave()
        self.h2.is_ending = True
        self.on_output()

    def close(self) -> None:
        """The same; what is asked of connections in a pool."""
        self.retire()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._leave()
        self.is_closed = True
        self.h2.leave()
        self._transport.abort()

    def doubt(self, since: float) -> None:
        """Ask a target that has been silent `since` then whether it is there."""
        now = self.core.now
        if self._heard_at <= since < now - _SILENT_S and not self._doubted_at and not self.is_closed:
            self._doubted_at = now
            self.h2.ping(_PING)
            self.look_at(self.core.now + _PING_S)

    # What the state machine calls.

    def on_idle(self) -> None:
        """The last stream has ended."""
        self._idle_since = self.core.now
        if self.h2.is_ending:
            self.on_output()

    def on_goaway(self, code: int) -> None:
        """The target takes no new streams."""
        self._leave()

    def on_fault(self, fault: ConnectionFault) -> None:
        """The target broke the protocol."""
        self._leave()
        self.flush()
        self._close()

    def on_end(self) -> None:
        """Every stream has ended, and there will be no others."""
        self._close()

    def _close(self) -> None:
        self.is_closed = True
        self._transport.close()

    def _leave(self) -> None:
        sessions = self._target.sessions
        if self in sessions:
            sessions.remove(self)

    # Time.

    def expired(self) -> None:
        """Something was due: an answer to a PING, the end of an abandoned stream, or of idling."""
        now, streams = self.core.now, self.h2.streams
        if self.is_closed:
            return
        if self._doubted_at:
            if self._heard_at <= self._doubted_at:
                self.abort()
                return
            self._doubted_at = 0.0
        for stream in tuple(streams.values()):
            if isinstance(stream, H2UpstreamStream) and stream.is_due(now):
                stream.end()
        idle_s = self.core.settings.pool_idle_s
        if not streams and now >= self._idle_since + idle_s:
            self._leave()
            self.h2.close()
            return
        self.look_at(max(now + 1.0, self._idle_since + idle_s) if not streams else now + 1.0)

    # Requests.

    def block(self, method: bytes, path: bytes, lines: bytes) -> Block:
        """A request's head as HPACK."""
        common, _, own = lines.partition(_REQUEST_ID_LINE)
        authority, fields, has_body, key = self._sections.get(common) or self._section(common)
        if own:
            # Its own line is the one that no two requests have in common.
            request_id, _, rest = own.partition(b"\r\n")
            fields += encode(b"x-request-id", request_id)
            if rest:
                more = self._section(rest)
                authority, fields, has_body = (
                    more.authority or authority,
                    fields + more.fields,
                    has_body or more.has_body,
                )
        if key and self.h2.peer_allows_connect:
            # RFC 8441 section 4. The handshake of HTTP/1 is completed when the answer comes.
            pseudo = self._pseudo(b"CONNECT") + encode(b":path", path) + authority + _WEBSOCKET_PROTOCOL
            return Block(pseudo + fields, has_body=True, key=key)
        if key:
            fields += encode(b"sec-websocket-key", key)
        return Block(self._pseudo(method) + encode(b":path", path) + authority + fields, has_body, b"")

    def _pseudo(self, method: bytes) -> bytes:
        known = self._methods.get(method)
        if known is None:
            scheme = b"http" if self._target.place.scheme == "h2c" else b"https"
            known = encode(b":method", method) + encode(b":scheme", scheme)
            if len(self._methods) < _MAX_METHODS:
                self._methods[method] = known
        return known

    def _section(self, lines: bytes) -> Section:
        """What lines say that many requests have in common."""
        known = self._known
        parts: list[bytes] = []
        authority = key = b""
        has_body = is_websocket = False
        for line in lines.split(b"\r\n"):
            part, kind = known.get(line) or self._read(line)
            if kind == _FIELD:
                parts.append(part)
            elif kind == _AUTHORITY:
                authority = part
            elif kind == _BODY:
                has_body = True
                parts.append(part)
            elif kind == _KEY:
                key = part
            else:
                is_websocket = True
        if key and not is_websocket:
            parts.append(encode(b"sec-websocket-key", key))
            key = b""
        section = Section(authority, b"".join(parts), has_body, key)
        if len(lines) <= _LONGEST_SECTION and not key:
            if len(self._sections) >= _MAX_SECTIONS:
                self._sections.clear()
            self._sections[lines] = section
        return section

    def _read(self, line: bytes) -> tuple[bytes, int]:
        """A line in HPACK, and what it is about."""
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        part, kind = b"", _FIELD
        if name == b"host":
            part, kind = encode(b":authority", value), _AUTHORITY
        elif name == b"content-length":
            part, kind = encode(name, value), _FIELD if value == b"0" else _BODY
        elif name == b"transfer-encoding":
            kind = _BODY
        elif name == b"te":
            part = encode(name, b"trailers") if b"trailers" in value.lower() else b""
        elif name == b"upgrade":
            kind = _WEBSOCKET if value.lower() == b"websocket" else _FIELD
        elif name == b"sec-websocket-key":
            part, kind = value, _KEY
        elif name and name not in _DROPPED:
            part = encode(name, value)
        if len(line) <= _LONGEST_REMEMBERED and kind != _KEY:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            self._known[line] = part, kind
        return part, kind

    # What its streams call.

    def hold_head(self, stream: H2UpstreamStream) -> None:
        """Call `stream.pass_head` when everything that came in the same piece has been read."""
        self._heads_held.append(stream)

    @property
    def lost(self) -> Exception | None:
        """Why the connection broke, if it did not just end."""
        return self._lost

    @property
    def was_used(self) -> bool:
        """Whether a request was answered here before, so that the target may have closed the connection for idling."""
        return self._answered

    def answered(self) -> None:
        """A request was answered."""
        self._answered = True


class Section(NamedTuple):
    """Lines in HPACK, without the pseudo-header in front; whether a body follows, and the key of a WebSocket."""

    authority: bytes
    fields: bytes
    has_body: bool
    key: bytes


class Block(NamedTuple):
    """A request's head as HPACK, whether a body follows, and the key of the WebSocket that it asks for, if it does."""

    data: bytes
    has_body: bool
    key: bytes


class H2UpstreamStream(h2_stream.Stream):
    """The target's side of one exchange."""

    __slots__ = (
        "_began_at",
        "_exchange",
        "_head",
        "_is_response_begun",
        "_key",
        "_left",
        "_session",
        "_tunnel",
        "_until",
        "is_reused",
    )

    def __init__(self, session: H2Upstream) -> None:
        """A stream of `session`, which gets its number with its request."""
        super().__init__(0)
        self._session = session
        self._exchange: Answered | None = None
        self._tunnel: Tunnel | None = None
        self._head: tuple[StatusLine, ResponseFields] | None = None
        self._key = b""
        self._began_at = 0.0
        # Of a response of known length, else -1.
        self._left = -1
        self._until = 0.0
        self.is_reused = session.was_used

    # What the exchange calls.

    def begin(self, exchange: Answered, method: bytes, path: bytes, lines: bytes) -> None:
        """Send the head of the request."""
        session = self._session
        self._exchange = exchange
        if session.is_closed or session.h2.is_over:
            # It went while somebody waited for it; whoever begins is not yet ready to hear of an end.
            self.is_closed = True
            session.core.call_soon(self.on_reset, REFUSED_STREAM)
            return
        self._began_at = session.core.now
        block = session.block(method, path, lines)
        self._key = block.key
        self.expects_body = method != b"HEAD"
        session.h2.open(self, block.data, ends=not block.has_body)

    def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        self._session.h2.send_data(self, data)

    def finish(self, trailers: bytes) -> None:
        """End the body."""
        self._session.h2.finish(self, encode_lines(trailers) if trailers else b"")

    def release(self, *, is_reusable: bool) -> None:
        """The exchange is over; what is unfinished is of no use."""
        self._exchange = None
        if not self._left and self.is_local_done and not self.is_remote_done:
            # All of the response is here but the word that it is: a reset would look as if nobody had wanted it.
            self.abandon(self._session.core.now + _LAST_WORD_S)
        elif not (self.is_remote_done and self.is_local_done):
            self._give_up(NO_ERROR if self.is_remote_done else CANCEL)

    def abandon(self, until: float) -> None:
        """Let the target finish for nobody, but not beyond `until`."""
        self._exchange = None
        self._until = until
        self._session.look_at(min(until, self._session.deadline))

    def is_due(self, now: float) -> bool:
        """Whether the stream was abandoned and its time is over."""
        return 0.0 < self._until <= now

    def abort(self) -> None:
        """Give up at once."""
        self._exchange = None
        self._session.doubt(self._began_at)
        self._give_up(CANCEL)

    def end(self) -> None:
        """The time of a stream that nobody waits for is over."""
        if self._left:
            self.abort()
        else:
            # It did answer; only the last word is missing.
            self._give_up(CANCEL)

    def _give_up(self, code: int) -> None:
        # A number is given with the request; without one there is nothing to reset.
        if self.id:
            self._session.h2.reset(self, code)

    def pause_reading(self) -> None:
        """Allow the target no more than it may send already."""
        self._session.h2.hold(self)

    def resume_reading(self) -> None:
        """Take more again."""
        self._session.h2.release(self)

    def switch(self, tunnel: Tunnel) -> None:
        """Carry the bytes of `tunnel` from now on."""
        self._tunnel, self.is_tunnel = tunnel, True

    def write(self, data: bytes) -> None:
        """Send bytes of the tunnel."""
        self.send(data)

    def write_eof(self) -> None:
        """Say that nothing more follows, and go on reading."""
        self.finish(b"")

    def close(self) -> None:
        """Close the stream when everything is sent."""
        self._exchange = self._tunnel = None
        if self.is_local_done or self.is_remote_done:
            self._give_up(NO_ERROR)
        else:
            self._give_up(CANCEL)

    # What the state machine calls.

    def on_request(self, head: RequestHead) -> None:
        """No target asks."""

    def on_response(self, head: ResponseHead) -> None:
        """An interim response, or the head of the final one, which waits for the data that comes with it."""
        exchange = self._exchange
        if exchange is None:
            return
        try:
            status, fields = head.kept or self._kept(head)
            if head.status < 200:
                exchange.interim(status, fields)
                return
            self._session.answered()
            if self._key and 200 <= head.status < 300:
                exchange.switch(*self._switched(head), b"")
                return
        except Failure as failure:
            self.fail(failure)
            return
        self._head = status, fields
        if self.is_remote_done:
            self._end(None)
        else:
            self._session.hold_head(self)

    def _kept(self, head: ResponseHead) -> tuple[StatusLine, ResponseFields]:
        """The head in the form that the rest of the proxy reads, remembered with it; raises Failure."""
        heads = self._session.core.response_heads
        status = heads.status(b"HTTP/1.1 %d %b" % (head.status, _phrase(head.status)))
        head.kept = status, heads.fields(head.lines + b"\r\n", 2)
        return status, head.kept[1]

    def _switched(self, head: ResponseHead) -> tuple[StatusLine, ResponseFields]:
        """The head as the answer to an Upgrade of HTTP/1 (RFC 6455 section 4.2.2)."""
        accept = base64.b64encode(hashlib.sha1(self._key + _WEBSOCKET_GUID, usedforsecurity=False).digest())
        _status, fields = head.kept
        lines = b"%bSec-WebSocket-Accept: %b\r\n" % (fields.passing, accept)
        status = self._session.core.response_heads.status(b"HTTP/1.1 101 Switching Protocols")
        return status, ResponseFields(UNFRAMED, lines, has_date=fields.has_date, upgrade=b"websocket")

    def pass_head(self, data: bytes) -> None:
        """Give the exchange the head that waits, with the data that came behind it."""
        head, self._head = self._head, None
        exchange = self._exchange
        if head is None or exchange is None:
            return
        try:
            exchange.response(*head, data)
            if not (self.is_remote_done or self.is_closed):
                exchange.response_goes_on()
                self._expect(*head, len(data))
        except Failure as failure:
            self.fail(failure)

    def on_data(self, data: bytes) -> None:
        """A piece of the body, or of a tunnel."""
        if self._tunnel is not None:
            self._tunnel.from_target(data)
        elif self._head is not None:
            self.pass_head(data)
        elif self._exchange is not None:
            self._exchange.response_data(data)
            if self._left > 0:
                self._left -= len(data)
                self._end_soon()

    def _expect(self, status: StatusLine, fields: ResponseFields, received: int) -> None:
        """Take note of what is still to come, where that can be known."""
        length = fields.framing.length
        if not self.expects_body or status.status in (204, 304):
            self._left = 0
        else:
            self._left = -1 if length is None else length - received
        self._end_soon()

    def _end_soon(self) -> None:
        """End a response that has come completely: the visitor has all of it, and nobody waits for what is behind."""
        if not (self._left or self.is_remote_done):
            self._session.core.call_soon(self._end_without_a_word)

    def _end_without_a_word(self) -> None:
        if not (self.is_remote_done or self.is_closed):
            self._end(None)

    def on_end(self, trailers: list[bytes] | None) -> None:
        """The response is complete."""
        if self._tunnel is not None:
            self._tunnel.target_ended()
        else:
            self._end(trailers)

    def _end(self, trailers: list[bytes] | None) -> None:
        if self._head is not None:
            self.pass_head(b"")
        if self._exchange is not None and not self._exchange.is_settled:
            self._exchange.response_end(trailers, is_reusable=True)

    def on_reset(self, code: int) -> None:
        """The target gave up, broke the protocol, or is gone."""
        if self._head is not None:
            self.pass_head(b"")
        exchange, tunnel = self._exchange, self._tunnel
        self._exchange = self._tunnel = None
        if tunnel is not None:
            tunnel.lost()
        elif exchange is not None and not (self._session.h2.is_begun or self._session.is_closed):
            exchange.fail(Failure(BAD_RESPONSE, "The target does not speak HTTP/2."))
        elif exchange is not None:
            exchange.target_lost(self._reason(code))

    def _reason(self, code: int) -> Exception | None:
        if code == REFUSED_STREAM:
            return StreamRefused("The target refused the stream.")
        return self._session.lost if self._session.is_closed else StreamReset(code)

    def on_slow(self) -> None:
        """The target does not take what was sent."""
        if self._tunnel is not None:
            self._tunnel.target_is_slow()
        elif self._exchange is not None:
            self._exchange.target_is_slow()

    def on_writable(self) -> None:
        """The target has caught up."""
        if self._tunnel is not None:
            self._tunnel.target_caught_up()
        elif self._exchange is not None:
            self._exchange.target_caught_up()

    def fail(self, failure: Failure) -> None:
        """There will be no response."""
        exchange = self._exchange
        if exchange is not None:
            exchange.fail(failure)


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""
