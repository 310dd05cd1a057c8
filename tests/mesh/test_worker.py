"""A worker process: it serves what its channel says, reports what it counts, and ends when told to or left alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest

from mesh.channel import Applied, Channel, Complaint, Drain, ToControl, ToWorker, UnknownKid, WorkerReport, encode
from mesh.listener import ListenSpec, bind
from mesh.routes import AccessLog, Delta, MeshSettings, Route, Snapshot, Target
from mesh.worker import Worker
from tests.support.client import Visitor, ask
from tests.support.mesh_node import HOST, route_to
from tests.support.origin import Origin
from tests.support.stage import Stage, answering, head_of, request, until_refused
from tests.support.tokens import access_keys, bearer, claims, mint

GET = request(b"GET / HTTP/1.1")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
DEADLINE_S = 10.0

M = TypeVar("M", bound=ToControl)


class _Control:
    """The control process's side of one worker."""

    def __init__(self, port: int, process: asyncio.subprocess.Process, channel: Channel[ToControl]) -> None:
        self.port = port
        self.process = process
        self.channel = channel
        self._messages = channel.messages()

    def tell(self, message: ToWorker) -> None:
        """Send a message."""
        self.channel.send(encode(message))

    async def hear(self, kind: type[M]) -> M:
        """The next message of this kind; the others are passed over."""
        async with asyncio.timeout(DEADLINE_S):
            async for message in self._messages:
                if isinstance(message, kind):
                    return message
        raise EOFError

    async def ended(self) -> int:
        """The exit status."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def _worker(*first: ToWorker) -> AsyncIterator[_Control]:
    """A worker process that has been told this much; what is left of it in the end is killed."""
    (listener,) = bind(ListenSpec("127.0.0.1", 0), 1)
    ours, theirs = socket.socketpair()
    channel: Channel[ToControl] = Channel(ours, ToControl)
    await channel.open()
    descriptors = [theirs.fileno(), listener.fileno()]
    arguments = ["--index", "3", "--channel", str(descriptors[0]), "--listen", str(descriptors[1])]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "mesh.worker", *arguments, pass_fds=descriptors, stdout=asyncio.subprocess.PIPE
    )
    port = listener.getsockname()[1]
    theirs.close()
    listener.close()
    control = _Control(port, process, channel)
    try:
        for message in first:
            control.tell(message)
        if first and isinstance(first[0], Snapshot):
            assert await control.hear(Applied) == Applied(first[0].revision)
        yield control
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        channel.close()


def _snapshot(*routes: Route, access_log: AccessLog = "off") -> Snapshot:
    settings = MeshSettings(access_log=access_log)
    return Snapshot(revision=1, routes=routes, settings=settings, keys=access_keys())


async def test_a_worker_serves_its_snapshot_and_what_comes_after() -> None:
    """It says which revision is in force, and drains when it is told to."""
    async with Origin() as origin, _worker(_snapshot(route_to(origin.port))) as control:
        assert (await ask(control.port, GET)).status == 200
        control.tell(Delta(revision=2, put=(Route(host="b", targets=route_to(origin.port).targets),)))
        assert await control.hear(Applied) == Applied(2)
        assert (await ask(control.port, b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")).status == 200
        control.tell(Snapshot(revision=3))
        assert await control.hear(Applied) == Applied(3)
        assert (await ask(control.port, GET)).status == 404
        control.tell(Drain(1.0))
        report = await control.hear(WorkerReport)
        assert (report.index, report.pid, report.revision) == (3, control.process.pid, 3)
        assert (report.accepted, report.requests, report.dials, report.refused) == (3, 3, 1, 0)
        assert (report.statuses[2], report.statuses[4], report.causes) == (2, 1, {"destination_not_found": 1})
        assert await control.ended() == 0


async def test_draining_finishes_the_request_under_way() -> None:
    """Nobody else comes in meanwhile."""
    go = asyncio.Event()

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        control.tell(Drain(5.0))
        await go.wait()
        writer.write(OK)

    async with Stage(scene) as stage, _worker(_snapshot(route_to(stage.port))) as control:
        async with await Visitor.connect(control.port) as visitor:
            await visitor.send(GET)
            await until_refused(control.port)
            go.set()
            answer = await visitor.answer()
            assert answer is not None
            assert (answer.body, answer.announces_close) == (b"hello", True)
        assert await control.ended() == 0


async def test_a_worker_without_a_control_process_ends_by_itself() -> None:
    """No orphan keeps the port, and what is under way is finished."""
    async with Stage(answering(OK)) as stage, _worker(_snapshot(route_to(stage.port))) as control:
        assert (await ask(control.port, GET)).status == 200
        control.channel.close()
        assert await control.ended() == 0


async def test_a_worker_that_is_told_nothing_ends() -> None:
    """Its control process died before it could say anything."""
    async with _worker() as control:
        control.channel.close()
        assert await control.ended() == 0


async def test_a_first_message_that_is_no_snapshot_ends_the_worker() -> None:
    """There is nothing to serve."""
    async with _worker(Drain(0.0)) as control:
        assert await control.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signals_for_the_node_do_not_end_a_worker(number: signal.Signals) -> None:
    """They reach the whole process group, and only the control process knows what they mean."""
    async with _worker(_snapshot()) as control:
        os.kill(control.process.pid, number)
        assert (await ask(control.port, GET)).status == 404
        control.tell(Drain(0.0))
        assert await control.ended() == 0


def _is_json(line: bytes) -> bool:
    return bool(json.loads(line)["target"] == "/logged")


def _is_combined(line: bytes) -> bool:
    return b'"GET /logged HTTP/1.1" 404 ' in line


async def test_the_access_log_goes_to_standard_output() -> None:
    """In the format of the settings, which may change; what waits is written in the end."""
    raw = request(b"GET /logged HTTP/1.1")
    checks: tuple[tuple[AccessLog, Callable[[bytes], bool]], ...] = (("combined", _is_combined), ("json", _is_json))
    async with _worker(_snapshot(access_log="json")) as control:
        assert control.process.stdout is not None
        await ask(control.port, raw)
        for revision, (mode, _) in enumerate(checks, 2):
            control.tell(Delta(revision=revision, settings=MeshSettings(access_log=mode)))
            await control.hear(Applied)
            await ask(control.port, raw)
        control.tell(Delta(revision=9, settings=MeshSettings(access_log="off")))
        await control.hear(Applied)
        await ask(control.port, raw)
        control.tell(Drain(0.0))
        lines = (await control.process.stdout.read()).splitlines()
    assert len(lines) == 3
    assert _is_json(lines[0])
    for line, (_, check) in zip(lines[1:], checks, strict=True):
        assert check(line)


async def test_what_a_callback_lets_out_is_told() -> None:
    """The log is the control process's to write."""
    ours, theirs = socket.socketpair()
    control: Channel[ToControl] = Channel(ours, ToControl)
    channel: Channel[ToWorker] = Channel(theirs, ToWorker)
    await control.open()
    await channel.open()
    worker = Worker(0, channel, [])
    loop = asyncio.get_running_loop()
    worker._complain(loop, {"message": "Exception in callback", "exception": ZeroDivisionError("by zero")})
    worker._complain(loop, {"message": "Task was destroyed"})
    channel.close()
    told = [message async for message in control.messages()]
    control.close()
    assert told == [Complaint("Exception in callback\nZeroDivisionError: by zero"), Complaint("Task was destroyed")]


async def test_reports_come_by_themselves() -> None:
    """Every second, with the keys that tokens named and nobody has."""
    route = Route(host=HOST, targets=(Target("http://127.0.0.1:9"),), access="tenant", org_id="org_a")
    token = mint(claims(time.time()), "rsa-1", kid="rsa-unknown")
    async with _worker(_snapshot(route)) as control:
        answer = await ask(control.port, request(b"GET / HTTP/1.1", b"Authorization: " + bearer(token)))
        assert answer.status == 401
        report = await control.hear(WorkerReport)
        assert (report.requests, report.statuses[4]) == (1, 1)
        assert await control.hear(UnknownKid) == UnknownKid("rsa-unknown")
