"""What a worker counts."""

from __future__ import annotations

from mesh.errors import BAD_REQUEST, NO_TARGET, Failure
from mesh.ports import AccessRecord, Counters, together
from tests.support.records import record


class Kept:
    """Keeps what it is told."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.records: list[AccessRecord] = []

    def record(self, record: AccessRecord) -> None:
        """Keep it."""
        self.records.append(record)


def test_counters_start_at_zero() -> None:
    """Nothing has happened yet."""
    counters = Counters()
    assert (counters.accepted, counters.refused, counters.dials, counters.received, counters.sent) == (0, 0, 0, 0, 0)
    assert counters.requests == 0
    assert counters.causes == {}


def test_requests_are_the_sum_over_the_classes_of_statuses() -> None:
    """Every exchange that ended has one status."""
    counters = Counters()
    counters.statuses[2] += 3
    counters.statuses[5] += 1
    assert counters.requests == 4


def test_handshakes_that_fail_are_a_cause_of_their_own() -> None:
    """Nobody is answered for them."""
    counters = Counters()
    counters.handshake_failed()
    counters.handshake_failed()
    assert (counters.handshake_failures, counters.causes, counters.requests) == (2, {"tls_handshake": 2}, 0)


def test_causes_are_counted_by_name() -> None:
    """Two failures of one cause are two of that cause."""
    counters = Counters()
    for kind in (BAD_REQUEST, NO_TARGET, BAD_REQUEST):
        counters.failed(Failure(kind))
    assert counters.causes == {"http_request_error": 2, "destination_unavailable": 1}


def test_observers_are_told_together() -> None:
    """One is told as it is, several by one that tells all, and for nobody no record is made."""
    one, other = Kept(), Kept()
    assert together([]) is None
    assert together([one]) is one
    both = together([one, other])
    assert both is not None
    both.record(record())
    assert one.records == other.records == [record()]


def test_everything_that_is_counted_begins_at_zero() -> None:
    """Every counter is a number, but for those that are tables."""
    counters = Counters()
    names = set(Counters.__slots__) - {"statuses", "causes"}
    assert {getattr(counters, name) for name in names} == {0}
