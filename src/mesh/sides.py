"""The two sides of an exchange, as the exchange sees them, whatever protocol each of them speaks.

Anything of the right shape will do. What names one of these as its base is called by compiled code without a look-up:
that is for the classes that most requests go through.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from mesh.relay import End, VisitorEnd

if TYPE_CHECKING:
    from mesh.arrival import Arrival
    from mesh.errors import Failure
    from mesh.forward import Peer, ResponseFields
    from mesh.relay import Tunnel
    from mesh.wire import Framing, StatusLine


class Visitor(VisitorEnd, Protocol):
    """The visitor's side of an exchange: an HTTP/1 connection, or one stream of an HTTP/2 connection.

    `peer` is who it is, `arrival` how the connection came, and `requests` how many requests it has brought, this one
    included.
    """

    __slots__ = ()

    peer: Peer
    arrival: Arrival
    requests: int

    def endpoints(self) -> tuple[object, object]:
        """The names of the visitor's socket and of ours, as `socket` gives them."""

    def stretch(self, seconds: float, at_most: float) -> None:
        """Put off the deadline by `seconds`, to no more than `at_most` seconds from now."""

    def interim(self, status: StatusLine, fields: ResponseFields) -> None:
        """Write a 1xx response other than 101."""

    def respond(self, status: StatusLine, fields: ResponseFields, body: bytes) -> None:
        """Write the head of the final response and the first bytes of its body."""

    def send(self, data: bytes) -> None:
        """Write a piece of the body."""

    def finish(self, trailers: bytes) -> None:
        """End the response; `trailers` are lines with their line ends. The exchange is over."""

    def distrust(self) -> None:
        """What follows on the connection may be meant for something else: close it after this response."""

    def take_no_more(self) -> None:
        """This request is the last one of the connection."""

    def cut(self) -> None:
        """End so that the visitor cannot take the response for complete."""

    def switch(self, status: StatusLine, fields: ResponseFields, tunnel: Tunnel, surplus: bytes) -> None:
        """Say 101 and carry the bytes of `tunnel` from now on, `surplus` first."""


class TargetSide(End, Protocol):
    """The target's side of an exchange: an HTTP/1 connection, or one stream of an HTTP/2 connection."""

    __slots__ = ()

    is_closed: bool
    is_reused: bool

    def begin(self, exchange: Asking, method: bytes, path: bytes, lines: bytes) -> None:
        """Send the head of the request and expect the response; `lines` are field lines in the form of HTTP/1."""

    def send(self, data: bytes) -> None:
        """Send a piece of the body."""

    def finish(self, trailers: bytes) -> None:
        """End the body; `trailers` are lines with their line ends."""

    def release(self, *, is_reusable: bool) -> None:
        """The exchange is over."""

    def abandon(self, until: float) -> None:
        """Nobody waits for the response any more: let the target finish, but not beyond `until`."""

    def abort(self) -> None:
        """Give up at once: the target must not take a broken request for a complete one."""

    def switch(self, tunnel: Tunnel) -> None:
        """Carry the bytes of `tunnel` from now on."""


class Answered(Protocol):
    """Who a response is for: an exchange, mostly. `is_settled` says that nothing more is wanted."""

    __slots__ = ()

    is_settled: bool

    def interim(self, status: StatusLine, fields: ResponseFields) -> None:
        """A 1xx response other than 101."""

    def response(self, status: StatusLine, fields: ResponseFields, body: bytes) -> None:
        """The head of the final response, with the bytes of the body that came with it."""

    def response_goes_on(self) -> None:
        """More of the body is to come."""

    def response_data(self, data: bytes) -> None:
        """A piece of the body."""

    def response_end(self, trailers: list[bytes] | None, *, is_reusable: bool) -> None:
        """The response is complete."""

    def switch(self, status: StatusLine, fields: ResponseFields, surplus: bytes) -> None:
        """The target switches protocols."""

    def target_lost(self, error: Exception | None) -> None:
        """The connection closed before the response was complete."""

    def target_is_slow(self) -> None:
        """The target does not take what was written to it."""

    def target_caught_up(self) -> None:
        """The target has taken most of what was written to it."""

    def fail(self, failure: Failure) -> None:
        """The response is malformed."""


class Framed(Protocol):
    """What a connection has to know of a request's section."""

    @property
    def framing(self) -> Framing:
        """How the body is delimited."""


class Asking(Answered, Protocol):
    """Who sends a request on a connection, and gets the response."""

    @property
    def fields(self) -> Framed:
        """What the request's section says."""


class Dialling(Protocol):
    """Who waits for a connection to a target."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing is wanted any more."""

    @property
    def is_second_try(self) -> bool:
        """Whether the request has failed before."""

    @property
    def address(self) -> bytes:
        """The visitor's address."""

    @property
    def is_secure(self) -> bool:
        """Whether the visitor came by TLS."""

    def endpoints(self) -> tuple[object, object]:
        """The names of the visitor's socket and of ours, as `socket` gives them."""

    def connected(self, upstream: TargetSide) -> None:
        """Here it is."""

    def connect_failed(self, failure: Failure) -> None:
        """There is none."""


class Session(Protocol):
    """A connection to a target that carries several exchanges at a time."""

    def open_stream(self) -> TargetSide | None:
        """The target's side of one more exchange, or None when there is no room for it."""

    def retire(self) -> None:
        """Open no more streams, and close when the last one has ended."""


def stream_of(sessions: Iterable[Session]) -> TargetSide | None:
    """A stream of the first session that has room."""
    for session in sessions:
        stream = session.open_stream()
        if stream is not None:
            return stream
    return None
