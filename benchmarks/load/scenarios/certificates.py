"""Many domains added at once, with pebble as the authority: each gets one certificate, and nobody else notices."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
import psutil

from benchmarks.load import authority, background
from benchmarks.load.bench import Bench, Node
from benchmarks.load.caller import Call, Called
from benchmarks.load.heads import SITE
from benchmarks.load.measure import exact_cpu_s, rss_bytes
from benchmarks.load.nginx import ANSWER
from benchmarks.load.pace import quantile
from benchmarks.load.row import Row
from benchmarks.load.verdict import judged, met
from benchmarks.load.zexio import Admin
from tests.support.pebble import Pebble, PebbleOptions

SCENARIO = "certificates"
AT_ONCE = "at once"
WORKERS = 2
RATE = 1_000.0
# Until the generator has started and its connections are open.
WARM_S = 1.0
LONGEST_S = 900.0
ASK_EVERY_S = 0.02
LOOK_EVERY_S = 0.1
# What one challenge request costs is measured with so many, in peace.
CHECKS = 300
SAMPLED = 20
# What one domain costs the workers is measured with a tenth, or so many, which get theirs when there is no load.
FEWEST = 10
FEW, MANY_MORE = 5, 20
# Long enough for an order that must not be made, and to see what workers do when there is nothing to do.
IDLE_S = 3.0
ENOUGH_ORDERS = 1_000_000


class Phase:
    """What was seen of a node under load; complete when its block has ended."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.seconds = self.worker_cpu_s = self.control_cpu_s = 0.0
        self.called = Called(wanted=0, answered=0, failed=0, reasons={}, p50_ms=0.0, p99_ms=0.0, max_ms=0.0, busy=0.0)
        self.admin_s: list[float] = []

    @property
    def requests(self) -> float:
        """How many of the load were due in the block: it is sent at a fixed rate."""
        return RATE * self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU time of the workers for each of them, whatever else the workers did."""
        return self.worker_cpu_s * 1e6 / self.requests

    def admin(self) -> dict[str, float]:
        """How long a GET of one route took on the admin API."""
        shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        return {f"admin_{name}_ms": quantile(self.admin_s, share) for name, share in shares.items()}


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """How adding the domains went; times in seconds."""

    puts_s: tuple[float, ...]
    took_s: float
    active: int
    reason: str


def run(bench: Bench) -> list[Row]:
    """Two workers on the proxy core under a plain load, in peace, while domains are added, and in peace again."""
    if not (bench.installed("zexio") and authority.is_installed()):
        return []
    return [*_at_once(bench), _limited(bench)]


def _at_once(bench: Bench) -> list[Row]:
    count = bench.plan.domains
    names = _names(count + max(FEWEST, count // 10))
    names, others = names[:count], names[count:]
    with _served(bench, ENOUGH_ORDERS, WORKERS) as (pebble, node):
        check_s = _check_s(node)
        control = [psutil.Process(node.running.pid)]
        rss = rss_bytes(control)
        before = _peace(bench, node)
        with _under_load(node) as busy:
            added = _add(node, names, LONGEST_S)
        grown = (rss_bytes(control) - rss) / 2**20
        after = _peace(bench, node)
        unserved = sum(not _is_served(node, pebble, name) for name in names[:: max(1, len(names) // SAMPLED)])
        orders, checks = authority.orders(pebble), authority.checks(pebble)
        domain_s = _domain_s(node, others)
    peace_us = (before.cpu_us + after.cpu_us) / 2
    # The authority's own requests are work for somebody; what they cost in peace is not charged to the load's.
    load_us = (busy.worker_cpu_s - checks * check_s) * 1e6 / busy.requests
    values = {
        "domains": len(names),
        "took_s": added.took_s,
        "issued_s": added.active / added.took_s,
        "orders": orders,
        "unserved": unserved,
        "put_p50_ms": quantile(added.puts_s, 0.5),
        "put_p99_ms": quantile(added.puts_s, 0.99),
        "p99_added_ms": max(0.0, busy.called.p99_ms - (before.called.p99_ms + after.called.p99_ms) / 2),
        "load_cpu_us": load_us,
        "worker_cpu_us": busy.cpu_us,
        "checks": checks,
        "check_us": check_s * 1e6,
        "domain_us": domain_s * 1e6,
        "control_cpu_ms": busy.control_cpu_s * 1e3 / len(names),
        "control_mib": grown,
        **busy.admin(),
    }
    holds = added.active == orders == len(names) and not unserved
    row = met(judged(SCENARIO, "zexio", AT_ONCE, values, holds=holds), busy.called)
    note = ", ".join(filter(None, (row.note, added.reason)))
    row = msgspec.structs.replace(row, ratio=load_us / peace_us, note=note)
    return [_peace_row("in peace before", before), row, _peace_row("in peace after", after)]


def _limited(bench: Bench) -> Row:
    """With few orders allowed, no more than those reach the authority, however many names want one."""
    with _served(bench, FEW, 1) as (pebble, node):
        names = _names(MANY_MORE)
        for name in names:
            node.admin.put_domain(name, SITE)
        ends = time.monotonic() + LONGEST_S
        while authority.orders(pebble) < FEW and time.monotonic() < ends:
            time.sleep(LOOK_EVERY_S)
        time.sleep(IDLE_S)
        active = sum(node.admin.domain(name).status == "active" for name in names)
        orders = authority.orders(pebble)
    values: dict[str, float] = {"domains": len(names), "orders": orders, "orders_most": FEW}
    return judged(SCENARIO, "zexio", "few orders allowed", values, holds=active == orders == FEW)


@contextmanager
def _served(bench: Bench, orders_per_3h: int, workers: int) -> Iterator[tuple[Pebble, Node]]:
    """A node and its authority, which looks for answers where the node listens."""
    front = bench.front(workers)
    with Pebble(PebbleOptions(http_port=front.port, tls_port=front.tls_port)) as pebble:
        shape = authority.asking(
            pebble, bench.folder("issuer"), orders_per_3h, name=f"zexio certificates {orders_per_3h}", workers=workers
        )
        with bench.node(shape, front=front) as node:
            yield pebble, node


def _names(count: int) -> list[str]:
    """Domains of as many customers: authorities count by the registered domain."""
    return [f"www.customer-{number:05d}.example" for number in range(count)]


def _peace(bench: Bench, node: Node) -> Phase:
    with _under_load(node) as phase:
        time.sleep(2 * bench.plan.background_s)
    return phase


@contextmanager
def _under_load(node: Node) -> Iterator[Phase]:
    """A plain load, and someone who asks the admin API, for as long as the block runs."""
    order = Call(
        port=node.running.port, hosts=(SITE,), rate=RATE, seconds=LONGEST_S + WARM_S, answers=(ANSWER.decode(),)
    )
    workers, control = node.running.workers(), [psutil.Process(node.running.pid)]
    phase = Phase()
    with background.going_on("caller", order) as process:
        time.sleep(WARM_S)
        with _asking(node.admin.port, phase.admin_s):
            began, spent, managed = time.perf_counter(), exact_cpu_s(workers), exact_cpu_s(control)
            yield phase
            phase.worker_cpu_s, phase.control_cpu_s = exact_cpu_s(workers) - spent, exact_cpu_s(control) - managed
            phase.seconds = time.perf_counter() - began
        process.terminate()
        phase.called = background.finish(process, Called)


@contextmanager
def _asking(port: int, times: list[float]) -> Iterator[None]:
    """Ask the admin API for one route all the time, and note in seconds how long each answer took."""
    done = threading.Event()

    def ask() -> None:
        admin = Admin(port)
        while not done.wait(ASK_EVERY_S):
            began = time.perf_counter()
            admin.route(SITE)
            times.append(time.perf_counter() - began)
        admin.close()

    thread = threading.Thread(target=ask, name="admin-probe")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _add(node: Node, names: Sequence[str], patience_s: float) -> Added:
    """Add all names, one after the other, and wait until they are active."""
    began = time.perf_counter()
    puts = []
    for name in names:
        sent = time.perf_counter()
        node.admin.put_domain(name, SITE)
        puts.append(time.perf_counter() - sent)
    active, reason = 0, ""
    for name in names:
        while (domain := node.admin.domain(name)).status != "active" and time.perf_counter() < began + patience_s:
            time.sleep(LOOK_EVERY_S)
        active += domain.status == "active"
        reason = reason if domain.status == "active" else f"{name} is {domain.status}: {domain.reason}"
    return Added(puts_s=tuple(puts), took_s=time.perf_counter() - began, active=active, reason=reason)


def _check_s(node: Node) -> float:
    """CPU time of the workers for a request such as the authority sends: one on a new connection, from nobody known."""
    workers = node.running.workers()
    spent = exact_cpu_s(workers)
    for number in range(CHECKS):
        visit = http.client.HTTPConnection("127.0.0.1", node.running.port, timeout=10.0)
        visit.request("GET", f"/.well-known/acme-challenge/{number:043d}", headers={"Host": "nobody.example"})
        visit.getresponse().read()
        visit.close()
    return (exact_cpu_s(workers) - spent) / CHECKS


def _domain_s(node: Node, names: Sequence[str]) -> float:
    """CPU time of the workers for a domain: its routes, the requests of the authority, its certificate."""
    workers = node.running.workers()
    spent = exact_cpu_s(workers)
    time.sleep(IDLE_S)
    idle = (exact_cpu_s(workers) - spent) / IDLE_S
    spent = exact_cpu_s(workers)
    added = _add(node, names, LONGEST_S)
    return (exact_cpu_s(workers) - spent - idle * added.took_s) / len(names)


def _is_served(node: Node, pebble: Pebble, name: str) -> bool:
    """Whether a visitor who trusts nobody but the authority gets the page over TLS."""
    try:
        with (
            socket.create_connection(("127.0.0.1", node.running.tls_port), timeout=10.0) as plain,
            pebble.visitor_context().wrap_socket(plain, server_hostname=name) as connection,
        ):
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while data := connection.recv(65536):
                answer += data
    except (OSError, ssl.SSLError):
        return False
    return answer.startswith(b"HTTP/1.1 200") and answer.endswith(ANSWER)


def _peace_row(variant: str, phase: Phase) -> Row:
    values = {"load_cpu_us": phase.cpu_us, **phase.admin()}
    return met(judged(SCENARIO, "zexio", variant, values, holds=True), phase.called)
