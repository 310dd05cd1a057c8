"""One line of the performance budget, and the table of what a run measured."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Literal

import msgspec

from benchmarks.load.row import Row

PEERS = ("nginx", "haproxy", "caddy")

Verdict = Literal["met", "not met", "not measured"]


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A goal: `limit` decides, `aim` is where it shall go; `at_least` turns the comparison round.

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


class Table:
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

    def against(self, scenario: str, variant: str, name: str, other: str) -> float | None:
        """A value of zexio, divided by that of another one: the median of what it was in each round."""
        ours, theirs = self.find(scenario, variant), self.find(scenario, variant, other)
        if not ours or not theirs:
            return None
        pairs = zip(ours.rounds, theirs.rounds, strict=False)
        ratios = [mine[name] / others[name] for mine, others in pairs if others.get(name)]
        return median(ratios) if ratios else None

    def best(self, scenario: str, variant: str, name: str, others: Iterable[str]) -> float | None:
        """A value of zexio against the strongest of the others."""
        found = [ratio for other in others if (ratio := self.against(scenario, variant, name, other)) is not None]
        return min(found, default=None)

    def failing(self, scenario: str) -> int | None:
        """How many rows of a scenario do not hold, those of other peers apart; None when it was not run."""
        judged = [row for row in self.of(scenario) if row.verdict and row.subject not in PEERS]
        return sum(row.verdict == "fail" for row in judged) if judged else None
