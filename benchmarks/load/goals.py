"""The performance budget, held against the rows of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from benchmarks.load.row import Row

Verdict = Literal["met", "not met", "not measured"]


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the budget: `limit` decides, `aim` is where it shall go; `at_least` turns the comparison round.

    `note` says why it is not met, for as long as it is not.
    """

    name: str
    unit: str
    limit: float
    aim: float | None = None
    at_least: bool = False
    measured: float | None = None
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether the limit holds."""
        if self.measured is None:
            return "not measured"
        holds = self.measured >= self.limit if self.at_least else self.measured <= self.limit
        return "met" if holds else "not met"

    @property
    def bound(self) -> str:
        """The limit in words, with the aim where there is one."""
        text = f"{'at least' if self.at_least else 'at most'} {self.limit:g}{self.unit}"
        return text if self.aim is None else f"{text} (aim {self.aim:g}{self.unit})"

    @property
    def found(self) -> str:
        """The measured value in words."""
        return "-" if self.measured is None else f"{self.measured:.2f}{self.unit}"


_CPU = "CPU per request against"
_HEADS = {"same": "one head", "varied": "64 heads in turn", "unique": "no head twice"}
# Peer, limit, aim, and what explains it when it is not met.
_SLOWER = (
    ("caddy", 0.35, 0.25, "What every proxy pays to the kernel is a fifth of Caddy's figure by itself."),
    ("aiohttp", 0.1, None, "nginx itself needs more than a tenth of what this aiohttp proxy needs."),
)


class _Table:
    """Rows by scenario and variant; what is missing is None."""

    def __init__(self, rows: Iterable[Row]) -> None:
        """Index the rows."""
        self._rows = list(rows)

    def of(self, scenario: str) -> list[Row]:
        """All rows of a scenario."""
        return [row for row in self._rows if row.scenario == scenario]

    def find(self, scenario: str, variant: str, subject: str = "zexio") -> Row | None:
        """The row of a subject."""
        of_variant = [row for row in self._rows if (row.scenario, row.variant) == (scenario, variant)]
        return next((row for row in of_variant if row.subject == subject), None)

    def ratio(self, scenario: str, variant: str, subject: str = "zexio") -> float | None:
        """The ratio of a row with its reference."""
        row = self.find(scenario, variant, subject)
        return row.ratio if row else None

    def value(self, scenario: str, variant: str, name: str, subject: str = "zexio") -> float | None:
        """One value of a row."""
        row = self.find(scenario, variant, subject)
        return row.values.get(name) if row else None

    def over(self, scenario: str, variant: str, name: str, others: Iterable[str]) -> float | None:
        """A value of zexio, divided by the best (largest) one of the others."""
        ours = self.value(scenario, variant, name)
        found = [value for other in others if (value := self.value(scenario, variant, name, other))]
        return ours / max(found) if ours is not None and found else None


def judge(rows: Iterable[Row]) -> list[Goal]:
    """Every goal with what this run measured."""
    table = _Table(rows)
    return [*_path(table), *_tables(table), *_memory(table), *_bodies(table)]


def _path(table: _Table) -> list[Goal]:
    near = [
        Goal(
            name=f"{_CPU} nginx, {what}",
            unit="x",
            limit=1.5,
            aim=1.0,
            measured=table.ratio("plain", variant),
            note=(
                "Lines that were never seen are read one by one in Python, 6 us for a request and 4 us for its answer; "
                "compiling mesh.heads, mesh.wire and mesh.forward is the lever that is left."
            ),
        )
        for variant, what in _HEADS.items()
    ]
    far = [
        Goal(
            name=f"{_CPU} {peer}, {_HEADS[variant]}",
            unit="x",
            limit=limit,
            aim=aim,
            measured=table.over("plain", variant, "cpu_us", (peer,)),
            note=note,
        )
        for peer, limit, aim, note in _SLOWER
        for variant in ("varied", "unique")
    ]
    tail = table.ratio("latency", "high")
    waits = Goal(
        name="p99 at 70 % of saturation against nginx",
        unit="x",
        limit=1.5,
        measured=tail,
        note=(
            "This row moves between 0.8x and 3x from run to run where two cores are shared "
            "by proxy, load, origin and neighbours."
        ),
    )
    return [*near, *far, waits]


def _tables(table: _Table) -> list[Goal]:
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


def _memory(table: _Table) -> list[Goal]:
    connection = table.value("idle", "plain", "connection_kib")
    return [Goal(name="Memory of an idle connection", unit=" KiB", limit=2.5, aim=2.0, measured=connection)]


def _bodies(table: _Table) -> list[Goal]:
    goals = []
    for direction in ("down", "up"):
        name = f"Large body {direction}: "
        work = table.over("body", direction, "mb_per_cpu_s", ("nginx", "nginx buffered"))
        growth = table.value("body", direction, "rss_growth_mib")
        goals += [
            Goal(name=name + "bytes per CPU second against nginx", unit="x", limit=0.8, at_least=True, measured=work),
            Goal(name=name + "growth of memory", unit=" MiB", limit=4.0, measured=growth),
        ]
    return goals
