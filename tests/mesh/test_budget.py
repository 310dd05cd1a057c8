"""The budget for second tries: a share of the requests of late, and a few in any case."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.budget import Budget
from mesh.policies import RetryBudget

POLICY = RetryBudget(share=0.2, min_per_s=3.0)


class _Target:
    """A number of requests."""

    def __init__(self) -> None:
        self.requests = 0


def _spent(budget: Budget, now: float, most: int = 10_000) -> int:
    """How many second tries are allowed at once."""
    return next((tries for tries in range(most) if not budget.allows(now)), most)


def test_an_idle_route_may_try_again_a_few_times() -> None:
    """What comes in ten seconds in any case is there from the start, and comes again."""
    budget = Budget(POLICY, [_Target()])
    assert _spent(budget, 100.0) == 30
    assert _spent(budget, 101.0) == 3
    assert _spent(budget, 200.0) == 30


def test_a_share_of_the_requests_may_be_tried_again() -> None:
    """All targets of the route count."""
    one, other = _Target(), _Target()
    budget = Budget(POLICY, [one, other])
    budget.note(100.0)
    one.requests, other.requests = 600, 400
    assert _spent(budget, 105.0) == 0.2 * 1000 + 3.0 * 5 + 15


def test_requests_of_long_ago_count_no_more() -> None:
    """A busy day does not pay for the night: what was counted late is taken as spread over the time."""
    target = _Target()
    budget = Budget(POLICY, [target])
    budget.note(0.0)
    target.requests = 100_000
    assert _spent(budget, 1000.0) == 0.2 * 100_000 * 10 / 1000 + 30


def test_requests_before_the_first_note_are_unknown() -> None:
    """Records outlive routes: what they counted before may be days old."""
    target = _Target()
    target.requests = 1_000_000
    assert _spent(Budget(POLICY, [target]), 5.0) == 30


def test_without_a_budget_nothing_is_tried_again() -> None:
    """Nothing in any case, and no share."""
    target = _Target()
    budget = Budget(RetryBudget(share=0.0, min_per_s=0.0), [target])
    budget.note(0.0)
    target.requests = 1000
    assert not budget.allows(5.0)


def test_counting_is_due_every_few_seconds() -> None:
    """Whoever comes by looks at the time, and counts only then."""
    budget = Budget(POLICY, [_Target()])
    assert budget.due == 0.0
    budget.note(100.0)
    assert budget.due == 105.0


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 500), st.integers(0, 50)), max_size=30))
def test_no_more_is_spent_than_was_ever_given(steps: list[tuple[float, int, int]]) -> None:
    """However the questions fall, second tries stay below the share of all requests and the minimum together."""
    target = _Target()
    budget = Budget(POLICY, [target])
    now, allowed = 50.0, 0
    budget.note(now)
    for elapsed, requests, asked in steps:
        now += elapsed
        target.requests += requests
        allowed += sum(budget.allows(now) for _ in range(asked))
        assert allowed <= 30 + 0.2 * target.requests + 3.0 * (now - 50.0) + 1e-6
