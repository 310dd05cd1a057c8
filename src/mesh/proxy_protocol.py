"""The PROXY protocol, versions 1 and 2: whose connection it is that a proxy passes on.

The text that is referred to is HAProxy's `proxy-protocol.txt`.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from typing import Final

import msgspec

End = tuple[str, int]

MAX_V1: Final = 107
MAX_V2: Final = 4096

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD: Final = len(_V2) + 4
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_UNSPECIFIED: Final = 0x00
_TCP4: Final = 0x11
_TCP6: Final = 0x21
# UDP and Unix sockets: valid, and of no use as the address of a visitor.
_OTHERS: Final[frozenset[int]] = frozenset((0x12, 0x22, 0x31, 0x32))
_SIZES: Final[Mapping[int, int]] = {_TCP4: 12, _TCP6: 36, 0x12: 12, 0x22: 36, 0x31: 216, 0x32: 216}
_CRC32C: Final = 0x03


class Header(msgspec.Struct, frozen=True):
    """What was announced: both ends as address and port, or None where the socket's own address holds.

    `size` is how many bytes the header took.
    """

    size: int
    source: End | None = None
    destination: End | None = None


def read_header(data: bytes) -> Header | None:
    """The header that `data`, the first bytes of a connection, begins with; None while it is incomplete.

    Raises ValueError when there is none, or it is malformed, or too long.
    """
    if data.startswith(_V2[: len(data)]) if len(data) < len(_V2) else data.startswith(_V2):
        return _read_v2(data) if len(data) >= _V2_HEAD else None
    if data.startswith(_V1[: len(data)]) if len(data) < len(_V1) else data.startswith(_V1):
        return _read_v1(data)
    raise ValueError("The connection does not begin with a PROXY header.")


def header_v1(source: End, destination: End) -> bytes:
    """The line that announces a connection (section 2.1); addresses that do not go together are not told."""
    version = _common_version(source, destination)
    if version is None:
        return b"PROXY UNKNOWN\r\n"
    return f"PROXY TCP{version} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode("ascii")


def header_v2(source: End, destination: End) -> bytes:
    """The binary header that announces a connection (section 2.2)."""
    version = _common_version(source, destination)
    if version is None:
        return _V2 + bytes((_PROXY, _UNSPECIFIED, 0, 0))
    addresses = ipaddress.ip_address(source[0]).packed + ipaddress.ip_address(destination[0]).packed
    block = addresses + struct.pack(">HH", source[1], destination[1])
    return _V2 + struct.pack(">BBH", _PROXY, _TCP4 if version == 4 else _TCP6, len(block)) + block


def _common_version(*ends: End) -> int | None:
    try:
        first, second = (ipaddress.ip_address(address).version for address, _port in ends)
    except ValueError:
        return None
    return first if first == second else None


# Version 1: a line of text.


def _read_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(data) >= MAX_V1 or b"\n" in data:
            raise ValueError("The PROXY line does not end.")
        return None
    kind, *words = data[len(_V1) : end].split(b" ")
    if kind == b"UNKNOWN":
        return Header(end + 2)
    if kind not in (b"TCP4", b"TCP6") or len(words) != 4:
        raise ValueError("The PROXY line is malformed.")
    version = 4 if kind == b"TCP4" else 6
    source, destination = (_address(word, version) for word in words[:2])
    return Header(end + 2, (source, _port(words[2])), (destination, _port(words[3])))


def _address(word: bytes, version: int) -> str:
    # A zone (fe80::1%eth0) means something on the machine of the sender alone.
    address = ipaddress.ip_address(word.decode("ascii"))
    if address.version != version or b"%" in word:
        raise ValueError("The PROXY line has an address of another kind.")
    return str(address)


def _port(word: bytes) -> int:
    if not (word.isdigit() and len(word) <= 5 and (word == b"0" or word[:1] != b"0") and int(word) <= 65_535):
        raise ValueError("The PROXY line has a port that is none.")
    return int(word)


# Version 2: a block of bytes.


def _read_v2(data: bytes) -> Header | None:
    command, kind, length = struct.unpack_from(">BBH", data, len(_V2))
    if command not in (_LOCAL, _PROXY):
        raise ValueError("The PROXY header is of an unknown version or command.")
    if length > MAX_V2:
        raise ValueError("The PROXY header is too long.")
    size = _V2_HEAD + length
    if len(data) < size:
        return None
    if command == _LOCAL:
        # The proxy speaks for itself; what else it says has to be ignored (section 2.2).
        return Header(size)
    if kind == _UNSPECIFIED:
        return Header(size)
    if kind not in _SIZES:
        raise ValueError("The PROXY header is of an unknown family.")
    end = _V2_HEAD + _SIZES[kind]
    if end > size:
        raise ValueError("The PROXY header is too short for its addresses.")
    _check_extras(data[:size], end)
    if kind in _OTHERS:
        return Header(size)
    width = 4 if kind == _TCP4 else 16
    first, second = data[_V2_HEAD : _V2_HEAD + width], data[_V2_HEAD + width : _V2_HEAD + 2 * width]
    source_port, destination_port = struct.unpack_from(">HH", data, end - 4)
    return Header(
        size,
        (str(ipaddress.ip_address(first)), source_port),
        (str(ipaddress.ip_address(second)), destination_port),
    )


def _check_extras(header: bytes, offset: int) -> None:
    """Walk over what follows the addresses, and check the checksum if there is one (section 2.2.3)."""
    while offset < len(header):
        if offset + 3 > len(header):
            raise ValueError("The PROXY header ends in the middle of an extension.")
        kind, length = struct.unpack_from(">BH", header, offset)
        start = offset + 3
        offset = start + length
        if offset > len(header):
            raise ValueError("An extension is longer than the PROXY header.")
        if kind == _CRC32C:
            without = header[:start] + bytes(length) + header[offset:]
            if length != 4 or crc32c(without) != int.from_bytes(header[start:offset]):
                raise ValueError("The checksum of the PROXY header is wrong.")


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for index in range(256):
        value = index
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE: Final = _crc32c_table()


def crc32c(data: bytes) -> int:
    """The checksum of RFC 4960 appendix B."""
    value = 0xFFFFFFFF
    for octet in data:
        value = _TABLE[(value ^ octet) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF
