"""Durations in buckets: exact counts, quantiles within 5 %, and sums that add up."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.latency import BOUNDS, COARSE, Histogram, merged

SECONDS = st.floats(1e-4, 100.0)


def _of(*seconds: float) -> Histogram:
    histogram = Histogram()
    for each in seconds:
        histogram.add(each)
    return histogram


def test_bounds_are_less_than_five_percent_apart() -> None:
    """From 100 microseconds to 100 seconds, and with those that Prometheus is given among them."""
    assert (BOUNDS[0], BOUNDS[-1]) == (1e-4, 100.0)
    assert all(low < high < low * 1.05 for low, high in itertools.pairwise(BOUNDS))
    assert set(COARSE) <= set(BOUNDS)


def test_an_empty_histogram_has_no_quantiles() -> None:
    """A route that nobody used is not slow."""
    assert Histogram().quantiles(0.5, 0.99) == (0.0, 0.0)
    assert Histogram().number == 0


@given(st.lists(SECONDS, min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_is_at_most_five_percent_too_high(values: list[float], share: float) -> None:
    """Against the sorted values themselves."""
    (found,) = _of(*values).quantiles(share)
    place = next(place for place in range(len(values)) if place + 1 >= share * len(values))
    exact = sorted(values)[place]
    assert exact <= found <= exact * 1.05


def test_what_is_out_of_range_is_in_the_end_buckets() -> None:
    """A clock that stood still, and a request of an hour."""
    histogram = _of(0.0, -1.0, 1e-9, 3600.0)
    assert histogram.quantiles(0.5, 1.0) == (1e-4, 100.0)
    assert histogram.coarse()[-2:] == [3, 4]


@given(st.lists(st.floats(0.0, 1000.0), max_size=100))
def test_coarse_buckets_count_exactly(values: list[float]) -> None:
    """Each bound includes what is just as long, as Prometheus has it."""
    assert _of(*values).coarse() == [*(sum(value <= bound for value in values) for bound in COARSE), len(values)]


@given(st.lists(SECONDS, max_size=50), st.lists(SECONDS, max_size=50))
def test_histograms_add_up(one: list[float], other: list[float]) -> None:
    """Whole, or as what was taken of them since the last time."""
    both = _of(*one, *other)
    assert merged([_of(*one), _of(*other)]).counts == both.counts
    taken, histogram = Histogram(), Histogram()
    for part in (one, other):
        for value in part:
            histogram.add(value)
        taken.merge(*histogram.take())
        assert histogram.number == 0
    assert taken.counts == both.counts
    assert taken.sum_s == pytest.approx(both.sum_s)
