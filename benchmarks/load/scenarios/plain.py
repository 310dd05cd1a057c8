"""Small keep-alive GETs through every proxy: requests per second, latency, CPU time per request and memory."""

from __future__ import annotations

from benchmarks.load.bench import Bench
from benchmarks.load.heads import heads
from benchmarks.load.row import Row, Sample, fold

SUBJECTS = ("zexio", "zexio + log", "nginx", "nginx + log", "haproxy", "caddy", "aiohttp")


def run(bench: Bench) -> list[Row]:
    """Every peer with all kinds of heads, in turn, round after round."""
    subjects = bench.installed(*SUBJECTS)
    scripts = {variant: bench.script(f"plain-{variant}", heads(variant)) for variant in bench.plan.variants}
    for subject in subjects:
        bench.peer(subject)
    samples = [
        Sample(subject, variant, index, bench.load(bench.peer(subject), script))
        for index in range(bench.plan.rounds)
        for variant, script in scripts.items()
        for subject in subjects
    ]
    ordered = [sample for variant in scripts for sample in samples if sample.variant == variant]
    return fold("plain", ordered, "cpu_us", "nginx")
