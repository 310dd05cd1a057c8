"""Whether a request may pass: its route, the limits, and who asks."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import msgspec
import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from mesh.admission import ALLOWED_METHODS, check_access, find_route, is_for_the_proxy
from mesh.arrival import Arrival, TlsFacts
from mesh.core import Core
from mesh.errors import Failure
from mesh.forward import Peer, RequestFields
from mesh.heads import RequestHeads
from mesh.policies import BasicAuth, ForwardAuth, Limits, RateLimit, Redirect, Target, Traffic
from mesh.routes import Delta, Route, RouteKey, Snapshot
from mesh.wire import RequestLine, parse_request_line
from tests.support.client import Visitor, ask
from tests.support.mesh_node import HOST, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.stage import Stage, answering, connections, request, under_way, until, watched
from tests.support.tokens import OWNER, STRANGER, access_keys, bearer, claims, mint

PUBLIC = Route(host="a", targets=(Target("http://t:80"),), org_id=OWNER)
TENANT = msgspec.structs.replace(PUBLIC, host="t", access="tenant")
PREFIXED = msgspec.structs.replace(PUBLIC, host="p", path_prefix="/api")
VISITOR = Peer("192.0.2.1", b"http", lambda _: False)
PLAIN = Arrival(VISITOR)

P = ParamSpec("P")
T = TypeVar("T")


@pytest.fixture
async def core() -> Core:
    """A core with the three routes and the usual keys."""
    return Core(Snapshot(revision=1, routes=(PUBLIC, TENANT, PREFIXED), keys=access_keys()))


def _fields(*lines: bytes, host: bytes = b"a") -> RequestFields:
    return RequestHeads(100, 100).fields(b"\r\n".join((b"Host: " + host, *lines, b"", b"")), 1)


def _line(text: bytes = b"GET / HTTP/1.1") -> RequestLine:
    return parse_request_line(text, 100)


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
        assert find_route(core, _line(line), _fields(host=b"A:8080"), PLAIN).route == PUBLIC


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
        find_route(core, _line(line), _fields(host=host), PLAIN)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("line", "names", "status"),
    [
        (b"GET / HTTP/1.1", {b"a"}, None),
        (b"GET https://a/ HTTP/1.1", {b"a"}, None),
        (b"GET http://a/ HTTP/1.1", {b"a"}, 421),
        (b"GET / HTTP/1.1", {b"b"}, 421),
        (b"GET / HTTP/1.1", {b"*.a"}, 421),
    ],
)
async def test_a_secure_connection_is_for_the_hosts_of_its_certificate(
    core: Core, line: bytes, names: set[bytes], status: int | None
) -> None:
    """And for targets that say https, if they say anything (RFC 9110 section 15.5.20)."""
    secure = Arrival(VISITOR, TlsFacts("TLSv1.3", "", "b", frozenset(names)))
    if status is None:
        assert find_route(core, _line(line), _fields(), secure).route == PUBLIC
        return
    with pytest.raises(Failure) as caught:
        find_route(core, _line(line), _fields(), secure)
    assert caught.value.status == status


async def test_who_asked_for_the_host_itself_is_served_with_the_default_certificate(core: Core) -> None:
    """They put up with it, and another connection would be no better."""
    secure = Arrival(VISITOR, TlsFacts("TLSv1.3", "", "a", frozenset({b"default.example"})))
    assert find_route(core, _line(), _fields(), secure).route == PUBLIC


async def test_a_plain_connection_is_not_for_targets_that_say_https(core: Core) -> None:
    """What was meant to be secure is not served in the clear."""
    with pytest.raises(Failure) as caught:
        find_route(core, _line(b"GET https://a/ HTTP/1.1"), _fields(), PLAIN)
    assert caught.value.status == 421


# Access.


def _access(core: Core, route: Route, *lines: bytes) -> tuple[bytes, str]:
    fields = _fields(*lines, host=route.host.encode())
    return check_access(core, find_route(core, _line(), fields, PLAIN), fields)


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


# What takes time.


def _paused(port: int, hold_s: float = 5.0) -> Route:
    return msgspec.structs.replace(route_to(port), traffic=Traffic(mode="pause", hold_s=hold_s))


async def test_a_request_is_held_while_its_route_is_paused() -> None:
    """Body and all; when the route goes on, so does the request, to the targets that it has then."""
    async with Origin() as origin, await start_mesh(_paused(1)) as mesh, await Visitor.connect(mesh.port) as visitor:
        await visitor.send(request(b"POST / HTTP/1.1", b"Content-Length: 5", body=b"hello"))
        await until(lambda: connections(mesh) and under_way(mesh)._waiting)
        mesh.apply(Delta(revision=2, put=(_paused(2),)))
        await asyncio.sleep(0.01)
        assert origin.requests == []
        mesh.apply(Delta(revision=3, put=(route_to(origin.port),)))
        answer = await visitor.answer()
        assert answer is not None
        assert answer.status == 200
        assert origin.requests[0].body == b"hello"


async def test_a_request_is_not_held_for_ever() -> None:
    """503, and when to come back."""
    async with await start_mesh(_paused(1, hold_s=0.03)) as mesh:
        answer = await ask(mesh.port, request(b"GET / HTTP/1.1"))
        assert (answer.status, answer.values(b"retry-after")) == (503, [b"5"])


@pytest.mark.parametrize("end", ["stop", "remove", "drain"])
async def test_a_request_that_is_held_hears_of_the_end(end: str) -> None:
    """Of the route, or of the worker; nobody waits for what cannot come."""
    async with await start_mesh(_paused(1)) as mesh, await Visitor.connect(mesh.port) as visitor:
        await visitor.send(request(b"GET / HTTP/1.1"))
        await until(lambda: connections(mesh) and under_way(mesh)._waiting)
        draining = None
        if end == "drain":
            draining = asyncio.get_running_loop().create_task(mesh.core.drain(5), name="drain")
        elif end == "stop":
            stopped = msgspec.structs.replace(route_to(1), traffic=Traffic(mode="stop", message="Later."))
            mesh.apply(Delta(revision=2, put=(stopped,)))
        else:
            mesh.apply(Delta(revision=2, removed=(RouteKey(HOST),)))
        answer = await visitor.answer()
        assert answer is not None
        assert answer.status == (404 if end == "remove" else 503)
        if draining is not None:
            await draining


async def _resumed(delta: Callable[[int], Delta], *lines: bytes, **paused: Any) -> tuple[int, Origin]:  # noqa: ANN401
    """What becomes of a request to /api when `delta` changes the route that holds it; and what the target saw."""
    async with Origin() as origin:
        route = msgspec.structs.replace(_paused(1), **paused)
        async with await start_mesh(route) as mesh, await Visitor.connect(mesh.port) as visitor:
            await visitor.send(request(b"POST /api HTTP/1.1", b"Content-Length: 5", *lines, body=b"hello"))
            await until(lambda: connections(mesh) and under_way(mesh)._waiting)
            mesh.apply(delta(origin.port))
            answer = await visitor.answer("POST")
            assert answer is not None
            return answer.status, origin


@pytest.mark.parametrize(
    ("checks", "status"),
    [
        ({"deny": ("127.0.0.0/8",)}, 403),
        ({"allow": ("192.0.2.0/24",)}, 403),
        ({"client_ca": "x"}, 403),
        ({"https": "redirect"}, 308),
        ({"redirect": Redirect(to="https://other.example/", status=307)}, 307),
        ({"limits": Limits(max_body_bytes=4)}, 413),
        ({"limits": Limits(max_head_bytes=10)}, 431),
    ],
    ids=["deny", "allow", "client certificate", "https", "redirect", "body", "head"],
)
async def test_a_request_that_was_held_meets_the_checks_of_now(checks: dict[str, Any], status: int) -> None:
    """Those that its route did not have when the request came."""

    def checked(port: int) -> Delta:
        return Delta(revision=2, put=(msgspec.structs.replace(route_to(port), **checks),))

    answered, origin = await _resumed(checked)
    assert (answered, origin.requests) == (status, [])


async def test_a_request_that_was_held_meets_the_checks_of_another_route() -> None:
    """The one that it falls to when its own is removed."""

    def removed(port: int) -> Delta:
        return Delta(
            revision=2,
            put=(msgspec.structs.replace(route_to(port), deny=("127.0.0.0/8",)),),
            removed=(RouteKey(HOST, "/api"),),
        )

    answered, origin = await _resumed(removed, path_prefix="/api")
    assert (answered, origin.requests) == (403, [])


async def test_a_request_that_was_held_counts_once_for_its_rate() -> None:
    """It had its place when it came."""
    once = RateLimit(requests=1, per_s=1000.0)

    def limited(port: int) -> Delta:
        return Delta(revision=2, put=(msgspec.structs.replace(route_to(port), rate_limit=once),))

    assert (await _resumed(limited, rate_limit=once))[0] == 200


async def test_what_a_held_request_brought_for_one_route_is_not_for_the_next() -> None:
    """A password that was the application's business is the proxy's from now on, and goes no further."""
    auth = BasicAuth(users=(("ada", _hashed(b"secret")),))

    def guarded(port: int) -> Delta:
        return Delta(revision=2, put=(msgspec.structs.replace(route_to(port), basic_auth=auth),))

    answered, origin = await _resumed(guarded, _basic(b"ada:secret"))
    assert answered == 200
    assert [seen.values(b"authorization") for seen in origin.requests] == [[]]


async def test_a_visitor_who_leaves_is_held_no_longer() -> None:
    """Nothing of the request is left."""
    async with await start_mesh(_paused(1)) as mesh:
        async with await Visitor.connect(mesh.port) as visitor:
            await visitor.send(request(b"GET / HTTP/1.1"))
            await until(lambda: connections(mesh) and under_way(mesh)._waiting)
        await until(lambda: not mesh.core.visitors)
        await until(lambda: not mesh.core._tasks)


def _hashed(password: bytes) -> str:
    return Argon2id(salt=b"0123456789abcdef", length=32, iterations=1, lanes=1, memory_cost=8).derive_phc_encoded(
        password
    )


def _basic(text: bytes) -> bytes:
    return b"Authorization: Basic " + base64.b64encode(text)


async def test_a_route_may_ask_for_a_password() -> None:
    """The target learns nothing of it; the record says who it was."""
    async with Origin() as origin:
        auth = BasicAuth(users=(("ada", _hashed(b"secret")),), realm="Staging")
        async with await start_mesh(msgspec.structs.replace(route_to(origin.port), basic_auth=auth)) as mesh:
            records = watched(mesh)
            for _ in range(2):
                assert (await ask(mesh.port, request(b"GET / HTTP/1.1", _basic(b"ada:secret")))).status == 200
            for lines in ((), (_basic(b"ada:wrong"),), (_basic(b"bob:secret"),), (b"Authorization: Bearer x",)):
                answer = await ask(mesh.port, request(b"GET / HTTP/1.1", *lines))
                assert (answer.status, answer.values(b"www-authenticate")) == (
                    401,
                    [b'Basic realm="Staging", charset="UTF-8"'],
                )
            assert [record.user for record in records] == ["ada", "ada", "", "", "", ""]
            assert all(not seen.values(b"authorization") for seen in origin.requests)
            assert len(origin.requests) == 2


class _Threads(ThreadPoolExecutor):
    """Threads that do nothing before they may."""

    def __init__(self) -> None:
        super().__init__(8)
        self.given = 0
        self.may_begin = threading.Event()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Count it, and do it when it may be done."""
        self.given += 1

        def work() -> T:
            self.may_begin.wait(5)
            return fn(*args, **kwargs)

        return super().submit(work)


