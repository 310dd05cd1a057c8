"""What each route did: counted once, told once, and for so many routes only."""

from __future__ import annotations

from mesh.latency import BOUNDS
from mesh.ledger import Ledger, RouteReport
from mesh.routes import RouteKey

A, B, C = (RouteKey(host) for host in "abc")
SLOW = BOUNDS.index(0.5)
QUICK = BOUNDS.index(0.01)


def test_an_exchange_is_told_in_the_next_report_and_no_other() -> None:
    """With its status, its bytes and how long it took."""
    ledger = Ledger()
    counts = ledger.open(A)
    counts.settled(200, 3, 120, 0.5, 0.01)
    counts.retries += 1
    counts.rate_limited += 2
    assert list(ledger.take()) == [
        RouteReport(
            route=A,
            statuses=(0, 0, 1, 0, 0, 0, 0, 0, 0, 0),
            received=3,
            sent=120,
            retries=1,
            rate_limited=2,
            durations={SLOW: 1},
            durations_sum_s=0.5,
            first_bytes={QUICK: 1},
            first_bytes_sum_s=0.01,
        )
    ]
    assert list(ledger.take()) == []


def test_an_answer_that_no_target_gave_has_no_first_byte() -> None:
    """The proxy's own answers would make the targets look quick."""
    ledger = Ledger()
    ledger.other.settled(404, 0, 10, 0.01, 0.0)
    (report,) = ledger.take()
    assert (report.route, report.statuses[4], report.durations, report.first_bytes) == (None, 1, {QUICK: 1}, {})


def test_a_tunnel_has_no_duration() -> None:
    """It is counted, and its bytes are."""
    ledger = Ledger()
    ledger.open(A).settled(101, 5, 7, 3600.0, 0.01)
    (report,) = ledger.take()
    assert (report.statuses[1], report.received, report.sent) == (1, 5, 7)
    assert (report.durations, report.first_bytes) == ({}, {})


def test_a_route_and_its_successor_are_counted_as_one() -> None:
    """The new one opens before the old one is closed."""
    ledger = Ledger()
    old = ledger.open(A)
    old.settled(200, 0, 1, 0.01, 0.01)
    new = ledger.open(A)
    assert ledger.close(old) is ledger.other
    new.settled(500, 0, 1, 0.01, 0.01)
    (report,) = ledger.take()
    assert report.statuses[2:6] == (1, 0, 0, 1)


def test_a_route_that_is_gone_is_told_once_more() -> None:
    """What still goes on there is counted among the others; when it comes back it begins anew."""
    ledger = Ledger()
    counts = ledger.open(A)
    counts.settled(200, 0, 1, 0.01, 0.01)
    after = ledger.close(counts)
    after.settled(200, 0, 1, 0.01, 0.01)
    ledger.open(A).settled(200, 0, 1, 0.01, 0.01)
    assert [report.route for report in ledger.take()] == [A, A, None]
    assert list(ledger.take()) == []


def test_routes_beyond_the_bound_are_counted_as_one() -> None:
    """A place becomes free when a route goes."""
    ledger = Ledger(most=2)
    kept = [ledger.open(key) for key in (A, B)]
    assert ledger.open(C) is ledger.other
    assert ledger.close(ledger.other) is ledger.other
    ledger.close(kept[0])
    assert ledger.open(C).route == C
