"""A whole node as its users have it: `zexio up` in a process of its own, its log, its doors, an origin behind it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol, Self, TypeVar

import aiohttp
import psutil
from aiohttp import web

from node.cli.status import samples
from node.settings import load
from node.tokens import Bearer, mint

PATIENCE_S: Final = 20.0
POLL_S: Final = 0.02
ANY_PORT: Final = "127.0.0.1:0"

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class RunningNode:
    """A node with two workers on free ports of loopback; leaving its `async with` block ends it, however it is."""

    def __init__(
        self, data: Path, config: Path | None = None, environ: Mapping[str, str] = _NOTHING, *, mesh: str = ANY_PORT
    ) -> None:
        """`config` and `environ` are settings beside the addresses; `mesh` is where visitors connect."""
        self.data = data
        self.log: list[dict[str, Any]] = []
        self.mesh = self.admin = self.mesh_tls = ""
        self._listen = mesh
        self._config = config
        self._environ = {"PATH": os.environ["PATH"], "ZEXIO_MESH_WORKERS": "2", **environ}
        self._process: asyncio.subprocess.Process
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        arguments = ["up", "--data", str(self.data), "--mesh", self._listen, "--admin", ANY_PORT]
        arguments += ["--config", str(self._config)] if self._config else []
        self._process = await spawn(*arguments, environ=self._environ)
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S))
        serving = await self.logged("serving")
        self.mesh, self.admin = serving["mesh"][0], serving["admin"]
        self.mesh_tls = next(iter(serving["mesh_tls"]), "")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()

    @property
    def pid(self) -> int:
        """The control process."""
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the control process."""
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the control process to end; its exit code. The log is complete then."""
        async with asyncio.timeout(PATIENCE_S):
            while line := await self._log_line():
                self.log.append(line)
            return await self._process.wait()

    async def logged(self, message: str) -> dict[str, Any]:
        """Wait for the next entry with this message."""
        async with asyncio.timeout(PATIENCE_S):
            while line := await self._log_line():
                self.log.append(line)
                if line["message"] == message:
                    return line
        raise AssertionError(f"the node ended without saying {message!r}: {self.log}")

    async def access_lines(self) -> list[str]:
        """What was written to stdout, when the node has ended."""
        assert self._process.stdout is not None
        return (await self._process.stdout.read()).decode().splitlines()

    async def put(self, host: str, target: str, **fields: object) -> None:
        """Put a route and wait until it is live in every worker."""
        await self.call("PUT", f"/routes/{host}", {"targets": [{"url": target}], **fields})
        await self.settled()

    async def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401
        """Ask the admin API; the JSON of the answer, or its text."""
        async with self._session.request(method, f"http://{self.admin}{path}", json=body) as response:
            assert response.status < 300, await response.text()
            return await (response.json() if "json" in response.content_type else response.text())

    async def metrics(self) -> dict[str, dict[str, float]]:
        """The values of the metrics by name and label."""
        return samples(await self.call("GET", "/metrics"))

    async def settled(self) -> None:
        """Wait until every worker says that it serves the newest revision."""

        async def is_settled() -> bool:
            found = await self.metrics()
            return {*found["zexio_worker_revision"].values()} == {found["zexio_desired_revision"][""]}

        await until(is_settled)

    async def get(self, host: str, path: str = "/", token: str | None = None) -> tuple[int, str]:
        """Send a request through the mesh on a connection of its own; status and body of the answer."""
        headers = {"Host": host} | ({"Authorization": f"Bearer {token}"} if token else {})
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
            session.get(f"http://{self.mesh}{path}", headers=headers) as response,
        ):
            return response.status, await response.text()

    async def gets(self, expected: int, host: str, path: str = "/", token: str | None = None) -> None:
        """Wait until such a request is answered with this status."""

        async def is_answered() -> bool:
            return (await self.get(host, path, token))[0] == expected

        await until(is_answered)

    def token(self, org_id: str, secret: str | None = None) -> str:
        """A mesh token of an organization, by this node's secret unless another is given."""
        settings = load(None, {}, {"--data": str(self.data)})
        bearer = Bearer(org_id=org_id, user_id="ann", source="test", target="test", issuer=settings.jwt.issuer)
        found = secret or (self.data / "mesh-jwt.secret").read_text().strip()
        return mint(bearer, found, issued_at=1_700_000_000, ttl_s=10**9)

    async def _log_line(self) -> dict[str, Any] | None:
        assert self._process.stderr is not None
        line = await self._process.stderr.readline()
        if not line:
            return None
        try:
            entry: dict[str, Any] = json.loads(line)
        except ValueError:
            return {"message": line.decode().strip()}
        return entry


class Origin:
    """An application that says which request it got; `/slow` answers only when the gate is opened."""

    def __init__(self) -> None:
        """With the gate closed."""
        self.url = ""
        self.gate = asyncio.Event()
        self.waiting = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        """One line about the request."""
        if request.path == "/slow":
            self.waiting.set()
            await self.gate.wait()
        return web.Response(text=f"{request.path} org={request.headers.get('X-Zexio-Org', '-')}")


class Served(Protocol):
    """An application that may be told to answer what it holds back."""

    url: str
    gate: asyncio.Event

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The answer to any request."""


S = TypeVar("S", bound=Served)


@asynccontextmanager
async def serving(behind: S) -> AsyncIterator[S]:
    """An application on a free port of loopback."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", behind.answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    behind.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield behind
    finally:
        behind.gate.set()
        await runner.cleanup()


def origin() -> AbstractAsyncContextManager[Origin]:
    """An origin on a free port of loopback."""
    return serving(Origin())


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until the condition holds; for what no event tells."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(POLL_S)


async def spawn(*arguments: str, environ: Mapping[str, str] = _NOTHING) -> asyncio.subprocess.Process:
    """Start `zexio` with both outputs on pipes."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "node.cli.main", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}, **environ},
    )


async def run(*arguments: str, environ: Mapping[str, str] = _NOTHING) -> tuple[int, str, str]:
    """Run `zexio` to its end: exit code, stdout and stderr."""
    process = await spawn(*arguments, environ=environ)
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def worker_pids(control: int) -> list[int]:
    """The processes of the workers."""
    return [child.pid for child in psutil.Process(control).children()]
