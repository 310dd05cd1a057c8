"""What the origin is told about the visitor's address: the truth, whatever an untrusted visitor claims."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mesh.policies import Target
from mesh.routes import MeshSettings, Route
from tests.adversity.verdict import Door, request
from tests.support.client import ask
from tests.support.mesh_node import HOST, route_to, start_mesh
from tests.support.origin import Origin, SeenRequest

_CLAIMS = request(
    b"GET / HTTP/1.1",
    b"X-Forwarded-For: 6.6.6.6",
    b"X-Forwarded-For: 7.7.7.7",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: evil.example.net",
    b"X-Forwarded-Port: 6666",
    b"X-Real-IP: 6.6.6.6",
    b"Forwarded: for=6.6.6.6;host=evil.example.net",
)


@pytest.fixture
async def trusting(our_door: Door) -> AsyncIterator[Door]:
    """A proxy that trusts the peers on loopback, before the same origin."""
    settings = MeshSettings(trusted_proxies=("127.0.0.0/8",))
    async with await start_mesh(route_to(our_door.origin.port), settings=settings) as mesh:
        yield Door(mesh.port, our_door.origin)


async def _seen(door: Door, raw: bytes) -> SeenRequest:
    await ask(door.port, raw)
    return door.origin.requests[0]


async def test_untrusted_claims_are_replaced(our_door: Door) -> None:
    """The address is that of the connection, in every field, once."""
    seen = await _seen(our_door, _CLAIMS)
    assert seen.values(b"x-forwarded-for") == [b"127.0.0.1"]
    assert seen.values(b"x-forwarded-proto") == [b"http"]
    assert seen.values(b"x-forwarded-host") == [HOST.encode()]
    assert seen.values(b"x-real-ip") in ([], [b"127.0.0.1"])
    assert len(seen.values(b"forwarded")) == 1
    assert b"for=127.0.0.1" in seen.values(b"forwarded")[0]


@pytest.mark.parametrize("claim", [b"6.6.6.6", b"7.7.7.7", b"evil", b"6666"])
async def test_nothing_of_an_untrusted_claim_remains(our_door: Door, claim: bytes) -> None:
    """No field carries any part of what was claimed."""
    await _seen(our_door, _CLAIMS)
    assert claim not in our_door.origin.received


async def test_claims_of_a_trusted_peer_are_appended_to(trusting: Door) -> None:
    """The chain keeps its order, with the connection's address at its end."""
    seen = await _seen(trusting, _CLAIMS)
    assert seen.values(b"x-forwarded-for") == [b"6.6.6.6, 7.7.7.7, 127.0.0.1"]
    assert seen.values(b"x-forwarded-proto") == [b"https"]
    forwarded = seen.values(b"forwarded")
    assert len(forwarded) == 1
    assert forwarded[0].startswith(b"for=6.6.6.6;host=evil.example.net,")
    assert b"for=127.0.0.1" in forwarded[0]


async def test_a_trusted_peer_cannot_add_lines_by_alias(trusting: Door) -> None:
    """Trust is for the names as they are, not for those that an application would fold to them."""
    seen = await _seen(trusting, request(b"GET / HTTP/1.1", b"X_Forwarded_For: 6.6.6.6"))
    assert seen.values(b"x-forwarded-for") == [b"127.0.0.1"]
    assert b"6.6.6.6" not in seen.head


@pytest.mark.parametrize("value", [b"a, b", b"a b", b'"', b"a" * 300])
async def test_a_strange_request_id_is_replaced(our_door: Door, value: bytes) -> None:
    """A request id that could break a log line is not passed on."""
    seen = await _seen(our_door, request(b"GET / HTTP/1.1", b"X-Request-Id: " + value))
    assert len(seen.values(b"x-request-id")) == 1
    assert seen.values(b"x-request-id") != [value]


@pytest.mark.parametrize(
    "target", [b"/api/../admin", b"/api/%2e%2e/admin", b"/api%2f..%2fadmin", b"//admin", b"/api/..;/x", b"/a\\b"]
)
async def test_a_path_of_two_readings_is_refused_where_routes_depend_on_it(target: bytes) -> None:
    """With two routes on the host, nobody can be sent to one of them and be served by the path of the other."""
    async with Origin() as api, Origin() as shop:
        other = Route(host=HOST, path_prefix="/api", targets=(Target(f"http://127.0.0.1:{api.port}"),))
        async with await start_mesh(route_to(shop.port), other) as mesh:
            answer = await ask(mesh.port, request(b"GET %b HTTP/1.1" % target))
        assert answer.status == 400
        assert api.requests == shop.requests == []
