"""An authority's connection for TLS-ALPN-01: a handshake that shows a certificate made for it, and no more."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

from mesh.connection import Connection

if TYPE_CHECKING:
    import asyncio

    from mesh.core import Core


class Validation(Connection):
    """From the hello to the end of the handshake, behind which there is nothing to say (RFC 8737 section 3)."""

    __slots__ = ("_core", "_incoming", "_is_done", "_outgoing", "_tls")

    def __init__(self, core: Core, context: ssl.SSLContext) -> None:
        """Show what `context` has."""
        super().__init__()
        self._core = core
        self._is_done = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """An authority is here, or somebody who talks like one: it has the time for one handshake."""
        super().connection_made(transport)
        core = self._core
        self.deadline = core.now + core.settings.tls_handshake_s
        if core.newcomer_arrived(self):
            core.deadlines.watch(self)
        else:
            self.is_closed = True
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, as it should be or not."""
        self.is_closed = True
        self._core.newcomer_left(self)
        if not self._is_done:
            self._is_done = True
            self._core.counters.handshake_failed()

    def eof_received(self) -> bool:
        """Nothing more comes."""
        return False

    def data_received(self, data: bytes) -> None:
        """The hello, or the rest of the handshake."""
        if self._is_done or self.is_closed:
            return
        self._incoming.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._transport.write(self._outgoing.read())
        except ssl.SSLError:
            self._core.counters.handshake_failed()
            self._end()
        else:
            self._core.counters.handshakes += 1
            with contextlib.suppress(ssl.SSLError):
                # Complains that the other's close_notify has not come yet, for which nobody has to wait.
                self._tls.unwrap()
            self._end()

    # What the core calls.

    def expired(self) -> None:
        """The time is up."""
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        self.is_closed = True
        self._transport.abort()

    def _end(self) -> None:
        """Say what TLS has to say, an alert or the end, and close; `expired` sees to one who does not read it."""
        self._is_done = True
        self._transport.write(self._outgoing.read())
        self._transport.close()
