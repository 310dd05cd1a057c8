"""Reading a head from memory gives what reading it anew would give, whatever was read before."""

from __future__ import annotations

from collections.abc import Callable

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mesh import heads
from mesh.errors import BAD_REQUEST, BAD_RESPONSE, Failure
from mesh.forward import RequestFields, ResponseFields
from mesh.heads import Memory, RequestHeads, ResponseHeads, values

LONG = b"x" * 300
# Lines that pass, are read, are dropped, may come once, cannot be remembered, or are wrong.
LINES = [
    *(b"Cookie: a=1", b"Cookie: b=2", b"Cookie: c=" + LONG, b"cookie: a=1", b"Accept: */*", b"X-A: 1", b"X-A: 2"),
    *(b"X-A: " + LONG, b"X-B:", b"Referer: https://a/", b"Referer: https://b/", b"Content-Type: a/b"),
    *(b"Connection: close", b"Connection: X-A, keep-alive", b"Connection: Upgrade", b"Upgrade: websocket"),
    *(b"Content-Length: 5", b"content-length: 6", b"Transfer-Encoding: chunked", b"TE: trailers", b"Via: 1.1 a"),
    *(b"X-Forwarded-For: 192.0.2.1", b"X-Forwarded-Proto: https", b"Forwarded: for=a", b"X_Forwarded_For: b"),
    *(b"X-Real-IP: 192.0.2.1", b"X-Zexio-Org: a", b"Keep-Alive: 1", b"Expect: 100-continue", b"Max-Forwards: 3"),
    *(b"X-Request-Id: a", b"Set-Cookie: s=1", b"Set-Cookie: s=; " + LONG, b"Date: now", b"Server: a"),
    *(b"Broken", b" X-A: 1", b"X A: 1", b"X-A: \x00", b"X-A: 1\r"),
]
blocks = st.lists(st.sampled_from(LINES), max_size=7).map(lambda lines: b"".join(line + b"\r\n" for line in lines))
hosts = st.sampled_from([b"Host: a\r\n", b"Host: A:80\r\n", b"host: b\r\n", b""])
minors = st.integers(0, 1)


def _request(reader: RequestHeads, block: bytes, minor: int) -> object:
    """Everything that a section says, or why it is refused."""
    try:
        fields = reader.fields(block, minor)
    except Failure as failure:
        return failure.status
    return _said(fields, "prepared")


def _response(reader: ResponseHeads, block: bytes, minor: int) -> object:
    try:
        fields = reader.fields(block, minor)
    except Failure as failure:
        return failure.status
    return _said(fields, "ready")


def _said(fields: RequestFields | ResponseFields, but: str) -> list[object]:
    # A compiled class has no __slots__; its attributes are found among its members all the same.
    names = [name for name in dir(fields) if not name.startswith(("_", "is_known", but))]
    assert "framing" in names
    return [value for name in names if not callable(value := getattr(fields, name))]


@given(st.lists(st.tuples(hosts, blocks, minors), min_size=1, max_size=12))
def test_a_request_is_read_from_memory_as_if_it_were_the_first(sections: list[tuple[bytes, bytes, int]]) -> None:
    """What other requests said, in whatever order, makes no difference."""
    reader = RequestHeads(100, 100)
    for host, block, minor in sections:
        section = host + block + b"\r\n"
        anew = _request(RequestHeads(100, 100), section, minor)
        for _ in range(3):
            assert _request(reader, section, minor) == anew


@given(st.lists(st.tuples(blocks, minors), min_size=1, max_size=12))
def test_a_response_is_read_from_memory_as_if_it_were_the_first(sections: list[tuple[bytes, int]]) -> None:
    """What other responses said, in whatever order, makes no difference."""
    reader = ResponseHeads()
    for block, minor in sections:
        anew = _response(ResponseHeads(), block + b"\r\n", minor)
        for _ in range(3):
            assert _response(reader, block + b"\r\n", minor) == anew


@given(st.binary(max_size=80).filter(lambda data: b"\r\n\r\n" not in data), minors)
def test_any_bytes_as_a_section(data: bytes, minor: int) -> None:
    """The only way out is a Failure: 400 and its like for a visitor, 502 for a target."""
    block = data.strip(b"\r\n") + b"\r\n\r\n"
    request = _request(RequestHeads(10, 100), block, minor)
    assert not isinstance(request, int) or request in {400, 417, 431, 501}
    response = _response(ResponseHeads(), block, minor)
    assert not isinstance(response, int) or response == 502


