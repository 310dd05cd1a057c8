"""A visitor over TLS in memory, so that a test decides what goes on the wire, when, and in which pieces."""

from __future__ import annotations

import contextlib
import ssl
from typing import Self

from tests.support.client import Visitor


class Cut(Exception):
    """The connection ended without a close_notify."""


class SecureVisitor:
    """A TLS client on top of `wire`, a `Visitor`. Use `connect` to make one with its handshake done."""

    def __init__(
        self, wire: Visitor, context: ssl.SSLContext, name: str, session: ssl.SSLSession | None = None
    ) -> None:
        """Speak to somebody called `name`, or to somebody without a name."""
        self.wire = wire
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        if not name:
            context.check_hostname = False
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name or None, session=session)

    @classmethod
    async def connect(
        cls, port: int, context: ssl.SSLContext, name: str, session: ssl.SSLSession | None = None
    ) -> Self:
        """Connect to a port on loopback and do the handshake; raises ssl.SSLError and Cut."""
        visitor = cls(await Visitor.connect(port), context, name, session)
        try:
            await visitor.shake_hands()
        except BaseException:
            visitor.wire.close()
            raise
        return visitor

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.wire.close()

    async def shake_hands(self, fragment: int = 0) -> None:
        """Do the handshake, sending pieces of `fragment` bytes when that is not 0."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush(fragment)
                await self._more()
            else:
                await self.flush(fragment)
                return

    async def send(self, data: bytes, fragment: int = 0) -> None:
        """Encrypt `data` and send it."""
        self.tls.write(data)
        await self.flush(fragment)

    async def receive(self) -> bytes:
        """What comes next; nothing after a close_notify; raises Cut when the connection ends without one."""
        while True:
            try:
                return self.tls.read(65_536)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                await self._more()

    async def receive_all(self) -> bytes:
        """Everything until the close_notify."""
        received = bytearray()
        while data := await self.receive():
            received += data
        return bytes(received)

    async def receive_until(self, ending: bytes) -> bytes:
        """Everything up to `ending`, and what came with it."""
        received = bytearray()
        while ending not in received:
            data = await self.receive()
            if not data:
                raise AssertionError(f"the connection ended after {bytes(received[-100:])!r}")
            received += data
        return bytes(received)

    async def say_goodbye(self) -> None:
        """Send a close_notify, and leave the connection open."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        await self.flush()

    def encrypted(self, data: bytes) -> bytes:
        """The records for `data`, which are not sent."""
        self.tls.write(data)
        return self._outgoing.read()

    async def flush(self, fragment: int = 0) -> None:
        """Send what TLS has to say."""
        if self._outgoing.pending:
            await self.wire.send(self._outgoing.read(), fragment)

    async def _more(self) -> None:
        data = await self.wire.octets(1)
        if not data:
            raise Cut
        self._incoming.write(data + self.wire._take(len(self.wire._ahead)))
