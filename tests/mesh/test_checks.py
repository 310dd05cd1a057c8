"""What a request has to pass: each wish of a route refuses what it should, and nothing else."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from mesh.arrival import Arrival, TlsFacts
from mesh.checks import checks_of
from mesh.policies import Cors, Limits, RateLimit, Redirect, Target, Traffic
from mesh.routes import Certificate, MeshSettings, Route
from tests.support.authority import Authority
from tests.support.client import ask
from tests.support.mesh_node import HOST, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.stage import request

ROUTE = Route(host=HOST, targets=(Target("http://127.0.0.1:1"),))
TRUSTING = MeshSettings(trusted_proxies=("127.0.0.0/8",))


def test_a_plain_route_has_no_checks() -> None:
    """So that its requests pay for none."""
    assert checks_of(ROUTE, MeshSettings()) == ()


def test_a_setting_for_all_routes_is_a_check_of_each() -> None:
    """Unless the route lifts it."""
    limited = MeshSettings(max_body_bytes=10)
    assert len(checks_of(ROUTE, limited)) == 1
    free = msgspec.structs.replace(ROUTE, limits=Limits(max_body_bytes=100))
    assert len(checks_of(free, limited)) == 1


async def _status(
    route: Route, *lines: bytes, settings: MeshSettings | None = None, line: bytes = b"GET / HTTP/1.1"
) -> int:
    """What a visitor of `route` is told, with an origin behind it."""
    async with Origin() as origin:
        target = route_to(origin.port).targets
        async with await start_mesh(msgspec.structs.replace(route, targets=target), settings=settings) as mesh:
            return (await ask(mesh.port, request(b"GET / HTTP/1.1", *lines))).status


@pytest.mark.parametrize(("length", "limit", "status"), [(10, 10, 200), (11, 10, 413), (11, 0, 200), (11, None, 200)])
async def test_the_announced_length_of_a_body_is_limited(length: int, limit: int | None, status: int) -> None:
    """0 is no limit, whatever the setting says."""
    route = msgspec.structs.replace(ROUTE, limits=Limits(max_body_bytes=limit))
    async with Origin() as origin:
        route = msgspec.structs.replace(route, targets=route_to(origin.port).targets)
        async with await start_mesh(route) as mesh:
            raw = request(b"POST / HTTP/1.1", b"Content-Length: %d" % length, body=b"x" * length)
            assert (await ask(mesh.port, raw)).status == status


async def test_a_visitor_is_sent_to_https() -> None:
    """308 keeps method and body; the place is the same, without the port."""
    async with await start_mesh(msgspec.structs.replace(ROUTE, https="redirect")) as mesh:
        answer = await ask(mesh.port, request(b"POST /x?y=1 HTTP/1.1"))
        assert (answer.status, answer.values(b"location")) == (308, [b"https://shop.example.com/x?y=1"])


@pytest.mark.parametrize(("name", "status"), [("a.example.com", 308), ("b.a.example.com", 200)])
async def test_only_whom_a_certificate_is_for_is_sent_to_https(name: str, status: int) -> None:
    """Where the route says so, as those of wildcard domains do."""
    issued = Authority().issue("*.example.com")
    certificate = Certificate(fingerprint="1", names=("*.example.com",), chain=issued.chain, key=issued.key)
    async with Origin() as origin:
        route = route_to(origin.port, "*.example.com")
        route = msgspec.structs.replace(route, https="redirect", redirect_covered=True)
        async with await start_mesh(route, certificates=(certificate,)) as mesh:
            raw = f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
            assert (await ask(mesh.port, raw)).status == status


async def test_the_port_is_named_where_it_is_another_than_that_of_https() -> None:
    """As behind a machine that passes 8443 on."""
    route = msgspec.structs.replace(ROUTE, https="redirect")
    async with await start_mesh(route, settings=MeshSettings(https_port=8443)) as mesh:
        answer = await ask(mesh.port, request(b"GET /x HTTP/1.1"))
        assert answer.values(b"location") == [b"https://shop.example.com:8443/x"]


@pytest.mark.parametrize(
    ("lines", "settings", "status"),
    [
        ((b"X-Forwarded-Proto: https",), TRUSTING, 200),
        ((b"X-Forwarded-Proto: http",), TRUSTING, 308),
        ((b"X-Forwarded-Proto: https",), MeshSettings(), 308),
    ],
)
async def test_who_came_by_https_to_a_proxy_that_is_believed_is_not_sent_there(
    lines: tuple[bytes, ...], settings: MeshSettings, status: int
) -> None:
    """Anybody else may say what they like."""
    assert await _status(msgspec.structs.replace(ROUTE, https="redirect"), *lines, settings=settings) == status


@pytest.mark.parametrize(
    ("allow", "deny", "said", "status"),
    [
        ((), ("127.0.0.0/8",), b"", 403),
        (("127.0.0.0/8",), (), b"", 200),
        (("192.0.2.0/24",), (), b"", 403),
        (("192.0.2.0/24",), (), b"192.0.2.7", 200),
        ((), ("192.0.2.0/24",), b"192.0.2.7", 403),
    ],
)
async def test_addresses_are_let_in_or_not(
    allow: tuple[str, ...], deny: tuple[str, ...], said: bytes, status: int
) -> None:
    """The visitor's own, as far as the proxies in between are believed."""
    route = msgspec.structs.replace(ROUTE, allow=allow, deny=deny)
    lines = (b"X-Forwarded-For: " + said,) if said else ()
    assert await _status(route, *lines, settings=TRUSTING) == status


