"""The proxy under test starts, changes and stops within one loop."""

from __future__ import annotations

import pytest

from mesh.routes import Delta, RouteKey
from tests.support.authority import Authority
from tests.support.client import ask
from tests.support.mesh_node import HOST, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.secure_visitor import SecureVisitor

_GET = b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"


async def test_requests_go_through_to_the_origin() -> None:
    """One route, one request."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        assert (await ask(mesh.port, _GET)).status == 200
        assert len(origin.requests) == 1


async def test_a_delta_changes_the_running_proxy() -> None:
    """A route that is taken away is gone for the next request."""
    async with Origin() as origin, await start_mesh(route_to(origin.port)) as mesh:
        mesh.apply(Delta(revision=2, removed=(RouteKey(HOST),)))
        assert (await ask(mesh.port, _GET)).status == 404


async def test_with_a_certificate_it_listens_for_tls_too() -> None:
    """On a port of its own, with the same routes."""
    authority = Authority()
    certificate = authority.issue(HOST).certificate
    async with Origin() as origin, await start_mesh(route_to(origin.port), certificates=(certificate,)) as mesh:
        async with await SecureVisitor.connect(mesh.tls_port, authority.visitor_context(), HOST) as visitor:
            await visitor.send(_GET)
            assert b" 200 " in await visitor.receive_until(b"\r\n\r\n")
        assert (await ask(mesh.port, _GET)).status == 200


async def test_a_closed_proxy_does_not_listen() -> None:
    """Leaving the block frees the port."""
    async with await start_mesh() as mesh:
        port = mesh.port
    with pytest.raises(ConnectionRefusedError):
        await ask(port, _GET)
