"""What each route did: counts and durations that a worker keeps between two reports, for a bounded number of routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from mesh.counts import RouteCounts
from mesh.latency import filled
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
            if any(counts.statuses):
                report = _report(counts)
                # Before the report is given away: who reads it may serve a request first.
                counts.clear()
                yield report


def _report(counts: RouteCounts) -> RouteReport:
    return RouteReport(
        route=counts.route,
        statuses=tuple(counts.statuses),
        received=counts.received,
        sent=counts.sent,
        retries=counts.retries,
        rate_limited=counts.rate_limited,
        durations=filled(counts.durations),
        durations_sum_s=counts.durations_sum_s,
        first_bytes=filled(counts.first_bytes),
        first_bytes_sum_s=counts.first_bytes_sum_s,
    )
