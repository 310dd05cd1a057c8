"""A whole node under load while everything around it changes, stops, dies and comes back: nobody is failed or cut."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import psutil
import pytest
import pytest_asyncio

from tests.flows.running import RunningNode, until, worker_pids
from tests.support.authority import Authority, Issued
from tests.support.client import Visitor
from tests.support.frame_visitor import (
    DATA,
    END_HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    FrameVisitor,
    frame,
    request_fields,
    reset_frame,
)
from tests.support.origin import Origin
from tests.support.secure_visitor import Cut, SecureVisitor
from tests.support.stage import Stage, head_of, reluctant_socket

HOST: Final = "demo.zexio.app"
LOADED: Final = "load.zexio.app"
AUTHORITY: Final = Authority()
VISITORS: Final = 8
SOCKETS: Final = 20
CHANGES: Final = 50
GET: Final = f"GET / HTTP/1.1\r\nHost: {LOADED}\r\n\r\n".encode()
CHAT: Final = f"GET /-/websocket HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode()

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Place:
    """A node that listens with and without TLS, its files, and an origin behind it."""

    def __init__(self, node: RunningNode, home: Path, origin: Origin) -> None:
        """All of them run."""
        self.node = node
        self.origin = origin
        self.home = home
        serving = next(entry for entry in node.log if entry["message"] == "serving")
        self.tls_port = int(serving["mesh_tls"][0].rpartition(":")[2])

    @property
    def port(self) -> int:
        """Where visitors connect without TLS."""
        return int(self.node.mesh.rpartition(":")[2])

    async def reload(self, **mesh: object) -> None:
        """Let the node read other settings, and its certificates again."""
        write_settings(self.home, **mesh)
        self.node.signal(signal.SIGHUP)
        await self.node.logged("settings reloaded")

    async def put(self, *ports: int, host: str = LOADED, **fields: object) -> None:
        """A route to ports of loopback; not waited for."""
        targets = [{"url": f"http://127.0.0.1:{port}"} for port in ports]
        await self.node.call("PUT", f"/routes/{host}", {"targets": targets, **fields})


def write_settings(home: Path, **mesh: object) -> None:
    """The settings file of the node."""
    lines = "".join(f"{key} = {str(value).lower()}\n" for key, value in mesh.items())
    (home / "zexio.toml").write_text(
        f'[jwt]\nsecret = "{os.urandom(16).hex()}"\n[tls]\ncertificates = ["{home}/shown.pem"]\n'
        f"[mesh]\nhttp2_cleartext = true\n{lines}"
    )


def write_certificate(home: Path) -> Issued:
    """A new one in place of the old."""
    issued = AUTHORITY.issue(HOST, LOADED)
    issued.write(home / "next.pem").replace(home / "shown.pem")
    return issued


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """One node for all tests of this file."""
    home = tmp_path_factory.mktemp("traffic")
    write_certificate(home)
    write_settings(home)
    environ = {"ZEXIO_MESH_TLS_LISTEN": "127.0.0.1:0"}
    async with Origin() as origin, RunningNode(home / "data", home / "zexio.toml", environ) as node:
        place = Place(node, home, origin)
        await place.put(origin.port)
        await node.put(HOST, f"http://127.0.0.1:{origin.port}")
        yield place


class Load:
    """Visitors who ask again as soon as they are answered: half of them by HTTP/1, half by HTTP/2."""

    def __init__(self) -> None:
        """Nobody has asked."""
        self.statuses: list[int] = []
        self._is_over = asyncio.Event()

    @asynccontextmanager
    async def on(self, port: int) -> AsyncIterator[None]:
        """Meanwhile; at the end nobody is cut in the middle."""
        async with asyncio.TaskGroup() as group:
            for number in range(VISITORS):
                visit = self._by_lines if number % 2 else self._by_frames
                group.create_task(visit(port), name=f"visitor {number}")
            await until(lambda: len(self.statuses) > VISITORS)
            try:
                yield
                enough = len(self.statuses) + VISITORS
                await until(lambda: len(self.statuses) > enough)
            finally:
                self._is_over.set()

    async def _by_lines(self, port: int) -> None:
        async with await Visitor.connect(port, 20.0) as visitor:
            while not self._is_over.is_set():
                await visitor.send(GET)
                answer = await visitor.answer()
                self.statuses.append(answer.status if answer is not None else 0)
                if answer is None:
                    return

    async def _by_frames(self, port: int) -> None:
        async with await FrameVisitor.connect(port) as visitor:
            while not (self._is_over.is_set() or visitor.is_over):
                stream_id = visitor.next_id()
                await visitor.send(visitor.head(stream_id, request_fields(authority=LOADED.encode())))
                await visitor.until(lambda one=stream_id: visitor.on(one).is_over, 20.0)  # type: ignore[misc]
                self.statuses.append(visitor.on(stream_id).status)


async def test_routes_change_under_load(place: Place) -> None:
    """One change behind the other, between two targets."""
    load = Load()
    async with Origin() as other:
        async with load.on(place.port):
            for number in range(CHANGES):
                await place.put(place.origin.port if number % 2 else other.port)
        await place.node.settled()
    assert set(load.statuses) == {200}
    assert other.requests


async def test_a_target_dies_under_load(place: Place) -> None:
    """Of two, one is killed and comes back again and again: no request that may be repeated fails."""
    load = Load()
    shaky = Origin()
    await shaky.__aenter__()
    port = shaky.port
    await place.put(port, place.origin.port, retries=2, retry_budget={"share": 1.0, "min_per_s": 1000})
    await place.node.settled()
    async with load.on(place.port):
        for _ in range(5):
            await shaky.__aexit__()
            await asyncio.sleep(0.05)
            shaky = Origin(port)
            await shaky.__aenter__()
            await asyncio.sleep(0.05)
    await shaky.__aexit__()
    assert set(load.statuses) == {200}


async def test_a_pause_while_the_target_restarts(place: Place) -> None:
    """Nobody is failed; who comes meanwhile waits."""
    load = Load()
    target = Origin()
    await target.__aenter__()
    port = target.port
    await place.put(port)
    await place.node.settled()
    async with load.on(place.port):
        await place.node.call("POST", f"/routes/{LOADED}/pause", {"hold_s": 20})
        await place.node.settled()
        held = len(load.statuses)
        await target.__aexit__()
        await asyncio.sleep(0.05)
        # Those that were under way when the pause began have been answered since, and no others.
        assert len(load.statuses) <= held + VISITORS
        target = Origin(port)
        await target.__aenter__()
        await place.node.call("POST", f"/routes/{LOADED}/resume")
    await target.__aexit__()
    assert set(load.statuses) == {200}


async def test_a_drained_target_says_when_it_is_empty(place: Place) -> None:
    """Not before its last request, and nothing new comes to it."""
    free = asyncio.Event()
    asked = 0

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while True:
            await head_of(reader)
            asked += 1
            await free.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with Stage(scene) as stage, await Visitor.connect(place.port, 20.0) as visitor:
        await place.put(stage.port)
        await place.node.settled()
        await visitor.send(GET)
        await until(lambda: asked == 1)
        await place.put(stage.port, place.origin.port)
        target = f"http://127.0.0.1:{stage.port}"
        drained = await place.node.call("POST", f"/routes/{LOADED}/drain", {"target": target})
        await place.node.settled()
        status = await place.node.call("GET", f"/routes/{LOADED}/drain?target={target}&wait_s=0.05")
        assert not status["empty"], drained
        load = Load()
        async with load.on(place.port):
            pass
        assert set(load.statuses) == {200}
        assert asked == 1
        waiting = asyncio.get_running_loop().create_task(
            place.node.call("GET", f"/routes/{LOADED}/drain?target={target}&wait_s=15"), name="wait until it is empty"
        )
        free.set()
        answer = await visitor.answer()
        assert answer is not None
        assert answer.status == 200
        assert (await waiting)["empty"]


class Socket:
    """A WebSocket that is still there when it answers: on a connection of its own, with or without TLS."""

    def __init__(self, visitor: Visitor | SecureVisitor) -> None:
        """Not yet open."""
        self.visitor = visitor

    async def open(self) -> None:
        """Do the upgrade."""
        await self.visitor.send(CHAT)
        assert b" 101 " in await self._until(b"\r\n\r\n")

    async def echo(self, word: bytes) -> bool:
        """Whether the origin is at the other end."""
        await self.visitor.send(word)
        try:
            return await self._until(word) == word
        except (AssertionError, OSError, Cut):
            return False

    @property
    def local_port(self) -> int:
        """Our end's."""
        wire = self.visitor.wire if isinstance(self.visitor, SecureVisitor) else self.visitor
        port: int = wire._sock.getsockname()[1]
        return port

    async def _until(self, ending: bytes) -> bytes:
        if isinstance(self.visitor, SecureVisitor):
            return await self.visitor.receive_until(ending)
        async with asyncio.timeout(5):
            return await self.visitor._until(ending)


