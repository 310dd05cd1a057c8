"""One worker process: a loop, its listening sockets, the snapshot channel in and reports out."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import traceback
from typing import Any, Final

import uvloop

from mesh.accesslog import AccessLog
from mesh.channel import (
    Applied,
    Channel,
    Complaint,
    Drain,
    TargetHealth,
    TargetReport,
    ToWorker,
    UnknownKid,
    WorkerReport,
    encode,
)
from mesh.core import Core
from mesh.listener import BACKLOG
from mesh.routes import Snapshot

REPORT_S: Final = 1.0
_ORPHAN_DRAIN_S: Final = 5.0
_MAX_REPORTED_TARGETS: Final = 1000


class Worker:
    """Serves what its channel tells it, and ends with it."""

    def __init__(self, index: int, channel: Channel[ToWorker], listeners: list[socket.socket]) -> None:
        """`index` is the worker's number among its siblings."""
        self._index = index
        self._channel = channel
        self._listeners = listeners
        self._servers: list[asyncio.Server] = []
        self._log: AccessLog | None = None
        self._log_task: asyncio.Task[None] | None = None
        self._core: Core

    async def run(self) -> None:
        """Serve until told to drain, or until the control process is gone."""
        await self._channel.open()
        messages = self._channel.messages()
        first = await anext(messages, None)
        if not isinstance(first, Snapshot):
            return
        self._core = Core(first)
        asyncio.get_running_loop().set_exception_handler(self._complain)
        await self._use_log()
        await self._serve()
        async with asyncio.TaskGroup() as group:
            reporting = group.create_task(self._report(), name="report")
            deadline_s = _ORPHAN_DRAIN_S
            async for message in messages:
                if isinstance(message, Drain):
                    deadline_s = message.deadline_s
                    break
                if isinstance(message, TargetHealth):
                    self._core.use_health({down.route: down.addresses for down in message.down})
                    continue
                self._core.apply(message)
                await self._use_log()
                self._channel.send(encode(Applied(self._core.revision)))
            await self._finish(deadline_s)
            reporting.cancel()

    def _complain(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that a callback let out: the node's log is the control process's to write."""
        error = context.get("exception")
        lines = traceback.format_exception(error) if isinstance(error, BaseException) else []
        self._channel.send(encode(Complaint("".join([str(context.get("message", "")), "\n", *lines]).strip())))

    async def _serve(self) -> None:
        # What is alive now lives as long as the process: keep the collector from walking it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            self._servers.append(await loop.create_server(self._core.visitor, sock=listener, backlog=BACKLOG))
        self._channel.send(encode(Applied(self._core.revision)))

    async def _finish(self, deadline_s: float) -> None:
        for server in self._servers:
            server.close()
        await self._core.drain(deadline_s)
        await self._core.close()
        self._channel.send(encode(self._counted()))
        if self._log_task is not None:
            await _cancelled(self._log_task)
        self._channel.close()

    async def _use_log(self) -> None:
        mode = self._core.settings.access_log
        if self._log is not None and self._log.mode == mode:
            return
        if self._log_task is not None:
            await _cancelled(self._log_task)
        self._log = self._log_task = self._core.observer = None
        if mode != "off":
            self._log = self._core.observer = AccessLog(mode, sys.stdout.fileno())
            self._log_task = asyncio.get_running_loop().create_task(self._log.run(), name="access log")

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            self._channel.send(encode(self._counted()))
            for kid in self._core.verifier.take_unknown_kids():
                self._channel.send(encode(UnknownKid(kid)))

    def _counted(self) -> WorkerReport:
        core, counters = self._core, self._core.counters
        targets = tuple(
            TargetReport(target.address, target.in_flight, target.failures, target.requests)
            for target in core.targets(_MAX_REPORTED_TARGETS)
        )
        return WorkerReport(
            index=self._index,
            pid=os.getpid(),
            revision=core.revision,
            accepted=counters.accepted,
            refused=counters.refused,
            requests=counters.requests,
            dials=counters.dials,
            received=counters.received,
            sent=counters.sent,
            statuses=tuple(counters.statuses),
            causes=dict(counters.causes),
            connections=len(core.visitors),
            in_flight=core.in_flight,
            dropped_records=self._log.dropped if self._log is not None else 0,
            targets=targets,
        )


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> None:
    """Run a worker on inherited descriptors: `python -m mesh.worker --index 0 --channel 5 --listen 6`."""
    parser = argparse.ArgumentParser(description="A worker of the mesh; started by the node.")
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--listen", type=int, action="append", default=[])
    options = parser.parse_args()
    # The control process decides when workers end; Ctrl-C and service managers signal every process of the group.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    channel: Channel[ToWorker] = Channel(socket.socket(fileno=options.channel), ToWorker)
    listeners = [socket.socket(fileno=descriptor) for descriptor in options.listen]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Worker(options.index, channel, listeners).run())


if __name__ == "__main__":
    main()
