"""A real admin API on loopback, and the command line in front of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from admin_api.plane.records import Home
from admin_api.plane.system import Sights
from node.admin import admin_settings, bind, serve
from node.cli.main import main
from node.compile import Edge
from node.mesh_keys import MeshKeys
from node.metrics import Metrics
from node.observe import Observer
from node.settings import load
from node.values import Address
from state.cell import Cell
from state.secrets import Secrets
from state.store import Store
from tests.admin_api.desk import Desk


class Result(msgspec.Struct, frozen=True):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


class Api(msgspec.Struct, frozen=True):
    """The admin API, the store behind it and what the fleet would report to."""

    url: str
    data: Path
    store: Store
    observer: Observer
    desk: Desk


Zexio = Callable[..., Awaitable[Result]]


@pytest.fixture
def environ() -> dict[str, str]:
    """The variables that the node behind the API is started with."""
    return {}


@pytest.fixture
def home() -> Home:
    """What the API says of the node to whoever adds a domain."""
    return Home()


@pytest.fixture
async def api(tmp_path: Path, environ: dict[str, str], home: Home) -> AsyncIterator[Api]:
    """An admin API of a node without a mesh."""
    settings = load(None, environ, {"--data": str(tmp_path)})
    secrets = Secrets.load_or_create(tmp_path / "node.key")
    bound = bind("admin.listen", Address("127.0.0.1:0"))
    async with await Store.open(f"sqlite:///{tmp_path / 'zexio.db'}", secrets) as store:
        observer = Observer(store, MeshKeys(settings, Cell(Edge())))
        desk = Desk()
        sights = Sights(Metrics(store, observer.tally).render, observer.watchers.follow, desk=desk, home=lambda: home)
        runner = await serve(store, admin_settings(settings), bound, sights)
        yield Api(f"http://127.0.0.1:{bound.getsockname()[1]}", tmp_path, store, observer, desk)
        await runner.cleanup()


@asynccontextmanager
async def answering(text: str, status: int = 200) -> AsyncIterator[str]:
    """The address of a program that is no node: every answer is `text`."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    async with serving(web.route("*", "/{path:.*}", answer)) as url:
        yield url


@asynccontextmanager
async def serving(*routes: web.RouteDef) -> AsyncIterator[str]:
    """The address of a program that answers in these ways."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
def zexio(capsys: pytest.CaptureFixture[str]) -> Zexio:
    """Runs one command in a thread, as it would run in a process beside the node."""

    async def run(*arguments: str) -> Result:
        capsys.readouterr()
        code = await asyncio.to_thread(_run, arguments)
        said = capsys.readouterr()
        return Result(code, said.out, said.err)

    return run


def _run(arguments: tuple[str, ...]) -> int:
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
