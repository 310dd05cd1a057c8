"""What is known of a visitor's connection before the first request: who it is from, and how it is secured."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mesh.forward import Peer


class TlsFacts(NamedTuple):
    """What a handshake settled.

    `names` are the folded names of the certificate that was shown, a wildcard as `*.example.com`; `client` describes
    the visitor's verified certificate, and is empty without one; `client_ca` is what it was verified against.
    """

    version: str
    cipher: str
    server_name: str
    names: frozenset[bytes]
    client: bytes = b""
    client_ca: str = ""

    def covers(self, host: bytes) -> bool:
        """Whether the certificate is one for `host`, a folded name (RFC 9525 section 6.3)."""
        return host in self.names or b"*." + host.partition(b".")[2] in self.names


class Arrival(NamedTuple):
    """A visitor's connection, as its requests see it."""

    peer: Peer
    tls: TlsFacts | None = None