def test_lines_of_one_name_keep_their_order() -> None:
    """RFC 9110 section 5.3, also when some are known and some are too long to be."""
    reader = ResponseHeads()
    for number in range(5):
        reader.fields(b"X-Number: %d\r\nSet-Cookie: a=2\r\n\r\n" % number, 1)
    block = b"Set-Cookie: a=%b\r\nSet-Cookie: a=2\r\nSet-Cookie: a=3\r\n\r\n" % LONG
    assert reader.fields(block, 1).passing.startswith(block[:-2])


def test_what_comes_again_is_remembered() -> None:
    """From the second time on the same bytes give the same value; another version of HTTP another one."""
    reader, answers = RequestHeads(100, 100), ResponseHeads()
    read = [
        (
            reader.line(b"GET / HTTP/1.1"),
            reader.fields(b"Host: a\r\n\r\n", 1),
            answers.status(b"HTTP/1.1 200 OK"),
            answers.fields(b"A: b\r\n\r\n", 1),
        )
        for _ in range(3)
    ]
    for second, third in zip(read[1], read[2], strict=True):
        assert second is third
    assert reader.fields(b"Host: a\r\n\r\n", 0) is not read[2][1]


@pytest.mark.parametrize(
    ("head", "is_known"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: b\r\n\r\n", False),
        (b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", False),
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"GET / HTTP/1.1", False),
        (b"", False),
    ],
)
def test_a_whole_head_is_known_by_its_parts(head: bytes, is_known: bool) -> None:
    """Only when it is exactly one head, and nothing of a body is to come."""
    reader = RequestHeads(100, 100)
    for length in (b"", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n") * 2:
        reader.line(b"GET / HTTP/1.1")
        reader.line(b"POST / HTTP/1.1")
        reader.fields(b"Host: a\r\n" + length + b"\r\n", 1)
    found = reader.known(head)
    assert (found is not None) == is_known
    if found is not None:
        assert found.fields.host == b"a"


def test_heads_that_begin_alike_are_not_taken_for_one_another() -> None:
    """Only the whole of a head is known, whatever it has in common with another."""
    reader = RequestHeads(100, 100)
    line, hosts = b"GET /" + b"x" * 80 + b" HTTP/1.1", (b"a", b"b", b"a")
    for host in hosts * 3:
        reader.line(line)
        reader.fields(b"Host: %b\r\n\r\n" % host, 1)
    for host in hosts * 2:
        found = reader.known(b"%b\r\nHost: %b\r\n\r\n" % (line, host))
        assert found is not None
        assert found.fields.host == host
    assert reader.known(b"%b\r\nHost: a\r\n\r\nG" % line) is None


def test_an_answer_is_known_by_its_head_when_that_came_before() -> None:
    """What follows the head makes no difference; a head that merely begins alike does."""
    reader = ResponseHeads()
    status, section = b"HTTP/1.1 200 OK", b"Server: " + b"s" * 60 + b"\r\nContent-Length: %d\r\n\r\n"
    head = b"%b\r\n%b" % (status, section % 4)
    for times in range(4):
        assert (reader.known(head + b"body") is not None) == (times == 3)
        reader.remember(head, reader.status(status), reader.fields(section % 4, 1))
    assert reader.known(head) is reader.known(head + b"body")
    assert reader.known(b"%b\r\n%bbody!" % (status, section % 5)) is None
    assert reader.known(head[:-1]) is None
    assert reader.known(b"") is None


def test_there_are_so_many_fields_and_no_more() -> None:
    """431 for a visitor, 502 for a target."""
    lines = b"".join(b"X-%d: a\r\n" % number for number in range(300))
    assert _request(RequestHeads(301, 100), b"Host: a\r\n" + lines + b"\r\n", 1) != 431
    assert _request(RequestHeads(300, 100), b"Host: a\r\n" + lines + b"\r\n", 1) == 431
    assert _response(ResponseHeads(), lines + b"\r\n", 1) == 502


@pytest.mark.parametrize("name", [b"Host", b"Content-Length", b"AUTHORIZATION", b"content-type", b"Range"])
def test_a_field_that_may_come_once_comes_once(name: bytes) -> None:
    """Even twice the same is refused: another reader may take the other one."""
    host = b"" if name == b"Host" else b"Host: a\r\n"
    assert _request(RequestHeads(100, 100), host + (name + b": 1\r\n") * 2 + b"\r\n", 1) == 400


def test_values_of_repeated_fields_are_joined() -> None:
    """In their order, by name without case, without the space around them."""
    assert values([b"Via: a", b"X: 1", b"VIA:\tb \t", b"via:"], BAD_REQUEST) == {b"via": b"a, b, ", b"x": b"1"}
    with pytest.raises(Failure, match="Content-Length may appear only once") as caught:
        values([b"Content-Length: 1", b"content-length: 1"], BAD_RESPONSE)
    assert caught.value.status == 502


def test_the_memory_is_bounded() -> None:
    """Strangers decide what comes in, so that it forgets everything when it has become too much."""
    memory: Memory[int] = Memory()
    for number in range(12_000):
        assert _kept(memory, b"%050d" % number)
        assert len(memory) <= heads._MAX_MEMORY / 400


def test_what_came_once_is_soon_forgotten() -> None:
    """Even the marks of what came once are bounded."""
    memory: Memory[int] = Memory()
    for number in range(20_000):
        assert memory.keep(b"%d" % number, number) == number
        assert len(memory._met) <= heads._MAX_MET
    assert len(memory) == 0


def test_a_long_key_is_not_remembered() -> None:
    """One visitor should not fill the memory."""
    assert not _kept(Memory(), b"x" * 100_000)


def _kept(memory: Memory[int], key: bytes) -> bool:
    """Whether a key is there after it came twice."""
    assert [memory.keep(key, 1) for _ in range(2)] == [1, 1]
    return key in memory


def test_long_lines_are_judged_every_time() -> None:
    """They are read like all others, and leave nothing behind."""
    reader = RequestHeads(100, 100)
    block = b"Host: a\r\nX-A: " + LONG + b"\r\n\r\n"
    for _ in range(3):
        assert LONG in reader.fields(block, 1).passing
        reader._sections[1].clear()
    assert list(reader._lines._passing) == []


# What a parser that we did not write says of the same sections.


class _Reader:
    """What llhttp calls."""

    def __init__(self) -> None:
        """Nothing was read."""
        self.is_complete = False

    def on_headers_complete(self) -> None:
        """The section was read to its end."""
        self.is_complete = True


def _llhttp_takes(
    parser: Callable[[_Reader], httptools.HttpRequestParser | httptools.HttpResponseParser],
    start: bytes,
    section: bytes,
) -> bool:
    reader = _Reader()
    try:
        parser(reader).feed_data(start + section)
    except httptools.HttpParserUpgrade:
        return True
    except httptools.HttpParserError:
        return False
    return reader.is_complete


def _cut(section: bytes) -> bytes:
    """As the end of a head is found: at the first empty line."""
    return b"\r\n" if section.startswith(b"\r\n") else section[: section.index(b"\r\n\r\n") + 4]


# Names and values with a meaning to llhttp, good or nearly so, and any octet anywhere.
_NAMES = st.one_of(
    st.sampled_from([b"Content-Length", b"transfer-encoding", b"Connection", b"Proxy-Connection", b"Upgrade", b"TE"]),
    st.sampled_from([b"A", b"X-Y", b"", b"A ", b" A", b"Trailer", b"Keep-Alive", b"Expect"]),
    st.binary(max_size=4),
)
_VALUES = st.one_of(
    st.sampled_from([b"5", b" 5 ", b"+5", b"5, 5", b"5 5", b"0x5", b"9" * 18, b"9" * 20, b"", b"\t", b"-1", b"00"]),
    st.sampled_from(
        [b"chunked", b" Chunked\t", b"gzip, chunked", b"chunked, gzip", b"chunked,", b"identity", b"xchunked"]
    ),
    st.sampled_from([b"close", b"keep-alive", b"upgrade", b"close, upgrade", b"websocket", b"h2c", b"100-continue"]),
    st.binary(max_size=6),
)
_COLONS = st.sampled_from([b":", b": ", b":\t", b" :", b"", b":: "])
_LINES = st.one_of(st.tuples(_NAMES, _COLONS, _VALUES).map(b"".join), st.binary(min_size=1, max_size=8))
_SECTIONS = st.lists(_LINES, max_size=4).map(lambda lines: b"".join(line + b"\r\n" for line in lines) + b"\r\n")


@example(b"Transfer-Encoding: chunked\t\r\n\r\n", 1)
@example(b"Transfer-Encoding: chunked,\r\n\r\n", 1)
@given(_SECTIONS, st.integers(0, 1))
def test_no_request_section_is_taken_that_llhttp_refuses(section: bytes, minor: int) -> None:
    """The checks of lines and of framing together are at least as strict."""
    section = _cut(b"Host: a\r\n" + section)
    try:
        RequestHeads(100, 100).fields(section, minor)
    except Failure:
        return
    assert _llhttp_takes(httptools.HttpRequestParser, b"POST / HTTP/1.%d\r\n" % minor, section)


@example(b"Transfer-Encoding: chunked,\r\nTransfer-Encoding:\r\n\r\n", 1)
@given(_SECTIONS, st.integers(0, 1))
def test_no_response_section_is_taken_that_llhttp_refuses(section: bytes, minor: int) -> None:
    """Whatever the target sends."""
    section = _cut(section)
    try:
        ResponseHeads().fields(section, minor)
    except Failure:
        return
    assert _llhttp_takes(httptools.HttpResponseParser, b"HTTP/1.%d 200 OK\r\n" % minor, section)


PREFIX = b"Host: a\r\nConnection: keep-alive\r\nAccept: text/html\r\nUser-Agent: " + b"x" * 60 + b"\r\n"
RESPONSE_PREFIX = (
    b"Server: a\r\nDate: now\r\nContent-Encoding: br\r\nCache-Control: no-store\r\nVary: *\r\nAllow: GET\r\n"
)
# Names of all policies, values that differ, and those that are wrong or name a field of the connection.
NAMES = [b"Cookie", b"Referer", b"Content-Type", b"Content-Length", b"Authorization", b"X-Request-Id", b"Via"]
NAMES += [b"X-Forwarded-For", b"X-Real-IP", b"Transfer-Encoding", b"Connection", b"TE", b"Set-Cookie", b"Age"]
VALUES = [
    b" 1",
    b" 2",
    b" 3",
    b" 44",
    b" a, b",
    b" cookie",
    b" chunked",
    b" chunked\t",
    b"",
    b" \x00",
    b" a\rb",
    b" a\nb",
]
named = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3)


