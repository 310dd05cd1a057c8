"""Small keep-alive GETs over TLS 1.3, with a P-256 certificate: CPU time per request."""

from __future__ import annotations

from benchmarks.load.bench import Bench
from benchmarks.load.heads import heads
from benchmarks.load.row import Row, Sample, fold

SUBJECTS = ("zexio", "nginx", "haproxy", "caddy")


def run(bench: Bench) -> list[Row]:
    """Every peer with varied and unique heads, in turn, round after round."""
    subjects = bench.installed(*SUBJECTS)
    variants = [variant for variant in bench.plan.variants if variant != "same"]
    scripts = {variant: bench.script(f"tls-{variant}", heads(variant)) for variant in variants}
    for subject in subjects:
        bench.warm(bench.peer(subject), scripts[variants[0]], tls=True)
    samples = [
        Sample(subject, variant, index, bench.load(bench.peer(subject), script, tls=True))
        for index in range(bench.plan.rounds)
        for variant, script in scripts.items()
        for subject in subjects
    ]
    ordered = [sample for variant in scripts for sample in samples if sample.variant == variant]
    return fold("tls", ordered, "cpu_us", "nginx")
