"""Connections that a proxy in front passes on: its PROXY header says whose they are, before anything else is read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mesh.arrival import Arrival
from mesh.connection import Connection
from mesh.proxy_protocol import read_header
from mesh.secure import Secured

if TYPE_CHECKING:
    from mesh.core import Core

_CAUSE: Final = "proxy_protocol"


class Announced(Connection):
    """A visitor's connection until it is known whose it is; what comes then is another protocol's.

    The networks of `settings.proxy_protocol_from` have to announce every connection. From anywhere else a header would
    be a lie, and is left to be taken for the nonsense that it is to HTTP and TLS.
    """

    __slots__ = ("_ahead", "_core", "_is_tls")

    def __init__(self, core: Core, *, is_tls: bool) -> None:
        """`is_tls` tells what follows the header."""
        super().__init__()
        self._core = core
        self._is_tls = is_tls
        self._ahead = b""

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is here: with a header to come, or to be served at once."""
        super().connection_made(transport)
        name = transport.get_extra_info("peername")
        address = name[0] if isinstance(name, tuple) else "unix"
        if not self._core.announcers.has(address):
            self._hand_over(address)
        elif self._core.newcomer_arrived(self):
            self.deadline = self._core.now + self._core.settings.head_timeout_s
            self._core.deadlines.watch(self)
        else:
            self.is_closed = True
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The proxy in front gave up."""
        self.is_closed = True
        self._core.newcomer_left(self)

    def eof_received(self) -> bool:
        """Nothing more comes."""
        return False

    def data_received(self, data: bytes) -> None:
        """The header, or a part of it."""
        if self.is_closed:
            return
        data = self._ahead + data
        try:
            header = read_header(data)
        except ValueError:
            self._core.counters.causes[_CAUSE] = self._core.counters.causes.get(_CAUSE, 0) + 1
            self.abort()
            return
        if header is None:
            self._ahead = data
            return
        self._core.newcomer_left(self)
        if header.source is not None:
            self._hand_over(header.source[0], data[header.size :])
        else:
            self._hand_over(self._transport.get_extra_info("peername")[0], data[header.size :])

    # What the core calls.

    def expired(self) -> None:
        """The time is up."""
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        self.is_closed = True
        self._transport.abort()

    def _hand_over(self, address: str, rest: bytes = b"") -> None:
        core, transport = self._core, self._transport
        secure = Secured(core, address) if self._is_tls else None
        protocol = secure or core.http_visitor(Arrival(core.peer(address)))
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if rest:
            protocol.data_received(rest)
