"""HTTP/1.1 as bytes: whatever comes, and in whatever pieces, is read in one way or refused."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mesh.errors import Failure
from mesh.wire import (
    CHUNKED,
    UNFRAMED,
    ChunkedBody,
    Framing,
    RequestLine,
    StatusLine,
    check_partial_head,
    chunk,
    fold_host,
    has_bare_lf,
    judge_request_lines,
    judge_response_lines,
    members,
    parse_request_line,
    parse_status_line,
    request_framing,
    response_framing,
    start_of_head,
)

TARGETS = st.text("/abc*?#:@%.\x00\xff é", max_size=12).map(lambda text: text.encode("latin-1"))
METHODS = st.sampled_from([b"GET", b"OPTIONS", b"CONNECT", b"G(T", b"", b"get"])
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/11", b"http/1.1", b""])
# Octets of which chunked bodies and their mistakes are made.
CHUNK_OCTETS = st.sampled_from([b"0", b"1", b"a", b"F", b"\r\n", b"\r", b"\n", b";", b" ", b"=x", b"X-A: b", b"\x00"])


# Request lines.


def _parts(line: RequestLine) -> tuple[object, ...]:
    return line.method, line.target, line.minor, line.authority, line.is_https


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET / HTTP/1.1", RequestLine(b"GET", b"/", 1, None)),
        (b"GET /a%20b?c=/d HTTP/1.0", RequestLine(b"GET", b"/a%20b?c=/d", 0, None)),
        (b"BREW /pot HTTP/1.7", RequestLine(b"BREW", b"/pot", 1, None)),
        (b"OPTIONS * HTTP/1.1", RequestLine(b"OPTIONS", b"*", 1, None)),
        (b"CONNECT a.b:443 HTTP/1.1", RequestLine(b"CONNECT", b"a.b:443", 1, None)),
        (b"GET http://A.b:80/c?d HTTP/1.1", RequestLine(b"GET", b"/c?d", 1, b"a.b")),
        (b"GET HTTP://a.b HTTP/1.1", RequestLine(b"GET", b"/", 1, b"a.b")),
        (b"GET http://a.b?c HTTP/1.1", RequestLine(b"GET", b"/?c", 1, b"a.b")),
        (b"OPTIONS http://a.b HTTP/1.1", RequestLine(b"OPTIONS", b"*", 1, b"a.b")),
        (b"OPTIONS http://a.b/ HTTP/1.1", RequestLine(b"OPTIONS", b"/", 1, b"a.b")),
        (b"OPTIONS http://a.b?c HTTP/1.1", RequestLine(b"OPTIONS", b"/?c", 1, b"a.b")),
    ],
)
def test_request_lines(line: bytes, expected: RequestLine) -> None:
    """Every form of RFC 9112 section 3.2, with the target in the form in which it goes on."""
    assert _parts(parse_request_line(line, 100)) == _parts(expected)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"", 400),
        (b"GET /", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET\t/\tHTTP/1.1", 400),
        (b"G T / HTTP/1.1", 400),
        (b"G(T / HTTP/1.1", 400),
        (b" / HTTP/1.1", 400),
        (b"GET a HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"GET /#a HTTP/1.1", 400),
        (b"GET /\xc3\xa9 HTTP/1.1", 400),
        (b"GET /\x7f HTTP/1.1", 400),
        (b"GET http:// HTTP/1.1", 400),
        (b"GET http://a b/ HTTP/1.1", 400),
        (b"GET http://user@a/ HTTP/1.1", 400),
        (b"GET ftp://a/ HTTP/1.1", 400),
        (b"CONNECT a HTTP/1.1x", 400),
        (b"CONNECT \xe9:443 HTTP/1.1", 400),
        (b"CONNECT # HTTP/1.1", 400),
        (b"CONNECT a\x7f:443 HTTP/1.1", 400),
        (b"GET / HTTP/1.1.", 400),
        (b"GET / HTTP/1.", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET /%b HTTP/1.1" % (b"a" * 100), 414),
    ],
)
def test_request_lines_that_are_refused(line: bytes, status: int) -> None:
    """Nothing is guessed."""
    with pytest.raises(Failure) as caught:
        parse_request_line(line, 100)
    assert caught.value.status == status


def test_the_longest_target_is_accepted() -> None:
    """The limit is for the target alone."""
    assert len(parse_request_line(b"GET /%b HTTP/1.1" % (b"a" * 99), 100).target) == 100


@given(METHODS, TARGETS, VERSIONS)
@example(b"GET", b"http://[::1]:99/", b"HTTP/1.1")
@example(b"CONNECT", b"\xe9", b"HTTP/1.1")
def test_a_request_line_is_read_or_refused(method: bytes, target: bytes, version: bytes) -> None:
    """What is accepted can be written again as it was understood."""
    try:
        line = parse_request_line(b" ".join((method, target, version)), 100)
    except Failure:
        return
    if line.authority is None:
        again = b"%b %b HTTP/1.%d" % (line.method, line.target, line.minor)
        assert _parts(parse_request_line(again, 100)) == _parts(line)
    assert line.target.isascii()


@given(st.binary(max_size=60))
def test_any_bytes_as_a_start_line(data: bytes) -> None:
    """The only way out is a Failure."""
    with contextlib.suppress(Failure):
        parse_status_line(data)
    with contextlib.suppress(Failure):
        parse_request_line(data, 40)


# Status lines.


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200 OK", StatusLine(1, 200, b"HTTP/1.1 200 OK")),
        (b"HTTP/1.0 404 Not Found", StatusLine(0, 404, b"HTTP/1.1 404 Not Found")),
        (b"HTTP/1.1 299 ", StatusLine(1, 299, b"HTTP/1.1 299 ")),
        (b"HTTP/1.1 999", StatusLine(1, 999, b"HTTP/1.1 999 ")),
        (b"HTTP/1.1 200 \xe9", StatusLine(1, 200, b"HTTP/1.1 200 \xe9")),
    ],
)
def test_status_lines(line: bytes, expected: StatusLine) -> None:
    """The visitor is told our version, the target's status and its words."""
    found = parse_status_line(line)
    assert (found.minor, found.status, found.line) == (expected.minor, expected.status, expected.line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HTTP/1.1",
        b"HTTP/1.1 99 Low",
        b"HTTP/1.1 099 Low",
        b"HTTP/1.1 1000 High",
        b"HTTP/1.2 200 OK",
        b"HTTP/2 200",
        b"ICY 200 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 200\tOK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 OK\r",
        b"HTTP/1.1 200 OK\n",
    ],
)
def test_status_lines_that_are_refused(line: bytes) -> None:
    """A target that cannot be understood is a bad gateway."""
    with pytest.raises(Failure) as caught:
        parse_status_line(line)
    assert caught.value.status == 502


