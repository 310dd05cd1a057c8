"""Sums over workers that come and go."""

from __future__ import annotations

from mesh.channel import TargetReport
from mesh.latency import BOUNDS
from mesh.ledger import RouteReport
from mesh.routes import RouteKey
from node.tally import COUNTS, Tally
from tests.support.records import report

HALF_A_SECOND = BOUNDS.index(0.5)
A, B = RouteKey("a"), RouteKey("b", "/api")


def served(route: RouteKey | None, requests: int = 1) -> RouteReport:
    """So many requests that took half a second each."""
    return RouteReport(
        route=route,
        statuses=(0, 0, requests, 0, 0, 0, 0, 0, 0, 0),
        received=1,
        sent=2,
        retries=3,
        rate_limited=4,
        durations={HALF_A_SECOND: requests},
        durations_sum_s=0.5 * requests,
    )


def test_workers_add_up() -> None:
    """One number for the node."""
    tally = Tally()
    tally.take(report(0, 10, requests=5, statuses=(0, 0, 4, 0, 0, 1), causes={"connection_refused": 1}, connections=3))
    tally.take(report(1, 11, requests=2, statuses=(0, 0, 2), causes={"connection_refused": 2}, in_flight=1))
    totals = tally.totals()
    assert totals.counts["requests"] == 7
    assert totals.statuses == {"2xx": 6, "5xx": 1}
    assert totals.causes == {"connection_refused": 3}
    assert (totals.connections, totals.in_flight) == (3, 1)


def test_the_newest_report_of_a_worker_counts() -> None:
    """Reports hold totals, not differences."""
    tally = Tally()
    tally.take(report(0, 10, requests=5))
    tally.take(report(0, 10, requests=8))
    assert tally.totals().counts["requests"] == 8


def test_what_a_dead_worker_counted_stays() -> None:
    """A counter that falls would be read as a restart of the node; what the worker held is gone with it."""
    tally = Tally()
    tally.take(report(0, 10, requests=5, connections=3, targets=(TargetReport("http://a", 1, 0, 5),)))
    tally.forget(0)
    assert tally.totals().counts["requests"] == 5
    assert tally.totals().connections == 0
    assert list(tally.targets()) == []
    tally.take(report(0, 20, requests=2))
    assert tally.totals().counts["requests"] == 7


def test_a_successor_that_reports_first_loses_nothing() -> None:
    """The process id tells two workers of one seat apart."""
    tally = Tally()
    tally.take(report(0, 10, requests=5))
    tally.take(report(0, 20, requests=2))
    assert tally.totals().counts["requests"] == 7


def test_a_worker_that_never_reported_may_die() -> None:
    """There is nothing to keep of it."""
    tally = Tally()
    tally.forget(3)
    assert tally.totals().counts["requests"] == 0


def test_everything_that_a_worker_counts_is_summed() -> None:
    """A counter that nobody added up would stay at zero for ever."""
    tally = Tally()
    tally.take(report(0, **dict.fromkeys(COUNTS, 2)))
    tally.take(report(1, **dict.fromkeys(COUNTS, 3)))
    assert tally.totals().counts == dict.fromkeys(COUNTS, 5)


def test_routes_add_up_from_differences() -> None:
    """Whichever worker says so; what is counted without a route is in the sum of everything only."""
    tally = Tally()
    assert tally.take_routes([served(A), served(B, 2)]) == {A, B}
    assert tally.take_routes([served(A, 3), served(None, 5)]) == {A}
    sums = tally.routes[A]
    assert (sums.requests, sums.by_class(), sums.durations.number, sums.durations.sum_s) == (4, {"2xx": 4}, 4, 2.0)
    assert (sums.received, sums.sent, sums.retries, sums.rate_limited) == (2, 4, 6, 8)
    assert tally.everything.requests == tally.everything.durations.number == 11


def test_routes_beyond_the_bound_are_only_in_the_sum_of_everything() -> None:
    """A place becomes free when a route is forgotten; it begins anew."""
    tally = Tally(most_routes=1)
    assert tally.take_routes([served(A), served(B)]) == {A}
    assert (list(tally.routes), tally.everything.requests) == ([A], 2)
    tally.forget_route(A)
    assert tally.take_routes([served(B)]) == {B}
    assert tally.routes[B].requests == 1
    assert tally.everything.requests == 3


def test_one_worker_is_the_first() -> None:
    """The one with the lowest index of those that report."""
    tally = Tally()
    assert tally.is_first(1)
    tally.take(report(1))
    tally.take(report(0))
    assert (tally.is_first(0), tally.is_first(1)) == (True, False)
    tally.forget(0)
    assert tally.is_first(1)
