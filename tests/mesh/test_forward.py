"""Which fields go through: nothing for one connection, nothing that speaks as the proxy, all else untouched."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Failure
from mesh.forward import Peer, RequestFields, ResponseFields, compose, is_https, passing_trailers
from mesh.heads import RequestHeads, ResponseHeads

HOP_BY_HOP = [
    *(b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Proxy-Authenticate", b"Proxy-Authorization", b"TE"),
    *(b"Trailer", b"Transfer-Encoding", b"Upgrade", b"HTTP2-Settings"),
]
OURS = [
    *(b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Forwarded-Port", b"Forwarded", b"X-Real-IP"),
    *(b"X-Zexio-Org", b"X-Zexio-User", b"X-Zexio-Source", b"X-Zexio-Anything"),
]
TRUSTED = ipaddress.ip_network("10.0.0.0/8")


def _trusts(address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in TRUSTED
    except ValueError:
        return False


STRANGER = Peer("192.0.2.9", b"http", _trusts)
PROXY = Peer("10.0.0.1", b"http", _trusts)


def _request(*lines: bytes, minor: int = 1, host: bytes = b"Host: shop.example.com") -> RequestFields:
    section = b"\r\n".join((*([host] if host else []), *lines, b"", b""))
    return RequestHeads(100, 1000).fields(section, minor)


def _response(*lines: bytes, minor: int = 1) -> ResponseFields:
    return ResponseHeads().fields(b"\r\n".join((*lines, b"", b"")), minor)


def _pairs(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Field lines as names in lower case and values."""
    assert not lines or lines.endswith(b"\r\n")
    split = [line.partition(b":") for line in lines.split(b"\r\n")[:-1]]
    return [(name.lower(), value.strip()) for name, _, value in split]


def _told(peer: Peer, *lines: bytes) -> dict[bytes, bytes]:
    """What a target is told, each field once."""
    fields = _request(*lines)
    pairs = _pairs(compose(fields, peer, fields.host_value or b""))
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


# What passes.


def test_ordinary_fields_pass_as_they_are() -> None:
    """Names keep their case, values their octets, lines their order."""
    lines = (b"aCCept: a;q=0.5, b", b"Cookie: a=1", b"X-Odd: \xff\tb", b"X-Odd:", b"X.Y_z: 1", b"X-Forward: no")
    assert _request(*lines).passing.startswith(b"\r\n".join((*lines, b"")))
    assert _response(*lines).passing.startswith(b"\r\n".join((*lines, b"")))


@pytest.mark.parametrize("name", HOP_BY_HOP + OURS)
@pytest.mark.parametrize("spell", [bytes.lower, bytes.upper], ids=["lower", "upper"])
def test_nothing_that_is_not_the_visitors_passes(name: bytes, spell: Callable[[bytes], bytes]) -> None:
    """Whether it is for one connection, or speaks as a proxy would, in any spelling."""
    value = b"chunked" if name == b"Transfer-Encoding" else b"stolen"
    assert name.lower() not in dict(_pairs(_request(spell(name) + b": " + value).passing)) or value == b"chunked"
    assert b"stolen" not in _request(spell(name) + b": " + value).passing


@pytest.mark.parametrize("name", [*HOP_BY_HOP, *OURS, b"Content-Length", b"Host", b"Authorization", b"X-Request-Id"])
def test_no_alias_of_such_a_name_passes(name: bytes) -> None:
    """Applications fold `_` and `.` to `-`, so these names are those names for them."""
    parts = name.split(b"-")
    for marks in itertools.product(b"-_.", repeat=len(parts) - 1):
        alias = parts[0] + b"".join(bytes([mark]) + part for mark, part in zip(marks, parts[1:], strict=True))
        if alias != name:
            assert b"stolen" not in _request(alias + b": stolen").passing


@given(
    st.sets(st.sampled_from([b"close", b"Keep-Alive", b"x-hop", b"X-OTHER", b"Host", b"content-length", b"te", b""])),
    st.permutations([b"X-Hop: 1", b"X-Other: 2", b"X-Kept: 3", b"Content-Length: 5", b"Keep-Alive: 6"]),
)
def test_what_connection_names_goes_no_further(options: set[bytes], lines: list[bytes]) -> None:
    """RFC 9110 section 7.6.1, both ways; framing and Host cannot be named away."""
    connection = b"Connection: " + b" , ".join(sorted(options))
    for passing in (_request(connection, *lines).passing, _response(connection, *lines).passing):
        names = {name for name, _ in _pairs(passing)}
        assert b"x-kept" in names
        assert (b"x-hop" in names) == (b"x-hop" not in options)
        assert (b"x-other" in names) == (b"X-OTHER" not in options)
        assert not names & {b"keep-alive", b"connection"}
    fields = _request(connection, *lines)
    assert fields.framing.length == 5
    assert fields.host == b"shop.example.com"
    assert _response(connection, *lines).framing.length == 5


