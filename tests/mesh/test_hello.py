"""ClientHellos of real clients, in pieces and mutilated, and what is none."""

from __future__ import annotations

import ssl
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.hello import MAX_HELLO, Hello, NotTls, PlainHttp, read_hello


def hello(name: str | None = "shop.example.com", *alpn: str, newest: ssl.TLSVersion | None = None) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(alpn)
    if newest is not None:
        context.maximum_version = newest
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def record(*extensions: tuple[int, bytes], body: bytes = b"") -> bytes:
    """A hello made by hand, in one record."""
    return in_records(message(*extensions, body=body))


def message(*extensions: tuple[int, bytes], body: bytes = b"") -> bytes:
    """A ClientHello with its own header of four bytes."""
    listed = b"".join(struct.pack(">HH", kind, len(content)) + content for kind, content in extensions)
    body = body or b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + vector(listed)
    return b"\x01" + len(body).to_bytes(3) + body


def in_records(content: bytes, size: int = 16_384) -> bytes:
    """The same in records of at most `size` bytes."""
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"\x16\x03\x01" + vector(piece) for piece in pieces)


def vector(content: bytes) -> bytes:
    """A length of two octets, and the content."""
    return len(content).to_bytes(2) + content


def named(name: bytes) -> tuple[int, bytes]:
    """The extension for a server name."""
    return 0, vector(b"\x00" + vector(name))


def test_what_a_real_client_says() -> None:
    """Name, protocols and versions."""
    assert read_hello(hello("shop.example.com", "h2", "http/1.1")) == Hello(
        "shop.example.com", (b"h2", b"http/1.1"), (0x0304, 0x0303)
    )


def test_a_client_without_name_and_protocols() -> None:
    """Both are optional."""
    assert read_hello(hello(None)) == Hello("", (), (0x0304, 0x0303))


def test_a_client_of_tls_1_2() -> None:
    """It has no list of versions."""
    assert read_hello(hello(newest=ssl.TLSVersion.TLSv1_2)) == Hello("shop.example.com", (), (0x0303,))


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (b"Shop.EXAMPLE.com", "shop.example.com"),
        (b"shop.example.com.", "shop.example.com"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"_service.example.com", "_service.example.com"),
        (b"192.0.2.1", ""),
        (b"2001:db8::1", ""),
    ],
)
def test_names_are_folded(sent: bytes, name: str) -> None:
    """Lower case, no trailing dot, and no addresses (RFC 6066 section 3)."""
    assert read_hello(record(named(sent))) == Hello(name, (), (0x0303,))


@pytest.mark.parametrize("sent", [b"", b".", b"a b", b"a/b", b"a\x00b", b"\xc3\xa9.example", b".example", b"a" * 300])
def test_names_that_are_none(sent: bytes) -> None:
    """They would be taken for something else later on."""
    with pytest.raises(ValueError, match="server name"):
        read_hello(record(named(sent)))


def test_an_authority_that_validates() -> None:
    """It offers acme-tls/1 and nothing else (RFC 8737 section 3)."""
    assert (only := read_hello(hello("a.example", "acme-tls/1"))) is not None
    assert only.is_acme
    assert (among := read_hello(hello("a.example", "acme-tls/1", "h2"))) is not None
    assert not among.is_acme


def test_every_beginning_of_a_hello_wants_more() -> None:
    """However the network cuts it."""
    data = hello()
    assert all(read_hello(data[:size]) is None for size in range(len(data)))


@pytest.mark.parametrize("size", [1, 4, 5, 100])
def test_a_hello_in_several_records(size: int) -> None:
    """Post-quantum keys need it, and some clients do it on purpose (RFC 8446 section 5.1)."""
    content = message(named(b"a.example"), (16, vector(b"\x02h2")))[: 64 * size]
    data = in_records(content, size)
    if len(content) < len(message(named(b"a.example"), (16, vector(b"\x02h2")))):
        assert read_hello(data[:-1]) is None
    else:
        assert read_hello(data) == Hello("a.example", (b"h2",), (0x0303,))
        assert all(read_hello(data[:cut]) is None for cut in range(len(data)))


def test_what_follows_the_hello_is_left_alone() -> None:
    """Early data is not read (0-RTT is off)."""
    data = hello()
    assert read_hello(data + b"\x17\x03\x03\x00\x05early") == read_hello(data)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"P", b"get", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
def test_a_request_is_told_apart(data: bytes) -> None:
    """By its first byte."""
    with pytest.raises(PlainHttp):
        read_hello(data)


@pytest.mark.parametrize(
    "data", [b"\x00", b"\x80\x2e\x01\x03\x01", b"\r\n", b"\x16\x02\x01\x00\x05", b"\x16\x02", b"\xe9"]
)
def test_other_nonsense(data: bytes) -> None:
    """SSL 2 among it."""
    with pytest.raises(NotTls):
        read_hello(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        in_records(b"\x02" + bytes(3)),
        in_records(b"\x02" + bytes(10)),
        in_records(b"\x01" + (MAX_HELLO - 3).to_bytes(3)),
        in_records(message(named(b"a.example")), 1)[: 6 * 70],
        in_records(message(), 10)[:15] + b"\x17\x03\x03\x00\x01a",
        record(body=b"\x03\x03"),
        record(body=b"\x03\x03" + bytes(32) + b"\xff"),
        record(body=b"\x03\x03" + bytes(32) + b"\x00\x00\x02\x13\x01\x01\x00" + b"\x00\x05\x00"),
        record()[:-2] + b"\x00\x04",
        record((0, b"\x00\x05")),
        record((0, vector(b"\x00\x00\x20a.example"))),
        record((0, vector(b"\x01\x00\x01a"))),
        record((16, b"\x00\x09\x02h2")),
        record((16, vector(b"\x00"))),
        record((16, vector(b"\x05h2"))),
        record((16, b"")),
        record((43, b"\x03\x03\x04")),
        record((43, b"")),
    ],
)
def test_malformed_hellos(data: bytes) -> None:
    """Each is refused, and as soon as it can be."""
    with pytest.raises(ValueError, match=r"."):
        read_hello(data + b"\x16\x03\x01\x00\x01\x00")


def test_an_extension_that_is_too_long_for_the_hello() -> None:
    """The list is of the right length, its last entry is not."""
    whole = record((21, b"padding"))
    at = whole.index(b"\x00\x07padding")
    with pytest.raises(ValueError, match="extension"):
        read_hello(whole[:at] + b"\x00\x08padding")


def test_without_any_extensions() -> None:
    """TLS 1.2 allows it (RFC 5246 section 7.4.1.2)."""
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x00\x2f" + b"\x01\x00"
    assert read_hello(record(body=body)) == Hello(versions=(0x0303,))


@given(st.binary(max_size=200), st.integers(0, 400))
def test_whatever_comes_is_read_or_refused(noise: bytes, at: int) -> None:
    """No other error, nothing read beyond the end."""
    data = bytearray(record(named(b"a.example"), (16, vector(b"\x02h2")), (43, b"\x02\x03\x04")))
    data[at : at + len(noise)] = noise
    try:
        found = read_hello(bytes(data))
    except ValueError:
        return
    assert found is None or isinstance(found, Hello)
