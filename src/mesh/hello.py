"""The first message of TLS, read before the handshake: whom the visitor wants, and what it speaks (RFC 8446)."""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import Final

import msgspec

MAX_HELLO: Final = 16 * 1024
ACME: Final = b"acme-tls/1"

_HANDSHAKE: Final = 0x16
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_ALPN: Final = 16
_VERSIONS: Final = 43
_WANTED: Final = frozenset((_SERVER_NAME, _ALPN, _VERSIONS))
# Fragments may be as small as one octet. Who needs more of them than this is testing somebody's patience.
_MAX_RECORDS: Final = 64
_MAX_RECORD: Final = 16 * 1024
_MOST_NAMES: Final = 4096
_MOST_LISTS: Final = 128

_NAME: Final = re.compile(rb"[a-z0-9_](?:[a-z0-9._-]{0,252}[a-z0-9_-])?")
_IPV4: Final = re.compile(rb"[0-9.]+")


class NotTls(ValueError):
    """The first bytes are something else, unknown to us."""


class PlainHttp(NotTls):
    """The first byte is a letter, as in a request line."""


class Hello(msgspec.Struct, frozen=True, gc=False):
    """What a ClientHello says. `server_name` is folded (lower case, no trailing dot), and "" for none or an address.

    `versions` are the numbers of supported_versions (0x0304 is TLS 1.3), or the one version of an older hello.
    """

    server_name: str = ""
    alpn: tuple[bytes, ...] = ()
    versions: tuple[int, ...] = ()

    @property
    def is_acme(self) -> bool:
        """Whether an authority validates by TLS-ALPN-01: then it offers nothing else (RFC 8737 section 3)."""
        return self.alpn == (ACME,)


def read_hello(data: bytes) -> Hello | None:
    """The ClientHello that `data`, the first bytes of a connection, begins with; None while it is incomplete.

    Raises PlainHttp for what looks like a request, NotTls for anything else that is not TLS, and ValueError for a
    malformed hello or one that is longer than MAX_HELLO bytes.
    """
    if len(data) < 5 or data[0] != _HANDSHAKE or data[1] != 3:
        _check_beginning(data)
        return None
    length = data[3] << 8 | data[4]
    if not 4 <= length <= _MAX_RECORD:
        return _read_fragments(data)
    if len(data) < 5 + length:
        return None
    size = data[6] << 16 | data[7] << 8 | data[8]
    if size + 4 > length:
        return _read_fragments(data)
    if data[5] != _CLIENT_HELLO:
        raise ValueError("The first message is no ClientHello.")
    return _read_body(data, 9, 9 + size)


def _check_beginning(data: bytes) -> None:
    """Let pass what may still become a record."""
    if not data:
        return
    if data[0] != _HANDSHAKE:
        if chr(data[0]).isascii() and chr(data[0]).isalpha():
            raise PlainHttp("A request without TLS.")
        raise NotTls("The first bytes are not TLS.")
    if len(data) > 1 and data[1] != 3:
        raise NotTls("The record is of no version of TLS.")


def _read_fragments(data: bytes) -> Hello | None:
    """A hello that is spread over several records (RFC 8446 section 5.1)."""
    message = b""
    offset = 0
    for _ in range(_MAX_RECORDS):
        header = data[offset : offset + 5]
        if len(header) < 5:
            return None
        if header[:2] != b"\x16\x03":
            raise ValueError("A record of another kind interrupts the ClientHello.")
        length = header[3] << 8 | header[4]
        if not 0 < length <= _MAX_RECORD:
            raise ValueError("The length of a record is out of bounds.")
        message += data[offset + 5 : offset + 5 + length]
        size = _size_of(message)
        if size is not None and len(message) >= size:
            return _read_body(message, 4, size)
        offset += 5 + length
        if offset > len(data):
            return None
    raise ValueError("The ClientHello comes in too many pieces.")


def _size_of(message: bytes) -> int | None:
    """How long a handshake message is with its own header of four bytes; None while that is incomplete."""
    if message[:1] not in (b"", b"\x01"):
        raise ValueError("The first message is no ClientHello.")
    if len(message) < 4:
        return None
    size = 4 + int.from_bytes(message[1:4])
    if size > MAX_HELLO:
        raise ValueError("The ClientHello is too long.")
    return size


def _read_body(data: bytes, offset: int, end: int) -> Hello:
    """Read the hello between `offset` and `end`, all of which is there."""
    try:
        version = data[offset] << 8 | data[offset + 1]
        # Behind the version: 32 random octets, then three vectors with a length each.
        offset += 34
        offset += 1 + data[offset]
        offset += 2 + (data[offset] << 8 | data[offset + 1])
        offset += 1 + data[offset]
        if offset == end:
            return Hello(versions=(version,))
        if offset + 2 + (data[offset] << 8 | data[offset + 1]) != end:
            raise ValueError("The extensions do not fill the ClientHello.")
        return _read_extensions(data, offset + 2, end, version)
    except IndexError:
        raise ValueError("The ClientHello is cut short.") from None


def _read_extensions(data: bytes, offset: int, end: int, version: int) -> Hello:
    server_name = ""
    alpn: tuple[bytes, ...] = ()
    versions: tuple[int, ...] = (version,)
    while offset < end:
        kind, length = data[offset] << 8 | data[offset + 1], data[offset + 2] << 8 | data[offset + 3]
        offset += 4 + length
        if kind not in _WANTED:
            continue
        content = data[offset - length : offset]
        if kind == _SERVER_NAME:
            server_name = _server_name(content)
        elif kind == _ALPN:
            alpn = _protocols(content)
        else:
            versions = _versions(content)
    if offset != end:
        raise ValueError("An extension is longer than the ClientHello.")
    return Hello(server_name, alpn, versions)


# Visitors of one site say the same, and browsers of one make too: reading it again takes longer than everything else.


@lru_cache(_MOST_NAMES)
def _server_name(content: bytes) -> str:
    """The one name of a list that never had another kind of entry (RFC 6066 section 3)."""
    size, length = len(content) - 2, int.from_bytes(content[3:5])
    if int.from_bytes(content[:2]) != size or content[2] != 0 or length + 3 != size:
        raise ValueError("The server name is malformed.")
    name = content[5:].lower().removesuffix(b".")
    if b":" in name or _IPV4.fullmatch(name):
        # RFC 6066 allows no addresses; who sends one anyway is served like one who sends nothing.
        return ""
    if not _NAME.fullmatch(name):
        raise ValueError("The server name is malformed.")
    return name.decode("ascii")


@lru_cache(_MOST_LISTS)
def _protocols(content: bytes) -> tuple[bytes, ...]:
    if int.from_bytes(content[:2]) != len(content) - 2:
        raise ValueError("The list of protocols is malformed.")
    protocols: list[bytes] = []
    offset = 2
    while offset < len(content):
        start = offset + 1
        offset = start + content[offset]
        if offset == start or offset > len(content):
            raise ValueError("The list of protocols is malformed.")
        protocols.append(content[start:offset])
    return tuple(protocols)


@lru_cache(_MOST_LISTS)
def _versions(content: bytes) -> tuple[int, ...]:
    count = content[0] // 2
    if not len(content) == 1 + content[0] == 1 + 2 * count:
        raise ValueError("The list of versions is malformed.")
    return struct.unpack_from(f">{count}H", content, 1)
