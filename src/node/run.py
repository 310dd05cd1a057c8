"""Runs a node: everything constructed in order, one task group, and the same order backwards when it is to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial

import structlog
import uvloop

from admin_api.plane.system import Sights
from mesh.code import is_compiled
from mesh.fleet import Fleet
from mesh.listener import CannotListen, ListenSpec
from mesh.routes import Snapshot
from node.admin import admin_settings, bind, cannot_listen, serve
from node.compile import Edge
from node.data import DataFolder, is_exposed, named, node_secrets
from node.files import read_files
from node.host import keep_measuring
from node.inspection import Inspections
from node.logging import configure
from node.mesh_keys import MeshKeys
from node.metrics import Metrics
from node.observe import Observer
from node.publish import Publisher
from node.reload import Reloader, with_settings
from node.settings import CannotStart, Settings
from node.signals import Signals
from node.spans import SpanExporter
from state.cell import Cell
from state.database import written_file
from state.journal import Journal
from state.store import Store


def run(settings: Settings, read: Callable[[], Settings]) -> int:
    """Run a node until SIGTERM or SIGINT; the exit code. `read` gives the settings anew when SIGHUP asks for it.

    Raises CannotStart.
    """
    # Whatever this process makes, the database and its journal included, is for its user alone.
    os.umask(0o077)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_live(settings, read))
        except ExceptionGroup:
            structlog.get_logger().exception("the node failed")
            return 1
        except asyncio.CancelledError:
            # The second signal: whoever sent it wants no more waiting, and no complaint.
            return 0
    return 0


async def _live(settings: Settings, read: Callable[[], Settings]) -> None:
    signals = Signals()
    signals.install()
    journal = Journal(settings.log.entries)
    configure(settings.log, journal, sys.stderr)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(await _open_store(settings, journal))
        api = admin_settings(settings)
        edge = Cell(with_settings(Edge(), settings, read_files(settings)))
        keys = MeshKeys(settings, edge)
        await keys.first_fetch()
        observer = Observer(store, keys, _span_sink(settings, stack))
        publisher = Publisher(store.desired, edge, observer.published)
        metrics = Metrics(store, observer.tally, settings.metrics.top_targets, settings.metrics.top_routes)

        admin = stack.enter_context(bind("admin.listen", settings.admin.listen))
        fleet = await _start_mesh(settings, publisher.first(), observer, stack)
        inspections = Inspections(store.desired, edge, partial(publisher.publish, fleet))
        sights = Sights(metrics.render, observer.watchers.follow, inspections)
        runner = await serve(store, api, admin, sights)
        stack.push_async_callback(runner.cleanup)
        _announce(settings, fleet, admin)

        async with asyncio.TaskGroup() as group:
            reloader = Reloader(settings, keys, edge)
            work = [
                group.create_task(publisher.follow(fleet), name="publish"),
                group.create_task(keep_measuring(store.observed), name="measure"),
                group.create_task(keys.run(), name="keys"),
                group.create_task(inspections.follow(), name="inspections"),
                group.create_task(_reload_when_asked(signals, reloader, read, journal), name="reload"),
            ]
            await signals.stop.wait()
            structlog.get_logger().info("stopping", drain_s=settings.node.drain_s)
            for task in work:
                task.cancel()
    structlog.get_logger().info("stopped")


async def _open_store(settings: Settings, journal: Journal) -> Store:
    folder = DataFolder(settings.node.data)
    folder.prepare()
    url = settings.node.store or folder.store_url
    with named("node.store" if settings.node.store else "node.data"):
        written = written_file(url)
        for path in filter(None, (folder.path, written)):
            if is_exposed(path):
                structlog.get_logger().warning("others may look into it", path=str(path), advice=f"chmod go= {path}")
        return await Store.open(url, node_secrets(folder, written), journal=journal)


def _span_sink(settings: Settings, stack: AsyncExitStack) -> SpanExporter | None:
    if settings.tracing.endpoint is None:
        return None
    spans = SpanExporter(settings.tracing.endpoint, settings.tracing.service)
    # Pushed before the fleet's drain and so called after it: the last requests have spans too.
    stack.push_async_callback(spans.close)
    return spans


async def _start_mesh(settings: Settings, snapshot: Snapshot, observer: Observer, stack: AsyncExitStack) -> Fleet:
    fleet = Fleet(_listen(settings), settings.mesh.workers, observer)
    observer.watchers.use(fleet.watch)
    stack.push_async_callback(_drain, fleet, settings.node.drain_s)
    try:
        fleet.bind()
    except CannotListen as error:
        setting = "mesh.tls_listen" if error.spec.tls else "mesh.listen"
        raise cannot_listen(setting, str(error.spec), error) from None
    try:
        await fleet.start(snapshot)
    except TimeoutError:
        raise CannotStart("mesh.workers: the workers do not start; their own words are above") from None
    return fleet


def _listen(settings: Settings) -> list[ListenSpec]:
    plain = [ListenSpec(address.host, address.port) for address in settings.mesh.listen]
    return plain + [ListenSpec(address.host, address.port, tls=True) for address in settings.mesh.tls_listen]


async def _drain(fleet: Fleet, deadline_s: float) -> None:
    try:
        await fleet.drain(deadline_s)
    except asyncio.CancelledError:
        # The second signal.
        for pid in fleet.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await fleet.drain(0.0)


async def _reload_when_asked(
    signals: Signals, reloader: Reloader, read: Callable[[], Settings], journal: Journal
) -> None:
    while True:
        await signals.reload.wait()
        signals.reload.clear()
        settings = reloader.reload(read)
        configure(settings.log, journal, sys.stderr)


def _announce(settings: Settings, fleet: Fleet, admin: socket.socket) -> None:
    """Say where the node listens; with port 0 there is no other way to know."""
    host, port = admin.getsockname()[:2]
    plain = len(settings.mesh.listen)
    structlog.get_logger().info(
        "serving",
        mesh=fleet.addresses[:plain],
        mesh_tls=fleet.addresses[plain:],
        admin=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        workers=settings.mesh.workers,
        compiled=is_compiled(),
        data=str(settings.node.data),
    )