@given(
    named,
    st.lists(st.lists(st.sampled_from(VALUES), min_size=3, max_size=3), min_size=6, max_size=16),
    st.integers(0, 3),
)
def test_a_section_of_a_known_shape_is_read_as_if_it_were_the_first(
    names: list[bytes], rows: list[list[bytes]], place: int
) -> None:
    """What has the shape of others, or nearly so, says the same as without them, and is refused as without them."""
    requests, responses = RequestHeads(100, 100), ResponseHeads()
    for row in rows:
        lines = [b"%b:%b\r\n" % pair for pair in zip(names, row, strict=False)]
        lines.insert(place, b"Accept-Language: en\r\n")
        varied = b"".join(lines) + b"\r\n"
        assert _request(requests, PREFIX + varied, 1) == _request(RequestHeads(100, 100), PREFIX + varied, 1)
        assert _response(responses, RESPONSE_PREFIX + varied, 1) == _response(
            ResponseHeads(), RESPONSE_PREFIX + varied, 1
        )


def _of_one_shape(value: bytes, last: bytes = b"") -> bytes:
    return PREFIX + b"Cookie: %b\r\nAccept-Language: en\r\n%b\r\n" % (value, last)


def test_a_section_of_a_known_shape_passes_with_its_own_values() -> None:
    """Lines keep their order, those that were seen before and those that were not."""
    reader = RequestHeads(100, 100)
    for number in range(8):
        passing = reader.fields(_of_one_shape(b"id=%d" % number), 1).passing
        assert b"\r\nCookie: id=%d\r\nAccept-Language: en\r\n" % number in passing
        assert passing.startswith(b"Accept: text/html\r\nUser-Agent: ")
        assert b"Connection" not in passing


