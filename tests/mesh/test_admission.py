"""Whether a request may pass: its route, the limits, and who asks."""

from __future__ import annotations

import time

import msgspec
import pytest

from mesh.admission import ALLOWED_METHODS, check_access, check_limits, find_route, is_for_the_proxy
from mesh.core import Core
from mesh.errors import Failure
from mesh.forward import Peer, RequestFields
from mesh.heads import RequestHeads
from mesh.routes import Route, Snapshot, Target
from mesh.targets import LiveRoute
from mesh.upstream import Upstream
from mesh.wire import RequestLine, parse_request_line
from tests.support.tokens import OWNER, STRANGER, access_keys, bearer, claims, mint

PUBLIC = Route(host="a", targets=(Target("http://t:80"),), org_id=OWNER)
TENANT = msgspec.structs.replace(PUBLIC, host="t", access="tenant")
PREFIXED = msgspec.structs.replace(PUBLIC, host="p", path_prefix="/api")
VISITOR = Peer("192.0.2.1", b"http", lambda _: False)
SECURE = Peer("192.0.2.1", b"https", lambda _: False)
PROXY = Peer("10.0.0.1", b"http", lambda _: True)


@pytest.fixture
async def core() -> Core:
    """A core with the three routes and the usual keys."""
    return Core(Snapshot(revision=1, routes=(PUBLIC, TENANT, PREFIXED), keys=access_keys()))


def _fields(*lines: bytes, host: bytes = b"a") -> RequestFields:
    return RequestHeads(100, 100).fields(b"\r\n".join((b"Host: " + host, *lines, b"", b"")), 1)


def _line(text: bytes = b"GET / HTTP/1.1") -> RequestLine:
    return parse_request_line(text, 100)


def _live(**changes: object) -> LiveRoute[Upstream]:
    return LiveRoute(msgspec.structs.replace(PUBLIC, **changes), [])


def _token(**changes: object) -> bytes:
    return bearer(mint(claims(time.time(), **changes)))


# Methods.


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND"])
def test_ordinary_methods_are_for_the_target(method: bytes) -> None:
    """Whatever it makes of them."""
    assert not is_for_the_proxy(_line(method + b" / HTTP/1.1"), _fields(b"Max-Forwards: 3"))


@pytest.mark.parametrize("line", [b"CONNECT a:80 HTTP/1.1", b"TRACE / HTTP/1.1"])
def test_methods_that_an_edge_refuses(line: bytes) -> None:
    """The answer names the others."""
    with pytest.raises(Failure) as caught:
        is_for_the_proxy(_line(line), _fields())
    assert (caught.value.status, caught.value.headers) == (405, (("Allow", ALLOWED_METHODS),))


@pytest.mark.parametrize(
    ("line", "hops", "is_ours"),
    [
        (b"OPTIONS * HTTP/1.1", b"3", True),
        (b"OPTIONS / HTTP/1.1", b"0", True),
        (b"OPTIONS / HTTP/1.1", b"000", True),
        (b"OPTIONS / HTTP/1.1", b"1", False),
        (b"OPTIONS http://a HTTP/1.1", b"1", True),
        (b"GET / HTTP/1.1", b"0", False),
    ],
)
def test_options_about_the_server_are_for_the_proxy(line: bytes, hops: bytes, is_ours: bool) -> None:
    """Or with no hop left (RFC 9110 section 7.6.2)."""
    assert is_for_the_proxy(_line(line), _fields(b"Max-Forwards: " + hops)) == is_ours


# Routes.


async def test_the_route_of_the_host(core: Core) -> None:
    """Found by Host, or by a target that says the same."""
    for line in (b"GET / HTTP/1.1", b"GET http://A:80/ HTTP/1.1"):
        assert find_route(core, _line(line), _fields(host=b"A:8080")).route == PUBLIC


@pytest.mark.parametrize(
    ("line", "host", "status"),
    [
        (b"GET / HTTP/1.1", b"b", 404),
        (b"GET / HTTP/1.1", b"p", 404),
        (b"GET http://b/ HTTP/1.1", b"a", 400),
        (b"GET /api/../x HTTP/1.1", b"p", 400),
    ],
)
async def test_requests_without_a_route(core: Core, line: bytes, host: bytes, status: int) -> None:
    """No such host, no such path, two hosts, or two readings of the path."""
    with pytest.raises(Failure) as caught:
        find_route(core, _line(line), _fields(host=host))
    assert caught.value.status == status


# Limits.


