"""`zexio demo`: a node with a sample target, two routes, and three requests that show who may use which."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec

from node.cli.errors import CommandError
from node.cli.sample import serving
from node.data import DataFolder
from node.settings import JwtSection
from node.tokens import Bearer, mint
from state.private_files import read_secret

if TYPE_CHECKING:
    from argparse import Namespace

PUBLIC: Final = "demo.zexio.app"
TENANT: Final = "orders.acme.zexio.internal"
ORGANIZATION: Final = "org_acme"

_TOKEN_TTL_S: Final = 24 * 3600
_START_S: Final = 30.0
_LIVE_S: Final = 5.0
_POLL_S: Final = 0.05


class Place(msgspec.Struct, frozen=True):
    """Where the demo's node is: its data folder and the addresses of its listeners."""

    data: Path
    mesh: str
    admin: str


class Step(msgspec.Struct, frozen=True):
    """One request of the demo and the status that it must get."""

    host: str
    says: str
    expected: int
    token: str | None = None
    path: str = "/"

    @property
    def headers(self) -> dict[str, str]:
        """The fields of the request."""
        return {"Host": self.host} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})

    def curl(self, mesh: str) -> str:
        """The line that repeats the request in a shell."""
        fields = " ".join(f"-H '{name}: {value}'" for name, value in self.headers.items())
        return f"curl -i {fields} http://{mesh}{self.path}"


def demo(options: Namespace) -> int:
    """Run until Ctrl-C, or with `--once` until the requests are through; 1 when one got another status than it must."""
    with tempfile.TemporaryDirectory(prefix="zexio-demo-", ignore_cleanup_errors=True) as data:
        place = Place(Path(data), free_address(8082), free_address(8081))
        return asyncio.run(_demonstrate(place, once=options.once))


async def _demonstrate(place: Place, *, once: bool) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving() as target, _node(place) as node:
        print(f"node      mesh {place.mesh}, admin API http://{place.admin}, data {place.data}")
        print(f"target    {target}\n")
        async with aiohttp.ClientSession() as session:
            await _put_routes(session, place, target)
            all_as_expected = await _send(session, place)
        if once:
            return 0 if all_as_expected else 1
        print("\nThe node stays up until Ctrl-C. In another shell:")
        print(f"  export ZEXIO_ADMIN=http://{place.admin}\n  zexio status\n  zexio routes ls")
        sys.stdout.flush()
        await _until(stop, node)
    return 0 if all_as_expected else 1


@asynccontextmanager
async def _node(place: Place) -> AsyncIterator[asyncio.subprocess.Process]:
    arguments = ["up", "--data", str(place.data), "--mesh", place.mesh, "--admin", place.admin]
    # Settings in this shell are for the person's own node.
    environ = {name: text for name, text in os.environ.items() if not name.startswith(("ZEXIO_", "MESH_JWT_"))}
    # A group of its own: the terminal's Ctrl-C is for the demo, which then ends the node in order.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli.main", *arguments),
        env={**environ, "ZEXIO_LOG_LEVEL": "warning"},
        process_group=0,
    )
    try:
        await _until_up(place, process)
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _until_up(place: Place, process: asyncio.subprocess.Process) -> None:
    host, _colon, port = place.admin.rpartition(":")
    deadline = time.monotonic() + _START_S
    while process.returncode is None and time.monotonic() < deadline:
        try:
            _reader, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(_POLL_S)
            continue
        writer.close()
        return
    raise CommandError("the node did not start; its own words are above")


async def _put_routes(session: aiohttp.ClientSession, place: Place, target: str) -> None:
    for host, organization in ((PUBLIC, None), (TENANT, ORGANIZATION)):
        body = {"targets": [{"url": target}], "org_id": organization}
        async with session.put(f"http://{place.admin}/routes/{host}", json=body) as response:
            if response.status >= 400:
                raise CommandError(f"the route {host} was refused: {await response.text()}")


async def _send(session: aiohttp.ClientSession, place: Place) -> bool:
    as_expected = []
    for step in _steps(place):
        status = await _status(session, place, step)
        verdict = "as it must" if status == step.expected else f"BUT IT MUST BE {step.expected}"
        print(f"GET  {step.host:<27} {step.says:<28} {status}  {verdict}")
        print(f"     {step.curl(place.mesh)}")
        as_expected.append(status == step.expected)
    return all(as_expected)


async def _status(session: aiohttp.ClientSession, place: Place, step: Step) -> int:
    """The status of the answer; a route that was put a moment ago may take another one to be known to every worker."""
    deadline = time.monotonic() + _LIVE_S
    while True:
        async with session.get(f"http://{place.mesh}{step.path}", headers=step.headers) as response:
            await response.read()
        if response.status != 404 or time.monotonic() > deadline:
            return response.status
        await asyncio.sleep(_POLL_S)


def _steps(place: Place) -> Iterator[Step]:
    secret = read_secret(DataFolder(place.data).mesh_secret)
    bearer = Bearer(org_id=ORGANIZATION, user_id="ann", source="demo", target="orders", issuer=JwtSection().issuer)
    token = mint(bearer, secret, issued_at=int(time.time()), ttl_s=_TOKEN_TTL_S)
    yield Step(PUBLIC, "a public route, no token", 200)
    yield Step(TENANT, "a tenant route, no token", 401)
    yield Step(TENANT, f"with a token of {ORGANIZATION}", 200, token)


async def _until(stop: asyncio.Event, node: asyncio.subprocess.Process) -> None:
    """Return when Ctrl-C came; raise CommandError when the node ended by itself."""
    async with asyncio.TaskGroup() as group:
        waiting = {group.create_task(stop.wait()), group.create_task(node.wait())}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
    if not stop.is_set():
        raise CommandError(f"the node ended by itself with exit code {node.returncode}")


def free_address(port: int) -> str:
    """The usual port on loopback, or a free one when that is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.bind(("127.0.0.1", 0))
            print(f"port {port} is taken, so the demo uses {probe.getsockname()[1]}")
        return f"127.0.0.1:{probe.getsockname()[1]}"