def test_framing_is_written_anew() -> None:
    """One field, in one spelling, at the end of what passes."""
    assert dict(_pairs(_request(b"content-length: 007").passing))[b"content-length"] == b"7"
    assert dict(_pairs(_request(b"Transfer-Encoding: CHUNKED").passing))[b"transfer-encoding"] == b"chunked"
    assert _response(b"content-length: 007").length_line == b"Content-Length: 7\r\n"
    assert _response().length_line == b""
    assert b"ength" not in _response(b"content-length: 007").passing


@pytest.mark.parametrize(
    ("lines", "minor", "keeps"),
    [
        ((), 1, True),
        ((), 0, False),
        ((b"Connection: close",), 1, False),
        ((b"Connection: Keep-Alive",), 0, True),
        ((b"Connection: keep-alive, close",), 1, False),
        ((b"Connection: x", b"Connection: CLOSE"), 1, False),
        ((b"Proxy-Connection: close",), 1, True),
    ],
)
def test_whether_a_connection_is_kept(lines: tuple[bytes, ...], minor: int, keeps: bool) -> None:
    """RFC 9112 section 9.3, the same on both sides."""
    assert _request(*lines, minor=minor).keep_alive == keeps
    assert _response(*lines, minor=minor).keep_alive == keeps


@pytest.mark.parametrize(
    ("lines", "upgrade"),
    [
        ((b"Connection: Upgrade", b"Upgrade: WebSocket"), b"websocket"),
        ((b"Connection: upgrade", b"Upgrade: a/1, b"), b"a/1, b"),
        ((b"Connection: Upgrade", b"Upgrade: h2c"), b""),
        ((b"Connection: Upgrade", b"Upgrade: h2c, websocket, HTTP/2.0, TLS/1.2"), b"websocket"),
        ((b"Upgrade: websocket",), b""),
        ((b"Connection: Upgrade",), b""),
    ],
)
def test_which_upgrades_are_asked_for(lines: tuple[bytes, ...], upgrade: bytes) -> None:
    """Other versions of HTTP would go around everything that is checked here."""
    fields = _request(*lines)
    assert fields.upgrade == upgrade
    told = dict(_pairs(fields.passing))
    assert told.get(b"upgrade", b"") == upgrade
    assert (told.get(b"connection") == b"Upgrade") == bool(upgrade)
    assert _request(*lines, minor=0).upgrade == b""


def test_the_upgrade_of_an_answer() -> None:
    """Only with the option that makes it one."""
    assert _response(b"Connection: upgrade", b"Upgrade: websocket").upgrade == b"websocket"
    assert _response(b"Upgrade: websocket").upgrade == b""
    assert b"websocket" not in _response(b"Connection: upgrade", b"Upgrade: websocket").passing


def test_te_says_nothing_but_trailers() -> None:
    """And only when Connection names it, which is said again for the next hop (RFC 9110 section 10.1.4)."""
    told = dict(_pairs(_request(b"Connection: TE", b"TE: gzip;q=0.5, Trailers").passing))
    assert (told[b"te"], told[b"connection"]) == (b"trailers", b"TE")
    for lines in ((b"TE: trailers",), (b"Connection: TE", b"TE: gzip"), (b"Connection: TE",)):
        assert b"te" not in dict(_pairs(_request(*lines).passing))


def test_expectations() -> None:
    """100-continue goes on, HTTP/1.0 knows none, others are refused (RFC 9110 section 10.1.1)."""
    assert _request(b"Expect: 100-Continue").expects_continue
    assert b"Expect: 100-continue\r\n" in _request(b"Expect: 100-Continue").passing
    old = _request(b"Expect: 100-continue", minor=0)
    assert not old.expects_continue
    assert b"xpect" not in old.passing
    with pytest.raises(Failure) as caught:
        _request(b"Expect: 200-ok")
    assert caught.value.status == 417


