"""So much at once, and then evenly."""

from __future__ import annotations

import pytest

from certs import throttle
from certs.throttle import Throttle


def test_all_may_come_at_once() -> None:
    """And the next one has to wait for its share of the time."""
    limit = Throttle(3, 60.0)
    assert [limit.take("a", 100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 20.0]


def test_a_refusal_costs_nothing() -> None:
    """Whoever goes on asking is not punished for it."""
    limit = Throttle(1, 60.0)
    assert [limit.take("a", at) for at in (0.0, 30.0, 59.0, 60.0)] == [0.0, 30.0, 1.0, 0.0]


def test_keys_do_not_spend_from_one_another() -> None:
    """Each has its own."""
    limit = Throttle(1, 60.0)
    assert [limit.take(key, 0.0) for key in "abc"] == [0.0, 0.0, 0.0]


def test_what_is_full_again_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses without end do not fill the memory."""
    monkeypatch.setattr(throttle, "_SWEEP", 10)
    limit = Throttle(1, 60.0)
    for number in range(1000):
        limit.take(f"address {number}", number * 60.0)
    assert len(limit) <= 10


def test_what_has_to_stay_is_not_walked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of addresses that are all still counted would cost a walk over all of them for each."""
    monkeypatch.setattr(throttle, "_SWEEP", 10)
    walks: list[int] = []

    class Counted(Throttle):
        def _sweep(self, now: float) -> None:
            walks.append(len(self))
            super()._sweep(now)

    limit = Counted(1, 60.0)
    for number in range(1000):
        limit.take(f"address {number}", 0.0)
    assert walks == [10, 20, 40, 80, 160, 320, 640]
