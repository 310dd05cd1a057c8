"""Records for whoever watches: of the right hosts, and no more than somebody can look at."""

from __future__ import annotations

from mesh.tap import MOST_PER_S, Tap
from tests.support.records import record


def test_nobody_watches_at_first() -> None:
    """Records need not be made."""
    tap = Tap(4)
    assert not tap.is_open
    tap.record(record())
    assert tap.take() == ([], 0)


def test_everything_can_be_watched() -> None:
    """Each record is taken once."""
    tap = Tap(4)
    tap.watch(None)
    assert tap.is_open
    tap.record(record())
    assert tap.take() == ([record()], 0)
    assert tap.take() == ([], 0)


def test_a_host_is_that_of_the_request_or_of_its_route() -> None:
    """`*.example.com` watches all that its route serves."""
    seen = {}
    for host in ("shop.example.com", "*.example.com", "example.com"):
        tap = Tap(4)
        tap.watch((host,))
        tap.record(record(host="shop.example.com", route="*.example.com"))
        seen[host] = len(tap.take()[0])
    assert seen == {"shop.example.com": 1, "*.example.com": 1, "example.com": 0}


def test_watching_ends() -> None:
    """What was kept until then is still taken."""
    tap = Tap(4)
    tap.watch(None)
    tap.record(record())
    tap.watch(())
    tap.record(record())
    assert not tap.is_open
    assert tap.take() == ([record()], 0)


def test_a_second_has_so_many_records_and_no_more() -> None:
    """A burst is told at once; after it the room comes back with time."""
    tap = Tap(4)
    tap.watch(None)
    for _ in range(MOST_PER_S + 7):
        tap.record(record())
    records, dropped = tap.take()
    assert (len(records), dropped) == (MOST_PER_S, 7)
    for _ in range(MOST_PER_S):
        tap.record(record())
    records, dropped = tap.take()
    assert (len(records), dropped) == (MOST_PER_S // 4, MOST_PER_S - MOST_PER_S // 4)
    for _ in range(4):
        assert tap.take() == ([], 0)
    for _ in range(MOST_PER_S):
        tap.record(record())
    assert tap.take()[1] == 0
