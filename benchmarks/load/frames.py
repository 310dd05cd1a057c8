"""The WebSocket messages of the benchmark, framed once and for all (RFC 6455 section 5.2)."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

TEXT, FINAL, MASKED = 0x01, 0x80, 0x80
MASK = b"\x37\xfa\x21\x3d"
KEY = b64encode(b"a benchmark of us")[:22] + b"=="
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# Short enough for a length of one byte (RFC 6455 section 5.2), as most messages of chats, games and tickers are.
PAYLOAD = b'{"kind":"tick","symbol":"ZEX","price":104.25,"volume":1200,"at":1767225600}'

TO_VISITOR = bytes((FINAL | TEXT, len(PAYLOAD))) + PAYLOAD
FROM_VISITOR = (
    bytes((FINAL | TEXT, MASKED | len(PAYLOAD)))
    + MASK
    + bytes(octet ^ MASK[index % 4] for index, octet in enumerate(PAYLOAD))
)


def upgrade(host: str) -> bytes:
    """The request that opens a WebSocket."""
    return (
        b"GET /ticks HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n" % (host.encode(), KEY)
    )


def accept(key: bytes) -> bytes:
    """The answer that opens it, for the key of the request."""
    # RFC 6455 section 4.2.2 sets the hash.
    proof = b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % proof
    )
