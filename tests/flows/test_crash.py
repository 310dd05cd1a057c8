"""`kill -9`, of a worker and of the control process: nobody else is harmed, and nothing that was answered is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import psutil

from tests.flows.running import Origin, RunningNode, origin, until, worker_pids
from tests.support.client import Visitor

HOST = "demo.zexio.app"
CHANGES = 1000
WRITERS = 8


async def test_every_answered_change_survives_the_control_process(tmp_path: Path) -> None:
    """It dies in the middle of a thousand changes; what was answered is there after the restart."""
    answered: list[str] = []
    async with RunningNode(tmp_path / "data") as node:
        numbers = iter(range(CHANGES))
        async with asyncio.TaskGroup() as group:
            writers = [group.create_task(_write(node, numbers, answered)) for _ in range(WRITERS)]
            await until(lambda: len(answered) >= CHANGES // 3)
            os.kill(node.pid, signal.SIGKILL)
            await asyncio.wait(writers)
        await node.ended()
    assert CHANGES // 3 <= len(answered) < CHANGES
    async with RunningNode(tmp_path / "data") as node:
        found = await _all_routes(node)
        assert {host: found.get(host) for host in answered} == {host: _target(host) for host in answered}
        await node.put("after.example.com", "http://127.0.0.1:1")


async def test_workers_do_not_outlive_the_control_process(tmp_path: Path) -> None:
    """They would keep the ports and serve routes that nobody can change any more."""
    async with RunningNode(tmp_path / "data") as node:
        workers = [psutil.Process(pid) for pid in worker_pids(node.pid)]
        os.kill(node.pid, signal.SIGKILL)
        await node.ended()
        await until(lambda: not any(map(_is_alive, workers)))


async def test_a_killed_worker_harms_nobody_else(tmp_path: Path) -> None:
    """Connections of the other worker go on, the killed one is replaced, and the routes are as they were."""
    async with origin() as behind, RunningNode(tmp_path / "data") as node:
        await node.put(HOST, behind.url)
        visitors = [Regular(node.mesh) for _ in range(24)]
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(visitor.visit()) for visitor in visitors]
            await until(lambda: all(visitor.answers > 2 for visitor in visitors))
            victim, survivor = worker_pids(node.pid)
            unharmed = [visitor for visitor in visitors if visitor.local_port in _peer_ports(survivor)]
            harmed = [visitor for visitor in visitors if visitor not in unharmed]
            os.kill(victim, signal.SIGKILL)
            await node.logged("worker died and is replaced")
            before = [visitor.answers for visitor in visitors]
            await node.logged("worker serves")
            await until(lambda: all(v.answers > b + 2 for v, b in zip(visitors, before, strict=True)))
            for task in running:
                task.cancel()
        assert harmed
        assert unharmed
        assert [visitor.breaks for visitor in unharmed] == [0] * len(unharmed)
        assert {*(visitor.statuses for visitor in visitors)} == {frozenset({200})}
        await _serves_as_before(node, behind, victim)


class Regular:
    """Sends one request after the other on one connection, and on a new one when that breaks."""

    def __init__(self, mesh: str) -> None:
        """Not connected yet."""
        self.answers = self.breaks = self.local_port = 0
        self.statuses: frozenset[int] = frozenset()
        self._port = int(mesh.rpartition(":")[2])

    async def visit(self) -> None:
        """Until it is cancelled."""
        while True:
            with suppress(OSError):
                await self._visit_on_one_connection()
            self.breaks += 1

    async def _visit_on_one_connection(self) -> None:
        async with await Visitor.connect(self._port) as visitor:
            self.local_port = visitor._sock.getsockname()[1]
            while True:
                await visitor.send(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                answer = await visitor.answer()
                if answer is None:
                    return
                self.statuses |= {answer.status}
                self.answers += 1
                await asyncio.sleep(0.005)


async def _write(node: RunningNode, numbers: Iterator[int], answered: list[str]) -> None:
    for number in numbers:
        host = f"h{number}.example.com"
        try:
            await node.call("PUT", f"/routes/{host}", {"targets": [{"url": _target(host)}]})
        except (aiohttp.ClientError, OSError):
            return
        answered.append(host)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _target(host: str) -> str:
    return f"http://127.0.0.1:{10_000 + int(host.partition('.')[0][1:])}"


async def _all_routes(node: RunningNode) -> dict[str, str]:
    found: dict[str, str] = {}
    cursor = ""
    while True:
        page = await node.call("GET", f"/routes?limit=1000{cursor}")
        found |= {route["host"]: route["targets"][0]["url"] for route in page["routes"]}
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def _peer_ports(pid: int) -> set[int]:
    connections = psutil.Process(pid).net_connections("tcp")
    return {connection.raddr.port for connection in connections if connection.status == psutil.CONN_ESTABLISHED}


async def _serves_as_before(node: RunningNode, behind: Origin, victim: int) -> None:
    assert victim not in worker_pids(node.pid)
    assert len(worker_pids(node.pid)) == 2
    await node.put("later.example.com", behind.url)
    for _ in range(10):
        assert (await node.get(HOST))[0] == 200
        assert (await node.get("later.example.com"))[0] == 200
    found = await node.metrics()
    assert sum(found["zexio_worker_restarts_total"].values()) == 1