async def test_a_rate_is_limited_and_says_when_to_come_back() -> None:
    """429 with Retry-After; counted for the worker and for the route."""
    route = msgspec.structs.replace(ROUTE, rate_limit=RateLimit(requests=2, per_s=60))
    async with Origin() as origin:
        route = msgspec.structs.replace(route, targets=route_to(origin.port).targets)
        async with await start_mesh(route) as mesh:
            answers = [await ask(mesh.port, request(b"GET / HTTP/1.1")) for _ in range(3)]
            assert [answer.status for answer in answers] == [200, 200, 429]
            assert 1 <= int(answers[2].values(b"retry-after")[0]) <= 30
            assert mesh.core.counters.rate_limited == 1
            assert next(iter(mesh.core.ledger.take())).rate_limited == 1


async def test_a_rate_may_go_by_a_header() -> None:
    """Each value has a bucket of its own."""
    route = msgspec.structs.replace(ROUTE, rate_limit=RateLimit(requests=1, per_s=60, by="header", header="X-Key"))
    async with Origin() as origin:
        route = msgspec.structs.replace(route, targets=route_to(origin.port).targets)
        async with await start_mesh(route) as mesh:
            keys = (b"a", b"b", b"a")
            statuses = [(await ask(mesh.port, request(b"GET / HTTP/1.1", b"X-Key: " + key))).status for key in keys]
            assert statuses == [200, 200, 429]


async def test_a_stopped_route_says_so() -> None:
    """503 with the operator's words, and when to come back."""
    traffic = Traffic(mode="stop", message="Back at noon.", retry_after_s=60)
    async with await start_mesh(msgspec.structs.replace(ROUTE, traffic=traffic)) as mesh:
        answer = await ask(mesh.port, request(b"GET / HTTP/1.1"))
        assert (answer.status, answer.values(b"retry-after")) == (503, [b"60"])
        assert answer.json["error"] == "Back at noon."


async def test_a_preflight_is_answered_here() -> None:
    """The target never hears of it, and who may not ask is told so."""
    route = msgspec.structs.replace(ROUTE, cors=Cors(origins=("https://app.example.com",)))
    async with await start_mesh(route) as mesh:
        wish = b"Access-Control-Request-Method: GET"
        answer = await ask(mesh.port, request(b"OPTIONS / HTTP/1.1", b"Origin: https://app.example.com", wish))
        assert (answer.status, answer.values(b"access-control-allow-origin")) == (204, [b"https://app.example.com"])
        assert answer.values(b"access-control-allow-methods") == [b"GET, HEAD, POST"]
        assert answer.values(b"access-control-max-age") == [b"600"]
        refusal = await ask(mesh.port, request(b"OPTIONS / HTTP/1.1", b"Origin: https://evil.example.com", wish))
        assert (refusal.status, "origin" in refusal.json["error"]) == (403, True)
        method = b"Access-Control-Request-Method: DELETE"
        refusal = await ask(mesh.port, request(b"OPTIONS / HTTP/1.1", b"Origin: https://app.example.com", method))
        assert (refusal.status, "method" in refusal.json["error"]) == (403, True)


async def test_a_redirect_needs_no_target() -> None:
    """The request's own path and query go along."""
    route = Route(host=HOST, targets=(), redirect=Redirect(to="https://new.example.com{path}{query}", status=301))
    async with await start_mesh(route) as mesh:
        answer = await ask(mesh.port, request(b"GET /a/b?c=d HTTP/1.1"))
        assert (answer.status, answer.values(b"location")) == (301, [b"https://new.example.com/a/b?c=d"])


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        (Limits(max_headers=2), 200),
        (Limits(max_headers=1), 431),
        (Limits(max_head_bytes=200), 200),
        (Limits(max_head_bytes=20), 431),
    ],
)
async def test_a_route_may_want_smaller_heads(limits: Limits, status: int) -> None:
    """Than the worker would read."""
    assert await _status(msgspec.structs.replace(ROUTE, limits=limits), b"X: y") == status


async def test_a_route_may_end_connections_earlier() -> None:
    """The last request is answered, and says that it was the last."""
    route = msgspec.structs.replace(ROUTE, limits=Limits(max_requests_per_connection=1))
    async with Origin() as origin:
        route = msgspec.structs.replace(route, targets=route_to(origin.port).targets)
        async with await start_mesh(route) as mesh:
            answer = await ask(mesh.port, request(b"GET / HTTP/1.1"))
            assert (answer.status, answer.announces_close) == (200, True)


@pytest.mark.parametrize(
    ("tls", "status"),
    [
        (None, 403),
        (TlsFacts("TLSv1.3", "", HOST, frozenset({HOST.encode()})), 421),
        (TlsFacts("TLSv1.3", "", HOST, frozenset({HOST.encode()}), b":YQ==:", "another ca"), 421),
        (TlsFacts("TLSv1.3", "", HOST, frozenset({HOST.encode()}), b":YQ==:", "ca"), 200),
    ],
)
async def test_a_certificate_is_wanted_of_this_route_s_authority(tls: TlsFacts | None, status: int) -> None:
    """One that was shown in the name of another host is worth nothing here."""
    async with Origin() as origin:
        route = msgspec.structs.replace(ROUTE, client_ca="ca", targets=route_to(origin.port).targets)
        async with await start_mesh(route) as mesh:
            arrival = Arrival(mesh.core.peer("127.0.0.1"), tls)
            loop = asyncio.get_running_loop()
            async with await loop.create_server(lambda: mesh.core.http_visitor(arrival), "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                assert (await ask(port, request(b"GET / HTTP/1.1"))).status == status