@asynccontextmanager
async def sockets(place: Place) -> AsyncIterator[list[Socket]]:
    """Some of either kind."""
    async with AsyncExitStack() as stack:
        opened = []
        for number in range(SOCKETS):
            context = AUTHORITY.visitor_context("http/1.1")
            visitor = await (
                SecureVisitor.connect(place.tls_port, context, HOST) if number % 2 else Visitor.connect(place.port)
            )
            opened.append(Socket(await stack.enter_async_context(visitor)))
            await opened[-1].open()
        yield opened


async def test_websockets_outlive_everything(place: Place) -> None:
    """Their route, the certificate that they were shown, the keys, and the settings."""
    async with sockets(place) as opened:
        issued = write_certificate(place.home)
        await place.reload(head_timeout_s=3, idle_timeout_s=1)
        await place.node.settled()
        for number in range(10):
            await place.put(1, host=HOST, retries=number % 2)
        await place.node.call("DELETE", f"/routes/{HOST}")
        await place.node.settled()
        assert [await socket.echo(b"still here") for socket in opened] == [True] * SOCKETS
        context = AUTHORITY.visitor_context("http/1.1")
        async with await SecureVisitor.connect(place.tls_port, context, HOST) as late:
            assert late.tls.getpeercert(binary_form=True) == issued.der
    await place.node.put(HOST, f"http://127.0.0.1:{place.origin.port}")


