"""One mesh core on loopback, in the loop of the test: what a request meets, without the processes around it."""

from __future__ import annotations

import asyncio
from typing import Final, Self

from mesh.core import Core
from mesh.routes import AccessKeys, Delta, MeshSettings, Route, Snapshot, Target

HOST: Final = "shop.example.com"


class MeshUnderTest:
    """A listening proxy; leaving its `async with` block closes it."""

    def __init__(self, core: Core, server: asyncio.Server) -> None:
        """Use `start_mesh` to make one."""
        self.core = core
        self._server = server

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def port(self) -> int:
        """Where visitors connect."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def apply(self, delta: Delta) -> None:
        """Change the routes, keys or settings of the running proxy."""
        self.core.apply(delta)

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        self._server.close()
        await self.core.close()
        await self._server.wait_closed()


async def start_mesh(
    *routes: Route, settings: MeshSettings | None = None, keys: AccessKeys | None = None
) -> MeshUnderTest:
    """Start a proxy with these routes on a free port of loopback."""
    core = Core(
        Snapshot(revision=1, routes=routes, settings=settings or MeshSettings(), keys=keys or AccessKeys()),
    )
    server = await asyncio.get_running_loop().create_server(core.visitor, "127.0.0.1", 0)
    return MeshUnderTest(core, server)


def route_to(port: int, host: str = HOST) -> Route:
    """A public route of `host` to a port on loopback."""
    return Route(host=host, targets=(Target(f"http://127.0.0.1:{port}"),))