@pytest.mark.parametrize("value", [b"\x00", b"a\rb", b"a\nb", b"a\x7f", b"a\r\nBroken", b"a\r\n folded"])
def test_a_malformed_value_in_a_known_shape_is_refused(value: bytes) -> None:
    """A shape says nothing about the values that vary."""
    reader = RequestHeads(100, 100)
    for number in range(8):
        reader.fields(_of_one_shape(b"id=%d" % number), 1)
    with pytest.raises(Failure) as refused:
        reader.fields(_of_one_shape(value), 1)
    assert refused.value.status == BAD_REQUEST.status


def test_what_follows_a_known_shape_is_not_lost() -> None:
    """A line more makes another shape."""
    reader = RequestHeads(100, 100)
    for number in range(8):
        reader.fields(_of_one_shape(b"id=%d" % number), 1)
    fields = reader.fields(_of_one_shape(b"id=9", b"Content-Length: 5\r\n"), 1)
    assert fields.framing.length == 5
    assert fields.value(b"cookie") == b"id=9"


def test_connection_names_a_line_within_a_run() -> None:
    """RFC 9110 section 7.6.1 holds for lines that pass together as well."""
    reader = RequestHeads(100, 100)
    for number in range(8):
        section = _of_one_shape(b"id=%d" % number).replace(b"keep-alive", b"accept-language")
        passing = reader.fields(section, 1).passing
        assert b"Accept-Language" not in passing
        assert b"Cookie: id=%d\r\n" % number in passing


def test_nothing_passes_of_a_section_that_has_only_lines_of_the_connection() -> None:
    """Not even an empty line, which would end the section in front of what is added to it."""
    fields = RequestHeads(100, 100).fields(b"Host: a\r\nConnection: X-A\r\n\r\n", 1)
    assert fields.passing.startswith(b"Via: ")
