"""What both sides have in common: writing, ending and pausing a connection that may be closing already."""

from __future__ import annotations

import asyncio
from typing import cast

from mesh.native import mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class Connection(asyncio.Protocol):
    """One transport, with the deadline that `mesh.deadlines` watches."""

    __slots__ = ("_is_reading_paused", "_transport", "deadline", "is_closed", "looked_at")

    def __init__(self) -> None:
        """A connection that is about to be made."""
        self._transport: asyncio.Transport
        self._is_reading_paused = False
        self.is_closed = False
        self.deadline = 0.0
        self.looked_at = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast("asyncio.Transport", transport)

    def endpoints(self) -> tuple[object, object]:
        """The names of the peer's socket and of ours, as `socket` gives them."""
        return self._transport.get_extra_info("peername"), self._transport.get_extra_info("sockname")

    def write(self, data: bytes) -> None:
        """Queue bytes for the peer."""
        if not self.is_closed:
            self._transport.write(data)

    def write_eof(self) -> None:
        """Say that nothing more follows, and keep reading where the transport can do one without the other."""
        if self.is_closed:
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def pause_reading(self) -> None:
        """Stop reading until `resume_reading`."""
        if not self._is_reading_paused and not self._transport.is_closing():
            self._is_reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._is_reading_paused and not self._transport.is_closing():
            self._is_reading_paused = False
            self._transport.resume_reading()
