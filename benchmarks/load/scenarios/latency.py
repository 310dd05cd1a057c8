"""Latency at a rate below saturation, from an open-loop generator, so that a stall is charged to whoever it delays."""

from __future__ import annotations

from benchmarks.load import pace
from benchmarks.load.bench import Bench
from benchmarks.load.heads import SITE, heads
from benchmarks.load.process import Running
from benchmarks.load.row import Row, Sample, fold

SUBJECTS = ("zexio", "nginx")
LOW, HIGH = 0.3, 0.7
# Beyond this the generator, which shares its core with the origin, would measure itself.
MOST_PER_SECOND = 26_000.0


def run(bench: Bench) -> list[Row]:
    """All peers at the same two rates: 30 % of the fastest one's saturation and 70 % of the slowest one's."""
    subjects = bench.installed(*SUBJECTS)
    script = bench.script("saturate", heads("varied"))
    most = {subject: bench.load(bench.peer(subject), script)["requests_s"] for subject in subjects}
    rates = {
        "low": min(LOW * max(most.values()), MOST_PER_SECOND),
        "high": min(HIGH * min(most.values()), MOST_PER_SECOND),
    }
    samples = [
        Sample(subject, variant, index, _paced(bench.peer(subject), rate, bench.plan.seconds, most[subject]))
        for index in range(bench.plan.tail_rounds)
        for variant, rate in rates.items()
        for subject in subjects
    ]
    return fold("latency", sorted(samples, key=lambda each: each.variant), "p99_ms", "nginx")


def _paced(peer: Running, rate: float, seconds: int, most: float) -> dict[str, float]:
    got = pace.finish(pace.start(peer.port, SITE, rate, seconds))
    return {
        "wanted_s": rate,
        "of_saturation": rate / most,
        "requests_s": got.per_second,
        "p50_ms": got.scheduled_p50_ms,
        "p99_ms": got.scheduled_p99_ms,
        "max_ms": got.scheduled_max_ms,
        "sent_p99_ms": got.sent_p99_ms,
        "generator_busy": got.busy,
    }
