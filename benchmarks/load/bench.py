"""What the scenarios share: the plan, the cores, the origin, and the peers that run so far."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from benchmarks.load import measure, nginx, seed, wrk, zexio
from benchmarks.load.heads import SITE, UPLOAD_SITE, Variant, head, heads
from benchmarks.load.peers import PEERS, is_installed
from benchmarks.load.process import Program, Running, StartError, free_port, running
from benchmarks.load.zexio import ORGANIZATION, TENANT_SITE, Admin, Shape

OTHER_ANSWER = "Other target!"
ANSWERS_WITHIN_S = 10.0
OPEN_FILES = 65_536

ZEXIO = {"zexio": Shape(), "zexio + log": Shape(name="zexio + log", access_log=True)}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything; times in whole seconds, which is what wrk takes."""

    rounds: int = 3
    tail_rounds: int = 4
    variants: tuple[Variant, ...] = ("same", "varied", "unique")
    seconds: int = 2
    warm_seconds: int = 1
    connections: int = 10_000
    body_bytes: int = 1 << 30
    routes: int = 100_000
    changes: int = 50
    background_s: float = 4.0
    aborts: int = 300
    skip: tuple[str, ...] = ()


QUICK = Plan(
    rounds=1,
    tail_rounds=1,
    variants=("varied", "unique"),
    seconds=1,
    connections=5_000,
    body_bytes=1 << 28,
    routes=20_000,
    changes=10,
    background_s=1.5,
    aborts=60,
)


class Node(msgspec.Struct, frozen=True):
    """A running zexio and its admin API."""

    running: Running
    admin: Admin


