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
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import uvloop

from mesh import tickets
from mesh.accesslog import AccessLog
from mesh.channel import (
    Applied,
    CertificateRefused,
    CertificateWanted,
    Channel,
    Complaint,
    Drain,
    FinishedSpans,
    Records,
    RouteReports,
    TargetHealth,
    TargetReport,
    ToControl,
    ToWorker,
    UnknownKid,
    Watch,
    WorkerReport,
    encode,
)
from mesh.core import Core
from mesh.ledger import RouteReport
from mesh.listener import BACKLOG
from mesh.ports import together
from mesh.routes import Delta, Snapshot
from mesh.shared import Shared, attach
from mesh.spans import Spans
from mesh.tap import Tap

REPORT_S: Final = 1.0
# Whoever watches exchanges wants them at once.
_TURNS: Final = 4
_ORPHAN_DRAIN_S: Final = 5.0
_MAX_REPORTED_TARGETS: Final = 1000
_ROUTES_AT_ONCE: Final = 50
_COUNTED: Final = (
    *("accepted", "refused", "handshakes", "handshake_failures", "h2_connections", "h2_streams", "requests", "dials"),
    *("retries", "ejections", "rate_limited", "received", "sent", "compressed_in", "compressed_out"),
)


class Listeners(NamedTuple):
    """The sockets of one worker: those where visitors speak plainly, and those where they begin with a handshake."""

    plain: Sequence[socket.socket] = ()
    secured: Sequence[socket.socket] = ()