# Beginnings of heads.


def test_empty_lines_before_a_request_are_passed_over() -> None:
    """A few, as RFC 9112 section 2.2 asks."""
    assert [start_of_head(b"\r\n" * count + b"GET") for count in range(5)] == [0, 2, 4, 6, 8]
    assert start_of_head(b"") == start_of_head(b"\r") == start_of_head(b"\n") == 0
    with pytest.raises(Failure):
        start_of_head(b"\r\n" * 5)


@pytest.mark.parametrize("data", [b"", b"G", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r", b"\r", b"\rX"])
def test_a_partial_head_may_become_a_head(data: bytes) -> None:
    """What may still turn out well is waited for."""
    check_partial_head(data, 50, 100)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b" GET", 400),
        (b"\x16\x03\x01", 400),
        (b"(", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n", 400),
        (b"GET /" + b"a" * 200, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 100, 431),
    ],
)
def test_a_partial_head_that_is_refused_at_once(data: bytes, status: int) -> None:
    """What cannot become a head is answered before its deadline."""
    with pytest.raises(Failure) as caught:
        check_partial_head(data, 50, 100)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("data", "is_bare"),
    [(b"", False), (b"\r\n", False), (b"a\r\nb\r\n", False), (b"\n", True), (b"a\r\nb\n", True), (b"\r", False)],
)
def test_a_line_feed_alone_is_noticed(data: bytes, is_bare: bool) -> None:
    """A CR of which the LF is still to come is none."""
    assert has_bare_lf(data) == is_bare


