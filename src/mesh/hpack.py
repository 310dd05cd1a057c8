"""HPACK (RFC 7541): header blocks into fields with the peer's dynamic table, and fields into blocks without one.

What is written here never enters a dynamic table, so a block means the same on every connection and may be kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from jh2 import _hazmat  # type: ignore[import-untyped]

from mesh.frames import COMPRESSION_ERROR, ConnectionFault

# What becomes of a field: see `kind_of`.
PLAIN: Final = 0
PSEUDO: Final = 1
CAREFUL: Final = 2
MALFORMED: Final = 3

# Name, value, the line `name: value` with its end, and kind. A tuple, because one is made for every literal.
Field = tuple[bytes, bytes, bytes, int]

TABLE_SIZE: Final = 4096
_ENTRY_OVERHEAD: Final = 32
# Octets of an integer behind its prefix: enough for 2^28, more than any table or string here.
_MAX_INTEGER_OCTETS: Final = 4
_LARGEST_STRING: Final = 1 << 24

# RFC 9113 sections 8.2.1 and 8.2.2. A control character in a value is somebody's second line, sooner or later.
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(rb"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
_CAREFUL_NAMES: Final = frozenset({b"host", b"cookie", b"content-length", b"te"})
_CONNECTION_NAMES: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
# What nobody on the way may put into a table either (RFC 7541 section 7.1.3).
_SECRET_NAMES: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"})

_STATIC: Final = (
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
)

# How many bits each octet has in the Huffman code of RFC 7541 appendix B.
_CODE_LENGTHS: Final = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c"
    "060a0a0c0d06080b0a0a080b080606060505050606060606060607080f060c0a"
    "0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c"
    "1416141416161617161717171717181718181617181717171715161716171718"
    "1615141616171715171616181516171715151615171617171416161617161617"
    "1a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b"
    "14181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a"
)


def kind_of(name: bytes, value: bytes) -> int:
    """Whether a field simply passes, is a pseudo-header, has to be looked at, or makes its message malformed."""
    if value and not _VALUE.fullmatch(value):
        return MALFORMED
    if name in _CAREFUL_NAMES:
        return CAREFUL
    if name[:1] == b":":
        return PSEUDO
    return MALFORMED if name in _CONNECTION_NAMES or not _NAME.fullmatch(name) else PLAIN


def field(name: bytes, value: bytes) -> Field:
    """A field, judged."""
    return name, value, b"%b: %b\r\n" % (name, value), kind_of(name, value)


def size_of(fields: Iterable[Field]) -> int:
    """The size of a header list (RFC 9113 section 6.5.2): without the colon and line end, and 32 for every field."""
    # A line has four octets more than name and value.
    return sum([len(one[2]) + (_ENTRY_OVERHEAD - 4) for one in fields])


_STATIC_FIELDS: Final = tuple(field(name.encode(), value.encode()) for name, value in _STATIC)
_FIRST_DYNAMIC: Final = len(_STATIC_FIELDS) + 1


class Decoder:
    """Reads the header blocks of one connection.

    `is_changed` says whether the last block changed the dynamic table. While it does not change, equal blocks have
    equal fields.
    """

    __slots__ = ("_huffman", "_limit", "_max_size", "_size", "_table", "is_changed")

    def __init__(self, limit: int = TABLE_SIZE) -> None:
        """`limit` is the SETTINGS_HEADER_TABLE_SIZE that the peer was told."""
        # One list for both tables: an index is an offset, and the newest entry is the first of the dynamic ones.
        self._table: list[Field] = [field(b"", b""), *_STATIC_FIELDS]
        self._size = 0
        self._max_size = self._limit = limit
        self._huffman = _hazmat.Decoder(_LARGEST_STRING)
        self.is_changed = False

    def decode(self, block: bytes) -> list[Field]:
        """The fields of a complete block; raises ConnectionFault, behind which the table is of no use."""
        self.is_changed = False
        fields: list[Field] = []
        table, position, end = self._table, 0, len(block)
        try:
            while position < end:
                octet = block[position]
                position += 1
                if octet > 0x80:
                    if octet == 0xFF:
                        octet, position = _integer(block, position, 0xFF)
                    fields.append(table[octet - 0x80])
                elif octet & 0xE0 == 0x20:
                    position = self._resize(block, position, is_first=not fields)
                else:
                    position = self._literal(block, position, fields)
        except IndexError:
            raise ConnectionFault(COMPRESSION_ERROR, "A header block breaks off, or has an index of nothing.") from None
        return fields

    def _literal(self, block: bytes, position: int, fields: list[Field]) -> int:
        first = block[position - 1]
        if first == 0x80:
            raise ConnectionFault(COMPRESSION_ERROR, "A header block has the index 0.")
        prefix = 0x3F if first & 0x40 else 0x0F
        index = first & prefix
        if index == prefix:
            index, position = _integer(block, position, prefix)
        if index:
            name = self._table[index][0]
        else:
            name, position = self._string(block, position)
        value, position = self._string(block, position)
        new = field(name, value)
        fields.append(new)
        if first & 0x40:
            self._insert(new)
        return position

    def _string(self, block: bytes, position: int) -> tuple[bytes, int]:
        begin = position
        first = block[position]
        position += 1
        size = first & 0x7F
        if size == 0x7F:
            size, position = _integer(block, position, 0x7F)
        end = position + size
        if end > len(block):
            raise ConnectionFault(COMPRESSION_ERROR, "A string is longer than its header block.")
        if first < 0x80:
            return block[position:end], end
        try:
            # A whole representation around the string is the one door to the compiled decoder.
            ((_name, value, _is_sensitive),) = self._huffman.decode(b"\x00\x00" + block[begin:end], raw=True)
        except (_hazmat.HPACKError, _hazmat.OversizedHeaderListError):
            raise ConnectionFault(COMPRESSION_ERROR, "A Huffman-coded string is malformed.") from None
        decoded = bytes(value)
        # RFC 7541 section 5.2: less than an octet of padding, all ones. The compiled decoder takes any.
        padding = 8 * size - sum(decoded.translate(_CODE_LENGTHS))
        if padding and (padding > 7 or (block[end - 1] + 1) & ((1 << padding) - 1)):
            raise ConnectionFault(COMPRESSION_ERROR, "A Huffman-coded string has wrong padding.")
        return decoded, end

    def _resize(self, block: bytes, position: int, *, is_first: bool) -> int:
        size = block[position - 1] & 0x1F
        if size == 0x1F:
            size, position = _integer(block, position, 0x1F)
        if not is_first or size > self._limit:
            raise ConnectionFault(COMPRESSION_ERROR, "A table size is out of place or above the limit.")
        self._max_size = size
        self.is_changed = True
        self._evict()
        return position

    def _insert(self, new: Field) -> None:
        self.is_changed = True
        self._size += len(new[2]) + _ENTRY_OVERHEAD - 4
        self._table.insert(_FIRST_DYNAMIC, new)
        self._evict()

    def _evict(self) -> None:
        table = self._table
        while self._size > self._max_size:
            self._size -= len(table.pop()[2]) + _ENTRY_OVERHEAD - 4


def _integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
    """The integer whose prefix was full, and the offset behind it (RFC 7541 section 5.1)."""
    value = prefix
    for count in range(_MAX_INTEGER_OCTETS):
        octet = block[position + count]
        value += (octet & 0x7F) << (7 * count)
        if octet < 0x80:
            return value, position + count + 1
    raise ConnectionFault(COMPRESSION_ERROR, "An integer in a header block is too large.")


def _encoded_integer(value: int, prefix: int, pattern: int) -> bytes:
    if value < prefix:
        return bytes((pattern | value,))
    value -= prefix
    octets = [pattern | prefix]
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


_INDEXED: Final[Mapping[tuple[bytes, bytes], bytes]] = {
    (name, value): bytes((0x80 | index,)) for index, (name, value, _line, _kind) in enumerate(_STATIC_FIELDS, 1)
}
_INDEX_OF_NAME: Final[Mapping[bytes, int]] = {
    name: index for index, (name, _value, _line, _kind) in reversed(tuple(enumerate(_STATIC_FIELDS, 1)))
}
# A table of no entries: for a peer that wants a smaller one than the default (RFC 7541 section 4.2).
NO_TABLE: Final = b"\x20"


def encode(name: bytes, value: bytes) -> bytes:
    """A field with its name in lower case: an entry of the static table, or a literal that enters no table."""
    known = _INDEXED.get((name, value))
    if known is not None:
        return known
    pattern = 0x10 if name in _SECRET_NAMES else 0x00
    index = _INDEX_OF_NAME.get(name, 0)
    head = _encoded_integer(index, 0x0F, pattern)
    if not index:
        head = b"%b%b%b" % (head, _encoded_integer(len(name), 0x7F, 0), name)
    return b"%b%b%b" % (head, _encoded_integer(len(value), 0x7F, 0), value)


def encode_lines(lines: bytes) -> bytes:
    """Field lines in HTTP/1 form, each with its line end, as one block."""
    return b"".join([encode_line(line) for line in lines.split(b"\r\n") if line])


def encode_line(line: bytes) -> bytes:
    """One field line without its end; nothing for one about the connection (RFC 9113 section 8.2.2)."""
    name, _, value = line.partition(b":")
    name = name.lower()
    return b"" if name in _CONNECTION_NAMES else encode(name, value.strip(b" \t"))
