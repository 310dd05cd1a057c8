"""The proxy that the cases are put to: our mesh, or another proxy when `ZEXIO_ADVERSITY_PEER` names one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.adversity.verdict import Door, barrier
from tests.support import peers
from tests.support.mesh_node import route_to, start_mesh
from tests.support.origin import Origin


@pytest.fixture(scope="session")
def peer_name() -> str:
    """The proxy under comparison, empty for our own."""
    return os.environ.get("ZEXIO_ADVERSITY_PEER", "")


@pytest.fixture(scope="session")
def peer(peer_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.RunningPeer | None]:
    """The running proxy under comparison, if any."""
    if not peer_name:
        yield None
        return
    with peers.running(peer_name, Path(tmp_path_factory.mktemp(peer_name))) as running:
        yield running


@pytest.fixture
async def door(peer: peers.RunningPeer | None) -> AsyncIterator[Door]:
    """A proxy with one public route to a fresh origin."""
    async with Origin(peer.origin_port if peer else 0) as origin:
        if peer:
            await barrier(peer.port)
            origin.forget()
            yield Door(peer.port, origin, is_ours=False)
            return
        async with await start_mesh(route_to(origin.port)) as mesh:
            yield Door(mesh.port, origin)


@pytest.fixture
def our_door(door: Door) -> Door:
    """The same for tests that only our own proxy has to pass."""
    if not door.is_ours:
        pytest.skip("only for our own proxy")
    return door
