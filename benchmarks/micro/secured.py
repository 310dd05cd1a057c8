"""The steps of TLS and HTTP/2 that are ours and not OpenSSL's."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from benchmarks.load.certificate import visitor_context
from benchmarks.load.heads import SITE, head
from mesh.hello import read_hello
from mesh.hpack import Decoder, encode_lines

RESPONSE = (
    b"server: nginx\r\ndate: Sat, 21 Nov 2026 10:00:00 GMT\r\ncontent-type: text/plain\r\n"
    b'content-length: 13\r\netag: "0123456789abcdef"\r\n'
)
# Where the dynamic table begins, and the bits of an indexed field and of one that enters it (RFC 7541 section 6).
_FIRST_DYNAMIC, _INDEXED, _ENTERS = 62, 0x80, 0x40


def secured_steps() -> dict[str, Callable[[], object]]:
    """Every step by its name."""
    hello = _hello()
    fields = [line.split(": ", 1) for line in head(0).split("\r\n")[2:-2]]
    entering = b"".join(_entering(name.lower().encode(), value.encode()) for name, value in fields)
    literal = encode_lines(b"".join(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in fields))
    known, fresh = Decoder(), Decoder()
    known.decode(entering)
    indexed = bytes(_INDEXED | _FIRST_DYNAMIC + number for number in range(len(fields)))
    return {
        "ClientHello, read": lambda: read_hello(hello),
        "HPACK head, all indexed": lambda: known.decode(indexed),
        "HPACK head, all literal": lambda: fresh.decode(literal),
        "HPACK answer, encoded": lambda: encode_lines(RESPONSE),
    }


def _hello() -> bytes:
    context = visitor_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=SITE)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake needs a server")


def _entering(name: bytes, value: bytes) -> bytes:
    return b"%c%b%b" % (_ENTERS, _string(name), _string(value))


def _string(text: bytes) -> bytes:
    """Without Huffman code (RFC 7541 section 5.2)."""
    length = len(text)
    if length < 127:
        return bytes((length,)) + text
    octets, rest = bytearray((127,)), length - 127
    while rest >= 128:
        octets.append(rest & 0x7F | 0x80)
        rest >>= 7
    octets.append(rest)
    return bytes(octets) + text
