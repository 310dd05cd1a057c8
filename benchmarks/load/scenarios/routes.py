"""What many routes cost on the path: 64 hosts out of 100,000 against one host."""

from __future__ import annotations

from benchmarks.load.bench import Bench
from benchmarks.load.heads import VARIED, heads
from benchmarks.load.row import Row, Sample, fold
from benchmarks.load.seed import seeded_host
from benchmarks.load.zexio import Shape


def run(bench: Bench) -> list[Row]:
    """Two nodes in turn, one of which holds the many routes."""
    if not bench.installed("zexio"):
        return []
    count = bench.plan.routes
    many = f"zexio {count:,} routes"
    hosts = [seeded_host(number * (count // VARIED)) for number in range(VARIED)]
    few_script = bench.script("few", heads("varied"))
    many_script = bench.script("many", heads("varied", hosts))
    with bench.node(Shape(name=many, seeded=bench.seeded())) as node:
        subjects = {"zexio few routes": (bench.peer("zexio"), few_script), many: (node.running, many_script)}
        bench.warm(node.running, many_script)
        samples = [
            Sample(subject, "varied", index, bench.load(peer, script))
            for index in range(bench.plan.rounds)
            for subject, (peer, script) in subjects.items()
        ]
    return fold("routes", samples, "cpu_us", "zexio few routes")
