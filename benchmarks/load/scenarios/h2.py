"""HTTP/2 over TLS: small GETs, and calls as gRPC makes them to a target that speaks HTTP/2 too."""

from __future__ import annotations

from pathlib import Path

from benchmarks.load import grpc, h2load
from benchmarks.load.bench import Bench
from benchmarks.load.measure import spending
from benchmarks.load.process import Running
from benchmarks.load.row import Row, Sample, fold

SUBJECTS = ("zexio", "nginx", "haproxy", "caddy")


def run(bench: Bench) -> list[Row]:
    """Every peer with both kinds, in turn, round after round; compared by the rate on one core."""
    if not h2load.is_installed():
        return []
    subjects = bench.installed(*SUBJECTS)
    folder = bench.folder("h2load")
    kinds = {"get": h2load.gets(), "get unique": h2load.gets(unique=True)}
    if grpc.is_installed():
        kinds["grpc"] = h2load.calls(folder)
    for subject in subjects:
        for kind in kinds.values():
            h2load.run(kind, bench.peer(subject).tls_port, bench.plan.warm_seconds, bench.load_core, folder)
    samples = [
        Sample(subject, variant, index, _load(bench, bench.peer(subject), kind, folder))
        for index in range(bench.plan.rounds)
        for variant, kind in kinds.items()
        for subject in subjects
    ]
    return fold("h2", sorted(samples, key=lambda each: each.variant), "requests_s", "nginx")


def _load(bench: Bench, peer: Running, kind: h2load.Kind, folder: Path) -> dict[str, float]:
    with spending(peer) as spent:
        load = h2load.run(kind, peer.tls_port, bench.plan.seconds, bench.load_core, folder)
    return {
        "requests_s": load.per_second,
        "requests_cpu_s": load.requests / max(spent.all.total_s, 0.01),
        **spent.per(load.requests),
        "load_busy": load.busy,
        "failed": load.failed,
    }
