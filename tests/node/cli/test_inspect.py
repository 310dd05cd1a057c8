"""`zexio inspect` between an admin API and a program that only listens; the real mitmweb is in the flows."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import psutil
import pytest

from admin_api.plane.system import Sights
from node.compile import Edge
from node.inspection import Inspections
from state.cell import Cell
from state.change import PutRoute, RemoveRoute, apply
from state.model import Desired, Route, RouteKey, Target
from tests.admin_api.served import Served, serve
from tests.node.cli.test_mitmweb import stand_in
from tests.support.stage import until

NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)
KEY: Final = RouteKey("shop.example.com", "/api")
ROUTE: Final = Route(host=KEY.host, path_prefix="/api", targets=(Target("http://192.0.2.1:9000"),))
URL: Final = "/routes/shop.example.com/inspection?path_prefix=/api"
PATIENCE_S: Final = 20.0


class Node(msgspec.Struct, frozen=True):
    """An admin API and what it inspects."""

    served: Served
    desired: Cell[Desired]
    edge: Cell[Edge]

    @property
    def is_inspected(self) -> bool:
        """Whether the route is."""
        return KEY in self.edge.value.inspected

    async def remove(self) -> None:
        """Remove the route."""
        self.desired.set(apply(self.desired.value, RemoveRoute(host=KEY.host, path_prefix="/api"), at=NOW))


class Command:
    """A command that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """With both outputs on pipes."""
        self.process = process

    async def line(self) -> str:
        """The next line on stdout."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            return (await self.process.stdout.readline()).decode()

    async def ended(self) -> tuple[int | None, str]:
        """Its exit code, and what it said on stderr."""
        async with asyncio.timeout(PATIENCE_S):
            _out, err = await self.process.communicate()
        return self.process.returncode, err.decode()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A node with one route."""
    desired, edge = Cell(apply(Desired(), PutRoute(route=ROUTE), at=NOW)), Cell(Edge())

    async def publish() -> None:
        await asyncio.sleep(0)

    inspections = Inspections(desired, edge, publish)
    following = asyncio.get_running_loop().create_task(inspections.follow())
    (tmp_path / "node").mkdir()
    async with serve(tmp_path / "node", sights=Sights(inspections=inspections)) as served:
        await served.put(KEY.host, path_prefix="/api", targets=[{"url": ROUTE.targets[0].url}])
        await served.put("local.example.com", targets=[{"url": "unix:/run/shop.sock"}])
        yield Node(served, desired, edge)
    following.cancel()


@asynccontextmanager
async def inspecting(node: Node, program: str, *rest: str) -> AsyncIterator[Command]:
    """The command, until the block ends."""
    arguments = [*(rest or (KEY.host, "--path-prefix", "/api")), "--port", "0", "--mitmweb", program]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli.main", "inspect", *arguments),
        *("--admin", f"http://127.0.0.1:{node.served.port}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # What a killed command leaves behind, and a real mitmweb would remove, goes with the test.
        env={"PATH": os.environ["PATH"], "TMPDIR": str(Path(program).parent)},
    )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_route_is_inspected_until_a_signal(node: Node, tmp_path: Path, number: signal.Signals) -> None:
    """The line says where to look; the end is no failure."""
    async with inspecting(node, stand_in(tmp_path)) as command:
        said = await command.line()
        assert said.startswith("shop.example.com/api is inspected at http://127.0.0.1:")
        assert said.endswith("/?token=abc until Ctrl-C\n")
        assert node.is_inspected
        command.process.send_signal(number)
        assert await command.ended() == (0, "the route is as before; mitmweb ends what is under way\n")
        assert not node.is_inspected


async def test_it_is_said_for_programs(node: Node, tmp_path: Path) -> None:
    """Where the pages are, and which address stands before which target."""
    async with inspecting(node, stand_in(tmp_path), KEY.host, "--path-prefix", "/api", "--json") as command:
        said = json.loads(await command.line())
        assert (said["route"], list(said["targets"])) == ("shop.example.com/api", ["http://192.0.2.1:9000"])
        assert said["pages"].endswith("/?token=abc")


async def test_a_killed_command_inspects_nothing(node: Node, tmp_path: Path) -> None:
    """The request that it held has ended with it."""
    async with inspecting(node, stand_in(tmp_path)) as command:
        await command.line()
        command.process.kill()
        await until(lambda: not node.is_inspected)


async def test_mitmweb_ends_by_itself(node: Node, tmp_path: Path) -> None:
    """The command says so, with what mitmweb said last, and fails."""
    async with inspecting(node, stand_in(tmp_path, "print('ouch', flush=True)")) as command:
        await command.line()
        psutil.Process(command.process.pid).children()[0].kill()
        code, said = await command.ended()
        assert (code, "mitmweb ended by itself with exit code -9" in said, "ouch" in said) == (1, True, True)
        assert not node.is_inspected


async def test_the_inspection_is_ended_by_others(node: Node, tmp_path: Path) -> None:
    """Through the API, or by a change of the route; the reason is passed on."""
    program = stand_in(tmp_path)
    async with inspecting(node, program) as command:
        await command.line()
        async with inspecting(node, program) as second:
            code, said = await second.ended()
            assert (code, "409: shop.example.com/api is being inspected by somebody else" in said) == (1, True)
        async with node.served.client.delete(URL) as answer:
            assert answer.status == 204
        code, said = await command.ended()
        assert (code, said) == (1, "zexio: the inspection has ended: it was ended through the admin API\n")
    async with inspecting(node, program) as command:
        await command.line()
        await node.remove()
        assert await command.ended() == (1, "zexio: the inspection has ended: the route was removed\n")


async def test_the_node_ends(node: Node, tmp_path: Path) -> None:
    """The command ends too."""
    async with inspecting(node, stand_in(tmp_path)) as command:
        await command.line()
        await node.served.runner.cleanup()
        code, said = await command.ended()
        assert (code, said.splitlines()[-1]) == (1, "zexio: the node has ended the inspection")


async def test_what_cannot_be_inspected_is_said_at_once(node: Node, tmp_path: Path) -> None:
    """Nothing is started for it."""
    for host, reason in (
        ("local.example.com", "mitmproxy cannot connect to a Unix socket"),
        ("none.example.com", "404"),
    ):
        async with inspecting(node, stand_in(tmp_path, "raise SystemExit"), host) as command:
            code, said = await command.ended()
            assert (code, reason in said) == (1, True)
