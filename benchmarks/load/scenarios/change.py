"""How long a change takes until every worker serves it, among many routes, and what it does to requests meanwhile."""

from __future__ import annotations

import time

from benchmarks.load import pace
from benchmarks.load.bench import OTHER_ANSWER, Bench, Node, ask
from benchmarks.load.heads import SITE
from benchmarks.load.nginx import ANSWER
from benchmarks.load.pace import Pace, Paced, quantile
from benchmarks.load.row import Row
from benchmarks.load.seed import seeded_host
from benchmarks.load.zexio import Shape

WORKERS = 2
IN_A_ROW = 16
LIVE_WITHIN_S = 10.0
BACKGROUND_PER_S = 500.0
PAUSE_S = 0.02


class NotLiveError(Exception):
    """A change was answered but not served by all workers in time."""


def run(bench: Bench) -> list[Row]:
    """Two workers on the proxy core; a background load runs once in peace and once while routes change."""
    if not bench.installed("zexio"):
        return []
    with bench.node(Shape(name=f"zexio {WORKERS} workers", workers=WORKERS, seeded=bench.seeded())) as node:
        order = Pace(port=node.running.port, host=SITE, rate=BACKGROUND_PER_S, seconds=bench.plan.background_s)
        quiet = pace.finish(pace.start(order))
        generator = pace.start(order)
        try:
            times = [_change(bench, node, number) for number in range(bench.plan.changes)]
            busy = pace.finish(generator)
        finally:
            generator.kill()
    return [
        Row(scenario="change", subject="zexio", variant="live", values=_live(times)),
        Row(scenario="change", subject="zexio", variant="load in peace", values=_latency(quiet, quiet)),
        Row(scenario="change", subject="zexio", variant="load meanwhile", values=_latency(busy, quiet)),
    ]


def _change(bench: Bench, node: Node, number: int) -> tuple[float, float]:
    """Seconds until the PUT was answered, and until the first of 16 right answers in a row on new connections."""
    target, answer = (bench.other_port, OTHER_ANSWER.encode()) if number % 2 == 0 else (bench.origin_port, ANSWER)
    time.sleep(PAUSE_S)
    host = seeded_host(bench.plan.routes // 2)
    began = time.perf_counter()
    node.admin.put_route(host, target)
    answered = time.perf_counter() - began
    live, right = answered, 0
    while right < IN_A_ROW:
        right = right + 1 if ask(node.running.port, host).endswith(answer) else 0
        if right == 1:
            live = time.perf_counter() - began
        if live > LIVE_WITHIN_S or time.perf_counter() - began > LIVE_WITHIN_S:
            raise NotLiveError(f"change {number} was not live after {LIVE_WITHIN_S:g} s")
    return answered, live


def _live(times: list[tuple[float, float]]) -> dict[str, float]:
    answered, live = zip(*times, strict=True)
    return {
        "changes": len(times),
        "put_p50_ms": quantile(answered, 0.5),
        "put_p99_ms": quantile(answered, 0.99),
        "live_p50_ms": quantile(live, 0.5),
        "live_p99_ms": quantile(live, 0.99),
    }


def _latency(got: Paced, quiet: Paced) -> dict[str, float]:
    return {
        "requests_s": got.per_second,
        "p50_ms": got.scheduled_p50_ms,
        "p99_ms": got.scheduled_p99_ms,
        "max_ms": got.scheduled_max_ms,
        "p99_added_ms": max(0.0, got.scheduled_p99_ms - quiet.scheduled_p99_ms),
    }
