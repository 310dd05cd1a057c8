"""A route whose requests are looked at in mitmproxy: nobody loses one when it comes, when it goes, and when it dies."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import psutil
import pytest
from aiohttp import web
from yarl import URL

from node.cli.mitmweb import Job, running
from tests.flows.running import PATIENCE_S, RunningNode, run, serving, spawn, until
from tests.support.authority import Authority

ROOT: Final = Path(__file__).parent.parent.parent
VISITORS: Final = 3
SEEN: Final = 15


class Application:
    """Answers everything at once, but `/slow` when it is let, and `/socket` with what it is sent."""

    def __init__(self) -> None:
        """With the gate closed."""
        self.url = ""
        self.gate = asyncio.Event()
        self.waiting = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        if request.path == "/slow":
            self.waiting.set()
            await self.gate.wait()
        if request.path == "/socket":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(f"{message.data} to {request.host}")
            return socket
        if request.path == "/events":
            stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await stream.prepare(request)
            await stream.write(b"data: first\n\n")
            await self.gate.wait()
            return stream
        return web.Response(text=request.host)


class Load:
    """Visitors of one host who come back as soon as they are answered; `answers` counts what they got."""

    def __init__(self, node: RunningNode, host: str) -> None:
        """Nobody yet."""
        self.answers: Counter[str] = Counter()
        self._node = node
        self._host = host
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._visit(), name=self._host) for _ in range(VISITORS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def more(self) -> None:
        """Wait for a few more answers."""
        seen = self.answers.total()
        await until(lambda: self.answers.total() >= seen + SEEN)

    async def _visit(self) -> None:
        async with aiohttp.ClientSession(headers={"Host": self._host}) as session:
            while True:
                try:
                    async with session.get(f"http://{self._node.mesh}/") as answer:
                        text = await answer.text()
                        self.answers["good" if text == self._host else f"{answer.status} {text}"] += 1
                except aiohttp.ClientPayloadError:
                    self.answers["broken off"] += 1
                except aiohttp.ClientError as error:
                    self.answers[repr(error)] += 1
                await asyncio.sleep(0.05)


class Inspector:
    """A `zexio inspect` that is on."""

    def __init__(self, process: asyncio.subprocess.Process, pages: str) -> None:
        self.process = process
        self.pages = pages
        self.mitmweb = psutil.Process(process.pid).children()[0]

    async def flows(self) -> list[dict[str, Any]]:
        """What mitmweb's pages show."""
        url = URL(self.pages).with_path("/flows", keep_query=True)
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            found: list[dict[str, Any]] = await answer.json()
            return found

    async def has_seen(self, path: str, number: int = 1) -> bool:
        """Whether so many requests for a path have passed."""
        return [flow["request"]["path"] for flow in await self.flows()].count(path) >= number

    async def ended(self) -> tuple[int, str]:
        """Wait for the command to end; its exit code and what it said."""
        async with asyncio.timeout(PATIENCE_S):
            _out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()

    async def gone(self) -> None:
        """Wait for mitmweb to end."""
        await until(lambda: not self.mitmweb.is_running() or self.mitmweb.status() == psutil.STATUS_ZOMBIE)


@pytest.fixture(scope="module")
def mitmweb() -> str:
    """The program; `make` puts it in an environment of its own."""
    named = os.environ.get("ZEXIO_MITMWEB") or str(ROOT / ".venv-inspect" / "bin" / "mitmweb")
    found = shutil.which(named) or shutil.which("mitmweb")
    if found is None:
        pytest.skip("mitmweb is not installed (make inspector, or ZEXIO_MITMWEB)")
    return found


def application() -> AbstractAsyncContextManager[Application]:
    """An application on a free port of loopback."""
    return serving(Application())


