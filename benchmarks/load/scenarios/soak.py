"""Mixed traffic for minutes: after the first minute no process grows, and nothing fails."""

from __future__ import annotations

import time

import msgspec
import psutil

from benchmarks.load import background
from benchmarks.load.bench import Bench
from benchmarks.load.growth import Held, growth
from benchmarks.load.measure import rss_bytes
from benchmarks.load.mixture import Mix, Mixed
from benchmarks.load.process import Running
from benchmarks.load.row import Row
from benchmarks.load.verdict import judged
from benchmarks.load.zexio import Shape

WORKERS = 2
SAMPLE_EVERY_S = 5.0
# Caches fill and pools open in the first minute; of a short run, a third.
SETTLES_S, SETTLES_SHARE = 60.0, 1 / 3
# What the line may gain from there to the end, in one process. Visitors come and go by chance: files never stand still.
MOST_RSS_MIB, MOST_FILES, MOST_THREADS = 2.0, 10.0, 0.5

Samples = dict[int, list[Held]]


def run(bench: Bench) -> list[Row]:
    """Two workers on the proxy core, and every process of the node watched."""
    if not bench.installed("zexio"):
        return []
    with bench.node(Shape(name="zexio soak", workers=WORKERS)) as node:
        names = _names(node.running)
        order = Mix(port=node.running.port, tls_port=node.running.tls_port, seconds=bench.plan.soak_s)
        with background.going_on("mixture", order) as process:
            samples = _watch(names, bench.plan.soak_s)
            mixed = background.finish(process, Mixed)
        lost = sorted(set(names) - {each.pid for each in node.running.tree()})
    rows = [_process_row(names[pid], samples[pid], is_lost=pid in lost) for pid in names]
    return [*rows, *_traffic_rows(mixed)]


def _names(node: Running) -> dict[int, str]:
    workers = {each.pid: f"worker {number}" for number, each in enumerate(node.workers(), 1)}
    return {each.pid: workers.get(each.pid, "control" if each.pid == node.pid else "helper") for each in node.tree()}


def _watch(names: dict[int, str], seconds: float) -> Samples:
    began = time.monotonic()
    samples: Samples = {pid: [] for pid in names}
    number = 0
    every = min(SAMPLE_EVERY_S, seconds / 12)
    while (at := number * every) < seconds:
        time.sleep(max(0.0, began + at - time.monotonic()))
        for pid, held in samples.items():
            if psutil.pid_exists(pid):
                held.append(_held(psutil.Process(pid), at))
        number += 1
    return samples


def _held(process: psutil.Process, at: float) -> Held:
    return Held(at, rss_bytes([process]) / 2**20, process.num_fds(), process.num_threads())


def _process_row(name: str, samples: list[Held], *, is_lost: bool) -> Row:
    last = samples[-1].at_s
    settled = [each for each in samples if each.at_s >= min(SETTLES_S, last * SETTLES_SHARE)]
    times = [each.at_s for each in settled]
    rss = growth(times, [each.rss_mib for each in settled])
    files = growth(times, [each.files for each in settled])
    threads = growth(times, [each.threads for each in settled])
    holds = not is_lost and rss.gained <= MOST_RSS_MIB and files.gained <= MOST_FILES and threads.gained <= MOST_THREADS
    values = {
        "first_rss_mib": samples[0].rss_mib,
        "begin_rss_mib": rss.begin,
        "end_rss_mib": rss.end,
        "gained_rss_mib": rss.gained,
        "begin_files": files.begin,
        "end_files": files.end,
        "gained_files": files.gained,
        "gained_threads": threads.gained,
    }
    return judged("soak", f"zexio {name}", f"{last:.0f} s", values, holds=holds)


def _traffic_rows(mixed: Mixed) -> list[Row]:
    rows = []
    for kind in sorted({*mixed.done, *mixed.failed}):
        done, failed = mixed.done.get(kind, 0), mixed.failed.get(kind, 0)
        row = judged("soak", kind, "traffic", {"done": done, "failed": failed}, holds=done > 0 and not failed)
        reasons = [f"{count} x {reason}" for reason, count in mixed.reasons.items() if reason.startswith(f"{kind}: ")]
        rows.append(msgspec.structs.replace(row, note="; ".join(reasons)))
    return rows
