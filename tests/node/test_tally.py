"""Sums over workers that come and go."""

from __future__ import annotations

from typing import Any

from mesh.channel import TargetReport, WorkerReport
from node.tally import Tally


def report(index: int, pid: int, **counted: object) -> WorkerReport:
    """A report that counted nothing but what is said."""
    zeros: dict[str, Any] = dict.fromkeys(
        ("revision", "accepted", "refused", "requests", "dials", "received", "sent", "connections", "in_flight"), 0
    )
    return WorkerReport(index=index, pid=pid, **{**zeros, "statuses": (0,) * 10, "causes": {}, **counted})


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