@asynccontextmanager
async def inspecting(node: RunningNode, host: str, program: str) -> AsyncIterator[Inspector]:
    """Inspect a route; what is left of it is ended with the block."""
    process = await spawn("inspect", host, "--port", "0", "--json", "--admin", node.admin, "--mitmweb", program)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(2 * PATIENCE_S):
            line = await process.stdout.readline()
        assert line, (await process.communicate())[1].decode()
        yield Inspector(process, json.loads(line)["pages"])
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_nobody_loses_a_request_whatever_becomes_of_the_inspector(tmp_path: Path, mitmweb: str) -> None:
    """Under load: it comes; then it is left with Ctrl-C, the command is killed, mitmweb is killed."""
    hosts = ("left.example", "orphaned.example", "dead.example")
    async with AsyncExitStack() as all_:
        node = await all_.enter_async_context(RunningNode(tmp_path))
        behind, beside = [await all_.enter_async_context(application()) for _ in range(2)]
        for host in hosts:
            await node.call("PUT", f"/routes/{host}", {"targets": [{"url": behind.url}, {"url": beside.url}]})
        await node.settled()
        loads = [await all_.enter_async_context(Load(node, host)) for host in hosts]
        await asyncio.gather(*(load.more() for load in loads))
        opening = [inspecting(node, host, mitmweb) for host in hosts]
        inspectors = await asyncio.gather(*map(all_.enter_async_context, opening))
        left, orphaned, dead = inspectors
        for inspector in inspectors:
            await until(partial(inspector.has_seen, "/", SEEN))

        async with aiohttp.ClientSession(headers={"Host": hosts[0]}) as visitor:
            await talk(visitor, node.mesh, left)
            slow = asyncio.get_running_loop().create_task(status(visitor, f"http://{node.mesh}/slow"))
            await asyncio.wait(
                [asyncio.get_running_loop().create_task(each.waiting.wait()) for each in (behind, beside)],
                return_when=asyncio.FIRST_COMPLETED,
            )
            left.process.send_signal(signal.SIGINT)
            orphaned.process.kill()
            dead.mitmweb.kill()
            await asyncio.gather(*(load.more() for load in loads))
            code, said = await dead.ended()
            assert (code, "mitmweb ended by itself" in said) == (1, True)
            await orphaned.process.communicate()
            behind.gate.set()
            beside.gate.set()
            assert await slow == 200
        assert (await left.ended())[0] == 0
        await asyncio.gather(left.gone(), orphaned.gone())
        await asyncio.gather(*(load.more() for load in loads))
        for load in loads[:2]:
            assert set(load.answers) == {"good"}
        # What a killed mitmweb had begun to answer nobody can answer again.
        assert set(loads[2].answers) <= {"good", "broken off"}


async def talk(visitor: aiohttp.ClientSession, mesh: str, inspector: Inspector) -> None:
    """A WebSocket and an event stream are carried as they are, and can be looked at."""
    async with visitor.ws_connect(f"http://{mesh}/socket") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello to left.example"
    async with visitor.get(f"http://{mesh}/events") as events:
        async with asyncio.timeout(PATIENCE_S):
            assert await events.content.readline() == b"data: first\n"
    await until(lambda: inspector.has_seen("/socket"))


async def status(visitor: aiohttp.ClientSession, url: str) -> int:
    """The status of the answer to a POST, which nobody may send twice."""
    async with visitor.post(url) as answer:
        return answer.status


async def test_a_target_behind_tls_is_called_by_its_name(mitmweb: str) -> None:
    """And its certificate is verified as the route wants it; its address may be one of IPv6."""
    authority = Authority()
    asked: list[str | None] = []
    context = authority.issue("internal.example.com").server_context()

    def called(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        asked.append(name)

    context.sni_callback = called

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(text=request.host)

    server = await asyncio.get_running_loop().create_server(web.Server(answer), "::1", 0, ssl=context)
    async with server:
        url = f"https://[::1]:{server.sockets[0].getsockname()[1]}"
        work = Job(targets=(url,), ca=authority.pem, server_name="internal.example.com")
        async with running(mitmweb, work, 0) as inspector, aiohttp.ClientSession() as session:
            await inspector.ready()
            async with session.get(inspector.inspectors[url], headers={"Host": "shop.example.com"}) as got:
                assert (got.status, await got.text()) == (200, "shop.example.com")
    assert asked == ["internal.example.com"]


async def test_without_mitmproxy_the_command_says_how_to_get_it() -> None:
    """It asks nothing of the node."""
    code, _out, err = await run("inspect", "shop.example", "--mitmweb", "no-such-program")
    assert code == 1
    assert "pipx install mitmproxy" in err
