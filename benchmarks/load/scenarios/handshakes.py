"""TLS 1.3 handshakes, one request on each connection: CPU time per handshake, full and resumed."""

from __future__ import annotations

from pathlib import Path

from benchmarks.load import background
from benchmarks.load.bench import Bench
from benchmarks.load.heads import SITE, closing, heads
from benchmarks.load.measure import spending
from benchmarks.load.process import Running
from benchmarks.load.row import Row, Sample, fold
from benchmarks.load.shake import Shake, Shaken

SUBJECTS = ("zexio", "nginx", "haproxy", "caddy")


def run(bench: Bench) -> list[Row]:
    """Full ones by wrk, which keeps no sessions; resumed ones by a generator that brings a ticket to each."""
    subjects = bench.installed(*SUBJECTS)
    script = bench.script("handshakes", closing(heads("varied")))
    for subject in subjects:
        bench.warm(bench.peer(subject), script, tls=True)
    samples = [
        Sample(subject, variant, index, measured)
        for index in range(bench.plan.rounds)
        for subject in subjects
        for variant, measured in (
            ("full", _full(bench, bench.peer(subject), script)),
            ("resumed", _resumed(bench, bench.peer(subject))),
        )
    ]
    return fold("handshakes", sorted(samples, key=lambda each: each.variant), "handshake_us", "nginx")


def _full(bench: Bench, peer: Running, script: Path) -> dict[str, float]:
    got = bench.load(peer, script, tls=True)
    return {
        "handshakes_s": got["requests_s"],
        "handshake_us": got["cpu_us"],
        "user_us": got["user_us"],
        "system_us": got["system_us"],
        "resumed": 0.0,
        "load_busy": got["load_busy"],
        "failed": got["failed"],
    }


def _resumed(bench: Bench, peer: Running) -> dict[str, float]:
    order = Shake(port=peer.tls_port, host=SITE, seconds=bench.plan.seconds)
    with spending(peer) as spent:
        got = background.finish(background.start("shake", order), Shaken)
    used = spent.per(got.handshakes)
    return {
        "handshakes_s": got.per_second,
        "handshake_us": used["cpu_us"],
        "user_us": used["user_us"],
        "system_us": used["system_us"],
        "resumed": got.resumed / max(got.handshakes, 1),
        "load_busy": got.busy,
        "failed": 0.0,
    }
