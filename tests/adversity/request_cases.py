"""Requests 1 to 88 of the table of adversarial cases: smuggling, malformed heads, strange targets, connections.

A number is the lasting name of a case; gaps are cases that need time or another protocol. RFC sections stand where a
rule is not obvious.
"""

from __future__ import annotations

from typing import Final

from tests.adversity.verdict import HOST, Case, Expect, request

GET: Final = b"GET / HTTP/1.1"
POST: Final = b"POST / HTTP/1.1"
LENGTH: Final = b"Content-Length: 5"
CHUNKED: Final = b"Transfer-Encoding: chunked"
HELLO: Final = b"5\r\nhello\r\n0\r\n\r\n"
SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"

PASSES: Final = Expect(upstream="reused")
HAS_HELLO: Final = Expect(body=b"hello", lacks=(b"Transfer-Encoding",), has=((b"content-length", b"5"),))
GETS_HELLO: Final = Expect(body=b"hello", upstream="reused")
# A proxy that streams may have begun its own request when a later chunk turns out wrong; it must not complete it.
CUT_SHORT: Final = Expect(status=(400,), visitor="closed", reached=(0, 1), completed=(0,))
# RFC 9112 section 6.1: Transfer-Encoding overrides Content-Length, which is not forwarded, and the connection ends.
CODING_ONLY: Final = Expect(visitor="closed", reached=(1,), lacks=(b"Content-Length",))


def _refused(*status: int) -> Expect:
    """Answered with one of these (400 when none is named), connection closed, nothing at the origin."""
    return Expect(status=status or (400,), visitor="closed", reached=(0,))


def _bad(number: int, name: str, raw: bytes, *also: Expect, status: tuple[int, ...] = (400,)) -> Case:
    """A case that our policy refuses."""
    asks = (raw.lstrip().split(b" ", 1)[0].decode("latin-1"),)
    return Case(number=number, name=name, raw=raw, accepts=(_refused(*status),), also=also, asks=asks)


def _coding(number: int, name: str, field: bytes, *also: Expect, status: tuple[int, ...] = (400, 501)) -> Case:
    """A POST with this field line and a body in chunks, refused."""
    return _bad(number, name, request(POST, field, body=HELLO), *also, status=status)


def _length(number: int, name: str, *fields: bytes, also: tuple[Expect, ...] = ()) -> Case:
    """A POST of five octets with these field lines, refused."""
    return _bad(number, name, request(POST, *fields, body=b"hello"), *also)


def _chunks(number: int, name: str, body: bytes, *also: Expect, expect: Expect | None = None) -> Case:
    """A POST with this body in chunks; refused before the origin sees it unless `expect` says otherwise."""
    raw = request(POST, CHUNKED, body=body)
    return Case(number=number, name=name, raw=raw, accepts=(expect or _refused(),), also=(CUT_SHORT, *also))


def _line(number: int, name: str, *fields: bytes, also: tuple[Expect, ...] = ()) -> Case:
    """A GET with these field lines, refused."""
    return _bad(number, name, request(GET, *fields), *also)


def _host(number: int, name: str, *values: bytes) -> Case:
    """A GET with these Host lines instead of the right one, refused."""
    return _bad(number, name, request(GET, *(b"Host: " + value for value in values), host=None))


