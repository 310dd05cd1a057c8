"""Two workers against one, where proxy, load and origin share both cores: nothing is bound to a core here.

Two cores cannot hold two busy workers and what loads them, so the rate alone says little. How many requests the workers
would serve with a core each follows from their CPU time: the busiest one sets the pace.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from benchmarks.load import nginx
from benchmarks.load.bench import Bench
from benchmarks.load.heads import heads
from benchmarks.load.measure import cpu
from benchmarks.load.process import Running
from benchmarks.load.row import Row, Sample, fold
from benchmarks.load.zexio import Shape

SUBJECTS = ("zexio", "nginx")
WORKERS = (1, 2)
# What the rows are compared by.
MEASURES = {"by CPU time": "capacity_s", "by rate": "requests_s"}


def run(bench: Bench) -> list[Row]:
    """Each peer with one worker and with two, in turn, round after round."""
    subjects = bench.installed(*SUBJECTS)
    script = bench.script("workers", heads("varied"))
    samples: dict[str, list[Sample]] = {subject: [] for subject in subjects}
    with ExitStack() as stack:
        stack.enter_context(_all_cores(bench))
        peers = {
            (each, count): stack.enter_context(_peer(bench, each, count)) for each in subjects for count in WORKERS
        }
        for peer in peers.values():
            bench.warm(peer, script)
        for index in range(bench.plan.rounds):
            for (subject, count), peer in peers.items():
                measured = _load(bench, peer, script)
                samples[subject].append(Sample(_name(subject, count), "", index, measured))
    return [
        row
        for variant, measure in MEASURES.items()
        for subject, found in samples.items()
        for row in fold("workers", _as(variant, found), measure, _name(subject, WORKERS[0]))
    ]


def _name(subject: str, count: int) -> str:
    return f"{subject} {count} worker{'s' if count > 1 else ''}"


def _as(variant: str, samples: list[Sample]) -> list[Sample]:
    return [msgspec.structs.replace(sample, variant=variant) for sample in samples]


@contextmanager
def _all_cores(bench: Bench) -> Iterator[None]:
    """Let the harness, and what it starts, and the origin run on every core."""
    origin = [process.pid for process in bench.origin.tree()]
    try:
        for pid in (0, *origin):
            os.sched_setaffinity(pid, bench.all_cores)
        yield
    finally:
        for pid in (0, *origin):
            os.sched_setaffinity(pid, (bench.load_core,))


@contextmanager
def _peer(bench: Bench, subject: str, count: int) -> Iterator[Running]:
    if subject == "zexio":
        with bench.node(Shape(name=_name(subject, count), workers=count), bench.all_cores) as node:
            yield node.running
        return
    with bench.other(nginx.proxy(_name(subject, count), bench.front(count)), bench.all_cores) as peer:
        yield peer


def _load(bench: Bench, peer: Running, script: Path) -> dict[str, float]:
    workers, origin = peer.workers(), bench.origin.tree()
    before = [cpu([each]).total_s for each in workers]
    origin_before = cpu(origin)
    got = bench.load(peer, script, cores=bench.all_cores)
    used = [cpu([each]).total_s - earlier for each, earlier in zip(workers, before, strict=True)]
    origin_s = (cpu(origin) - origin_before).total_s
    seconds = bench.plan.seconds
    return {
        "requests_s": got["requests_s"],
        "capacity_s": got["requests_s"] * seconds / max(*used, 0.01),
        "cpu_us": got["cpu_us"],
        "user_us": got["user_us"],
        "system_us": got["system_us"],
        "busiest": max(used) / max(sum(used), 0.01),
        "cores_busy": (got["cpu_us"] * got["requests_s"] / 1e6) + got["load_busy"] + origin_s / seconds,
        "failed": got["failed"],
    }
