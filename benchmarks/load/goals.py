"""The performance budget, held against the rows of a run."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.load.goal import Goal, Table
from benchmarks.load.row import Row

_CPU = "CPU per request against"
_HEADS = {"same": "one head", "varied": "64 heads in turn", "unique": "no head twice"}
# Peer, how many times less, and what explains it when it is not met.
_SLOWER = (
    ("caddy", 3.5, "What every proxy pays to the kernel is a fifth of Caddy's figure by itself."),
    ("aiohttp", 10.0, "nginx itself needs more than a tenth of what this aiohttp proxy needs."),
)
_SHARED = "Here the control process shares one core with the workers, which wait for it; so does pebble with the load."
_VERDICTS = {
    "changes-under-load": "Fifty changes a second under load",
    "target-killed": "A target killed under load",
    "pause": "A pause while the target restarts",
    "attackers": "Slow and greedy visitors",
    "certificates": "Many domains added at once",
    "soak": "Mixed traffic for minutes",
}


def judge(rows: Iterable[Row]) -> list[Goal]:
    """Every goal with what this run measured."""
    table = Table(rows)
    parts = (_path, _tails, _secured, _http2, _tables, _workers, _memory, _bodies, _certificates, _verdicts)
    return [goal for part in parts for goal in part(table)]


def _path(table: Table) -> list[Goal]:
    near = [
        Goal(
            name=f"{_CPU} nginx, {what}",
            unit="x",
            limit=1.25,
            aim=1.0,
            measured=table.ratio("plain", variant),
            note=(
                "Lines that were never seen are read one by one, each a slice and some look-ups, for a request and "
                "for its answer; compiled code makes that cheaper but keeps the objects (docs/performance.md)."
            ),
        )
        for variant, what in _HEADS.items()
    ]
    far = [
        Goal(
            name=f"CPU per request, times less than {peer}, {_HEADS[variant]}",
            unit="x",
            limit=times,
            at_least=True,
            measured=_inverse(table.against("plain", variant, "cpu_us", peer)),
            note=note,
        )
        for peer, times, note in _SLOWER
        for variant in ("varied", "unique")
    ]
    return [*near, *far]


def _inverse(ratio: float | None) -> float | None:
    return 1 / ratio if ratio else None


def _tails(table: Table) -> list[Goal]:
    return [
        Goal(
            name=f"p99 at 70 % of saturation against nginx{where}",
            unit="x",
            limit=1.5,
            measured=table.ratio("latency", variant),
            note=(
                "This row moves from run to run where two cores are shared by proxy, load, origin and neighbours; "
                "look at its rounds."
            ),
        )
        for variant, where in (("high", ""), ("TLS high", ", TLS"))
    ]


def _secured(table: Table) -> list[Goal]:
    requests = [
        Goal(
            name=f"TLS: {_CPU} nginx, {_HEADS[variant]}",
            unit="x",
            limit=1.3,
            aim=1.1,
            measured=table.ratio("tls", variant),
        )
        for variant in ("varied", "unique")
    ]
    handshakes = [
        Goal(
            name=f"TLS: CPU per {kind} handshake against nginx",
            unit="x",
            limit=1.3,
            aim=1.1,
            measured=table.ratio("handshakes", kind),
        )
        for kind in ("full", "resumed")
    ]
    return [*requests, *handshakes]


def _http2(table: Table) -> list[Goal]:
    return [
        Goal(
            name=f"HTTP/2: requests/s against {peer}, {what}",
            unit="x",
            limit=limit,
            aim=aim,
            at_least=True,
            measured=table.against("h2", variant, "requests_s", peer),
        )
        for variant, what in (("get", "64 paths in turn"), ("get unique", "no path twice"))
        for peer, limit, aim in (("caddy", 1.2, 2.0), ("nginx", 0.35, None))
    ]


def _tables(table: Table) -> list[Goal]:
    tenants = [ratio for row in table.of("tenant") if row.subject == "zexio tenant" and (ratio := row.ratio)]
    many = next((row.ratio for row in table.of("routes") if "few" not in row.subject), None)
    live = table.value("change", "live", "live_p99_ms")
    stall = table.value("change", "load meanwhile", "p99_added_ms")
    return [
        Goal(name="Tenant route against public route, CPU", unit="x", limit=1.15, measured=max(tenants, default=None)),
        Goal(name="100,000 routes against few, CPU", unit="x", limit=1.05, measured=many),
        Goal(name="Change live in every worker, p99", unit=" ms", limit=50.0, measured=live),
        Goal(name="p99 that changes add to a running load", unit=" ms", limit=5.0, measured=stall),
    ]


def _workers(table: Table) -> list[Goal]:
    row = table.find("workers", "by CPU time", "zexio 2 workers")
    return [
        Goal(
            name="Two workers against one, by their CPU time",
            unit="x",
            limit=1.6,
            aim=1.8,
            at_least=True,
            measured=row.ratio if row else None,
        )
    ]


def _memory(table: Table) -> list[Goal]:
    limits = {"plain": (2.5, 2.0), "TLS": (30.0, 25.0)}
    return [
        Goal(
            name=f"Memory of an idle connection, {variant}",
            unit=" KiB",
            limit=limit,
            aim=aim,
            measured=table.value("idle", variant, "connection_kib"),
        )
        for variant, (limit, aim) in limits.items()
    ]


def _bodies(table: Table) -> list[Goal]:
    goals = []
    for direction in ("down", "up", "down over TLS", "up over TLS"):
        name = f"Large body {direction}: "
        work = table.best("body", direction, "mb_per_cpu_s", ("nginx", "nginx buffered"))
        growth = table.value("body", direction, "rss_growth_mib")
        goals += [
            Goal(name=name + "bytes per CPU second against nginx", unit="x", limit=0.8, at_least=True, measured=work),
            Goal(name=name + "growth of memory", unit=" MiB", limit=4.0, measured=growth),
        ]
    return goals


def _certificates(table: Table) -> list[Goal]:
    """What others pay while many domains get their certificates."""
    asked = table.value("certificates", "at once", "admin_p99_ms")
    added = table.value("certificates", "at once", "p99_added_ms")
    orders = table.value("certificates", "few orders allowed", "orders")
    return [
        Goal(
            name="Many domains at once: CPU per request of the workers against peace",
            unit="x",
            limit=1.05,
            measured=table.ratio("certificates", "at once"),
        ),
        Goal(
            name="Many domains at once: orders for each",
            unit="",
            limit=1.0,
            measured=_share(table.find("certificates", "at once"), "orders", "domains"),
        ),
        Goal(name="Many domains at once: a GET on the admin API, p99", unit=" ms", limit=50.0, measured=asked),
        Goal(name="Many domains at once: p99 added to the load", unit=" ms", limit=5.0, measured=added, note=_SHARED),
        Goal(name="Orders that reach an authority with 5 allowed", unit="", limit=5.0, measured=orders),
    ]


def _share(row: Row | None, some: str, of: str) -> float | None:
    return row.values[some] / row.values[of] if row else None


def _verdicts(table: Table) -> list[Goal]:
    """What has to hold, whatever it costs."""
    return [
        Goal(name=f"{what}: rows that fail", unit="", limit=0.0, measured=table.failing(scenario))
        for scenario, what in _VERDICTS.items()
    ]