async def test_a_killed_worker_cuts_only_its_own(place: Place) -> None:
    """WebSockets of the other one go on while it is replaced."""
    async with sockets(place) as opened:
        victim, survivor = worker_pids(place.node.pid)
        ports = {
            connection.raddr.port
            for connection in psutil.Process(survivor).net_connections("tcp")
            if connection.status == psutil.CONN_ESTABLISHED
        }
        own = [socket for socket in opened if socket.local_port in ports]
        assert 0 < len(own) < SOCKETS
        os.kill(victim, signal.SIGKILL)
        await place.node.logged("worker serves")
        assert [await socket.echo(b"still here") for socket in own] == [True] * len(own)
        others = [socket for socket in opened if socket not in own]
        assert not any([await socket.echo(b"still here") for socket in others])


async def test_visitors_who_cost_much_are_cut_and_others_are_served(place: Place) -> None:
    """Slow heads, slow bodies, slow readers and floods, all at once, on a node that goes on answering."""

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        for _ in range(500):
            writer.write(bytes(100_000))
            await writer.drain()

    await place.reload(head_timeout_s=0.3, body_idle_s=0.3, idle_timeout_s=0.3, min_bytes_per_s=10_000)
    load = Load()
    async with Stage(scene) as stage:
        await place.put(place.origin.port)
        await place.put(stage.port, host="large.zexio.app")
        await place.node.settled()
        async with load.on(place.port), asyncio.timeout(20), asyncio.TaskGroup() as group:
            for _ in range(5):
                for cost in (_slow_head, _slow_body, _slow_reader, _slow_stream, _flood):
                    group.create_task(cost(place.port), name=cost.__name__)
        assert set(load.statuses) == {200}
    await place.reload()


