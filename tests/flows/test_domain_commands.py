"""What an operator types: a domain is added, watched, looked at and removed, with pebble as the authority."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.running import RunningNode, origin, run
from tests.support.pebble import Pebble

SHOP = "shop.example.com"


@pytest.fixture
def pebble() -> Iterator[Pebble]:
    """An authority that looks for answers where the node of the test listens."""
    with Pebble() as started:
        yield started


async def test_a_domain_from_the_first_command_to_the_last(tmp_path: Path, pebble: Pebble) -> None:
    """It ends with 0 when HTTPS answers, and what an order would be wasted on ends with the reason."""
    async with origin() as behind, node_of(tmp_path, pebble) as node:
        await node.put("demo.zexio.app", behind.url)
        code, out, err = await zexio(node, "domains", "add", SHOP, "--project", "demo")
        assert code == 0, out + err
        assert f"HTTPS answers at {node.mesh_tls} with 200\n" in out
        assert "issued by Pebble Intermediate CA" in out

        code, out, err = await zexio(node, "certs", "renew", SHOP, "--json")
        assert code == 0, out + err
        renewed = json.loads(out.splitlines()[-1])["certificate"]["fingerprint"]
        shown = json.loads((await zexio(node, "certs", "show", SHOP, "--json"))[1])
        assert (shown["fingerprint"], len(shown["chain"])) == (renewed, 2)

        pebble.dns.add_a("lost.example.com", "192.0.2.1")
        code, out, err = await zexio(node, "domains", "add", "lost.example.com", "--wait", "1s")
        assert code == 1
        assert "to do: A lost.example.com is 192.0.2.1" in out
        assert "look again: zexio domains show 'lost.example.com'" in err

        assert (await zexio(node, "domains", "rm", SHOP))[0] == 0
        listed = json.loads((await zexio(node, "domains", "ls", "--json"))[1])
        assert [domain["name"] for domain in listed] == ["lost.example.com"]


async def test_a_certificate_goes_from_one_node_to_another(tmp_path: Path, pebble: Pebble) -> None:
    """By export and import, with its key."""
    path = tmp_path / "shop.pem"
    async with node_of(tmp_path / "one", pebble) as node:
        assert (await zexio(node, "domains", "add", SHOP))[0] == 0
        assert (await zexio(node, "certs", "export", SHOP, "--with-key", "--out", str(path)))[0] == 0
    async with node_of(tmp_path / "two", pebble) as node:
        code, out, err = await zexio(node, "certs", "import", str(path))
        assert code == 0, out + err
        code, out, err = await zexio(node, "domains", "add", SHOP)
        assert code == 0, out + err
        assert pebble.count("order-plz") == 1


async def zexio(node: RunningNode, *arguments: str) -> tuple[int, str, str]:
    """Run a command against the node."""
    return await run(*arguments, "--admin", f"http://{node.admin}")


def node_of(folder: Path, pebble: Pebble) -> RunningNode:
    """A node that asks pebble, and is reached where pebble looks."""
    folder.mkdir(exist_ok=True)
    issuer = folder / "pebble.toml"
    issuer.write_text(f'directory = "{pebble.directory}"\nroots = "{pebble.ca_file}"\n')
    settings = {
        "ZEXIO_MESH_TLS_LISTEN": f"127.0.0.1:{pebble.tls_port}",
        "ZEXIO_CERTS_ISSUERS": str(issuer),
        "ZEXIO_CERTS_RESOLVERS": pebble.dns.address,
        "ZEXIO_CERTS_PUBLIC_ADDRESSES": "127.0.0.1",
    }
    return RunningNode(folder / "data", environ=settings, mesh=f"127.0.0.1:{pebble.http_port}")