async def test_visitors_who_leave_make_no_room_for_other_passwords() -> None:
    """What a thread has begun it also ends: two passwords are judged at a time, whoever is there to hear of it."""
    threads = _Threads()
    asyncio.get_running_loop().set_default_executor(threads)
    auth = BasicAuth(users=(("ada", _hashed(b"secret")),))
    async with (
        Origin() as origin,
        await start_mesh(msgspec.structs.replace(route_to(origin.port), basic_auth=auth)) as mesh,
    ):
        for number in range(5):
            async with await Visitor.connect(mesh.port) as visitor:
                await visitor.send(request(b"GET / HTTP/1.1", _basic(b"ada:%d" % number)))
                await until(lambda: connections(mesh) and under_way(mesh)._waiting)
            await until(lambda: not mesh.core.visitors)
        await until(lambda: not mesh.core._tasks)
        begun = threads.given
        threads.may_begin.set()
        assert begun == 2
        assert (await ask(mesh.port, request(b"GET / HTTP/1.1", _basic(b"ada:secret")))).status == 200


async def test_a_password_is_no_token() -> None:
    """A tenant route does not let in who has only the one."""
    auth = BasicAuth(users=(("ada", _hashed(b"secret")),))
    route = msgspec.structs.replace(route_to(1), basic_auth=auth, access="tenant", org_id=OWNER)
    async with await start_mesh(route, keys=access_keys()) as mesh:
        assert (await ask(mesh.port, request(b"GET / HTTP/1.1", _basic(b"ada:secret")))).status == 401


async def test_a_service_may_be_asked_first() -> None:
    """What it sets goes on to the target, in place of what the visitor says; what it refuses goes no further."""
    yes = b"HTTP/1.1 200 OK\r\nX-User: ada\r\nContent-Length: 0\r\n\r\n"
    no = b"HTTP/1.1 302 Found\r\nLocation: https://login.example.com/\r\nContent-Length: 0\r\n\r\n"
    async with Origin() as origin, Stage(answering(yes)) as lenient, Stage(answering(no)) as strict:
        route = route_to(origin.port)
        for service, status in ((lenient, 200), (strict, 302)):
            wanted = ForwardAuth(url=f"http://127.0.0.1:{service.port}/check", copy_headers=("X-User",))
            async with await start_mesh(msgspec.structs.replace(route, forward_auth=wanted)) as mesh:
                answer = await ask(mesh.port, request(b"GET / HTTP/1.1", b"X-User: root"))
                assert (answer.status, bool(answer.values(b"location"))) == (status, status == 302)
        (seen,) = origin.requests
        assert seen.values(b"x-user") == [b"ada"]
