"""A domain is added and HTTPS works: with pebble as the authority, and whatever dies or is renewed meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import aiohttp
import pytest

from tests.flows.running import ANY_PORT, Origin, RunningNode, origin, until
from tests.state.postgresql_server import PostgresqlServer
from tests.support.pebble import Pebble, PebbleOptions

HOST: Final = "demo.zexio.app"
SHOP: Final = "shop.example.com"
RENEWALS: Final = 3
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@pytest.fixture
def pebble() -> Iterator[Pebble]:
    """An authority that looks for answers where the node of the test listens."""
    with Pebble() as started:
        yield started


async def test_a_domain_that_is_added_has_https_a_moment_later(tmp_path: Path, pebble: Pebble) -> None:
    """The visitor sees the page of the project, and whoever comes without TLS is sent there."""
    async with served(tmp_path, pebble) as node:
        await add(node, SHOP)
        assert await https(node, pebble, SHOP) == (200, "/ org=-")
        assert (await plainly(node, SHOP)).status == 308
        shown = await node.call("GET", f"/domains/{SHOP}")
        assert shown["status"] == "active"
        assert shown["fact"]["issuer"] == "pebble"


async def test_a_name_is_proved_over_tls_while_visitors_keep_theirs(tmp_path: Path, pebble: Pebble) -> None:
    """TLS-ALPN-01 for one name, an open connection of another."""
    async with served(tmp_path, pebble, {"ZEXIO_CERTS_CHALLENGES": "tls-alpn-01"}) as node:
        await add(node, SHOP)
        async with visiting(pebble) as session:
            url = f"https://{SHOP}:{port_of(node.mesh_tls)}/"
            assert await page(session, url) == (200, "/ org=-")
            await add(node, "other.example.com")
            assert await page(session, url) == (200, "/ org=-")
        assert await https(node, pebble, "other.example.com") == (200, "/ org=-")


async def test_a_certificate_comes_whenever_the_node_is_killed(tmp_path: Path, pebble: Pebble) -> None:
    """By kill -9, sooner and later: it goes on with the order that it has, and asks for no other."""
    names = [f"killed{number}.example.com" for number in range(4)]
    async with origin() as behind:
        for number, name in enumerate(names):
            async with node_of(tmp_path, pebble) as node:
                if not number:
                    await node.put(HOST, behind.url)
                await node.call("PUT", f"/domains/{name}", {"serves": HOST})
                await asyncio.sleep(0.1 * number)
                os.kill(node.pid, signal.SIGKILL)
                await node.ended()
        async with node_of(tmp_path, pebble) as node:
            for name in names:
                await is_active(node, name)
                assert await https(node, pebble, name) == (200, "/ org=-")
    assert pebble.count("order-plz") == len(names)


async def test_a_node_serves_https_before_it_can_reach_anybody(tmp_path: Path, pebble: Pebble) -> None:
    """From what it keeps, after a restart."""
    async with served(tmp_path, pebble) as node:
        await add(node, SHOP)
    root = pebble.visitor_context()
    lost = {"ZEXIO_CERTS_RESOLVERS": "127.0.0.1:1"}
    async with origin() as behind, node_of(tmp_path, pebble, lost) as node:
        await node.put(HOST, behind.url)
        async with visiting(root) as session:
            assert await page(session, f"https://{SHOP}:{port_of(node.mesh_tls)}/") == (200, "/ org=-")


async def test_two_nodes_of_one_store_make_one_order(tmp_path: Path, pebble: Pebble) -> None:
    """And both serve what came of it."""
    if not PostgresqlServer.is_installed():
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    with PostgresqlServer() as database:
        shared = {"ZEXIO_NODE_STORE": database.url}
        async with served(tmp_path, pebble, shared) as one:
            key = (tmp_path / "data" / "node.key").read_bytes()
            other_data = tmp_path / "other"
            other_data.mkdir(mode=0o700)
            (other_data / "node.key").write_bytes(key)
            (other_data / "node.key").chmod(0o600)
            async with node_of(other_data, pebble, shared, mesh=ANY_PORT, data=other_data) as other:
                await add(one, SHOP)
                await is_active(other, SHOP)
                await until(lambda: is_https(other, pebble, SHOP))
                assert await https(one, pebble, SHOP) == (200, "/ org=-")
        assert pebble.count("order-plz") == 1


async def test_certificates_are_renewed_under_load_and_nobody_notices(tmp_path: Path) -> None:
    """Three times, though the authority refuses most nonces; new handshakes and open connections alike."""
    with Pebble(PebbleOptions(validity_s=7, nonce_reject=60)) as pebble:
        async with served(tmp_path, pebble, {"ZEXIO_CERTS_MAX_ORDERS_PER_NAME_WEEK": "1000"}) as node:
            await add(node, SHOP)
            load = Load(node, pebble)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(load.keep_asking(), name="load") for _ in range(4)]
                tasks += [group.create_task(load.keep_connecting(), name="handshakes") for _ in range(2)]
                await until(lambda: len(load.serials) > RENEWALS)
                for task in tasks:
                    task.cancel()
            assert load.failures == []
            assert load.answers > 100


class Load:
    """Visitors who keep their connection, and others who make a new one each time."""

    def __init__(self, node: RunningNode, pebble: Pebble) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self.serials: set[str] = set()
        self._node = node
        self._context = pebble.visitor_context()
        self._port = port_of(node.mesh_tls)

    async def keep_asking(self) -> None:
        """On one connection."""
        async with visiting(self._context) as session:
            while True:
                await self._ask(session)

    async def keep_connecting(self) -> None:
        """On a new connection each time, whose certificate is noted."""
        while True:
            try:
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", self._port, ssl=self._context, server_hostname=SHOP
                )
            except (OSError, ssl.SSLError) as error:
                self.failures.append(repr(error))
                continue
            found: dict[str, Any] = writer.get_extra_info("peercert")
            self.serials.add(found["serialNumber"])
            writer.close()
            await asyncio.sleep(0.02)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        try:
            status, _ = await page(session, f"https://{SHOP}:{self._port}/")
        except (aiohttp.ClientError, OSError) as error:
            self.failures.append(repr(error))
        else:
            self.answers += 1
            if status != 200:
                self.failures.append(str(status))
        await asyncio.sleep(0.01)


@asynccontextmanager
async def served(tmp_path: Path, pebble: Pebble, environ: Mapping[str, str] = NOTHING) -> AsyncIterator[RunningNode]:
    """A node that asks pebble, with a project that an origin answers for."""
    async with AsyncExitStack() as stack:
        behind: Origin = await stack.enter_async_context(origin())
        node = await stack.enter_async_context(node_of(tmp_path, pebble, environ))
        await node.put(HOST, behind.url)
        yield node


def node_of(
    folder: Path, pebble: Pebble, environ: Mapping[str, str] = NOTHING, *, mesh: str = "", data: Path | None = None
) -> RunningNode:
    """A node that asks pebble, and listens where pebble looks for answers unless `mesh` says otherwise."""
    issuer = folder / "pebble.toml"
    issuer.write_text(f'name = "pebble"\ndirectory = "{pebble.directory}"\nroots = "{pebble.ca_file}"\n')
    tls = "127.0.0.1:0" if mesh else f"127.0.0.1:{pebble.tls_port}"
    settings = {
        "ZEXIO_MESH_TLS_LISTEN": tls,
        "ZEXIO_CERTS_ISSUERS": str(issuer),
        "ZEXIO_CERTS_RESOLVERS": pebble.dns.address,
        **environ,
    }
    return RunningNode(data or folder / "data", environ=settings, mesh=mesh or f"127.0.0.1:{pebble.http_port}")


async def add(node: RunningNode, name: str) -> None:
    """Add a domain for the project, and wait until it has a certificate that is live."""
    await node.call("PUT", f"/domains/{name}", {"serves": HOST})
    await is_active(node, name)
    await node.settled()


async def is_active(node: RunningNode, name: str) -> None:
    """Wait until a domain says so."""

    async def shows() -> bool:
        shown = await node.call("GET", f"/domains/{name}")
        return bool(shown["status"] == "active")

    await until(shows)


async def https(node: RunningNode, pebble: Pebble, name: str) -> tuple[int, str]:
    """What a visitor gets who trusts nothing but pebble."""
    async with visiting(pebble) as session:
        return await page(session, f"https://{name}:{port_of(node.mesh_tls)}/")


async def is_https(node: RunningNode, pebble: Pebble, name: str) -> bool:
    """Whether such a visitor gets anything."""
    try:
        return (await https(node, pebble, name))[0] == 200
    except (aiohttp.ClientError, OSError):
        return False


async def plainly(node: RunningNode, name: str) -> aiohttp.ClientResponse:
    """What a visitor gets who comes without TLS."""
    async with aiohttp.ClientSession() as session:
        url = f"http://{node.mesh}/"
        async with session.get(url, headers={"Host": name}, allow_redirects=False) as response:
            return response


async def page(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    """Status and body."""
    async with session.get(url, allow_redirects=False) as response:
        return response.status, await response.text()


@asynccontextmanager
async def visiting(trust: Pebble | ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    """A visitor's session with one connection, who finds every name at the node."""
    context = trust.visitor_context() if isinstance(trust, Pebble) else trust
    connector = aiohttp.TCPConnector(limit=1, ssl=context, resolver=Here())
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


class Here(aiohttp.abc.AbstractResolver):
    """Every name is on this machine."""

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[aiohttp.abc.ResolveResult]:  # noqa: ANN401
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        return None


def port_of(address: str) -> int:
    """The port of `host:port`."""
    return int(address.rpartition(":")[2])
