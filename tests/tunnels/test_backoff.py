"""The waits between two starts: random from nearly nothing to a ceiling that doubles, and slow in a crash loop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.backoff import Budget, Pace, ceiling_s, pause_s, slow_pause_s

PACE = Pace()

shares = st.floats(0, 1, exclude_max=True)
paces = st.builds(
    Pace,
    base_s=st.floats(0.001, 10),
    cap_s=st.floats(0.001, 1000),
    least_s=st.floats(0, 1),
    slow_s=st.floats(1, 1000),
    budget=st.integers(0, 20),
)


@pytest.mark.parametrize(("failures", "ceiling"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (10, 60), (10_000, 60)])
def test_the_ceiling_doubles_up_to_the_cap(failures: int, ceiling: float) -> None:
    """However often it failed."""
    assert ceiling_s(failures, PACE) == ceiling


@given(st.integers(1, 10_000), shares, paces)
def test_a_wait_is_between_its_bounds(failures: int, jitter: float, pace: Pace) -> None:
    """Of any pace."""
    wait = pause_s(failures, jitter, pace)
    assert min(pace.least_s, pace.cap_s, pace.base_s) <= wait <= max(pace.cap_s, 0)
    assert wait <= ceiling_s(failures, pace) + 1e-9


def test_the_whole_wait_is_random() -> None:
    """Half of those that lost the same network are back before half of the time."""
    assert pause_s(7, 0.0, PACE) == pytest.approx(0.1)
    assert pause_s(7, 0.5, PACE) == pytest.approx(30.05)


@given(shares)
def test_a_crash_loop_is_tried_slowly(jitter: float) -> None:
    """Not all at the same time either."""
    assert 300 <= slow_pause_s(jitter, PACE) <= 375


def test_a_budget_is_spent_by_more_ends_than_it_has() -> None:
    """Within the window."""
    pace = Pace(budget=3, window_s=10)
    budget = Budget()
    for now in range(3):
        budget = budget.with_end(now, pace)
        assert not budget.is_spent(now, pace)
    budget = budget.with_end(3, pace)
    assert budget.is_spent(3, pace)
    assert not budget.is_spent(10, pace)


@given(st.lists(st.floats(0, 100), max_size=50), paces)
def test_a_budget_remembers_no_more_than_it_needs(ends: list[float], pace: Pace) -> None:
    """For ever."""
    budget = Budget()
    for now in sorted(ends):
        budget = budget.with_end(now, pace)
    assert len(budget.ends) <= pace.budget + 1
