"""PROXY headers, versions 1 and 2: read as the text says, written as others read them."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.proxy_protocol import MAX_V1, MAX_V2, Header, crc32c, header_v1, header_v2, read_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
TCP4 = b"\xc0\x00\x02\x01\xc6\x33\x64\x01\xdb\xdc\x01\xbb"
ENDS = ("192.0.2.1", 56284), ("198.51.100.1", 443)


def v2(command: int, kind: int, block: bytes) -> bytes:
    """A binary header."""
    return SIGNATURE + struct.pack(">BBH", command, kind, len(block)) + block


def extra(kind: int, content: bytes) -> bytes:
    """A TLV."""
    return struct.pack(">BH", kind, len(content)) + content


def summed(block: bytes, behind: bytes = b"") -> bytes:
    """A header with its checksum, somewhere among the extensions."""
    empty = v2(0x21, 0x11, block + extra(3, bytes(4)) + behind)
    return empty.replace(extra(3, bytes(4)), extra(3, crc32c(empty).to_bytes(4)))


@pytest.mark.parametrize(
    ("line", "header"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 56284 443\r\n", Header(45, *ENDS)),
        (b"PROXY TCP6 2001:DB8::1 ::1 0 65535\r\n", Header(36, ("2001:db8::1", 0), ("::1", 65_535))),
        (b"PROXY UNKNOWN\r\n", Header(15)),
        (b"PROXY UNKNOWN ffff::1 whatever it may be 1\r\n", Header(44)),
    ],
)
def test_lines(line: bytes, header: Header) -> None:
    """What follows the line is left alone; every beginning of it wants more."""
    assert read_header(line + b"GET / HTTP/1.1\r\n") == header
    assert all(read_header(line[:size]) is None for size in range(len(line)))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXX",
        b"\x16\x03\x01",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56284\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56284 443 1\r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.1 56284 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 56284 65536\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 01 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1  443\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.1 1 443\r\n",
        b"PROXY TCP4 ::1 ::1 1 443\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.1 1 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 443\r\n",
        b"PROXY TCP4 192.0.2.\xb9 198.51.100.1 1 443\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.1 1 443\r\n",
        b"PROXY tcp4 192.0.2.1 198.51.100.1 1 443\r\n",
        b"PROXY UNKNOWN\nGET /",
        b"PROXY UNKNOWN " + b"a" * (MAX_V1 - 14),
        b"PROXY UNKNOWN " + b"a" * MAX_V1 + b"\r\n",
    ],
)
def test_malformed_lines(data: bytes) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"."):
        read_header(data)


def test_the_longest_line() -> None:
    """107 bytes with its end (section 2.1)."""
    line = b"PROXY UNKNOWN " + b"a" * (MAX_V1 - 16) + b"\r\n"
    assert read_header(line) == Header(MAX_V1)


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        (v2(0x21, 0x11, TCP4), ENDS),
        (v2(0x21, 0x11, TCP4 + extra(4, b"") + extra(0xEA, b"vpce")), ENDS),
        (v2(0x21, 0x21, bytes(15) + b"\x01" + bytes(15) + b"\x02\x00\x01\x00\x02"), (("::1", 1), ("::2", 2))),
        (v2(0x21, 0x12, TCP4), (None, None)),
        (v2(0x21, 0x31, bytes(216)), (None, None)),
        (v2(0x21, 0x00, b""), (None, None)),
        (v2(0x21, 0x00, b"anything"), (None, None)),
        (v2(0x20, 0x00, b""), (None, None)),
        (v2(0x20, 0x11, TCP4 + b"not even an extension"), (None, None)),
        (v2(0x20, 0x77, b""), (None, None)),
        (summed(TCP4), ENDS),
        (summed(TCP4 + extra(1, b"h2"), extra(2, b"a.example")), ENDS),
        (v2(0x21, 0x11, TCP4 + extra(4, bytes(MAX_V2 - 15))), ENDS),
    ],
)
def test_blocks(data: bytes, ends: tuple[tuple[str, int] | None, tuple[str, int] | None]) -> None:
    """Addresses count for TCP alone; LOCAL and what is unspecified keep those of the socket (section 2.2)."""
    assert read_header(data + b"\x16\x03\x01") == Header(len(data), *ends)
    assert all(read_header(data[:size]) is None for size in range(min(len(data), 300)))


@pytest.mark.parametrize(
    "data",
    [
        SIGNATURE[:-1] + b"X",
        v2(0x11, 0x11, TCP4),
        v2(0x22, 0x11, TCP4),
        v2(0x21, 0x41, TCP4),
        v2(0x21, 0x13, TCP4),
        v2(0x21, 0x11, TCP4[:-1]),
        v2(0x21, 0x21, TCP4),
        v2(0x21, 0x11, TCP4 + b"\x04"),
        v2(0x21, 0x11, TCP4 + b"\x04\x00\x02a"),
        v2(0x21, 0x11, TCP4 + extra(3, b"\x01\x02\x03\x04")),
        v2(0x21, 0x11, TCP4 + extra(3, b"\x01")),
        SIGNATURE + struct.pack(">BBH", 0x21, 0x11, MAX_V2 + 1),
        SIGNATURE + struct.pack(">BBH", 0x20, 0x00, 0xFFFF),
    ],
)
def test_malformed_blocks(data: bytes) -> None:
    """Refused as soon as it shows."""
    with pytest.raises(ValueError, match=r"."):
        read_header(data)


def test_the_checksum_is_the_one_of_the_text() -> None:
    """RFC 3720 appendix B.4 has these."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6), st.ip_addresses(v=4) | st.ip_addresses(v=6), st.integers(0, 65_535))
def test_what_is_written_is_read(
    source: ipaddress.IPv4Address | ipaddress.IPv6Address,
    destination: ipaddress.IPv4Address | ipaddress.IPv6Address,
    port: int,
) -> None:
    """Both versions; addresses of two kinds cannot be told together."""
    ends = (str(source), port), (str(destination), 443)
    for header in (header_v1(*ends), header_v2(*ends)):
        told = ends if source.version == destination.version else (None, None)
        assert read_header(header + b"rest") == Header(len(header), *told)


def test_a_visitor_without_an_address() -> None:
    """One that came over a Unix socket."""
    ends = ("unix", 0), ("0.0.0.0", 80)
    assert header_v1(*ends) == b"PROXY UNKNOWN\r\n"
    assert header_v2(*ends) == v2(0x21, 0x00, b"")


@given(st.binary(max_size=300))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    """No other error."""
    for beginning in (b"", SIGNATURE, b"PROXY TCP4 ", v2(0x21, 0x11, TCP4)[:16]):
        try:
            header = read_header(beginning + data)
        except ValueError:
            continue
        assert header is None or header.size <= len(beginning + data)
