"""Latency at a rate below saturation, from an open-loop generator, so that a stall is charged to whoever it delays."""

from __future__ import annotations

from benchmarks.load import pace
from benchmarks.load.bench import Bench
from benchmarks.load.heads import SITE, heads
from benchmarks.load.pace import Pace
from benchmarks.load.process import Running
from benchmarks.load.row import Row, Sample, fold

SUBJECTS = ("zexio", "nginx")
LOW, HIGH = 0.3, 0.7
# Beyond this the generator, which shares its core with the origin, would measure itself.
MOST_PER_SECOND = 32_000.0


def run(bench: Bench) -> list[Row]:
    """All peers at the same two rates: 30 % of the fastest one's saturation and 70 % of the slowest one's."""
    plain = _samples(bench, bench.installed(*SUBJECTS), {"low": LOW, "high": HIGH}, tls=False)
    secured = _samples(bench, bench.installed(*SUBJECTS), {"high": HIGH}, tls=True)
    return fold("latency", sorted([*plain, *secured], key=lambda each: each.variant), "p99_ms", "nginx")


def _samples(bench: Bench, subjects: list[str], shares: dict[str, float], *, tls: bool) -> list[Sample]:
    script = bench.script("saturate", heads("varied"))
    most = {subject: bench.load(bench.peer(subject), script, tls=tls)["requests_s"] for subject in subjects}
    # A low rate is one at which nobody is busy, a high one is one at which the slowest still keeps up.
    ends = {LOW: max(most.values()), HIGH: min(most.values())}
    rates = {name: min(share * ends[share], MOST_PER_SECOND) for name, share in shares.items()}
    return [
        Sample(subject, _variant(name, tls=tls), index, _wait(bench, bench.peer(subject), rate, most[subject], tls))
        for index in range(bench.plan.tail_rounds)
        for name, rate in rates.items()
        for subject in subjects
    ]


def _variant(name: str, *, tls: bool) -> str:
    return f"TLS {name}" if tls else name


def _wait(bench: Bench, peer: Running, rate: float, most: float, tls: bool) -> dict[str, float]:
    port = peer.tls_port if tls else peer.port
    got = pace.finish(pace.start(Pace(port=port, host=SITE, rate=rate, seconds=bench.plan.seconds, tls=tls)))
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