class Worker:
    """Serves what its channel tells it, and ends with it."""

    def __init__(
        self, index: int, channel: Channel[ToWorker], listeners: Listeners, shared: Shared | None = None
    ) -> None:
        """`index` is the worker's number among its siblings, with whom it has `shared` in common."""
        self._index = index
        self._channel = channel
        self._listeners = listeners
        self._shared = shared
        self._servers: list[asyncio.Server] = []
        self._log: AccessLog | None = None
        self._log_task: asyncio.Task[None] | None = None
        self._tap = Tap(_TURNS / REPORT_S)
        self._spans = Spans()
        self._core: Core

    async def run(self) -> None:
        """Serve until told to drain, or until the control process is gone."""
        await self._channel.open()
        messages = self._channel.messages()
        first = await anext(messages, None)
        if not isinstance(first, Snapshot):
            return
        self._core = Core(first)
        if self._shared is not None:
            self._core.buckets = self._shared.buckets
        self._core.on_demand.ask = self._ask_for_certificate
        self._share_tickets()
        asyncio.get_running_loop().set_exception_handler(self._complain)
        await self._use_settings()
        await self._serve()
        async with asyncio.TaskGroup() as group:
            reporting = group.create_task(self._report(), name="report")
            deadline_s = _ORPHAN_DRAIN_S
            async for message in messages:
                if isinstance(message, Drain):
                    deadline_s = message.deadline_s
                    break
                await self._take(message)
            await self._finish(deadline_s)
            reporting.cancel()

    async def _take(self, message: Snapshot | Delta | TargetHealth | CertificateRefused | Watch) -> None:
        match message:
            case TargetHealth(down=down):
                self._core.use_health({each.route: each.addresses for each in down})
            case CertificateRefused(name=name, retry_after_s=retry_after_s):
                self._core.on_demand.refused(name, retry_after_s)
            case Watch(hosts=hosts):
                self._tap.watch(hosts)
                self._observe()
            case _:
                self._core.apply(message)
                await self._use_settings()
                self._tell(Applied(self._core.revision))

    def _tell(self, message: ToControl) -> None:
        self._channel.send(encode(message))

    def _ask_for_certificate(self, name: str, address: str) -> bool:
        """Ask the control process for a certificate; whether it may be expected to hear of it."""
        if self._channel.is_behind:
            return False
        self._tell(CertificateWanted(name, address))
        return True

    def _complain(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that a callback let out: the node's log is the control process's to write."""
        error = context.get("exception")
        lines = traceback.format_exception(error) if isinstance(error, BaseException) else []
        self._tell(Complaint("".join([str(context.get("message", "")), "\n", *lines]).strip()))

    async def _serve(self) -> None:
        # What is alive now lives as long as the process: keep the collector from walking it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        loop, core = asyncio.get_running_loop(), self._core
        for listener in self._listeners.plain:
            self._servers.append(await loop.create_server(core.visitor, sock=listener, backlog=BACKLOG))
        for listener in self._listeners.secured:
            self._servers.append(await loop.create_server(core.secured_visitor, sock=listener, backlog=BACKLOG))
        self._tell(Applied(self._core.revision))

    async def _finish(self, deadline_s: float) -> None:
        for server in self._servers:
            server.close()
        await self._core.drain(deadline_s)
        await self._core.close()
        self._tell_records()
        await self._tell_routes()
        self._tell(self._counted())
        if self._log_task is not None:
            await _cancelled(self._log_task)
        self._channel.close()

    async def _use_settings(self) -> None:
        mode = self._core.settings.access_log
        ended = None
        if mode != (self._log.mode if self._log is not None else "off"):
            ended, self._log, self._log_task = self._log_task, None, None
            if mode != "off":
                self._log = AccessLog(mode, sys.stdout.fileno())
                self._log_task = asyncio.get_running_loop().create_task(self._log.run(), name="access log")
        self._observe()
        # Only now: what it is given while it writes its last lines would be lost.
        if ended is not None:
            await _cancelled(ended)

    def _observe(self) -> None:
        """Let the core make records for those who want some, and for nobody else."""
        log = [self._log] if self._log is not None else []
        self._core.observer = together([*log, self._tap] if self._tap.is_open else log)
        self._core.spans = self._spans if self._core.settings.tracing is not None else None

    async def _report(self) -> None:
        while True:
            for _ in range(_TURNS):
                await asyncio.sleep(REPORT_S / _TURNS)
                self._tell_records()
            await self._tell_routes()
            self._tell(self._counted())
            self._share_tickets()
            for kid in self._core.verifier.take_unknown_kids():
                self._tell(UnknownKid(kid))

    def _share_tickets(self) -> None:
        if self._shared is not None:
            self._core.certificates.share_tickets(self._shared.secret, self._core.wall)

    def _tell_records(self) -> None:
        if self._channel.is_behind:
            # They go on waiting, within their bounds.
            return
        records, dropped = self._tap.take()
        if records or dropped:
            self._tell(Records(tuple(records), dropped))
        if finished := self._spans.take():
            self._tell(FinishedSpans(tuple(finished)))

    async def _tell_routes(self) -> None:
        batch: list[RouteReport] = []
        for report in self._core.ledger.take():
            batch.append(report)
            if len(batch) >= _ROUTES_AT_ONCE:
                self._tell(RouteReports(tuple(batch)))
                batch.clear()
                # A thousand of them at once would keep visitors waiting.
                await asyncio.sleep(0)
        if batch:
            self._tell(RouteReports(tuple(batch)))

    def _counted(self) -> WorkerReport:
        core, counters = self._core, self._core.counters
        targets = tuple(
            TargetReport(
                target.address,
                target.in_flight,
                target.failures,
                target.requests,
                max(0.0, target.ejected_until - core.now),
            )
            for target in core.targets(_MAX_REPORTED_TARGETS)
        )
        counted: dict[str, int] = {name: getattr(counters, name) for name in _COUNTED}
        return WorkerReport(
            index=self._index,
            pid=os.getpid(),
            revision=core.revision,
            statuses=tuple(counters.statuses),
            causes=dict(counters.causes),
            connections=len(core.visitors),
            in_flight=core.in_flight,
            dropped_records=self._log.dropped if self._log is not None else 0,
            dropped_spans=self._spans.dropped,
            targets=targets,
            **counted,
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
    parser.add_argument("--buckets", type=int)
    parser.add_argument("--listen", type=int, action="append", default=[])
    parser.add_argument("--listen-tls", type=int, action="append", default=[])
    options = parser.parse_args()
    # The control process decides when workers end; Ctrl-C and service managers signal every process of the group.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    channel: Channel[ToWorker] = Channel(socket.socket(fileno=options.channel), ToWorker)
    listeners = Listeners(_sockets(options.listen), _sockets(options.listen_tls))
    shared = attach(options.buckets) if options.buckets is not None else None
    tickets.prepare()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Worker(options.index, channel, listeners, shared).run())


def _sockets(descriptors: list[int]) -> list[socket.socket]:
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]


if __name__ == "__main__":
    main()
