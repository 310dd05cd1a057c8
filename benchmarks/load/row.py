"""The one shape of every result: samples of several rounds, folded into rows of medians."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Literal

import msgspec

Key = tuple[str, str]


class Sample(msgspec.Struct, frozen=True):
    """What one subject showed in one round; the names of the values end in their unit."""

    subject: str
    variant: str
    round: int
    values: dict[str, float]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The medians of one subject; `ratio` compares `measure` with the reference of the scenario, round by round.

    `verdict` is there where something has to hold, `note` where figures do not say it all.
    """

    scenario: str
    subject: str
    variant: str
    values: dict[str, float]
    ratio: float | None = None
    verdict: Literal["", "pass", "fail"] = ""
    note: str = ""
    rounds: tuple[dict[str, float], ...] = ()


def fold(scenario: str, samples: Iterable[Sample], measure: str = "", reference: str = "") -> list[Row]:
    """Rows in the order of the samples, each compared in `measure` with the subject `reference` of the same variant.

    The ratio is the median of the ratios within each round, so that the drift of a shared machine cancels out.
    """
    groups: dict[Key, dict[int, dict[str, float]]] = {}
    for sample in samples:
        groups.setdefault((sample.subject, sample.variant), {})[sample.round] = sample.values
    return [
        Row(
            scenario=scenario,
            subject=subject,
            variant=variant,
            values=_medians(rounds.values()),
            ratio=_ratio(rounds, groups.get((reference, variant), {}), measure),
            rounds=tuple(rounds.values()),
        )
        for (subject, variant), rounds in groups.items()
    ]


def _medians(rounds: Iterable[dict[str, float]]) -> dict[str, float]:
    every = list(rounds)
    return {name: median(values[name] for values in every) for name in every[0]}


def _ratio(rounds: dict[int, dict[str, float]], others: dict[int, dict[str, float]], measure: str) -> float | None:
    both = [(values, others[index]) for index, values in rounds.items() if index in others]
    ratios = [ours[measure] / theirs[measure] for ours, theirs in both if theirs.get(measure)]
    return median(ratios) if ratios else None
