"""What tenant isolation costs: a route that needs a mesh token against a public one, on the same node."""

from __future__ import annotations

from benchmarks.load.bench import Bench
from benchmarks.load.heads import SITE, VARIED, Variant, heads
from benchmarks.load.row import Row, Sample, fold
from benchmarks.load.zexio import TENANT_SITE, token

VARIANTS: tuple[Variant, ...] = ("varied", "unique")


def run(bench: Bench) -> list[Row]:
    """Varied and unique heads; those of the tenant route carry 64 tokens of 64 users, about 300 bytes each."""
    if not bench.installed("zexio"):
        return []
    node = bench.peer("zexio")
    tokens = [token(user) for user in range(VARIED)]
    samples: list[Sample] = []
    for variant in VARIANTS:
        scripts = {
            "zexio public": bench.script(f"public-{variant}", heads(variant, (SITE,))),
            "zexio tenant": bench.script(f"tenant-{variant}", heads(variant, (TENANT_SITE,), tokens)),
        }
        samples += [
            Sample(subject, variant, index, bench.load(node, script))
            for index in range(bench.plan.rounds)
            for subject, script in scripts.items()
        ]
    return fold("tenant", samples, "cpu_us", "zexio public")
