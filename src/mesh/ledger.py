"""What each route did: counts and durations that a worker keeps between two reports, for a bounded number of routes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

import msgspec

from mesh.latency import BOUNDS, Histogram
from mesh.routes import RouteKey

MAX_ROUTES: Final = 1000


class RouteReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of a route's requests since the report before; without a `route`, of all the others.

    `statuses` is indexed by the class of the status. `durations` and `first_bytes` are buckets of `mesh.latency` by
    place: from the request's head to the end of the answer, and to the head of the target's answer.
    """

    route: RouteKey | None
    statuses: tuple[int, ...]
    received: int = 0
    sent: int = 0
    retries: int = 0
    rate_limited: int = 0
    durations: dict[int, int] = {}
    durations_sum_s: float = 0.0
    first_bytes: dict[int, int] = {}
    first_bytes_sum_s: float = 0.0


class RouteCounts:
    """What came of one route's requests since it was last asked."""

    __slots__ = (
        "durations",
        "first_bytes",
        "holders",
        "rate_limited",
        "received",
        "retries",
        "route",
        "sent",
        "statuses",
    )

    def __init__(self, route: RouteKey | None) -> None:
        """Nothing yet; without a `route` these are the counts of many."""
        self.route = route
        # How many live routes have this key: for a moment it can be two, the old one and its successor.
        self.holders = 0
        self.statuses = [0] * 10
        self.received = 0
        self.sent = 0
        self.retries = 0
        self.rate_limited = 0
        self.durations = Histogram()
        self.first_bytes = Histogram()

    def settled(self, status: int, received: int, sent: int, duration_s: float, first_byte_s: float) -> None:
        """Count an exchange that has ended; `first_byte_s` is 0 when no target has answered."""
        self.statuses[status // 100] += 1
        if received:
            self.received += received
        self.sent += sent
        if status == 101:
            # A tunnel lasts as long as people talk, which says nothing about how quick the target is.
            return
        # `Histogram.add` in place: this runs once per request, and a call costs as much as the look-up.
        durations = self.durations
        durations.counts[bisect_left(BOUNDS, duration_s)] += 1
        durations.sum_s += duration_s
        if first_byte_s:
            first_bytes = self.first_bytes
            first_bytes.counts[bisect_left(BOUNDS, first_byte_s)] += 1
            first_bytes.sum_s += first_byte_s

    def take(self) -> RouteReport | None:
        """What was counted, or nothing when nothing was; counts from zero again."""
        if not any(self.statuses):
            return None
        durations, durations_sum_s = self.durations.take()
        first_bytes, first_bytes_sum_s = self.first_bytes.take()
        report = RouteReport(
            route=self.route,
            statuses=tuple(self.statuses),
            received=self.received,
            sent=self.sent,
            retries=self.retries,
            rate_limited=self.rate_limited,
            durations=durations,
            durations_sum_s=durations_sum_s,
            first_bytes=first_bytes,
            first_bytes_sum_s=first_bytes_sum_s,
        )
        self.statuses = [0] * 10
        self.received = self.sent = self.retries = self.rate_limited = 0
        return report


class Ledger:
    """The counts of every route that is in use, up to a bound; those beyond it are counted as one.

    A route's counts are found when it is brought to life, so that a request costs no look-up.
    """

    def __init__(self, most: int = MAX_ROUTES) -> None:
        """`most` routes have counts of their own."""
        self.other = RouteCounts(None)
        self._most = most
        self._routes: dict[RouteKey, RouteCounts] = {}
        self._leaving: list[RouteCounts] = []

    def open(self, route: RouteKey) -> RouteCounts:
        """The counts for a route that comes to life; every `open` is followed by one `close`."""
        counts = self._routes.get(route)
        if counts is None:
            if len(self._routes) >= self._most:
                return self.other
            counts = self._routes[route] = RouteCounts(route)
        counts.holders += 1
        return counts

    def close(self, counts: RouteCounts) -> RouteCounts:
        """Let the counts of a route go that is alive no more; gives those for what is still under way on it."""
        if counts.route is not None:
            counts.holders -= 1
            if not counts.holders:
                self._leaving.append(self._routes.pop(counts.route))
        return self.other

    def take(self) -> Iterator[RouteReport]:
        """What was counted since the last time, for each route where anything was.

        Each takes some 20 microseconds: whoever reads them may stop now and then for what cannot wait.
        """
        leaving, self._leaving = self._leaving, []
        for counts in (*self._routes.values(), *leaving, self.other):
            report = counts.take()
            if report is not None:
                yield report
