"""What is over is free at once: nothing holds itself in a circle that only a rare full collection would end.

A worker lets the collector look seldom. What waits for it is memory that grows for minutes under ordinary traffic.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import h2.errors
import pytest

from mesh.routes import MeshSettings
from tests.support.client import Visitor
from tests.support.h2_peer import H2Peer
from tests.support.mesh_node import HOST, MeshUnderTest, route_to, start_mesh
from tests.support.origin import Origin
from tests.support.stage import until

TIMES: Final = 3


async def _unknown_host(mesh: MeshUnderTest) -> None:
    async with await Visitor.connect(mesh.port) as visitor:
        await visitor.send(b"GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n")
        await visitor.answer()


async def _bad_request(mesh: MeshUnderTest) -> None:
    async with await Visitor.connect(mesh.port) as visitor:
        await visitor.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        await visitor.answer()


async def _half_a_head(mesh: MeshUnderTest) -> None:
    async with await Visitor.connect(mesh.port) as visitor:
        await visitor.send(b"GET / HTTP/1.1\r\nHo")
        await asyncio.sleep(0.01)


def _fields(method: str, host: str = HOST) -> list[tuple[str, str]]:
    return [(":method", method), (":scheme", "http"), (":authority", host), (":path", "/")]


async def _http2(mesh: MeshUnderTest) -> None:
    async with await H2Peer.connect(mesh.port) as peer:
        for number, host in enumerate((HOST, "nobody.example", HOST)):
            peer.machine.send_headers(2 * number + 1, _fields("GET", host), end_stream=True)
        peer.flush()
        for number in range(3):
            await peer.message(2 * number + 1)


async def _http2_with_a_body(mesh: MeshUnderTest) -> None:
    async with await H2Peer.connect(mesh.port) as peer:
        peer.machine.send_headers(1, _fields("POST"))
        peer.machine.send_data(1, b"body", end_stream=True)
        peer.flush()
        await peer.message(1)


async def _http2_reset(mesh: MeshUnderTest) -> None:
    async with await H2Peer.connect(mesh.port) as peer:
        peer.machine.send_headers(1, _fields("POST"))
        peer.machine.reset_stream(1, h2.errors.ErrorCodes.CANCEL)
        peer.machine.send_headers(3, _fields("GET"), end_stream=True)
        peer.flush()
        await peer.message(3)


@contextlib.contextmanager
def no_collections() -> Iterator[list[object]]:
    """What only the collector would have freed, known at the end."""
    found: list[object] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


KINDS: Final = (_unknown_host, _bad_request, _half_a_head, _http2, _http2_with_a_body, _http2_reset)


@pytest.mark.parametrize("visit", KINDS, ids=[kind.__name__.strip("_") for kind in KINDS])
async def test_nothing_of_ours_waits_for_the_collector(visit: Callable[[MeshUnderTest], Awaitable[None]]) -> None:
    """Of a visitor who came and left, however it went."""
    settings = MeshSettings(http2_cleartext=True)
    async with Origin() as origin, await start_mesh(route_to(origin.port), settings=settings) as mesh:
        await visit(mesh)
        with no_collections() as found:
            for _ in range(TIMES):
                await visit(mesh)
            await until(lambda: not mesh.core.visitors)
            await asyncio.sleep(0.01)
        assert [type(each).__name__ for each in found if type(each).__module__.startswith("mesh.")] == []
