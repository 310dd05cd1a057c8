"""Couple two connections as a plain byte relay: the path after an upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mesh.exchange import Exchange


class End(Protocol):
    """One of the two connections, as the relay sees it."""

    __slots__ = ()

    def write(self, data: bytes) -> None:
        """Queue bytes for the peer."""

    def write_eof(self) -> None:
        """Say that nothing more follows, and keep reading."""

    def pause_reading(self) -> None:
        """Stop reading until `resume_reading`."""

    def resume_reading(self) -> None:
        """Read again."""

    def close(self) -> None:
        """Close when everything is written."""


class VisitorEnd(End, Protocol):
    """The visitor's connection also keeps the time for both."""

    __slots__ = ()

    def wait(self, seconds: float) -> None:
        """Give up when nothing moves for so long."""


class Tunnel:
    """Bytes from a visitor to a target and back, with back-pressure, until both directions have ended.

    Each direction ends on its own, as the protocol inside may need: one side's end is passed on, and the other
    direction goes on until it ends too or nothing moves for `idle_s` seconds.
    """

    __slots__ = ("_exchange", "_received", "_sent", "_target", "_target_done", "_visitor", "_visitor_done", "idle_s")

    def __init__(self, exchange: Exchange, visitor: VisitorEnd, target: End, idle_s: float) -> None:
        """Couple `visitor` and `target`; `exchange` hears of the end."""
        self.idle_s = idle_s
        self._exchange = exchange
        self._visitor = visitor
        self._target = target
        self._visitor_done = False
        self._target_done = False
        self._received = 0
        self._sent = 0

    def from_visitor(self, data: bytes) -> None:
        """Pass bytes to the target."""
        self._received += len(data)
        self._target.write(data)
        self._visitor.wait(self.idle_s)

    def from_target(self, data: bytes) -> None:
        """Pass bytes to the visitor."""
        self._sent += len(data)
        self._visitor.write(data)
        self._visitor.wait(self.idle_s)

    def visitor_ended(self) -> None:
        """The visitor sends nothing more."""
        self._visitor_done = True
        if self._target_done:
            self._finish()
        else:
            self._target.write_eof()

    def target_ended(self) -> None:
        """The target sends nothing more."""
        self._target_done = True
        if self._visitor_done:
            self._finish()
        else:
            self._visitor.write_eof()

    def visitor_is_slow(self) -> None:
        """The visitor does not take what was written to it."""
        self._target.pause_reading()

    def visitor_caught_up(self) -> None:
        """The visitor takes bytes again."""
        self._target.resume_reading()

    def target_is_slow(self) -> None:
        """The target does not take what was written to it."""
        self._visitor.pause_reading()

    def target_caught_up(self) -> None:
        """The target takes bytes again."""
        self._visitor.resume_reading()

    def lost(self) -> None:
        """One of the connections is gone: so is the other, once it has been written."""
        self._finish()

    def _finish(self) -> None:
        self._visitor.close()
        self._target.close()
        self._exchange.tunnel_closed(self._received, self._sent)