@pytest.mark.parametrize(
    ("minor", "lines", "via"),
    [
        (1, (), b"1.1 zexio"),
        (0, (), b"1.0 zexio"),
        (1, (b"Via: 1.0 a, 1.1 b",), b"1.0 a, 1.1 b, 1.1 zexio"),
        (1, (b"Via: 1.0 a", b"via: 1.1 b"), b"1.0 a, 1.1 b, 1.1 zexio"),
        (1, (b"Connection: Via", b"Via: 1.0 a"), b"1.0 a, 1.1 zexio"),
    ],
)
def test_via_grows(minor: int, lines: tuple[bytes, ...], via: bytes) -> None:
    """By the version in which the message was received (RFC 9110 section 7.6.3), both ways."""
    assert dict(_pairs(_request(*lines, minor=minor).passing))[b"via"] == via
    assert dict(_pairs(_response(*lines, minor=minor).passing))[b"via"] == via


def test_the_date_of_an_answer_is_kept() -> None:
    """The exchange adds one where there is none."""
    assert _response(b"Date: x").has_date
    assert dict(_pairs(_response(b"Date: x").passing))[b"date"] == b"x"
    assert not _response().has_date


@pytest.mark.parametrize(
    ("value", "number"), [(b"0", 0), (b"007", 7), (b"", None), (b"-1", None), (b"1a", None), (b"9" * 10, None)]
)
def test_max_forwards_is_a_number_or_nothing(value: bytes, number: int | None) -> None:
    """What is not one is not forwarded (RFC 9110 section 7.6.2)."""
    fields = _request(b"Max-Forwards: " + value)
    assert fields.max_forwards == number
    assert b"max-forwards" not in fields.passing.lower()


@pytest.mark.parametrize("value", [b"a", b"A-1.b:c_d+e/f=", b"a" * 128])
def test_a_plain_request_id_is_kept(value: bytes) -> None:
    """It is written by the exchange, once."""
    fields = _request(b"X-Request-Id: " + value)
    assert fields.request_id == value
    assert b"equest-" not in fields.passing


@pytest.mark.parametrize("lines", [(b"",), (b"a b",), (b'"',), (b"a" * 129,), (b"\xff",), (b"a", b"a"), (b"a;b",)])
def test_a_strange_request_id_is_none(lines: tuple[bytes, ...]) -> None:
    """It could break a log, or be two."""
    assert _request(*(b"X-Request-Id: " + value for value in lines)).request_id is None


def test_a_visitor_of_http_1_1_names_a_host() -> None:
    """HTTP/1.0 may leave it out."""
    with pytest.raises(Failure, match="names its Host"):
        _request(host=b"")
    old = _request(host=b"", minor=0)
    assert (old.host, old.host_value) == (b"", None)


def test_fields_can_be_looked_up_for_logs_and_answers() -> None:
    """By their name without case; only a field's own name is its name."""
    fields = _request(b"X-Referer: no", b"REFERER:  https://a/\t", b"User-Agent: t\xe9st", b"Accept: a: b")
    assert fields.logged == ("https://a/", "tést")
    assert fields.logged == fields.logged
    assert fields.value(b"accept") == b"a: b"
    assert fields.value(b"cookie") == b""
    assert fields.value(b"host") == b"shop.example.com"


# What is said of the visitor.


def test_a_target_is_told_where_the_visitor_is() -> None:
    """In all the fields that applications read."""
    assert _told(STRANGER) == {
        b"host": b"shop.example.com",
        b"via": b"1.1 zexio",
        b"x-forwarded-for": b"192.0.2.9",
        b"x-forwarded-proto": b"http",
        b"x-forwarded-host": b"shop.example.com",
        b"x-real-ip": b"192.0.2.9",
        b"forwarded": b'for=192.0.2.9;host="shop.example.com";proto=http',
    }


CLAIMS = (
    b"X-Forwarded-For: 6.6.6.6, 7.7.7.7",
    b"X-Forwarded-Proto: HTTPS",
    b"X-Forwarded-Host: other.example.com",
    b"X-Forwarded-Port: 666",
    b"X-Real-IP: 6.6.6.6",
    b"Forwarded: for=6.6.6.6",
)


@given(st.sets(st.sampled_from(CLAIMS)))
def test_a_stranger_is_not_believed(claims: set[bytes]) -> None:
    """Whatever is claimed, the target is told the same."""
    assert _told(STRANGER, *claims) == _told(STRANGER)


def test_a_trusted_proxy_is_believed() -> None:
    """Its words come first, its address is added."""
    told = _told(PROXY, *CLAIMS)
    assert told[b"x-forwarded-for"] == b"6.6.6.6, 7.7.7.7, 10.0.0.1"
    assert told[b"x-forwarded-proto"] == b"https"
    assert told[b"x-forwarded-host"] == b"other.example.com"
    assert told[b"forwarded"] == b'for=6.6.6.6, for=10.0.0.1;host="other.example.com";proto=https'
    assert told[b"host"] == b"shop.example.com"
    assert b"x-forwarded-port" not in told


