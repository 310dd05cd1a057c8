"""Heads of HTTP/2 in the form of HTTP/1, and those that have none."""

from __future__ import annotations

import pytest

from mesh.frames import PROTOCOL_ERROR, StreamFault
from mesh.h2_heads import RequestHead, read_request, read_response, read_trailers
from mesh.hpack import field

GET = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/x?y=1"))
CONNECT = ((b":method", b"CONNECT"), (b":authority", b"a.example:443"))
WEBSOCKET = ((b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:])


def request(*fields: tuple[bytes, bytes]) -> RequestHead:
    """The head that these fields make."""
    return read_request([field(*one) for one in fields])


def test_a_request_has_its_parts() -> None:
    """Host comes first, from :authority."""
    head = request(*GET, (b"accept", b"*/*"), (b"x-a", b"1"))
    assert (head.method, head.scheme, head.authority, head.path) == (b"GET", b"https", b"a.example", b"/x?y=1")
    assert head.lines == b"host: a.example\r\naccept: */*\r\nx-a: 1\r\n"
    assert head.length == -1


def test_crumbs_are_joined() -> None:
    """RFC 9113 section 8.2.3."""
    head = request(*GET, (b"cookie", b"a=1"), (b"accept", b"*/*"), (b"cookie", b"b=2"))
    assert head.lines == b"host: a.example\r\naccept: */*\r\ncookie: a=1; b=2\r\n"


def test_te_is_named_by_connection() -> None:
    """Or a target of HTTP/1 would not be told that trailers are welcome."""
    assert request(*GET, (b"te", b"trailers")).lines.endswith(b"te: trailers\r\nconnection: te\r\n")


def test_host_stands_in_for_authority() -> None:
    """And may repeat it."""
    without = [one for one in GET if one[0] != b":authority"]
    assert request(*without, (b"host", b"b.example")).lines == b"host: b.example\r\n"
    assert request(*GET, (b"host", b"A.Example")).lines == b"host: a.example\r\n"
    assert request(*without).lines == b""


def test_the_length_is_read() -> None:
    """And goes on as a line."""
    head = request(*GET, (b"content-length", b"12"))
    assert head.length == 12
    assert head.lines.endswith(b"content-length: 12\r\n")


def test_connect_has_an_authority_alone() -> None:
    """RFC 9113 section 8.5."""
    head = request(*CONNECT)
    assert (head.method, head.authority, head.path, head.protocol) == (b"CONNECT", b"a.example:443", b"", None)


def test_connect_for_a_protocol_has_everything() -> None:
    """RFC 8441 section 4."""
    head = request(*WEBSOCKET)
    assert (head.protocol, head.path) == (b"websocket", b"/x?y=1")


def test_options_may_be_for_the_server() -> None:
    """RFC 9113 section 8.3.1."""
    assert request((b":method", b"OPTIONS"), *GET[1:3], (b":path", b"*")).path == b"*"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(GET[1:], id="no method"),
        pytest.param((GET[0], *GET[2:]), id="no scheme"),
        pytest.param(GET[:3], id="no path"),
        pytest.param((*GET[:3], (b":path", b"")), id="empty path"),
        pytest.param((*GET[:3], (b":path", b"*")), id="asterisk for GET"),
        pytest.param((*GET[:3], (b":path", b"x")), id="path without slash"),
        pytest.param((*GET[:3], (b":path", b"https://a.example/")), id="absolute path"),
        pytest.param(((b":method", b"G T"), *GET[1:]), id="method with a space"),
        pytest.param(((b":method", b""), *GET[1:]), id="empty method"),
        pytest.param((*GET, GET[0]), id="method twice"),
        pytest.param((*GET, (b":path", b"/x?y=1")), id="path twice"),
        pytest.param((*GET, (b":status", b"200")), id="status"),
        pytest.param((*GET, (b":unknown", b"1")), id="unknown pseudo-header"),
        pytest.param((*GET[:3], (b"accept", b"*/*"), GET[3]), id="pseudo-header behind a field"),
        pytest.param((*GET, (b"connection", b"close")), id="connection"),
        pytest.param((*GET, (b"transfer-encoding", b"chunked")), id="transfer-encoding"),
        pytest.param((*GET, (b"Accept", b"*/*")), id="upper case"),
        pytest.param((*GET, (b"te", b"gzip")), id="te with gzip"),
        pytest.param((*GET, (b"te", b"trailers, gzip")), id="te with more"),
        pytest.param((*GET, (b"host", b"b.example")), id="another host"),
        pytest.param((*GET, (b"host", b"a.example"), (b"host", b"a.example")), id="two hosts"),
        pytest.param((*GET, (b"content-length", b"1"), (b"content-length", b"1")), id="two lengths"),
        pytest.param((*GET, (b"content-length", b"+1")), id="length with a sign"),
        pytest.param((*GET, (b"content-length", b"")), id="empty length"),
        pytest.param((*GET, (b"content-length", b"1, 1")), id="list of lengths"),
        pytest.param((*GET, (b"x-a", b"b\r\nc: d")), id="line end in a value"),
        pytest.param((*CONNECT, (b":path", b"/")), id="CONNECT with a path"),
        pytest.param((*CONNECT, (b":scheme", b"https")), id="CONNECT with a scheme"),
        pytest.param(CONNECT[:1], id="CONNECT without authority"),
        pytest.param((*GET, (b":protocol", b"websocket")), id="protocol for GET"),
        pytest.param((*WEBSOCKET[:-1],), id="protocol without path"),
        pytest.param((), id="nothing"),
    ],
)
def test_malformed_requests_are_refused(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    """RFC 9113 sections 8.1.1, 8.2 and 8.3."""
    with pytest.raises(StreamFault) as raised:
        request(*fields)
    assert raised.value.code == PROTOCOL_ERROR


def test_a_response_has_its_parts() -> None:
    """Cookies and lengths pass as they are."""
    head = read_response([field(b":status", b"200"), field(b"content-length", b"5"), field(b"set-cookie", b"a=b")])
    assert (head.status, head.length) == (200, 5)
    assert head.lines == b"content-length: 5\r\nset-cookie: a=b\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ((b":status", b"20"),),
        ((b":status", b"2000"),),
        ((b":status", b"abc"),),
        ((b":status", b"200"), (b":status", b"200")),
        ((b":status", b"200"), (b":path", b"/")),
        ((b"server", b"x"), (b":status", b"200")),
        ((b":status", b"200"), (b"connection", b"close")),
        ((b":status", b"200"), (b"x-a", b"b\nc")),
        ((b":status", b"200"), (b"content-length", b"1"), (b"content-length", b"2")),
    ],
)
def test_malformed_responses_are_refused(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    """A target is no more to be trusted with line ends than a visitor."""
    with pytest.raises(StreamFault):
        read_response([field(*one) for one in fields])


def test_trailers_are_lines() -> None:
    """Without what frames or routes a message."""
    fields = [field(b"grpc-status", b"0"), field(b"content-length", b"5"), field(b"x-sum", b"1")]
    assert read_trailers(fields) == [b"grpc-status: 0", b"x-sum: 1"]


@pytest.mark.parametrize("one", [(b":status", b"200"), (b"X-A", b"b"), (b"x-a", b"b\r\nc"), (b"connection", b"x")])
def test_malformed_trailers_are_refused(one: tuple[bytes, bytes]) -> None:
    """RFC 9113 section 8.1: no pseudo-headers behind a body."""
    with pytest.raises(StreamFault):
        read_trailers([field(*one)])
