"""Adds up what all workers counted, those that are gone included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from mesh.channel import TargetReport, WorkerReport
from mesh.latency import Histogram
from mesh.ledger import MAX_ROUTES, RouteReport
from mesh.routes import RouteKey

COUNTS: Final = (
    *("accepted", "refused", "handshakes", "handshake_failures", "h2_connections", "h2_streams", "requests", "dials"),
    *("retries", "ejections", "rate_limited", "received", "sent", "compressed_in", "compressed_out"),
    *("dropped_records", "dropped_spans"),
)


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over all workers. `counts`, `statuses` (by class, `2xx`) and `causes` only grow."""

    counts: Mapping[str, int]
    statuses: Mapping[str, int]
    causes: Mapping[str, int]
    connections: int
    in_flight: int


class RouteSums:
    """What came of the requests of one route, or of many; the numbers only grow."""

    __slots__ = ("durations", "first_bytes", "rate_limited", "received", "retries", "sent", "statuses")

    def __init__(self) -> None:
        """Nothing yet."""
        self.statuses = [0] * 10
        self.received = 0
        self.sent = 0
        self.retries = 0
        self.rate_limited = 0
        self.durations = Histogram()
        self.first_bytes = Histogram()

    @property
    def requests(self) -> int:
        """How many there were."""
        return sum(self.statuses)

    def by_class(self) -> dict[str, int]:
        """How many there were by the class of the status (`2xx`)."""
        return {f"{digit}xx": number for digit, number in enumerate(self.statuses) if number}

    def add(self, report: RouteReport) -> None:
        """Add what a worker has counted since it last said so."""
        self.statuses = [a + b for a, b in zip(self.statuses, report.statuses, strict=True)]
        self.received += report.received
        self.sent += report.sent
        self.retries += report.retries
        self.rate_limited += report.rate_limited
        self.durations.merge(report.durations, report.durations_sum_s)
        self.first_bytes.merge(report.first_bytes, report.first_bytes_sum_s)


class Tally:
    """The newest report of each worker, the sums of those that were replaced, and the sums of routes."""

    def __init__(self, most_routes: int = MAX_ROUTES) -> None:
        """Nothing counted; so many routes have sums of their own."""
        self.everything = RouteSums()
        self._most_routes = most_routes
        self._routes: dict[RouteKey, RouteSums] = {}
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

    def take_routes(self, reports: Iterable[RouteReport]) -> set[RouteKey]:
        """Add what a worker counted since its last report; gives the routes whose sums that changed."""
        changed = set()
        for report in reports:
            self.everything.add(report)
            sums = self._sums_of(report.route) if report.route is not None else None
            if report.route is not None and sums is not None:
                sums.add(report)
                changed.add(report.route)
        return changed

    def _sums_of(self, route: RouteKey) -> RouteSums | None:
        sums = self._routes.get(route)
        if sums is None and len(self._routes) < self._most_routes:
            sums = self._routes[route] = RouteSums()
        return sums

    def forget_route(self, route: RouteKey) -> None:
        """A route is gone; if it comes again it is another one."""
        self._routes.pop(route, None)

    @property
    def routes(self) -> Mapping[RouteKey, RouteSums]:
        """The routes that have sums of their own."""
        return self._routes

    def is_first(self, index: int) -> bool:
        """Whether no worker that reports has a lower index."""
        return index == min(self._newest, default=index)

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