@pytest.mark.parametrize(("length", "passes"), [(b"10", True), (b"11", False), (b"0", True)])
def test_the_announced_length_of_a_body_is_limited(length: bytes, passes: bool) -> None:
    """Without a limit any length passes; chunks are counted as they come."""
    fields = _fields(b"Content-Length: " + length)
    check_limits(_live(), VISITOR, _line(), fields)
    check_limits(_live(max_body_bytes=10), VISITOR, _line(), _fields(b"Transfer-Encoding: chunked"))
    if passes:
        check_limits(_live(max_body_bytes=10), VISITOR, _line(), fields)
        return
    with pytest.raises(Failure) as caught:
        check_limits(_live(max_body_bytes=10), VISITOR, _line(), fields)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("peer", "lines"), [(VISITOR, ()), (VISITOR, (b"X-Forwarded-Proto: https",)), (PROXY, ()), (PROXY, (b"A: b",))]
)
def test_a_visitor_is_sent_to_https(peer: Peer, lines: tuple[bytes, ...]) -> None:
    """308 keeps method and body; the place is the same, without the port."""
    with pytest.raises(Failure) as caught:
        check_limits(_live(https="redirect"), peer, _line(b"POST /x?y=1 HTTP/1.1"), _fields(*lines, host=b"A:8080"))
    assert (caught.value.status, caught.value.headers) == (308, (("Location", "https://a/x?y=1"),))


@pytest.mark.parametrize(("peer", "lines"), [(SECURE, ()), (PROXY, (b"X-Forwarded-Proto: https",))])
def test_a_visitor_who_came_by_https_is_not_sent_there(peer: Peer, lines: tuple[bytes, ...]) -> None:
    """Told by the connection, or by a proxy that is believed."""
    check_limits(_live(https="redirect"), peer, _line(), _fields(*lines))


@pytest.mark.parametrize("https", ["off", "on"])
def test_nobody_is_sent_anywhere_otherwise(https: str) -> None:
    """Only the redirect is one."""
    check_limits(_live(https=https), VISITOR, _line(), _fields())


# Access.


def _access(core: Core, route: Route, *lines: bytes) -> tuple[bytes, str]:
    fields = _fields(*lines, host=route.host.encode())
    return check_access(core, find_route(core, _line(), fields), fields)


async def test_a_public_route_needs_nothing(core: Core) -> None:
    """And tells the target nothing."""
    assert _access(core, PUBLIC) == (b"", "")


@pytest.mark.parametrize("route", [PUBLIC, TENANT], ids=["public", "tenant"])
async def test_a_mesh_token_tells_who_asks(core: Core, route: Route) -> None:
    """The target gets the verified fields, and not the token."""
    lines, org_id = _access(core, route, b"Authorization: " + _token())
    assert org_id == OWNER
    assert b"X-Zexio-Org: org_a\r\n" in lines
    assert b"uthorization" not in lines


@pytest.mark.parametrize(("route", "status"), [(TENANT, 403), (PUBLIC, 403)], ids=["tenant", "public"])
async def test_a_token_of_another_organization_is_refused(core: Core, route: Route, status: int) -> None:
    """On every route."""
    with pytest.raises(Failure) as caught:
        _access(core, route, b"Authorization: " + _token(orgId=STRANGER))
    assert caught.value.status == status


async def test_a_tenant_route_needs_a_token(core: Core) -> None:
    """401 without one."""
    with pytest.raises(Failure) as caught:
        _access(core, TENANT)
    assert caught.value.status == 401


async def test_an_authorization_of_the_application_goes_on(core: Core) -> None:
    """On a public route it is none of our business."""
    assert _access(core, PUBLIC, b"Authorization: Basic YTpi") == (b"Authorization: Basic YTpi\r\n", "")


async def test_a_route_may_forward_the_token(core: Core) -> None:
    """Behind the verified fields."""
    route = msgspec.structs.replace(TENANT, host="f", forward_token=True)
    core.apply(Snapshot(revision=2, routes=(route,), keys=access_keys()))
    token = _token()
    lines, _ = _access(core, route, b"Authorization: " + token)
    assert lines.endswith(b"Authorization: " + token + b"\r\n")
    assert b"X-Zexio-Org: org_a\r\n" in lines


async def test_an_authorization_that_connection_names_goes_no_further(core: Core) -> None:
    """It is checked like any other, and not forwarded (RFC 9110 section 7.6.1)."""
    options = b"Connection: Authorization"
    assert _access(core, PUBLIC, options, b"Authorization: Basic YTpi") == (b"", "")
    with pytest.raises(Failure):
        _access(core, TENANT, options, b"Authorization: " + _token(orgId=STRANGER))