FRAMING: Final = (
    _bad(1, "cl_te_both", request(POST, b"Content-Length: 6", CHUNKED, body=b"0\r\n\r\nG"), CODING_ONLY),
    _bad(
        2,
        "te_cl_both",
        request(POST, CHUNKED, b"Content-Length: 4", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
        CODING_ONLY,
    ),
    _coding(3, "te_xchunked", b"Transfer-Encoding: xchunked"),
    _coding(4, "te_chunked_identity", b"Transfer-Encoding: chunked, identity"),
    _bad(
        5,
        "te_identity_with_cl",
        request(POST, b"Transfer-Encoding: identity", LENGTH, body=b"hello"),
        status=(400, 501),
    ),
    _coding(
        6,
        "te_gzip_chunked",
        b"Transfer-Encoding: gzip, chunked",
        _refused(400, 422),
        Expect(has=((b"transfer-encoding", b"gzip, chunked"),)),
        status=(501,),
    ),
    _coding(7, "te_chunked_chunked", b"Transfer-Encoding: chunked, chunked"),
    _coding(8, "te_space_before_colon", b"Transfer-Encoding : chunked", status=(400,)),
    _coding(9, "te_vertical_tab", b"Transfer-Encoding:\x0bchunked"),
    _coding(
        10, "te_obs_fold", b"Transfer-Encoding:\r\n chunked", Expect(visitor="either", body=b"hello"), status=(400,)
    ),
    _bad(
        11,
        "te_in_http_1_0",
        request(b"POST / HTTP/1.0", CHUNKED, body=HELLO),
        Expect(visitor="closed"),
    ),
    _coding(12, "te_quoted", b'Transfer-Encoding: "chunked"'),
    _coding(13, "te_with_parameter", b"Transfer-Encoding: chunked;foo=bar"),
    Case(
        number=14,
        name="get_with_body_is_one_request",
        raw=request(GET, b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
        accepts=(Expect(body=SMUGGLED, reached=(1,), upstream="reused"),),
    ),
    _length(15, "cl_twice_differing", LENGTH, b"Content-Length: 6"),
    _length(16, "cl_twice_same", LENGTH, LENGTH, also=(HAS_HELLO,)),
    _length(17, "cl_list", b"Content-Length: 5, 5", also=(HAS_HELLO,)),
    _length(18, "cl_plus", b"Content-Length: +5"),
    _length(19, "cl_negative", b"Content-Length: -5"),
    _length(20, "cl_hexadecimal", b"Content-Length: 0x5"),
    _length(21, "cl_trailing_letter", b"Content-Length: 5a"),
    _length(22, "cl_overflow", b"Content-Length: 18446744073709551621"),
    _length(23, "cl_empty", b"Content-Length: "),
    _length(24, "cl_underscore", b"Content-Length: 5_0"),
    _chunks(
        25,
        "chunk_ext_is_dropped",
        b"5;name=value\r\nhello\r\n0\r\n\r\n",
        expect=Expect(body=b"hello", unseen=(b"name=value",), upstream="reused"),
    ),
    _chunks(26, "chunk_ext_bare_lf", b"5;a\nhello\r\n0\r\n\r\n"),
    _chunks(27, "chunk_size_0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    _chunks(28, "chunk_size_negative", b"-5\r\nhello\r\n0\r\n\r\n"),
    _chunks(29, "chunk_size_plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    _chunks(30, "chunk_size_overflow", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    _chunks(31, "chunk_size_underscore", b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    _chunks(32, "chunk_longer_than_its_size", b"5\r\nhelloX\r\n0\r\n\r\n", expect=CUT_SHORT),
    _chunks(33, "chunk_lines_bare_lf", b"5\nhello\n0\n\n"),
    _chunks(
        34,
        "chunk_ext_of_64_kib",
        b"5;" + b"a" * 65536 + b"\r\nhello\r\n0\r\n\r\n",
        expect=Expect(status=(400, 413, 431), visitor="closed", reached=(0, 1), completed=(0,)),
    ),
    _chunks(
        35,
        "framing_fields_in_trailers",
        b"5\r\nhello\r\n0\r\nContent-Length: 99\r\nHost: evil.example.net\r\n\r\n",
        # RFC 9110 section 6.5.1: fields that frame or route are ignored in trailers; we do not even hand them on.
        Expect(body=b"hello", has=((b"host", HOST),)),
        expect=Expect(body=b"hello", unseen=(b": 99", b"evil")),
    ),
)

HEADS: Final = (
    Case(
        number=36,
        name="bare_lf_lines",
        raw=b"GET / HTTP/1.1\nHost: %b\n\n" % HOST,
        accepts=(_refused(),),
        scored=False,
    ),
    _line(37, "bare_cr_in_value", b"X-A: a\rb", also=(Expect(unseen=(b"a\rb",)),)),
    _line(38, "nul_in_value", b"X-A: a\x00b", also=(Expect(unseen=(b"\x00",)),)),
    _line(39, "nul_in_name", b"X\x00A: a"),
    Case(
        number=40,
        name="control_in_value",
        raw=request(GET, b"X-A: a\x01b"),
        accepts=(_refused(),),
        scored=False,
    ),
    _line(41, "obs_fold", b"X-A: a\r\n b", also=(Expect(unseen=(b"\r\n b",)),)),
    _bad(42, "space_before_first_field", b"GET / HTTP/1.1\r\n Host: %b\r\nX-A: a\r\n\r\n" % HOST),
    _bad(43, "space_before_colon", b"GET / HTTP/1.1\r\nHost : %b\r\n\r\n" % HOST),
    _line(44, "line_without_colon", b"X-A"),
    _line(45, "empty_name", b": a"),
    _line(46, "no_token_in_name", b"X(A): a"),
    _host(47, "host_missing"),
    _host(48, "host_twice", HOST, b"evil.example.net"),
    _host(49, "host_with_path", HOST + b"/evil"),
    _host(50, "host_with_userinfo", b"user@" + HOST),
    _host(51, "host_empty", b""),
)

TARGETS: Final = (
    _bad(
        52,
        "absolute_form_against_host",
        request(b"GET http://shop.example.com/ HTTP/1.1", host=b"evil.example.net"),
        Expect(visitor="either", has=((b"host", HOST),)),
    ),
    _bad(53, "connect", request(b"CONNECT shop.example.com:443 HTTP/1.1"), _refused(400), status=(405, 501)),
    Case(
        number=54,
        name="options_asterisk",
        raw=request(b"OPTIONS * HTTP/1.1"),
        asks=("OPTIONS",),
        accepts=(Expect(status=(200, 204), reached=(0,)),),
        also=(Expect(status=(200, 204)),),
    ),
    _bad(55, "get_asterisk", request(b"GET * HTTP/1.1")),
    _bad(56, "target_without_slash", request(b"GET index.html HTTP/1.1")),
    _bad(57, "target_with_space", request(b"GET /a b HTTP/1.1")),
    _bad(58, "target_with_fragment", request(b"GET /a#b HTTP/1.1"), Expect(unseen=(b"#",))),
    Case(
        number=59,
        name="target_in_utf_8",
        raw=request("GET /ü HTTP/1.1".encode()),
        accepts=(_refused(),),
        scored=False,
    ),
    _bad(60, "target_with_nul", request(b"GET /a\x00b HTTP/1.1")),
    Case(
        number=61,
        name="path_traversal_as_it_came",
        raw=request(b"GET /a/../../etc/passwd HTTP/1.1"),
        accepts=(Expect(target=b"/a/../../etc/passwd", upstream="reused"),),
        scored=False,
    ),
    Case(
        number=62,
        name="encoded_path_as_it_came",
        raw=request(b"GET /a%2f..%2Fb/%2e%2e/c HTTP/1.1"),
        accepts=(Expect(target=b"/a%2f..%2Fb/%2e%2e/c", upstream="reused"),),
        scored=False,
    ),
    _bad(63, "target_of_64_kib", request(b"GET /%b HTTP/1.1" % (b"a" * 65536)), _refused(400, 431), status=(414,)),
    _bad(64, "field_of_1_mib", request(GET, b"X-A: " + b"a" * 1048576), _refused(400, 414), status=(431,)),
    _bad(65, "5000_fields", request(GET, *(b"X-%d: a" % n for n in range(5000))), _refused(400, 414), status=(431,)),
)

METHODS_AND_VERSIONS: Final = (
    _bad(66, "no_token_as_method", request(b"GE(T / HTTP/1.1"), _refused(505)),
    Case(number=67, name="unknown_method", raw=request(b"FOO / HTTP/1.1"), accepts=(PASSES,), scored=False),
    Case(number=68, name="lower_case_method", raw=request(b"get / HTTP/1.1"), accepts=(PASSES,), scored=False),
    Case(
        number=69,
        name="trace",
        raw=request(b"TRACE / HTTP/1.1"),
        accepts=(Expect(status=(405,), visitor="either", reached=(0,)),),
    ),
    _bad(70, "http_0_9", b"GET /\r\n\r\n", status=(400, 505)),
    Case(
        number=71,
        name="http_1_2",
        raw=request(b"GET / HTTP/1.2"),
        accepts=(PASSES, _refused(505)),
        scored=False,
    ),
    _bad(72, "http_2_0", request(b"GET / HTTP/2.0"), status=(400, 505)),
    _bad(73, "http_11_1", request(b"GET / HTTP/11.1"), status=(400, 505)),
    _bad(74, "lower_case_version", request(b"GET / http/1.1"), status=(400, 505)),
    _bad(
        75,
        "h2_preface",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        Expect(status=(0,), visitor="closed", reached=(0,)),
        status=(400, 505),
    ),
)

CONNECTIONS: Final = (
    Case(
        number=76,
        name="h2c_upgrade_is_not_forwarded",
        raw=request(GET, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAA"),
        accepts=(Expect(lacks=(b"Upgrade", b"HTTP2-Settings"), unseen=(b"h2c",)),),
    ),
    Case(
        number=77,
        name="upgrade_that_the_origin_ignores",
        raw=request(
            GET,
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ),
        accepts=(Expect(),),
    ),
    Case(
        number=78,
        name="connection_nominates_a_field",
        raw=request(GET, b"Connection: close, X-Hop", b"X-Hop: for the proxy only"),
        accepts=(Expect(visitor="closed", lacks=(b"X-Hop",), unseen=(b"for the proxy only",)),),
    ),
    Case(
        number=79,
        name="connection_nominates_host_and_length",
        raw=request(POST, b"Connection: close, Host, Content-Length", LENGTH, body=b"hello"),
        accepts=(
            Expect(
                visitor="closed",
                has=((b"host", HOST),),
                body=b"hello",
                completed=(1,),
                unseen=(b"connection: host", b"connection: content-length"),
            ),
        ),
    ),
    Case(
        number=80,
        name="spoofed_forwarding_fields",
        raw=request(
            GET,
            b"X-Forwarded-For: 6.6.6.6",
            b"X-Real-IP: 6.6.6.6",
            b"Forwarded: for=6.6.6.6",
            b"X_Forwarded_For: 6.6.6.6",
            b"X_Real_IP: 6.6.6.6",
        ),
        accepts=(Expect(unseen=(b"6.6.6.6",)),),
    ),
    Case(
        number=81,
        name="expect_100_continue",
        raw=request(POST, LENGTH, b"Expect: 100-continue"),
        then=b"hello",
        accepts=(Expect(interim=(100,), body=b"hello"),),
    ),
    Case(
        number=82,
        name="expect_unknown",
        raw=request(GET, b"Expect: miracles"),
        accepts=(Expect(status=(417,), visitor="either", reached=(0,)),),
        scored=False,
    ),
    Case(number=83, name="leading_empty_lines", raw=b"\r\n\r\n" + request(GET), accepts=(PASSES,), scored=False),
    Case(
        number=84,
        name="three_pipelined",
        raw=b"".join(request(b"GET /%d HTTP/1.1" % number) for number in range(3)),
        asks=("GET", "GET", "GET"),
        accepts=(Expect(reached=(3,), echoed=("/0", "/1", "/2")),),
    ),
    Case(
        number=85,
        name="head_with_a_body_from_the_origin",
        raw=request(b"HEAD /-/headbody HTTP/1.1"),
        asks=("HEAD",),
        accepts=(Expect(ended=("none",), upstream="dropped"),),
        also=(Expect(ended=("none",)),),
    ),
    Case(
        number=86,
        name="body_shorter_than_its_length",
        raw=request(POST, b"Content-Length: 10", body=b"hello"),
        half_close=True,
        accepts=(Expect(status=(400, 408, 0), visitor="closed", reached=(0, 1), completed=(0,)),),
    ),
    Case(
        number=87,
        name="options_with_max_forwards_0",
        raw=request(b"OPTIONS / HTTP/1.1", b"Max-Forwards: 0"),
        asks=("OPTIONS",),
        accepts=(Expect(status=(200, 204), reached=(0,)),),
    ),
    _bad(
        88,
        "authorization_twice",
        request(GET, b"Authorization: Bearer one", b"Authorization: Bearer two"),
        _refused(401),
    ),
)

REQUEST_CASES: Final = FRAMING + HEADS + TARGETS + METHODS_AND_VERSIONS + CONNECTIONS
