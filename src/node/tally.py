"""Adds up what all workers counted, those that are gone included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from mesh.channel import TargetReport, WorkerReport

COUNTS: Final = ("accepted", "refused", "requests", "dials", "received", "sent", "dropped_records")


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over all workers. `counts`, `statuses` (by class, `2xx`) and `causes` only grow."""

    counts: Mapping[str, int]
    statuses: Mapping[str, int]
    causes: Mapping[str, int]
    connections: int
    in_flight: int


class Tally:
    """The newest report of each worker, and the sums of those that were replaced."""

    def __init__(self) -> None:
        """Nothing counted."""
        self._newest: dict[int, WorkerReport] = {}
        self._gone = _Sums()

    def take(self, report: WorkerReport) -> None:
        """Put a report in place of the one before of the same worker."""
        before = self._newest.get(report.index)
        if before is not None and before.pid != report.pid:
            self._gone.add(before)
        self._newest[report.index] = report

    def forget(self, index: int) -> None:
        """A worker is gone: what it counted stays, what it held does not."""
        report = self._newest.pop(index, None)
        if report is not None:
            self._gone.add(report)

    def totals(self) -> Totals:
        """The sums as of now."""
        sums = _Sums(self._gone)
        for report in self._newest.values():
            sums.add(report)
        return Totals(
            counts=sums.counts,
            statuses=sums.statuses,
            causes=sums.causes,
            connections=sum(report.connections for report in self._newest.values()),
            in_flight=sum(report.in_flight for report in self._newest.values()),
        )

    def targets(self) -> Iterator[TargetReport]:
        """What each worker saw of each of its targets."""
        for report in self._newest.values():
            yield from report.targets


class _Sums:
    def __init__(self, start: _Sums | None = None) -> None:
        self.counts: Counter[str] = Counter(start.counts if start else dict.fromkeys(COUNTS, 0))
        self.statuses: Counter[str] = Counter(start.statuses if start else ())
        self.causes: Counter[str] = Counter(start.causes if start else ())

    def add(self, report: WorkerReport) -> None:
        for name in COUNTS:
            self.counts[name] += getattr(report, name)
        for digit, number in enumerate(report.statuses):
            if number:
                self.statuses[f"{digit}xx"] += number
        self.causes.update(report.causes)
