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
from certs.manager import Manager
from certs.settings import CertsSettings
from mesh.code import is_compiled
from mesh.fleet import Fleet
from mesh.listener import CannotListen, ListenSpec
from mesh.routes import Snapshot
from node.admin import admin_settings, bind, cannot_listen, home_of, serve
from node.compile import Edge
from node.data import DataFolder, is_exposed, named, node_secrets
from node.file_facts import FileFacts
from node.files import Files, read_files
from node.host import keep_measuring
from node.inspection import Inspections
from node.issuance import certs_settings
from node.logging import configure
from node.mesh_keys import MeshKeys
from node.metrics import Metrics
from node.neighbours import follow_neighbours
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
        api, files = admin_settings(settings), read_files(settings)
        edge = Cell(with_settings(Edge(), settings, files))
        keys = MeshKeys(settings, edge)
        await keys.first_fetch()
        observer = Observer(store, keys, _span_sink(settings, stack))
        publisher = Publisher(store.desired, edge, store.holdings, observer.published)
        manager = await _certificates(settings, store, publisher)
        metrics = Metrics(store, observer.tally, settings.metrics, lambda: manager.counts)

        admin = stack.enter_context(bind("admin.listen", settings.admin.listen))
        fleet = _mesh(settings, observer, stack)
        observer.handshakes.use(manager.certificate_for, fleet.certificate_refused)
        await _start(fleet, publisher.first())
        stack.push_async_callback(manager.close)
        stack.push_async_callback(observer.handshakes.close)
        inspections = Inspections(store.desired, edge, partial(publisher.publish, fleet))
        file_facts = FileFacts(store.observed, manager.announce)
        file_facts.show(files.certificates)
        reloader = Reloader(settings, keys, edge, partial(_reshape, manager, file_facts))
        sights = Sights(
            metrics=metrics.render,
            exchanges=observer.watchers.follow,
            inspections=inspections,
            desk=manager.desk,
            home=lambda: home_of(reloader.settings, _secured(settings, fleet)),
        )
        runner = await serve(store, api, admin, sights)
        stack.push_async_callback(runner.cleanup)
        _announce(settings, fleet, admin)

        async with asyncio.TaskGroup() as group:
            work = [
                group.create_task(manager.run(), name="certificates"),
                group.create_task(file_facts.run(), name="certificates of files"),
                group.create_task(publisher.follow(fleet), name="publish"),
                group.create_task(follow_neighbours(store), name="neighbours"),
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


async def _certificates(settings: Settings, store: Store, publisher: Publisher) -> Manager:
    """Whoever keeps certificates, with all that were obtained before: TLS works before the network does."""
    manager = Manager(certs_settings(settings), store, publisher.live)
    with named("node.store" if settings.node.store else "node.data"):
        await manager.restore()
    return manager


def _reshape(manager: Manager, file_facts: FileFacts, certs: CertsSettings, files: Files) -> None:
    manager.reshape(certs)
    file_facts.show(files.certificates)


def _span_sink(settings: Settings, stack: AsyncExitStack) -> SpanExporter | None:
    if settings.tracing.endpoint is None:
        return None
    spans = SpanExporter(settings.tracing.endpoint, settings.tracing.service)
    # Pushed before the fleet's drain and so called after it: the last requests have spans too.
    stack.push_async_callback(spans.close)
    return spans


def _mesh(settings: Settings, observer: Observer, stack: AsyncExitStack) -> Fleet:
    """The workers, with their addresses bound, and ended with the node."""
    fleet = Fleet(_listen(settings), settings.mesh.workers, observer)
    observer.watchers.use(fleet.watch)
    stack.push_async_callback(_drain, fleet, settings.node.drain_s)
    try:
        fleet.bind()
    except CannotListen as error:
        setting = "mesh.tls_listen" if error.spec.tls else "mesh.listen"
        raise cannot_listen(setting, str(error.spec), error) from None
    return fleet


async def _start(fleet: Fleet, snapshot: Snapshot) -> None:
    try:
        await fleet.start(snapshot)
    except TimeoutError:
        raise CannotStart("mesh.workers: the workers do not start; their own words are above") from None


def _listen(settings: Settings) -> list[ListenSpec]:
    plain = [ListenSpec(address.host, address.port) for address in settings.mesh.listen]
    return plain + [ListenSpec(address.host, address.port, tls=True) for address in settings.mesh.tls_listen]


def _secured(settings: Settings, fleet: Fleet) -> list[str]:
    """The addresses where visitors come by TLS; `_listen` has them behind the others."""
    return fleet.addresses[len(settings.mesh.listen) :]


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
    structlog.get_logger().info(
        "serving",
        mesh=fleet.addresses[: len(settings.mesh.listen)],
        mesh_tls=_secured(settings, fleet),
        admin=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        workers=settings.mesh.workers,
        compiled=is_compiled(),
        data=str(settings.node.data),
    )