async def _slow_head(port: int) -> None:
    async with await Visitor.connect(port, 20.0) as visitor:
        await visitor.send(GET[:-1])
        answer = await visitor.answer()
        assert answer is not None
        assert answer.status == 408


async def _slow_body(port: int) -> None:
    async with await Visitor.connect(port, 20.0) as visitor:
        head = f"POST / HTTP/1.1\r\nHost: {LOADED}\r\nContent-Length: 100000000\r\n\r\n"
        await visitor.send(head.encode())
        async with asyncio.TaskGroup() as group:
            drip = group.create_task(_drip(visitor), name="drip")
            answer = await visitor.answer("POST")
            drip.cancel()
        assert answer is not None
        assert answer.status == 408


async def _drip(visitor: Visitor) -> None:
    while True:
        await visitor.send(b"a")
        await asyncio.sleep(0.02)


async def _slow_reader(port: int) -> None:
    async with Visitor(reluctant_socket(port), 20.0) as visitor:
        await visitor.send(b"GET / HTTP/1.1\r\nHost: large.zexio.app\r\n\r\n")
        # Nothing is read, so that the end shows only in what cannot be sent any more.
        with suppress(OSError):
            while True:
                await visitor._loop.sock_sendall(visitor._sock, b"\r\n")
                await asyncio.sleep(0.02)


async def _slow_stream(port: int) -> None:
    async with await FrameVisitor.connect(port, settings=[(INITIAL_WINDOW_SIZE, 5)], is_generous=False) as visitor:
        await visitor.send(visitor.head(1, request_fields(authority=b"large.zexio.app")))
        await visitor.send(visitor.head(3, request_fields(method=b"POST", authority=LOADED.encode()), END_HEADERS))
        await visitor.send(frame(DATA, 0, 3, b"a"))
        await visitor.until(lambda: visitor.on(1).is_over and visitor.on(3).status == 408, 20.0)
        assert visitor.on(1).reset is not None


async def _flood(port: int) -> None:
    async with await FrameVisitor.connect(port) as visitor, asyncio.TaskGroup() as group:
        listening = group.create_task(visitor.until(lambda: False, 20.0), name="listen")
        while not listening.done():
            stream_id = visitor.next_id()
            head = visitor.head(stream_id, request_fields(authority=LOADED.encode()))
            await visitor.send(head, reset_frame(stream_id), frame(PING, payload=bytes(8)))


@pytest.fixture
def _few_descriptors(place: Place) -> Iterator[None]:
    """Every worker has thirty more than it uses, and no more."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in worker_pids(place.node.pid)}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (psutil.Process(pid).num_fds() + 30, hard))
    yield
    for pid, limits in before.items():
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("_few_descriptors")
async def test_case_173_workers_without_descriptors(place: Place) -> None:
    """Who is here is served, nobody spins, and who leaves makes room."""
    await place.put(place.origin.port)
    await place.node.settled()
    workers = [psutil.Process(pid) for pid in worker_pids(place.node.pid)]
    async with AsyncExitStack() as stack:
        early = [await stack.enter_async_context(await Visitor.connect(place.port, 10.0)) for _ in range(10)]
        for visitor in early:
            await visitor.send(GET)
            answer = await visitor.answer()
            assert answer is not None
            assert answer.status == 200
        crowd = [await stack.enter_async_context(await Visitor.connect(place.port, 10.0)) for _ in range(120)]
        await asyncio.sleep(0.05)
        before = [worker.cpu_times() for worker in workers]
        for _ in range(10):
            await asyncio.sleep(0.05)
        spent = [worker.cpu_times().user - time.user for worker, time in zip(workers, before, strict=True)]
        assert max(spent) < 0.25
        for visitor in early:
            await visitor.send(GET)
            answer = await visitor.answer()
            assert answer is not None
            assert answer.status == 200
        for visitor in crowd:
            visitor.close()
        await place.node.gets(200, LOADED)
    assert worker_pids(place.node.pid) == [worker.pid for worker in workers]
