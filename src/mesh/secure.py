"""TLS with visitors: the hello is read first, then the handshake is done, and HTTP goes on over a transport of its own.

TLS runs in memory (ssl.MemoryBIO) under our own protocols, because the context depends on what the hello says, and
because asyncio's own way costs more per request than the encryption itself.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, cast

from mesh.arrival import Arrival, TlsFacts
from mesh.connection import Connection
from mesh.errors import BAD_REQUEST, Failure
from mesh.hello import MAX_HELLO, NotTls, PlainHttp, read_hello
from mesh.validation import Validation

if TYPE_CHECKING:
    from mesh.core import Core
    from mesh.hello import Hello
    from mesh.tls import Entry

# Fatal alerts (RFC 8446 section 6) in a record of their own: before the handshake there is nobody else to write them.
_DECODE_ERROR: Final = b"\x15\x03\x03\x00\x02\x02\x32"
_UNRECOGNIZED_NAME: Final = b"\x15\x03\x03\x00\x02\x02\x70"
_NO_APPLICATION_PROTOCOL: Final = b"\x15\x03\x03\x00\x02\x02\x78"
_UNEXPECTED_MESSAGE: Final = b"\x15\x03\x03\x00\x02\x02\x0a"
_PLAIN_HTTP: Final = "The plain HTTP request was sent to the HTTPS port."
# What a visitor may have said whose handshake is held: a hello, which nobody follows up before it was answered.
_MOST_AHEAD: Final = MAX_HELLO + 1024

# One read gives at most one record, which holds no more than this (RFC 8446 section 5.1).
_RECORD: Final = 16 * 1024
# A buffer of OpenSSL never shrinks: what passes through it at once is what an idle connection keeps. So it is little at
# a time until a connection has carried much, from when on speed counts more.
_SLICE: Final = 16 * 1024
_LARGE_SLICE: Final = 64 * 1024
_MUCH: Final = 1024 * 1024
_LINGER_S: Final = 2.0
_NOBODY: Final = asyncio.Protocol()


class Secured(Connection):
    """A visitor's connection until its handshake is done; what comes then is another protocol's."""

    __slots__ = (
        "_address",
        "_ahead",
        "_below",
        "_core",
        "_entry",
        "_hello",
        "_incoming",
        "_is_held",
        "_is_refused",
        "_outgoing",
        "_tls",
    )

    def __init__(self, core: Core, address: str = "") -> None:
        """`address` is the visitor's, where somebody has announced it; else it is that of the socket."""
        super().__init__()
        self._core = core
        self._address = address
        self._ahead = b""
        self._is_held = False
        self._is_refused = False
        self._hello: Hello
        self._entry: Entry
        self._incoming: ssl.MemoryBIO
        self._outgoing: ssl.MemoryBIO
        self._tls: ssl.SSLObject | None = None
        self._below: Any = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A visitor is here: it has the time for one handshake."""
        super().connection_made(transport)
        self.deadline = self._core.now + self._core.settings.tls_handshake_s
        if self._core.newcomer_arrived(self):
            self._core.deadlines.watch(self)
        else:
            self.is_closed = True
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The visitor is gone before there was any request."""
        self.is_closed = True
        self._core.newcomer_left(self)
        if self._is_held:
            self._wait_no_more()
        if not self._is_refused:
            self._core.counters.handshake_failed()
        self._tls = self._below = None

    def eof_received(self) -> bool:
        """The visitor gave up."""
        return False

    def data_received(self, data: bytes) -> None:
        """Bytes of the hello, or of the rest of the handshake."""
        if self._is_refused:
            return
        if self._tls is not None:
            self._incoming.write(data)
            self._go_on(self._tls)
            return
        if self._ahead:
            data = self._ahead + data
        try:
            hello = read_hello(data)
        except PlainHttp:
            self._refuse_plain_http()
        except NotTls:
            self._refuse(b"")
        except ValueError:
            self._refuse(_DECODE_ERROR)
        else:
            if hello is None:
                self._ahead = data
            else:
                self._begin(hello, data)

    # What the core calls.

    def expired(self) -> None:
        """The time is up: for the handshake, or for the certificate that it waits for."""
        if self._is_held:
            self._wait_no_more()
            self.go_on(is_refused=True)
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once."""
        self.is_closed = True
        self._transport.abort()

    def go_on(self, *, is_refused: bool) -> None:
        """The certificate that the handshake has waited for is there, or none will come."""
        self._is_held = False
        if self.is_closed or self._transport.is_closing():
            return
        core = self._core
        self.deadline = core.now + core.settings.tls_handshake_s
        core.deadlines.watch(self)
        if is_refused:
            self._begin_by_default(self._hello, self._ahead, None)
        else:
            self._begin(self._hello, self._ahead)

    # The handshake.

    def _begin(self, hello: Hello, data: bytes) -> None:
        core = self._core
        entry = core.certificates.context_for(hello.server_name, *core.client_ca(hello.server_name))
        if entry is None or (hello.alpn and entry.protocols.isdisjoint(hello.alpn)):
            self._begin_otherwise(hello, data, entry)
        else:
            self._shake_hands(hello, data, entry)

    def _begin_otherwise(self, hello: Hello, data: bytes, entry: Entry | None) -> None:
        """Meet an authority, or somebody for whom there is no certificate, or who speaks something else."""
        if hello.is_acme:
            context = self._core.certificates.validation_for(hello.server_name)
            if context is not None:
                self._validate(context, data)
                return
        elif entry is None and self._holds(hello, data):
            return
        self._begin_by_default(hello, data, entry)

    def _begin_by_default(self, hello: Hello, data: bytes, entry: Entry | None) -> None:
        core, name = self._core, hello.server_name
        if entry is None and core.certificates.find(name) is None:
            entry = core.certificates.context_for("", *core.client_ca(name))
        if entry is None:
            self._refuse(_UNRECOGNIZED_NAME)
        elif hello.alpn and entry.protocols.isdisjoint(hello.alpn):
            # OpenSSL's way would be to go on without: cross-protocol attacks begin like that (RFC 7301 section 3.2).
            self._refuse(_NO_APPLICATION_PROTOCOL)
        else:
            self._shake_hands(hello, data, entry)

    def _holds(self, hello: Hello, data: bytes) -> bool:
        """Wait until there is a certificate for the name; False when that is of no use, or there is no room."""
        if self._is_held:
            self._ahead = data
            if len(data) > _MOST_AHEAD:
                self._wait_no_more()
                self._refuse(_UNEXPECTED_MESSAGE)
            return True
        core, name = self._core, hello.server_name
        if not name or len(data) > _MOST_AHEAD or core.certificates.find(name) is not None:
            # What is there and does not work would not work better later.
            return False
        address = core.peer(self._peer_address(), b"https").address.decode("ascii")
        self._is_held = core.on_demand.hold(self, name, address)
        if self._is_held:
            self._hello, self._ahead = hello, data
            self.deadline = core.now + core.settings.on_demand_s
            core.deadlines.watch(self)
        return self._is_held

    def _wait_no_more(self) -> None:
        self._is_held = False
        self._core.on_demand.leave(self)

    def _validate(self, context: ssl.SSLContext, data: bytes) -> None:
        """Let an authority see what it asked for; its connection is of no use for anything else (RFC 8737)."""
        self._core.newcomer_left(self)
        validation = Validation(self._core, context)
        self._transport.set_protocol(validation)
        validation.connection_made(self._transport)
        validation.data_received(data)

    def _shake_hands(self, hello: Hello, data: bytes, entry: Entry) -> None:
        if self._is_held:
            # More of the hello has come in the moment in which the certificate came.
            self._wait_no_more()
        self._hello, self._entry, self._ahead = hello, entry, b""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._tls = entry.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._below = _below(tls)
        self._incoming.write(data)
        self._go_on(tls)

    def _go_on(self, tls: ssl.SSLObject) -> None:
        try:
            self._below.do_handshake()
        except ssl.SSLWantReadError:
            self._transport.write(self._outgoing.read())
        except ssl.SSLError:
            # The alert that says why is in there.
            self._refuse(self._outgoing.read())
        else:
            self._hand_over(tls)

    def _hand_over(self, tls: ssl.SSLObject) -> None:
        core, entry, transport, below = self._core, self._entry, self._transport, self._below
        core.newcomer_left(self)
        core.counters.handshakes += 1
        cipher = below.cipher()
        client = base64.b64encode(tls.getpeercert(binary_form=True) or b"") if entry.client_ca else b""
        facts = TlsFacts(
            below.version() or "",
            cipher[0] if cipher is not None else "",
            self._hello.server_name,
            entry.names,
            # As a byte sequence of structured fields (RFC 9440 section 2.1).
            b":%b:" % client if client else b"",
            entry.client_ca,
        )
        arrival = Arrival(core.peer(self._peer_address(), b"https"), facts)
        make = core.http2_visitor if below.selected_alpn_protocol() == "h2" else core.http_visitor
        secure = SecureTransport(transport, tls, self._incoming, self._outgoing)
        transport.set_protocol(secure)
        self._tls = self._below = None
        if facts.version != "TLSv1.3" and self._outgoing.pending:
            # The end of the handshake, for which the visitor waits; with TLS 1.3 nothing is left but a ticket.
            transport.write(self._outgoing.read())
        secure.begin(make(arrival))

    def _peer_address(self) -> str:
        if self._address:
            return self._address
        name = self._transport.get_extra_info("peername")
        return name[0] if isinstance(name, tuple) else "unix"

    # Refusing.

    def _refuse(self, alert: bytes) -> None:
        self._core.counters.handshake_failed()
        self._is_refused = self.is_closed = True
        self._ahead = b""
        if alert:
            self._transport.write(alert)
        self._transport.close()

    def _refuse_plain_http(self) -> None:
        """Answer a request without TLS, and read what follows it for a while, so that the answer arrives."""
        self._core.counters.handshake_failed()
        self._is_refused = True
        self._ahead = b""
        core, failure = self._core, Failure(BAD_REQUEST, _PLAIN_HTTP)
        request_id = core.next_request_id()
        status, fields, body = core.rules.failure_answer(failure, b"", request_id)
        lines = b"%b%bDate: %b\r\n" % (fields.passing, fields.length_line, core.date())
        self.write(b"%b\r\n%bConnection: close\r\n\r\n%b" % (status.line, lines, body))
        core.refused(failure, core.peer(self._peer_address()), request_id, len(body))
        self.write_eof()
        self.deadline = core.now + _LINGER_S
        core.deadlines.watch(self)


def _below(tls: ssl.SSLObject) -> Any:  # noqa: ANN401
    """The object whose methods those of an SSLObject call, in Python; not every implementation has it."""
    return getattr(tls, "_sslobj", tls)


class SecureTransport(asyncio.Transport, asyncio.Protocol):
    """Between the socket's transport, whose protocol it is, and the protocol of HTTP, whose transport it is.

    Nothing is held back either way but a part of a record, so pausing and slowness are the socket's own. The visitor
    ends its stream with a close_notify; without one the connection was cut (RFC 8446 section 6.1).
    """

    __slots__ = (
        "_decrypt",
        "_encrypt",
        "_error",
        "_feed",
        "_has_ended",
        "_incoming",
        "_is_closing",
        "_is_deaf",
        "_is_ending",
        "_moved",
        "_protocol",
        "_send",
        "_slice",
        "_take",
        "_tls",
        "_transport",
    )
    # Without this a compiled class does not let go of them.
    __deletable__ = ("_decrypt", "_encrypt", "_feed", "_incoming", "_take", "_tls")

    def __init__(
        self, transport: asyncio.Transport, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        """Use `tls`, whose handshake is done, over `transport`."""
        self._transport = transport
        self._tls = tls
        self._incoming = incoming
        # What every record goes through, looked up once.
        below = _below(tls)
        self._feed: Callable[[bytes | memoryview], int] = incoming.write
        self._decrypt: Callable[[int], bytes] = below.read
        self._encrypt: Callable[[bytes | bytearray | memoryview], int] = below.write
        self._take: Callable[[], bytes] = outgoing.read
        self._send = transport.write
        self._protocol = _NOBODY
        self._error: Exception | None = None
        self._slice = _SLICE
        self._moved = 0
        # The visitor's close_notify has come; ours is sent; nothing is read any more; nor written.
        self._has_ended = False
        self._is_ending = False
        self._is_deaf = False
        self._is_closing = False

    def begin(self, protocol: asyncio.Protocol) -> None:
        """Give `protocol` the connection, and what came with the end of the handshake."""
        self._protocol = protocol
        protocol.connection_made(self)
        if self._incoming.pending:
            # A request, whose answer will take the ticket along.
            self.data_received(b"")
        elif not self._is_closing:
            self._flush()

    # What asyncio calls.

    def data_received(self, data: bytes) -> None:
        """Records, and parts of them."""
        if self._is_deaf:
            return
        try:
            if len(data) <= self._slice:
                self._feed(data)
                plain = self._decrypt(_RECORD)
                if self._incoming.pending or not plain:
                    plain = self._read_on(plain)
            else:
                plain = self._read_much(data)
        except ssl.SSLWantReadError:
            # A part of a record, or a message of TLS itself, to which there may be an answer.
            self._flush()
            return
        except ssl.SSLZeroReturnError:
            # What an empty read says as long as our own end has not been sent.
            plain, self._has_ended = b"", True
        except ssl.SSLError as error:
            self._fail(error)
            return
        if plain:
            self._protocol.data_received(plain)
        if self._has_ended and not self._is_closing:
            self._is_deaf = True
            if not self._protocol.eof_received():
                self.close()

    def eof_received(self) -> bool:
        """The socket ends; the connection goes on only for one whose stream has ended before."""
        if self._has_ended:
            return not self._is_closing
        self._error = ConnectionResetError("TLS ended without close_notify")
        return False

    def pause_writing(self) -> None:
        """The visitor is slow."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The visitor has caught up."""
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._is_closing = self._is_deaf = True
        # Protocols and transports hold one another: 20 KiB of TLS would wait for the garbage collector.
        protocol, self._protocol = self._protocol, _NOBODY
        del self._tls, self._incoming, self._feed, self._decrypt, self._encrypt, self._take
        protocol.connection_lost(exc or self._error)

    # What the protocol of HTTP calls.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if self._is_ending or self._is_closing or not data:
            return
        if len(data) <= self._slice:
            self._encrypt(data)
            self._send(self._take())
            return
        for piece in self._slices(data):
            self._encrypt(piece)
            self._send(self._take())

    def can_write_eof(self) -> bool:
        """TLS can end one direction and go on in the other."""
        return True

    def write_eof(self) -> None:
        """Say that nothing more follows, and keep reading."""
        if not self._is_closing:
            self._end()
            self._transport.write_eof()

    def close(self) -> None:
        """Close when everything is written."""
        if not self._is_closing:
            self._end()
            self._is_closing = self._is_deaf = True
            self._transport.close()

    def abort(self) -> None:
        """Close at once; the visitor can tell that this is no proper end."""
        self._is_closing = self._is_deaf = True
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether nothing more is written."""
        return self._is_closing or self._transport.is_closing()

    def pause_reading(self) -> None:
        """Read nothing from the socket."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the socket again."""
        self._transport.resume_reading()

    def is_reading(self) -> bool:
        """Whether the socket is read."""
        return self._transport.is_reading()

    def get_write_buffer_size(self) -> int:
        """How many encrypted bytes wait for the visitor."""
        return self._transport.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """When a visitor is slow and when it has caught up."""
        return self._transport.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """From how many waiting bytes on a visitor is slow, and at how many it has caught up."""
        self._transport.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """What the socket's transport knows, and the `ssl_object`."""
        return self._tls if name == "ssl_object" else self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the connection to another protocol."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Whose connection this is."""
        return self._protocol

    # Between TLS and the socket.

    def _read_on(self, plain: bytes) -> bytes:
        """What is left in the buffer behind the first record; the visitor's end shows as an empty one."""
        pieces = [plain]
        try:
            while pieces[-1] and self._incoming.pending:
                pieces.append(self._decrypt(_RECORD))
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            pieces.append(b"")
        self._has_ended = not pieces[-1]
        return b"".join(pieces)

    def _read_much(self, data: bytes) -> bytes:
        """As much as one turn brings."""
        pieces = []
        for piece in self._slices(data):
            self._feed(piece)
            with contextlib.suppress(ssl.SSLWantReadError):
                pieces.append(self._read_on(self._decrypt(_RECORD)))
            if self._has_ended:
                break
        return b"".join(pieces)

    def _slices(self, data: bytes | bytearray | memoryview) -> Iterator[memoryview]:
        size = len(data)
        self._moved += size
        if self._moved > _MUCH:
            self._slice = _LARGE_SLICE
        view, step = memoryview(data), self._slice
        return (view[start : start + step] for start in range(0, size, step))

    def _flush(self) -> None:
        if data := self._take():
            self._send(data)

    def _end(self) -> None:
        """Send our close_notify, once."""
        if self._is_ending:
            return
        self._is_ending = True
        try:  # noqa: SIM105 - once per connection, and a context manager costs as much as the record
            self._tls.unwrap()
        except ssl.SSLError:
            # Complains that the visitor's has not come yet, for which nobody has to wait.
            pass
        self._flush()

    def _fail(self, error: ssl.SSLError) -> None:
        """TLS is broken beyond repair; an alert may say why."""
        self._error = error
        self._flush()
        self._is_closing = self._is_deaf = True
        self._transport.close()