class Bench:
    """One run: owns its folder and every process in it."""

    def __init__(self, plan: Plan, directory: Path, stack: ExitStack) -> None:
        """Nothing is started yet; `stack` ends what will be."""
        every = sorted(os.sched_getaffinity(0))
        self.plan, self.directory = plan, directory
        self.proxy_core, self.load_core = every[0], every[-1]
        self.all_cores = tuple(every)
        self._stack = stack
        self._peers: dict[str, Running] = {}
        self._seeded: Path | None = None
        self._count = 0

    def open(self) -> None:
        """Bind this process to the load core and start the origin and the sink of uploads there."""
        os.sched_setaffinity(0, {self.load_core})
        raise_open_files()
        self.origin_port, self.other_port, self.sink_port = free_port(), free_port(), free_port()
        origin = nginx.origin(self.origin_port, self.other_port, OTHER_ANSWER)
        sink_argv = (sys.executable, "-m", "benchmarks.load.sink", str(self.sink_port))
        sink = Program(name="sink", port=self.sink_port, argv=sink_argv, env={"PYTHONPATH": str(Path.cwd())})
        for each in (origin, sink):
            self._stack.enter_context(running(each, self._folder(each.name), (self.load_core,)))
        with (self.directory / "01-origin" / nginx.BIG_FILE).open("wb") as big:
            big.truncate(self.plan.body_bytes)

    @property
    def sites(self) -> dict[str, int]:
        """The sites that every peer serves, each with the port of its origin."""
        return {SITE: self.origin_port, UPLOAD_SITE: self.sink_port}

    def installed(self, *names: str) -> list[str]:
        """Those of the peers that can be started here."""
        wanted = [name for name in names if name.partition(" ")[0] not in self.plan.skip]
        return [name for name in wanted if (zexio.is_installed() if name in ZEXIO else is_installed(name))]

    def peer(self, name: str) -> Running:
        """The peer of that name, started and warmed up on first use and kept to the end of the run."""
        if name not in self._peers:
            self._peers[name] = self._stack.enter_context(self.fresh(name))
            self.warm(self._peers[name], self.script("warm", heads("varied")))
        return self._peers[name]

    @contextmanager
    def fresh(self, name: str) -> Iterator[Running]:
        """A peer of its own for one scenario."""
        if name in ZEXIO:
            with self.node(ZEXIO[name]) as node:
                yield node.running
            return
        program = PEERS[name](free_port(), self.sites)
        with running(program, self._folder(name), (self.proxy_core,)) as peer:
            await_answer(peer.port, SITE)
            yield peer

    @contextmanager
    def node(self, shape: Shape) -> Iterator[Node]:
        """A zexio that serves the sites and the tenant route."""
        admin_port = free_port()
        folder = self._folder(shape.name)
        if shape.seeded:
            zexio.copy_seed(shape.seeded, folder)
        program = zexio.program(shape, free_port(), admin_port)
        with running(program, folder, (self.proxy_core,)) as peer:
            admin = Admin(admin_port)
            zexio.await_health(peer, admin)
            for site, target in self.sites.items():
                admin.put_route(site, target)
            admin.put_route(TENANT_SITE, self.origin_port, access="tenant", org_id=ORGANIZATION)
            await_answer(peer.port, SITE)
            yield Node(peer, admin)

    def seeded(self) -> Path:
        """A data folder that holds the many routes of the plan, made on first use."""
        if self._seeded is None:
            self._seeded = self._folder("seeded")
            seed.seed_routes(self._seeded, self.plan.routes, self.origin_port)
        return self._seeded

    def script(self, name: str, requests: Sequence[str]) -> Path:
        """A wrk script that sends the requests in turn."""
        return wrk.write_script(self.directory / f"{name}.lua", requests)

    def warm(self, peer: Running, script: Path) -> None:
        """Load a peer without looking."""
        wrk.run(script, peer.port, self.plan.warm_seconds, self.load_core)

    def load(self, peer: Running, script: Path) -> dict[str, float]:
        """Load a peer and say what it did with it; CPU is that of all its processes."""
        before, workers_before = measure.cpu(peer.tree()), measure.cpu(peer.workers())
        load = wrk.run(script, peer.port, self.plan.seconds, self.load_core)
        used, by_workers = measure.cpu(peer.tree()) - before, measure.cpu(peer.workers()) - workers_before
        each = 1e6 / load.requests if load.requests else 0.0
        return {
            "requests_s": load.per_second,
            "p50_ms": load.p50_us / 1e3,
            "p99_ms": load.p99_us / 1e3,
            "cpu_us": used.total_s * each,
            "user_us": used.user_s * each,
            "system_us": used.system_s * each,
            "worker_cpu_us": by_workers.total_s * each,
            "rss_mib": measure.rss_bytes(peer.workers()) / 2**20,
            "rss_all_mib": measure.rss_bytes(peer.tree()) / 2**20,
            "failed": load.failed,
        }

    def _folder(self, name: str) -> Path:
        self._count += 1
        folder = self.directory / f"{self._count:02d}-{name.replace(' + ', '-').replace(' ', '-')}"
        folder.mkdir(mode=0o700)
        return folder


def raise_open_files() -> int:
    """Let this process and those it starts open as many files as the benchmark needs; returns the limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(most, OPEN_FILES), max(most, OPEN_FILES)))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def await_answer(port: int, host: str) -> None:
    """Return when the origin's answer comes through a proxy; raises StartError after ten seconds."""
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while True:
        got = ask(port, host)
        if got.startswith(b"HTTP/1.1 200") and got.endswith(nginx.ANSWER):
            return
        if time.monotonic() > deadline:
            raise StartError(f"port {port} does not forward {host}: {got[:300]!r}")
        time.sleep(0.02)


def ask(port: int, host: str) -> bytes:
    """What one request on a connection of its own is answered, b"" when the connection fails."""
    got = b""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5.0) as connection:
        connection.sendall(head(0, host).encode())
        while not got.endswith((nginx.ANSWER, OTHER_ANSWER.encode())) and (data := connection.recv(65536)):
            got += data
            if not got.startswith(b"HTTP/1.1 200"):
                break
    return got
