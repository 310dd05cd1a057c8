"""Requests 164 to 167 of the table of adversarial cases, as HTTP/2 heads: lengths, fields, pseudo-headers, names."""

from __future__ import annotations

from typing import Final

import msgspec

from tests.support.frame_visitor import PROTOCOL_ERROR, Field, request_fields
from tests.support.mesh_node import HOST

AUTHORITY: Final = HOST.encode()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream comes to: the status of a response, or 0 and the code of a reset; and what the origin saw of it.

    `may_complete`: the origin may have taken the request for complete before it turned out wrong.
    """

    status: int = 0
    reset: int | None = None
    reached: tuple[int, ...] = (0,)
    has: tuple[tuple[bytes, tuple[bytes, ...]], ...] = ()
    body: bytes | None = None
    may_complete: bool = False


class HeadCase(msgspec.Struct, frozen=True, kw_only=True):
    """A request as exact fields and pieces of a body (none: END_STREAM is on the head), and what may become of it."""

    number: int
    name: str
    fields: list[Field]
    body: tuple[bytes, ...] = ()
    trailers: tuple[Field, ...] = ()
    accepts: tuple[Verdict, ...]

    def __str__(self) -> str:
        return f"case_{self.number:03}_{self.name}"


# RFC 9113 section 8.1.1: malformed requests are a stream error; a server may answer with 400 before it resets.
REFUSED: Final = (Verdict(reset=PROTOCOL_ERROR), Verdict(status=400))
MISDIRECTED: Final = (Verdict(status=421),)
# What is wrong shows only in the body, when the target may have heard of the request; it must not take it for complete.
CUT_SHORT: Final = (Verdict(reset=PROTOCOL_ERROR, reached=(0, 1)),)
# The octets that the length promises were there, and passed on; the surplus goes nowhere.
SURPLUS: Final = (Verdict(reset=PROTOCOL_ERROR, reached=(0, 1), may_complete=True),)


def _passes(*has: tuple[bytes, tuple[bytes, ...]], body: bytes | None = None) -> tuple[Verdict, ...]:
    return (Verdict(status=200, reached=(1,), has=has, body=body),)


def _length(
    number: str, *lengths: bytes, body: tuple[bytes, ...], accepts: tuple[Verdict, ...] = CUT_SHORT
) -> HeadCase:
    fields = request_fields(b"/", *((b"content-length", length) for length in lengths), method=b"POST")
    return HeadCase(number=164, name=number, fields=fields, body=body, accepts=accepts)


LENGTHS: Final = (
    _length("length_exact", b"10", body=(b"hello", b"world"), accepts=_passes(body=b"helloworld")),
    _length("length_of_nothing", b"0", body=(b"",), accepts=_passes(body=b"")),
    _length("no_length", body=(b"hello", b"", b"world"), accepts=_passes(body=b"helloworld")),
    _length("length_too_large", b"10", body=(b"hello",)),
    _length("length_too_large_and_the_end_alone", b"10", body=(b"hello", b"")),
    _length("length_too_small", b"5", body=(b"hello", b"world"), accepts=SURPLUS),
    _length("length_too_small_in_one_frame", b"5", body=(b"helloworld",)),
    _length("length_of_nothing_and_a_body", b"0", body=(b"hello",), accepts=SURPLUS),
    _length("length_without_a_body", b"5", body=()),
    _length("length_twice", b"5", b"6", body=(b"hello",), accepts=REFUSED),
    _length("length_twice_the_same", b"5", b"5", body=(b"hello",), accepts=REFUSED),
    _length("length_as_a_list", b"5, 5", body=(b"hello",), accepts=REFUSED),
    _length("length_with_a_sign", b"+5", body=(b"hello",), accepts=REFUSED),
    _length("length_below_zero", b"-5", body=(b"hello",), accepts=REFUSED),
    _length("length_in_hex", b"0x5", body=(b"hello",), accepts=REFUSED),
    _length("length_empty", b"", body=(b"hello",), accepts=REFUSED),
    _length("length_beyond_measure", b"9" * 30, body=(b"hello",), accepts=REFUSED),
)


def _field(name: str, *fields: Field, accepts: tuple[Verdict, ...] = REFUSED) -> HeadCase:
    return HeadCase(number=165, name=name, fields=request_fields(b"/", *fields), accepts=accepts)


def _named(name: str, octets: bytes) -> HeadCase:
    return _field(f"name_with_{name}", (b"x" + octets + b"y", b"1"))


def _valued(name: str, value: bytes) -> HeadCase:
    return _field(f"value_with_{name}", (b"x-value", value))


FIELDS: Final = (
    _field("name_with_capitals", (b"X-Capital", b"1")),
    _field("name_empty", (b"", b"1")),
    *(
        _named(name, octets)
        for name, octets in (
            ("space", b" "),
            ("tab", b"\t"),
            ("colon", b":"),
            ("cr", b"\r"),
            ("lf", b"\n"),
            ("crlf", b"\r\nsmuggled: 1\r\nx"),
            ("nul", b"\0"),
            ("del", b"\x7f"),
            ("octets", b"\xff"),
            ("separators", b"(x)"),
        )
    ),
    *(
        _valued(name, value)
        for name, value in (
            ("cr", b"a\rb"),
            ("lf", b"a\nb"),
            ("crlf", b"a\r\nsmuggled: 1"),
            ("a_whole_request", b"a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("nul", b"a\0b"),
            ("space_first", b" a"),
            ("space_last", b"a "),
            ("tab_last", b"a\t"),
        )
    ),
    _field("value_with_octets", (b"x-value", b"a\xc3\xa9"), accepts=_passes((b"x-value", (b"a\xc3\xa9",)))),
    _field("value_empty", (b"x-value", b""), accepts=_passes((b"x-value", (b"",)))),
    *(
        _field(name.decode().replace("-", "_"), (name, value))
        for name, value in (
            (b"connection", b"close"),
            (b"keep-alive", b"timeout=5"),
            (b"proxy-connection", b"keep-alive"),
            (b"transfer-encoding", b"chunked"),
            (b"upgrade", b"websocket"),
        )
    ),
    _field("te_gzip", (b"te", b"gzip")),
    _field("te_gzip_and_trailers", (b"te", b"trailers, gzip")),
    _field("te_trailers", (b"te", b"trailers"), accepts=_passes((b"te", (b"trailers",)))),
    _field("crumbs", (b"cookie", b"a=1"), (b"cookie", b"b=2"), accepts=_passes((b"cookie", (b"a=1; b=2",)))),
    HeadCase(
        number=165,
        name="connection_field_in_trailers",
        fields=request_fields(method=b"POST"),
        body=(b"hello",),
        trailers=((b"transfer-encoding", b"chunked"),),
        accepts=CUT_SHORT,
    ),
)


def _pseudo(name: str, *fields: Field, accepts: tuple[Verdict, ...] = REFUSED) -> HeadCase:
    return HeadCase(number=166, name=name, fields=list(fields), accepts=accepts)


def _with(name: str, key: bytes, value: bytes | None, *fields: Field) -> HeadCase:
    """A good request with one pseudo-header changed, or taken away when there is no value."""
    changed = [(one, value if one == key else was) for one, was in request_fields()]
    return _pseudo(name, *((one, now) for one, now in changed if now is not None), *fields)


_GET: Final = tuple(request_fields())
_METHOD: Final = _GET[:1]
_SMUGGLED: Final = b" HTTP/1.1\r\nhost: shop.example.com\r\n\r\nGET /smuggled"

PSEUDO_HEADERS: Final = (
    _pseudo("host_differs", *_GET, (b"host", b"other.example.com")),
    _pseudo("host_is_the_same", *_GET, (b"host", AUTHORITY), accepts=_passes((b"host", (AUTHORITY,)))),
    _pseudo(
        "host_alone",
        *(field for field in _GET if field[0] != b":authority"),
        (b"host", AUTHORITY),
        accepts=_passes((b"host", (AUTHORITY,))),
    ),
    _pseudo("host_twice", *_GET, (b"host", AUTHORITY), (b"host", AUTHORITY)),
    _with("no_authority", b":authority", None),
    _with("authority_empty", b":authority", b""),
    _with("authority_with_a_name", b":authority", b"user@" + AUTHORITY),
    _with("authority_with_space", b":authority", AUTHORITY + b" x"),
    _with("authority_with_crlf", b":authority", AUTHORITY + b"\r\nsmuggled: 1"),
    _with("authority_with_a_path", b":authority", AUTHORITY + b"/x"),
    _with("authority_with_a_bad_port", b":authority", AUTHORITY + b":port"),
    *(_pseudo(f"{name[1:].decode()}_twice", *_GET[: at + 1], *_GET[at:]) for at, (name, _) in enumerate(_GET)),
    _pseudo("method_late", *_GET[1:], (b"x-before", b"1"), *_METHOD),
    _pseudo("pseudo_unknown", (b":zexio", b"1"), *_GET),
    _pseudo("pseudo_of_responses", (b":status", b"200"), *_GET),
    _pseudo("protocol_without_connect", (b":protocol", b"websocket"), *_GET),
    _with("no_method", b":method", None),
    _with("method_empty", b":method", b""),
    _with("method_with_space", b":method", b"GET /smuggled HTTP/1.1"),
    _with("method_with_crlf", b":method", b"GET / HTTP/1.1\r\nsmuggled: 1\r\n\r\nGET"),
    _with("no_scheme", b":scheme", None),
    _with("no_path", b":path", None),
    _with("path_empty", b":path", b""),
    _with("path_with_space", b":path", b"/a b"),
    _with("path_with_crlf", b":path", b"/" + _SMUGGLED),
    _with("path_with_nul", b":path", b"/a\0b"),
    _with("path_with_tab", b":path", b"/a\tb"),
    _with("path_with_octets", b":path", b"/a\xff"),
    _with("path_with_a_fragment", b":path", b"/a#b"),
    _with("path_without_slash", b":path", b"a"),
    _with("path_absolute", b":path", b"http://shop.example.com/"),
    _with("path_star_for_get", b":path", b"*"),
    _pseudo("connect_with_a_path", (b":method", b"CONNECT"), *_GET[1:]),
    _pseudo("connect_without_authority", (b":method", b"CONNECT")),
    HeadCase(
        number=166,
        name="pseudo_in_trailers",
        fields=request_fields(method=b"POST"),
        body=(b"hello",),
        trailers=((b":path", b"/smuggled"),),
        accepts=CUT_SHORT,
    ),
)


def _on_tls(name: str, *, scheme: bytes = b"https", authority: bytes = AUTHORITY, passes: bool = False) -> HeadCase:
    accepts = _passes() if passes else MISDIRECTED
    return HeadCase(number=167, name=name, fields=request_fields(scheme=scheme, authority=authority), accepts=accepts)


# RFC 9110 section 7.4: a request that this connection must not be used for gets 421 (Misdirected Request).
MISDIRECTIONS: Final = (
    _on_tls("scheme_and_name_are_right", passes=True),
    _on_tls("scheme_in_capitals", scheme=b"HTTPS", passes=True),
    _on_tls("name_in_capitals", authority=AUTHORITY.upper(), passes=True),
    _on_tls("name_with_the_dot_at_its_end", authority=AUTHORITY + b".", passes=True),
    _on_tls("name_with_a_port", authority=AUTHORITY + b":443", passes=True),
    _on_tls("other_name_of_the_certificate", authority=b"www.example.com", passes=True),
    _on_tls("name_under_the_wildcard", authority=b"a.example.net", passes=True),
    _on_tls("scheme_http", scheme=b"http"),
    _on_tls("scheme_ftp", scheme=b"ftp"),
    _on_tls("name_of_another_tenant", authority=b"other.example.org"),
    _on_tls("name_two_labels_under_the_wildcard", authority=b"b.a.example.net"),
    _on_tls("name_of_the_wildcard_itself", authority=b"example.net"),
    _on_tls("name_that_nobody_has", authority=b"nobody.example.org"),
    _on_tls("address", authority=b"127.0.0.1"),
)
