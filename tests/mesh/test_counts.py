"""What came of a route's requests: each in one bucket, and none of a tunnel."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from mesh.counts import RouteCounts
from mesh.latency import BOUNDS


@given(st.one_of(st.floats(0.0, 200.0), st.sampled_from(BOUNDS)))
def test_a_duration_is_in_the_bucket_of_the_first_bound_that_it_does_not_exceed(seconds: float) -> None:
    """As bisect_left has it."""
    counts = RouteCounts(None)
    counts.settled(200, 0, 0, seconds, seconds or 1.0)
    assert counts.durations[bisect_left(BOUNDS, seconds)] == sum(counts.durations) == sum(counts.first_bytes) == 1
    assert counts.durations_sum_s == seconds


def test_counts_begin_anew() -> None:
    """Nothing of before is counted twice."""
    counts = RouteCounts(None)
    counts.settled(503, 2, 3, 0.5, 0.25)
    counts.retries += 1
    counts.clear()
    assert (counts.received, counts.sent, counts.retries, counts.durations_sum_s) == (0, 0, 0, 0.0)
    assert not any((*counts.statuses, *counts.durations, *counts.first_bytes))