# Field lines.


@pytest.mark.parametrize(
    "line", [b"A: b", b"A:b", b"A:", b"A: \xff\xfe", b"A:\tb \t", b"!#$%&'*+-.^_`|~09: x", b"Upgrade: x", b"A: b:c"]
)
def test_lines_that_are_fields(line: bytes) -> None:
    """A token, a colon, and a value of visible octets, spaces and tabs."""
    judge_request_lines([line])
    judge_response_lines([line])
    judge_request_lines([b"Connection: Upgrade", line, b"Upgrade: x"])


@pytest.mark.parametrize(
    "line",
    [
        b"A",
        b": a",
        b"A : b",
        b" A: b",
        b"\tA: b",
        b"A(: b",
        b"A\x00: b",
        b"A: b\x00",
        b"A: b\rc",
        b"A: b\nc: d",
        b"A: b\r",
        b"\xc3\xa9: a",
        b"A: b\x01",
        b"A: b\x7f",
    ],
)
def test_lines_that_are_no_fields(line: bytes) -> None:
    """Wherever they stand, also behind a line that they could be taken for the rest of."""
    for lines in ([line], [b"X: y", line], [line, b"X: y"]):
        with pytest.raises(Failure) as caught:
            judge_request_lines(lines)
        assert caught.value.status == 400
        with pytest.raises(Failure) as caught:
            judge_response_lines(lines)
        assert caught.value.status == 502


@given(st.lists(st.binary(max_size=12).filter(lambda line: line and b"\r\n" not in line), max_size=4))
def test_any_bytes_as_field_lines(lines: list[bytes]) -> None:
    """The only way out is a Failure, and lines that are accepted together are accepted alone."""
    for judge in (judge_request_lines, judge_response_lines):
        try:
            judge(lines)
        except Failure:
            continue
        for line in lines:
            judge([line])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        (b"", []),
        (b" , ,", []),
        (b"Close", [b"close"]),
        (b"close, \tKeep-Alive ,x,", [b"close", b"keep-alive", b"x"]),
    ],
)
def test_members_of_a_list(value: bytes | None, expected: list[bytes]) -> None:
    """RFC 9110 section 5.6.1: empty members count for nothing."""
    assert members(value) == expected


# Framing.


def _fields(**values: bytes) -> dict[bytes, bytes]:
    return {name.replace("_", "-").encode(): value for name, value in values.items()}


@pytest.mark.parametrize(
    ("fields", "minor", "expected"),
    [
        (_fields(), 1, UNFRAMED),
        (_fields(content_length=b"0"), 1, Framing(0, chunked=False)),
        (_fields(content_length=b"005"), 0, Framing(5, chunked=False)),
        (_fields(transfer_encoding=b"Chunked"), 1, CHUNKED),
    ],
)
def test_framing(fields: dict[bytes, bytes], minor: int, expected: Framing) -> None:
    """A length, chunks, or neither; the same for requests and for responses."""
    assert request_framing(fields, minor) == expected
    assert response_framing(fields, minor) == expected


@pytest.mark.parametrize(
    ("fields", "minor", "status"),
    [
        (_fields(content_length=b""), 1, 400),
        (_fields(content_length=b"-1"), 1, 400),
        (_fields(content_length=b"+1"), 1, 400),
        (_fields(content_length=b"1, 1"), 1, 400),
        (_fields(content_length=b"1_0"), 1, 400),
        (_fields(content_length=b"0x1"), 1, 400),
        (_fields(content_length=b"9" * 19), 1, 400),
        (_fields(content_length="\u0665".encode()), 1, 400),
        (_fields(transfer_encoding=b"chunked"), 0, 400),
        (_fields(transfer_encoding=b"chunked", content_length=b"5"), 1, 400),
        (_fields(transfer_encoding=b""), 1, 400),
        (_fields(transfer_encoding=b"identity"), 1, 400),
        (_fields(transfer_encoding=b"chunked, chunked"), 1, 400),
        (_fields(transfer_encoding=b"chunked, gzip"), 1, 400),
        (_fields(transfer_encoding=b"xchunked"), 1, 400),
        (_fields(transfer_encoding=b"x, chunked"), 1, 400),
        (_fields(transfer_encoding=b"gzip, chunked"), 1, 501),
    ],
)
def test_framing_that_is_refused(fields: dict[bytes, bytes], minor: int, status: int) -> None:
    """Anything that two readers could read in two ways; from a target it is a bad gateway."""
    with pytest.raises(Failure) as caught:
        request_framing(fields, minor)
    assert caught.value.status == status
    with pytest.raises(Failure) as caught:
        response_framing(fields, minor)
    assert caught.value.status == 502