def test_a_trusted_proxy_without_claims_is_the_visitor() -> None:
    """Health checks of a load balancer, for one."""
    told = _told(PROXY)
    assert (told[b"x-forwarded-for"], told[b"x-real-ip"]) == (b"10.0.0.1", b"10.0.0.1")
    only_proto = _told(PROXY, b"X-Forwarded-Proto: https")
    assert (only_proto[b"x-forwarded-for"], only_proto[b"x-forwarded-proto"]) == (b"10.0.0.1", b"https")


@pytest.mark.parametrize(
    ("addresses", "real"),
    [
        (b"7.7.7.7", b"7.7.7.7"),
        (b"6.6.6.6, 7.7.7.7", b"7.7.7.7"),
        (b"6.6.6.6, 7.7.7.7 ,\t10.0.0.2", b"7.7.7.7"),
        (b"10.0.0.3, 10.0.0.2", b"10.0.0.3"),
        (b"unknown, 10.0.0.2", b"10.0.0.2"),
    ],
)
def test_the_visitor_is_the_last_stranger_in_the_chain(addresses: bytes, real: bytes) -> None:
    """What stands before that is only what the stranger said."""
    assert _told(PROXY, b"X-Forwarded-For: " + addresses)[b"x-real-ip"] == real


@pytest.mark.parametrize("line", [b"X-Forwarded-Proto: gopher", b"X-Forwarded-Host: a b", b"X-Forwarded-Host: a, b"])
def test_nonsense_of_a_trusted_proxy_is_not_passed_on(line: bytes) -> None:
    """It is the proxy's visitor who may have said it."""
    assert _told(PROXY, line) == _told(PROXY)


def test_an_address_of_ipv6_is_quoted() -> None:
    """RFC 7239 section 6."""
    told = _told(Peer("2001:db8::1", b"https", _trusts))
    assert told[b"x-forwarded-for"] == b"2001:db8::1"
    assert told[b"forwarded"] == b'for="[2001:db8::1]";host="shop.example.com";proto=https'


@pytest.mark.parametrize(
    ("peer", "lines", "secure"),
    [
        (STRANGER, (), False),
        (STRANGER, (b"X-Forwarded-Proto: https",), False),
        (PROXY, (), False),
        (PROXY, (b"X-Forwarded-Proto: https",), True),
        (PROXY, (b"X-Forwarded-Proto: http",), False),
        (PROXY, (b"X-Forwarded-For: 7.7.7.7",), False),
        (Peer("192.0.2.9", b"https", _trusts), (), True),
        (Peer("192.0.2.9", b"https", _trusts), (b"X-Forwarded-Proto: http",), True),
        (Peer("10.0.0.1", b"https", _trusts), (b"X-Forwarded-Proto: http",), False),
    ],
)
def test_who_came_by_https(peer: Peer, lines: tuple[bytes, ...], secure: bool) -> None:
    """The visitor's own connection counts, told by whoever may be believed."""
    assert is_https(_request(*lines), peer) == secure


def test_a_composition_is_kept_for_the_same_visitor_and_host() -> None:
    """And made anew for another one."""
    fields = _request()
    host = b"shop.example.com"
    first = compose(fields, STRANGER, host)
    assert compose(fields, STRANGER, host) is first
    assert b"10.0.0.1" in compose(fields, PROXY, host)
    assert compose(fields, PROXY, b"target:80").startswith(b"Host: target:80\r\n")
    assert compose(fields, STRANGER, host) == first


# Trailers.


@pytest.mark.parametrize(
    "name",
    [
        *(*HOP_BY_HOP, *OURS, b"Content-Length", b"Host", b"Authorization", b"Cookie", b"Set-Cookie", b"Content-Type"),
        *(b"Content-Encoding", b"Content-Range", b"Cache-Control", b"Expect", b"Max-Forwards", b"Via"),
        *(b"X-Request-Id", b"content_length", b"X_Zexio.Org", b"x.forwarded.for"),
    ],
)
def test_trailers_that_frame_route_or_identify_are_dropped(name: bytes) -> None:
    """RFC 9110 section 6.5.1; nobody checks behind the body what was checked before it."""
    lines = [b"X-Sum: 1", name + b": stolen", b"X-Last:2"]
    assert passing_trailers(lines) == b"X-Sum: 1\r\nX-Last:2\r\n"


def test_no_trailers_are_no_lines() -> None:
    """Nothing in, nothing out."""
    assert passing_trailers([]) == b""
