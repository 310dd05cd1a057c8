"""Ten thousand visitors who keep their connections open, and a node that goes on working meanwhile."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, cast

import psutil
import pytest

from tests.flows.running import RunningNode, until, worker_pids
from tests.support.stage import Stage, head_of

HOST: Final = "demo.zexio.app"
VISITORS: Final = 10_000
AT_ONCE: Final = 100
# Besides the visitors' connections: those of the origin, of the API, and what the test run has open anyway.
DESCRIPTORS: Final = VISITORS + 1_000
MOST_BYTES_EACH: Final = 8 * 1024
CHANGES: Final = 50
# All of them come from the same address here.
ONE_CROWD: Final = {"ZEXIO_MESH_MAX_CONNECTIONS_PER_ADDRESS": str(VISITORS)}
REQUEST: Final = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Visitor(asyncio.Protocol):
    """One connection that stays."""

    def __init__(self) -> None:
        """Nothing has been asked."""
        self.is_lost = False
        self._received = b""
        self._transport: asyncio.Transport
        self._answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._wake()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"hello"):
            self._wake()

    async def ask(self) -> None:
        """Send a request and wait for its answer."""
        self._received = b""
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(REQUEST)
        await self._answered
        assert self._received.startswith(b"HTTP/1.1 200 "), self._received

    def leave(self) -> None:
        """Break the connection."""
        self._transport.abort()

    def _wake(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)


@pytest.fixture
def _descriptors() -> Iterator[None]:
    """Enough of them, where the system lets us have them."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (most if most != resource.RLIM_INFINITY else 2**30 for most in before)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), max(hard, DESCRIPTORS)))
    except (ValueError, OSError):
        pytest.skip(f"{VISITORS} connections need {DESCRIPTORS} open files, and `ulimit -Hn` allows {hard}")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("_descriptors")
async def test_ten_thousand_connections_are_held(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Each makes a request, stays, and makes another one while routes change; none is lost, and none costs much."""
    async with Stage(_origin) as origin, RunningNode(tmp_path / "data", environ=ONE_CROWD) as node:
        target = f"http://127.0.0.1:{origin.port}"
        await node.put(HOST, target)
        with ExitStack() as leaving:
            await _each(await _arrive(node.mesh, AT_ONCE, leaving))
            before = _memory(node)
            visitors = await _arrive(node.mesh, VISITORS, leaving)
            await _each(visitors)
            bytes_each = (_memory(node) - before) / VISITORS
            async with asyncio.TaskGroup() as group:
                group.create_task(_each(visitors))
                for number in range(CHANGES):
                    await node.call("PUT", f"/routes/h{number}.example.com", {"targets": [{"url": target}]})
                await node.settled()
                assert await node.get(f"h{CHANGES - 1}.example.com") == (200, "hello")
            assert not any(visitor.is_lost for visitor in visitors)
            await until(lambda: _is_counted(node))
    request.node.user_properties.append(("bytes per idle connection", round(bytes_each)))
    assert bytes_each < MOST_BYTES_EACH


async def _origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await head_of(reader)
        writer.write(ANSWER)


async def _arrive(mesh: str, count: int, leaving: ExitStack) -> list[Visitor]:
    """So many new visitors, who go when `leaving` ends."""
    host, _colon, port = mesh.rpartition(":")
    visitors: list[Visitor] = []
    numbers = iter(range(count))

    async def arrive() -> None:
        for _ in numbers:
            _transport, visitor = await asyncio.get_running_loop().create_connection(Visitor, host, int(port))
            leaving.callback(visitor.leave)
            visitors.append(visitor)

    await asyncio.gather(*(arrive() for _ in range(AT_ONCE)))
    return visitors


async def _each(visitors: Iterable[Visitor]) -> None:
    """Let every visitor ask once, some of them at the same time."""
    waiting = iter(visitors)

    async def ask() -> None:
        for visitor in waiting:
            await visitor.ask()

    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))


async def _is_counted(node: RunningNode) -> bool:
    """Whether the node says itself that so many are here; the workers report once a second."""
    return sum((await node.metrics())["zexio_connections"].values()) >= VISITORS


def _memory(node: RunningNode) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in worker_pids(node.pid))
