"""Relatives of the numbered cases, and the lessons that have no number: aliases, nominations, repeats, trailers."""

from __future__ import annotations

from typing import Final

from tests.adversity.request_cases import CHUNKED, CUT_SHORT, GET, HELLO, LENGTH, POST
from tests.adversity.response_cases import BAD_GATEWAY, CUT
from tests.adversity.verdict import HOST, Case, Expect, request

REFUSED: Final = Expect(status=(400,), visitor="closed", reached=(0,))
PASSES: Final = Expect()


def _case(name: str, raw: bytes, *accepts: Expect) -> Case:
    asks = (raw.lstrip().split(b" ", 1)[0].decode("latin-1"),)
    return Case(number=0, name=name, raw=raw, accepts=accepts or (REFUSED,), asks=asks)


def _chunked(name: str, body: bytes, *accepts: Expect) -> Case:
    return _case(name, request(POST, CHUNKED, body=body), *accepts)


def _answer(script: str, *accepts: Expect) -> Case:
    return _case(script, request(b"GET /-/%b HTTP/1.1" % script.encode()), *accepts)


REQUEST_VARIANTS: Final = (
    _case(
        "te_twice",
        request(POST, CHUNKED, CHUNKED, body=HELLO),
        Expect(status=(400, 501), visitor="closed", reached=(0,)),
    ),
    _case(
        "te_gzip_only",
        request(POST, b"Transfer-Encoding: gzip", body=b"hello"),
        Expect(status=(400, 501), visitor="closed", reached=(0,)),
    ),
    _case(
        "te_empty",
        request(POST, b"Transfer-Encoding:", LENGTH, body=b"hello"),
        Expect(status=(400, 501), visitor="closed", reached=(0,)),
    ),
    _case("te_in_capitals", request(POST, b"Transfer-Encoding: CHUNKED", body=HELLO), Expect(body=b"hello")),
    _case("te_behind_a_tab", request(POST, b"Transfer-Encoding:\tchunked", body=HELLO), Expect(body=b"hello")),
    _case("te_and_cl_in_http_1_0", request(b"POST / HTTP/1.0", CHUNKED, LENGTH, body=HELLO)),
    _case("get_with_chunks", request(GET, CHUNKED, body=HELLO), Expect(body=b"hello")),
    _case("cl_three_times", request(POST, LENGTH, LENGTH, LENGTH, body=b"hello")),
    _case("cl_fraction", request(POST, b"Content-Length: 5.0", body=b"hello")),
    _case("cl_other_digits", request(POST, "Content-Length: \u0665".encode(), body=b"hello")),
    _chunked("chunk_size_leading_space", b" 5\r\nhello\r\n0\r\n\r\n"),
    _chunked("chunk_size_trailing_space", b"5 \r\nhello\r\n0\r\n\r\n"),
    _chunked("chunk_size_missing", b"\r\nhello\r\n0\r\n\r\n"),
    _chunked("chunk_size_only_extension", b";a\r\nhello\r\n0\r\n\r\n"),
    _chunked("chunk_ext_bare_cr", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    _chunked("chunk_ext_nul", b"5;a\x00\r\nhello\r\n0\r\n\r\n"),
    _chunked(
        "chunk_ext_quoted_line_end", b'5;a="\r\nhello\r\n0\r\n\r\n', Expect(body=b"hello", unseen=(b'a="',)), REFUSED
    ),
    _chunked("chunk_shorter_than_its_size", b"6\r\nhello\r\n0\r\n\r\n", CUT_SHORT),
    _chunked("chunk_ended_by_bare_lf", b"5\r\nhello\n0\r\n\r\n", CUT_SHORT),
    _chunked("last_chunk_bare_lf", b"5\r\nhello\r\n0\n\r\n", CUT_SHORT),
    _chunked("trailer_ended_by_bare_lf", b"5\r\nhello\r\n0\r\nX-A: a\nX-B: b\r\n\r\n", CUT_SHORT),
    _chunked("trailer_obs_fold", b"5\r\nhello\r\n0\r\nX-A: a\r\n b\r\n\r\n", CUT_SHORT),
    _chunked("trailer_without_colon", b"5\r\nhello\r\n0\r\nX-A\r\n\r\n", CUT_SHORT),
    _chunked(
        "transfer_encoding_in_trailers",
        b"5\r\nhello\r\n0\r\nTransfer-Encoding: gzip\r\nX-Sum: 7\r\n\r\n",
        Expect(body=b"hello", unseen=(b"gzip",)),
        CUT_SHORT,
    ),
    _chunked(
        "identity_in_trailers",
        b"5\r\nhello\r\n0\r\nX-Zexio-Org: stolen\r\nX_Zexio_Org: stolen\r\nAuthorization: Bearer stolen\r\n"
        b"X-Forwarded-For: stolen\r\nX-Real-IP: stolen\r\nForwarded: for=stolen\r\nCookie: stolen\r\n\r\n",
        Expect(body=b"hello", unseen=(b"stolen",)),
    ),
    _chunked("ordinary_trailer", b"5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n", Expect(body=b"hello")),
    _case("request_line_with_tabs", request(b"GET\t/\tHTTP/1.1")),
    _case("request_line_with_two_spaces", request(b"GET  / HTTP/1.1")),
    _case("request_line_with_trailing_space", request(b"GET / HTTP/1.1 ")),
    _case("request_line_ended_by_cr", b"GET / HTTP/1.1\rHost: %b\r\n\r\n" % HOST),
    _case("space_before_method", b" " + request(GET)),
    _case("one_leading_empty_line", b"\r\n" + request(GET), PASSES),
    _case("a_hundred_leading_empty_lines", b"\r\n" * 100 + request(GET)),
    _case("obs_fold_with_tab", request(GET, b"X-A: a\r\n\tb")),
    _case("delete_in_value", request(GET, b"X-A: a\x7fb")),
    _case("host_twice_same", request(GET, b"Host: " + HOST)),
    _case("host_list", request(GET, host=HOST + b", evil.example.net")),
    _case("host_with_query", request(GET, host=HOST + b"?a")),
    _case("host_with_space", request(GET, host=b"shop example.com")),
    _case("host_with_empty_label", request(GET, host=b"shop..example.com")),
    _case("host_with_word_as_port", request(GET, host=HOST + b":http")),
    _case("host_with_port", request(GET, host=HOST + b":8082"), PASSES),
    _case("host_in_capitals_with_dot", request(GET, host=b"SHOP.example.COM."), PASSES),
    _case("host_unknown", request(GET, host=b"other.example.com"), Expect(status=(404,), reached=(0,))),
    _case(
        "absolute_form_of_the_same_host",
        request(b"GET http://shop.example.com/a?b HTTP/1.1"),
        Expect(target=b"/a?b", has=((b"host", HOST),)),
    ),
    _case(
        "absolute_form_without_path",
        request(b"GET http://shop.example.com HTTP/1.1"),
        Expect(target=b"/", has=((b"host", HOST),)),
    ),
    _case("absolute_form_with_userinfo", request(b"GET http://user@shop.example.com/ HTTP/1.1")),
    _case("absolute_form_of_another_scheme", request(b"GET ftp://shop.example.com/ HTTP/1.1")),
    _case(
        "trace_with_max_forwards_0",
        request(b"TRACE / HTTP/1.1", b"Max-Forwards: 0", b"Cookie: secret"),
        Expect(status=(200, 405), visitor="either", reached=(0,), untold=(b"secret",)),
    ),
    # RFC 9110 section 7.6.2: whoever forwards it subtracts one.
    _case(
        "options_with_max_forwards_1",
        request(b"OPTIONS / HTTP/1.1", b"Max-Forwards: 1"),
        Expect(has=((b"max-forwards", b"0"),)),
    ),
    _case(
        "expect_with_the_body_at_once",
        request(POST, LENGTH, b"Expect: 100-continue", body=b"hello"),
        Expect(body=b"hello"),
    ),
    _case(
        "h2c_beside_websocket",
        request(GET, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c, websocket", b"HTTP2-Settings: AAMAAABk"),
        Expect(unseen=(b"h2c", b"http2-settings")),
    ),
    _case("upgrade_without_connection", request(GET, b"Upgrade: websocket"), Expect(lacks=(b"Upgrade",))),
    _case("content_type_twice", request(POST, LENGTH, b"Content-Type: a/b", b"Content-Type: a/b", body=b"hello")),
    _case("authorization_twice_same", request(GET, b"Authorization: Bearer one", b"authorization: Bearer one")),
    _case(
        "hop_by_hop_fields",
        request(
            GET,
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"Proxy-Authorization: Basic c2VjcmV0",
            b"TE: gzip",
            b"Trailer: X-Sum",
        ),
        Expect(
            lacks=(b"Keep-Alive", b"Proxy-Connection", b"Proxy-Authorization", b"TE", b"Trailer"), unseen=(b"c2Vj",)
        ),
    ),
    _case(
        "nominated_twice_and_in_capitals",
        request(
            GET, b"Connection: X-ONE", b"Connection: keep-alive, x-two", b"X-One: hop", b"X-Two: hop", b"X-Kept: kept"
        ),
        Expect(lacks=(b"X-One", b"X-Two"), has=((b"x-kept", b"kept"),)),
    ),
    _case(
        "nominated_forwarding_fields_are_still_set",
        request(GET, b"Connection: X-Forwarded-For, Via, X-Request-Id, Forwarded"),
        Expect(has=((b"x-forwarded-for", b"127.0.0.1"), (b"x-forwarded-proto", b"http"), (b"x-forwarded-host", HOST))),
    ),
    _case(
        "names_that_alias_framing",
        request(
            POST,
            LENGTH,
            b"Content_Length: 99",
            b"Transfer_Encoding: chunked",
            b"Transfer.Encoding: gzip",
            body=b"hello",
        ),
        Expect(body=b"hello", lacks=(b"Content_Length", b"Transfer_Encoding", b"Transfer.Encoding")),
    ),
    _case(
        "names_that_alias_ours",
        request(
            GET,
            b"X_Forwarded_For: 6.6.6.6",
            b"X.Forwarded.For: 6.6.6.6",
            b"X-Forwarded_For: 6.6.6.6",
            b"X_REAL_IP: 6.6.6.6",
            b"X.Zexio.Org: 6.6.6.6",
            b"x_zexio-user: 6.6.6.6",
            b"X_Request_Id: 6.6.6.6",
        ),
        Expect(unseen=(b"6.6.6.6",)),
    ),
    _case(
        "name_with_underscore_of_the_application", request(GET, b"app_mode: on"), Expect(has=((b"app_mode", b"on"),))
    ),
)

RESPONSE_VARIANTS: Final = (
    _answer("ctl01", BAD_GATEWAY),
    _answer("manyhdrs", BAD_GATEWAY),
    _answer("101h2c", BAD_GATEWAY),
    _answer("latebadchunk", CUT, BAD_GATEWAY),
    _answer("rstchunk", CUT, BAD_GATEWAY),
    _answer("tetrailers", Expect(text=b"hello", untold=(b"gzip",)), CUT, BAD_GATEWAY),
    _answer("authtrailers", Expect(text=b"hello", untold=(b"stolen",))),
    _answer("nominates", Expect(text=b"hello", untold=(b"x-hop", b"for the proxy only"))),
)
