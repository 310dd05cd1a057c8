"""Many domains are added at once: each gets one certificate, the node answers meanwhile, and its own limits hold."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.flows.running import PATIENCE_S, RunningNode, origin, until
from tests.support.pebble import Pebble

HOST: Final = "demo.zexio.app"
MANY: Final = 60
FEW: Final = 3


@pytest.fixture
def pebble() -> Iterator[Pebble]:
    """An authority that looks for answers where the node of the test listens."""
    with Pebble() as started:
        yield started


async def test_many_domains_at_once_get_one_certificate_each(tmp_path: Path, pebble: Pebble) -> None:
    """While the admin API and the mesh answer, and nothing is ordered twice."""
    names = customers(MANY)
    async with origin() as behind, node_of(tmp_path, pebble) as node:
        await node.put(HOST, behind.url)
        await add(node, names)
        await all_active(node, names)
        assert {shown["name"] for shown in await domains(node)} == set(names)
        assert await serials(node, names) == MANY
    assert pebble.count("order-plz") == MANY


async def test_no_more_orders_than_are_allowed_reach_the_authority(tmp_path: Path, pebble: Pebble) -> None:
    """However many names want one; those that wait say for what."""
    async with origin() as behind, node_of(tmp_path, pebble, f"orders_per_3h = {FEW}") as node:
        await node.put(HOST, behind.url)
        await add(node, customers(4 * FEW))
        await until(lambda: are_active(node, FEW))
        waiting = [shown for shown in await domains(node) if shown["status"] != "active"]
        assert len(waiting) == 3 * FEW

        async def say_why() -> bool:
            reasons = [shown["reason"] or "" for shown in await domains(node) if shown["status"] != "active"]
            return all(f"{FEW} certificates in 3 hours at most" in reason for reason in reasons)

        await until(say_why)
    assert pebble.count("order-plz") == FEW


def customers(count: int) -> list[str]:
    """Domains of as many customers, whose limits are counted one by one."""
    return [f"www.customer-{number}.example" for number in range(count)]


def node_of(folder: Path, pebble: Pebble, *lines: str) -> RunningNode:
    """A node that asks pebble, by an issuer file with these lines too."""
    issuer = folder / "pebble.toml"
    known = (f'directory = "{pebble.directory}"', f'roots = "{pebble.ca_file}"')
    issuer.write_text("\n".join((*known, *lines)))
    environ = {
        "ZEXIO_MESH_TLS_LISTEN": f"127.0.0.1:{pebble.tls_port}",
        "ZEXIO_CERTS_ISSUERS": str(issuer),
        "ZEXIO_CERTS_RESOLVERS": pebble.dns.address,
    }
    return RunningNode(folder / "data", environ=environ, mesh=f"127.0.0.1:{pebble.http_port}")


async def add(node: RunningNode, names: list[str]) -> None:
    """Add all of them without waiting for any certificate."""
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(node.call("PUT", f"/domains/{name}", {"serves": HOST}), name=f"add {name}")


async def all_active(node: RunningNode, names: list[str]) -> None:
    """Wait for them; others ask the admin API and the mesh meanwhile, and get what they got before."""
    route = await node.call("GET", f"/routes/{HOST}")
    async with asyncio.timeout(2 * PATIENCE_S):
        for name in names:
            while (await node.call("GET", f"/domains/{name}"))["status"] != "active":
                assert await node.call("GET", f"/routes/{HOST}") == route
                assert (await node.get(HOST))[0] == 200
                await asyncio.sleep(0.05)


async def domains(node: RunningNode) -> list[dict[str, Any]]:
    """All of them, as the admin API shows them."""
    shown = await node.call("GET", "/domains?limit=100")
    found: list[dict[str, Any]] = shown["domains"]
    return found


async def are_active(node: RunningNode, count: int) -> bool:
    """Whether so many domains say so."""
    active = [shown for shown in await domains(node) if shown["status"] == "active"]
    return len(active) >= count


async def serials(node: RunningNode, names: list[str]) -> int:
    """How many different certificates the names have."""
    return len({(await node.call("GET", f"/certificates/{name}"))["serial"] for name in names})
