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

from benchmarks.load import grpc, measure, nginx, seed, wrk, zexio
from benchmarks.load.certificate import write_certificate
from benchmarks.load.front import Front
from benchmarks.load.heads import ECHO_SITE, GRPC_SITE, SITE, UPLOAD_SITE, Variant, head, heads
from benchmarks.load.peers import PEERS, is_installed
from benchmarks.load.process import Program, Running, StartError, free_port, running
from benchmarks.load.zexio import ORGANIZATION, TENANT_SITE, Admin, Shape

OTHER_ANSWER = "Other target!"
ANSWERS_WITHIN_S = 10.0
OPEN_FILES = 65_536

SITES = (SITE, UPLOAD_SITE, ECHO_SITE, GRPC_SITE)

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
    messages_s: float = 2.0
    churn_s: float = 60.0
    domains: int = 1_000
    kills: int = 3
    attack_s: float = 6.0
    attack_rounds: int = 2
    soak_s: float = 600.0
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
    messages_s=1.0,
    churn_s=4.0,
    domains=50,
    kills=1,
    attack_s=5.0,
    attack_rounds=1,
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
        """Bind this process to the load core and start the origins there."""
        os.sched_setaffinity(0, {self.load_core})
        raise_open_files()
        self.pem = write_certificate(self.directory / "site.pem", (*SITES, TENANT_SITE))
        self.origin_port, self.other_port, self.grpc_port = free_port(), free_port(), free_port()
        self.sink_port, self.echo_port = free_port(), free_port()
        origin = nginx.origin(self.origin_port, self.other_port, OTHER_ANSWER)
        self.origin = self.start(origin, (self.load_core,))
        for name, port in (("sink", self.sink_port), ("echo", self.echo_port)):
            self.start(own_program(name, port), (self.load_core,))
        if grpc.is_installed():
            self.start(grpc.origin(self.grpc_port), (self.load_core,))
        with (self.origin.directory / nginx.BIG_FILE).open("wb") as big:
            big.truncate(self.plan.body_bytes)

    @property
    def sites(self) -> dict[str, int]:
        """The sites that every peer serves, each with the port of its origin."""
        ports = (self.origin_port, self.sink_port, self.echo_port, self.grpc_port)
        return dict(zip(SITES, ports, strict=True))

    def start(self, program: Program, cores: tuple[int, ...]) -> Running:
        """Start a program that runs to the end of the run."""
        return self._stack.enter_context(running(program, self.folder(program.name), cores))

    def front(self, workers: int = 1) -> Front:
        """Ports of its own for one more peer."""
        return Front(port=free_port(), tls_port=free_port(), pem=self.pem, sites=self.sites, workers=workers)

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
        with self.other(PEERS[name](self.front())) as peer:
            yield peer

    @contextmanager
    def other(self, program: Program, cores: tuple[int, ...] = ()) -> Iterator[Running]:
        """A peer that is configured for one scenario, on the proxy core unless others are named."""
        with running(program, self.folder(program.name), cores or (self.proxy_core,)) as peer:
            await_answer(peer.port, SITE)
            yield peer

    @contextmanager
    def node(self, shape: Shape, cores: tuple[int, ...] = (), front: Front | None = None) -> Iterator[Node]:
        """A zexio that serves the sites and the tenant route, on the proxy core unless others are named."""
        admin_port = free_port()
        folder = self.folder(shape.name)
        if shape.seeded:
            zexio.copy_seed(shape.seeded, folder)
        program = zexio.program(shape, front or self.front(), admin_port)
        with running(program, folder, cores or (self.proxy_core,)) as peer:
            admin = Admin(admin_port)
            zexio.await_health(peer, admin)
            for site, target in self.sites.items():
                admin.put_route(site, target, scheme="h2c" if site == GRPC_SITE else "http")
            admin.put_route(TENANT_SITE, self.origin_port, access="tenant", org_id=ORGANIZATION)
            await_answer(peer.port, SITE)
            yield Node(peer, admin)

    def seeded(self) -> Path:
        """A data folder that holds the many routes of the plan, made on first use."""
        if self._seeded is None:
            self._seeded = self.folder("seeded")
            seed.seed_routes(self._seeded, self.plan.routes, self.origin_port)
        return self._seeded

    def script(self, name: str, requests: Sequence[str]) -> Path:
        """A wrk script that sends the requests in turn."""
        return wrk.write_script(self.directory / f"{name}.lua", requests)

    def warm(self, peer: Running, script: Path, *, tls: bool = False) -> None:
        """Load a peer without looking."""
        wrk.run(script, peer.tls_port if tls else peer.port, self.plan.warm_seconds, (self.load_core,), tls=tls)

    def load(self, peer: Running, script: Path, *, tls: bool = False, cores: tuple[int, ...] = ()) -> dict[str, float]:
        """Load a peer and say what it did with it; CPU is that of all its processes."""
        port = peer.tls_port if tls else peer.port
        with measure.spending(peer) as spent:
            load = wrk.run(script, port, self.plan.seconds, cores or (self.load_core,), tls=tls)
        return {
            "requests_s": load.per_second,
            "p50_ms": load.p50_us / 1e3,
            "p99_ms": load.p99_us / 1e3,
            **spent.per(load.requests),
            "rss_mib": measure.rss_bytes(peer.workers()) / 2**20,
            "rss_all_mib": measure.rss_bytes(peer.tree()) / 2**20,
            "load_busy": load.busy,
            "failed": load.failed,
        }

    def folder(self, name: str) -> Path:
        """A new folder in that of the run."""
        self._count += 1
        folder = self.directory / f"{self._count:02d}-{name.replace(' + ', '-').replace(' ', '-')}"
        folder.mkdir(mode=0o700)
        return folder


def own_program(module: str, port: int, *arguments: str) -> Program:
    """An origin of this folder: `benchmarks.load.MODULE`."""
    argv = (sys.executable, "-m", f"benchmarks.load.{module}", str(port), *arguments)
    return Program(name=module, port=port, argv=argv, env={"PYTHONPATH": str(Path.cwd())})


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