# Host.


@pytest.mark.parametrize(
    ("value", "folded"),
    [
        (b"a", b"a"),
        (b"Shop.Example.COM", b"shop.example.com"),
        (b"shop.example.com.", b"shop.example.com"),
        (b"shop.example.com:8080", b"shop.example.com"),
        (b"shop.example.com.:8080", b"shop.example.com"),
        (b"shop.example.com:", b"shop.example.com"),
        (b"main--shop.zexio.app", b"main--shop.zexio.app"),
        (b"_acme.a_b.c", b"_acme.a_b.c"),
        (b"192.0.2.1:80", b"192.0.2.1"),
        (b"xn--mnchen-3ya.example", b"xn--mnchen-3ya.example"),
        (b"[2001:DB8:0:0::1]:80", b"[2001:db8::1]"),
        (b"a" * 255, b"a" * 255),
    ],
)
def test_hosts_are_folded(value: bytes, folded: bytes) -> None:
    """Case, port, a trailing dot and the spelling of an address make no difference."""
    assert fold_host(value) == fold_host(folded) == folded


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b".",
        b".a",
        b"a..b",
        b"a.b..",
        b"-a",
        b"a-",
        b"a.-b",
        b"a b",
        b"a,b",
        b"a/b",
        b"a?b",
        b"a#b",
        b"a\\b",
        b"user@a",
        b"a:80:80",
        b"a:http",
        b"a:123456",
        b"a\x00",
        b"\xc3\xa9.com",
        b"a%2eb",
        b":80",
        b"[]",
        b"[::1",
        b"::1",
        b"[1::2::3]",
        b"[::g]",
        b"[::1]a",
        b"[::1%25eth0]",
        b"a" * 300,
    ],
)
def test_hosts_that_are_refused(value: bytes) -> None:
    """A Host that is none could be read as another one further on."""
    with pytest.raises(Failure) as caught:
        fold_host(value)
    assert caught.value.status == 400


@given(st.binary(max_size=40))
def test_any_bytes_as_a_host(value: bytes) -> None:
    """Folding twice is folding once, and nothing but a Failure comes out otherwise."""
    try:
        folded = fold_host(value)
    except Failure:
        return
    assert fold_host(folded) == folded == folded.lower()


# Chunks.

Decoded = tuple[bytes, list[bytes] | None, bytes]


def _decode(pieces: list[bytes]) -> Decoded | str:
    """Data, trailers and what follows, or why it is refused."""
    body = ChunkedBody()
    data = b""
    surplus = b""
    try:
        for piece in pieces:
            if body.trailers is not None:
                surplus += piece
            else:
                data += b"".join(body.feed(piece))
    except ValueError:
        return "refused"
    return data, body.trailers, body.surplus + surplus


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in itertools.pairwise(ends)]


def test_empty_data_is_no_chunk() -> None:
    """It would end the body."""
    assert chunk(b"") == b""
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    st.sampled_from([b"", b"X-A: b\r\n", b"X-A: b\r\nX-B:c\r\n"]),
    st.binary(max_size=10),
    st.lists(st.integers(0, 300), max_size=12),
)
def test_what_was_written_is_read_in_any_pieces(
    chunks: list[bytes], trailers: bytes, surplus: bytes, cuts: list[int]
) -> None:
    """Data, trailers and surplus do not depend on how the bytes arrive."""
    raw = b"".join(map(chunk, chunks)) + b"0\r\n" + trailers + b"\r\n" + surplus
    expected = (b"".join(chunks), trailers.split(b"\r\n")[:-1], surplus)
    assert _decode([raw]) == _decode(_cut(raw, cuts)) == _decode([raw[n : n + 1] for n in range(len(raw))]) == expected


