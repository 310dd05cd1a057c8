"""One mesh core on loopback, in the loop of the test: what a request meets, without the processes around it."""

from __future__ import annotations

import asyncio
from typing import Final, Self

from mesh.core import Core
from mesh.policies import Target
from mesh.routes import AccessKeys, Certificate, Delta, MeshSettings, Route, Snapshot

HOST: Final = "shop.example.com"


class MeshUnderTest:
    """A listening proxy; leaving its `async with` block closes it."""

    def __init__(self, core: Core, server: asyncio.Server, secured: asyncio.Server | None = None) -> None:
        """Use `start_mesh` to make one."""
        self.core = core
        self._server = server
        self._secured = secured

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def port(self) -> int:
        """Where visitors connect."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def tls_port(self) -> int:
        """Where visitors connect who speak TLS; only a proxy with certificates has it."""
        assert self._secured is not None
        port: int = self._secured.sockets[0].getsockname()[1]
        return port

    def apply(self, delta: Delta) -> None:
        """Change the routes, keys or settings of the running proxy."""
        self.core.apply(delta)

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        servers = [self._server] if self._secured is None else [self._server, self._secured]
        for server in servers:
            server.close()
        await self.core.close()
        for server in servers:
            await server.wait_closed()


async def start_mesh(
    *routes: Route,
    settings: MeshSettings | None = None,
    keys: AccessKeys | None = None,
    certificates: tuple[Certificate, ...] = (),
) -> MeshUnderTest:
    """Start a proxy with these routes on a free port of loopback, and with certificates on one for TLS as well."""
    core = Core(
        Snapshot(
            revision=1,
            routes=routes,
            settings=settings or MeshSettings(),
            keys=keys or AccessKeys(),
            certificates=certificates,
        ),
    )
    loop = asyncio.get_running_loop()
    server = await loop.create_server(core.visitor, "127.0.0.1", 0)
    secured = await loop.create_server(core.secured_visitor, "127.0.0.1", 0) if certificates else None
    return MeshUnderTest(core, server, secured)


def route_to(port: int, host: str = HOST) -> Route:
    """A public route of `host` to a port on loopback."""
    return Route(host=host, targets=(Target(f"http://127.0.0.1:{port}"),))
