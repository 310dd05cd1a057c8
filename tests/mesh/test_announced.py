"""Connections behind a proxy that announces them, and liars."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest

from mesh.core import Core
from mesh.policies import Target
from mesh.proxy_protocol import header_v1, header_v2
from mesh.routes import MeshSettings, Route, Snapshot
from tests.support.authority import Authority
from tests.support.client import Visitor
from tests.support.mesh_node import HOST, MeshUnderTest
from tests.support.origin import Origin
from tests.support.secure_visitor import SecureVisitor
from tests.support.stage import free_port, request, until

AUTHORITY = Authority()
SHOP = AUTHORITY.issue(HOST)
GET = request(b"GET / HTTP/1.1")
SOMEBODY = ("203.0.113.9", 4711), ("192.0.2.1", 443)


async def start(port: int = 1, *, is_tls: bool = False, settings: MeshSettings | None = None) -> MeshUnderTest:
    """A proxy behind 127.0.0.2 and 127.0.0.3."""
    settings = msgspec.structs.replace(settings or MeshSettings(), proxy_protocol_from=("127.0.0.2/31",))
    route = Route(host=HOST, targets=(Target(f"http://127.0.0.1:{port}"),))
    core = Core(Snapshot(revision=1, routes=(route,), settings=settings, certificates=(SHOP.certificate,)))
    factory = core.secured_visitor if is_tls else core.visitor
    server = await asyncio.get_running_loop().create_server(factory, sock=free_port())
    return MeshUnderTest(core, server)


async def connect(mesh: MeshUnderTest, local: str = "127.0.0.2") -> Visitor:
    """A connection from an address of loopback."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind((local, 0))
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", mesh.port))
    return Visitor(sock)


@pytest.mark.parametrize("header", [header_v1(*SOMEBODY), header_v2(*SOMEBODY)])
@pytest.mark.parametrize("fragment", [0, 1])
async def test_the_announced_address_counts(header: bytes, fragment: int) -> None:
    """For the target, and for all limits."""
    async with Origin() as origin, await start(origin.port) as mesh, await connect(mesh) as visitor:
        await visitor.send(header + GET, fragment)
        assert (answer := await visitor.answer()) is not None
        assert answer.status == 200
        (seen,) = origin.connections[0].requests
        assert seen.values(b"x-forwarded-for") == [b"203.0.113.9"]
        (known,) = mesh.core.visitors
        assert known.peer.address == b"203.0.113.9"


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", header_v2(("unix", 0), ("unix", 0))])
async def test_where_nothing_is_announced_the_socket_counts(header: bytes) -> None:
    """As for the checks of the proxy itself."""
    async with Origin() as origin, await start(origin.port) as mesh, await connect(mesh) as visitor:
        await visitor.send(header)
        await until(lambda: mesh.core.visitors)
        await visitor.send(GET)
        await visitor.answer()
        (seen,) = origin.connections[0].requests
        assert seen.values(b"x-forwarded-for") == [b"127.0.0.2"]


@pytest.mark.parametrize("header", [header_v1(*SOMEBODY), header_v2(*SOMEBODY)])
async def test_tls_comes_behind_the_header(header: bytes) -> None:
    """In the same packet, or later."""
    async with Origin() as origin, await start(origin.port, is_tls=True) as mesh:
        visitor = SecureVisitor(await connect(mesh), AUTHORITY.visitor_context(), HOST)
        async with visitor:
            await visitor.wire.send(header)
            await visitor.shake_hands()
            await visitor.send(GET)
            await visitor.receive_until(b"\r\n\r\n")
        (seen,) = origin.connections[0].requests
        assert seen.values(b"x-forwarded-for") == [b"203.0.113.9"]
        assert seen.values(b"x-forwarded-proto") == [b"https"]


@pytest.mark.parametrize("is_tls", [False, True])
async def test_who_has_to_announce_and_does_not_is_dropped(is_tls: bool) -> None:
    """Without an answer: whoever it is, the address would be wrong."""
    async with await start(is_tls=is_tls) as mesh, await connect(mesh) as visitor:
        await visitor.send(GET)
        assert await visitor.octets(1) == b""
        assert mesh.core.counters.causes == {"proxy_protocol": 1}
        await until(lambda: not mesh.core._newcomers)


async def test_everybody_else_is_served_at_once() -> None:
    """Without a header."""
    async with Origin() as origin, await start(origin.port) as mesh, await connect(mesh, "127.0.0.1") as visitor:
        await visitor.send(GET)
        assert (answer := await visitor.answer()) is not None
        assert answer.status == 200


@pytest.mark.parametrize("header", [header_v1(*SOMEBODY), header_v2(*SOMEBODY)])
async def test_everybody_elses_header_is_nonsense(header: bytes) -> None:
    """Nobody says for himself who he is."""
    async with await start() as mesh, await connect(mesh, "127.0.0.1") as visitor:
        await visitor.send(header + GET)
        assert (answer := await visitor.answer()) is not None
        assert answer.status == 400


async def test_everybody_elses_tls_is_served_at_once() -> None:
    """Without a header too."""
    async with (
        Origin() as origin,
        await start(origin.port, is_tls=True) as mesh,
        await SecureVisitor.connect(mesh.port, AUTHORITY.visitor_context(), HOST) as visitor,
    ):
        await visitor.send(GET)
        assert b"200 OK" in await visitor.receive_until(b"\r\n\r\n")


@pytest.mark.parametrize("sent", [b"", b"PROXY TCP4 "])
async def test_a_header_has_the_time_of_a_head(sent: bytes) -> None:
    """And no more."""
    async with await start(settings=MeshSettings(head_timeout_s=0.05)) as mesh, await connect(mesh) as visitor:
        await visitor.send(sent)
        assert await visitor.end() in {"closed", "reset"}
        assert not mesh.core._newcomers


async def test_a_proxy_that_gives_up() -> None:
    """It is forgotten."""
    async with await start() as mesh:
        async with await connect(mesh) as visitor:
            await visitor.send(b"PROXY")
            await until(lambda: mesh.core._newcomers)
            visitor.half_close()
            assert await visitor.end() == "closed"
        await until(lambda: not mesh.core._newcomers)


async def test_too_many_visitors() -> None:
    """Those who are not announced yet count too."""
    async with await start(settings=MeshSettings(max_connections=1)) as mesh, await connect(mesh):
        await until(lambda: mesh.core._newcomers)
        async with await connect(mesh) as second:
            assert await second.end() == "closed"


async def test_closing_cuts_who_is_not_announced_yet() -> None:
    """Nobody outlives the proxy."""
    mesh = await start()
    async with await connect(mesh) as visitor:
        await until(lambda: mesh.core._newcomers)
        await mesh.close()
        assert await visitor.end() in {"closed", "reset"}