@given(st.lists(CHUNK_OCTETS, max_size=25).map(b"".join), st.lists(st.integers(0, 60), max_size=8))
@example(b"1;a\rb\r\nx\r\n0\r\n\r\n", [4])
@example(b"0\r\nA: b\r\n c\r\n\r\n", [3, 8])
@example(b"1 \r\n", [2])
def test_anything_is_read_or_refused_in_any_pieces(raw: bytes, cuts: list[int]) -> None:
    """A mistake is a mistake wherever the cuts are; a body that is not complete may be refused a little later."""
    whole, parts = _decode([raw]), _decode(_cut(raw, cuts))
    if isinstance(whole, str) or isinstance(parts, str):
        assert whole == parts or _decode([raw, b"\r\n\r\n"]) == "refused"
    else:
        assert whole == parts


@pytest.mark.parametrize(
    "raw",
    [
        b"5;a=b\r\nhello\r\n0;c\r\n\r\n",
        b"5 ; a\r\nhello\r\n0\r\n\r\n",
        b"5\t;\xff\r\nhello\r\n000\r\n\r\n",
        b"00005\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_extensions_and_leading_zeros_are_read_over(raw: bytes) -> None:
    """Nobody makes use of them (RFC 9112 section 7.1.1)."""
    assert _decode([raw]) == (b"hello", [], b"")


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"1_0\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1 x\r\n",
        b"1\n",
        b"1\r\r\n",
        b"1;\x00\r\n",
        b"1;a\nb\r\n",
        b"1" * 16 + b"\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\na\rb",
        b"0\r\n\n\r\n\r\n",
        b"0\r\nA\r\n\r\n",
        b"0\r\nA: b\nC: d\r\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\n A: b\r\n\r\n",
    ],
)
def test_chunks_that_are_refused(raw: bytes) -> None:
    """Whole, and one octet at a time."""
    assert _decode([raw]) == "refused"
    assert _decode([raw[n : n + 1] for n in range(len(raw))]) == "refused"


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("raw", "is_refused"),
    [
        (b"0;" + b"a" * 1022 + b"\r\n\r\n", False),
        (b"0;" + b"a" * 1023 + b"\r\n\r\n", True),
        ((b"1;" + b"a" * 1020 + b"\r\nx\r\n") * 16 + b"0\r\n\r\n", False),
        ((b"1;" + b"a" * 1020 + b"\r\nx\r\n") * 17 + b"0\r\n\r\n", True),
        (b"0\r\n" + b"A: b\r\n" * 64 + b"\r\n", False),
        (b"0\r\n" + b"A: b\r\n" * 65 + b"\r\n", True),
        (b"0\r\nA: " + b"b" * 8000 + b"\r\n\r\n", False),
        (b"0\r\nA: " + b"b" * 8200 + b"\r\n\r\n", True),
    ],
    ids=["line", "long-line", "extensions", "long-extensions", "fields", "many-fields", "trailers", "long-trailers"],
)
def test_everything_beside_the_data_is_bounded(raw: bytes, is_refused: bool, step: int) -> None:
    """By the same measure in any pieces."""
    pieces = [raw[n : n + step] for n in range(0, len(raw), step)]
    assert (_decode(pieces) == "refused") == is_refused


def test_a_body_has_begun_with_its_first_size_line() -> None:
    """From then on a target may hear of it."""
    body = ChunkedBody()
    seen = [(body.feed(piece), body.is_begun) for piece in (b"5", b"\r\nhel", b"lo")]
    assert seen == [([], False), ([b"hel"], True), ([b"lo"], True)]
    assert body.trailers is None


def test_data_is_not_copied_together() -> None:
    """Each chunk in one read is one piece; a large chunk comes as it is read."""
    body = ChunkedBody()
    assert body.feed(chunk(b"a") + chunk(b"bc")) == [b"a", b"bc"]
    assert body.feed(b"10\r\n" + b"d" * 5) == [b"d" * 5]
    assert body.feed(b"d" * 11 + b"\r\n0\r\n\r\nrest") == [b"d" * 11]
    assert (body.trailers, body.surplus) == ([], b"rest")
