"""One coarse timer for many deadlines: nothing comes early, nothing later than a tick, and nothing twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.deadlines import TICK_S, Deadlines


class _Item:
    """A deadline, by name."""

    def __init__(self, deadline: float = 0.0) -> None:
        self.deadline = deadline
        self.looked_at = 0

    def expired(self) -> None:
        """Whoever asked is told; nothing else happens."""


times = st.floats(0, 30, allow_nan=False).map(lambda seconds: round(seconds, 3))


def _watched(now: float, *items: _Item) -> Deadlines[_Item]:
    deadlines: Deadlines[_Item] = Deadlines(now)
    for item in items:
        deadlines.watch(item)
    return deadlines


def test_nothing_is_due_before_its_deadline() -> None:
    """The tick in which a deadline falls is too early for a look."""
    item = _Item(1.05)
    deadlines = _watched(0.0, item)
    assert deadlines.due(1.04) == []
    assert deadlines.due(1.05 + TICK_S) == [item]


def test_what_was_due_is_watched_no_more() -> None:
    """One deadline, one call."""
    deadlines = _watched(0.0, _Item(0.5))
    assert len(deadlines.due(1.0)) == 1
    assert deadlines.due(2.0) == []


def test_a_deadline_in_the_past_is_due_at_the_next_tick() -> None:
    """Whoever is late already is not forgotten."""
    item = _Item(1.0)
    deadlines = _watched(5.0, item)
    assert deadlines.due(5.05 + TICK_S) == [item]


def test_a_deadline_moves_later_without_a_word() -> None:
    """An assignment is enough; the look at the old time plans another one."""
    item = _Item(1.0)
    deadlines = _watched(0.0, item)
    item.deadline = 3.0
    assert deadlines.due(2.0) == []
    assert deadlines.due(3.0 + TICK_S) == [item]


def test_a_deadline_that_moves_earlier_is_watched_again() -> None:
    """The new look counts, the old one is passed over."""
    item = _Item(3.0)
    deadlines = _watched(0.0, item)
    item.deadline = 1.0
    deadlines.watch(item)
    assert deadlines.due(1.0 + TICK_S) == [item]
    assert deadlines.due(5.0) == []


def test_what_is_forgotten_is_never_due() -> None:
    """A connection that closed has no deadline."""
    item = _Item(1.0)
    deadlines = _watched(0.0, item)
    deadlines.forget(item)
    assert deadlines.due(5.0) == []


def test_a_clock_that_jumps_ahead_finds_everything() -> None:
    """After a pause of the machine all deadlines of the pause are due, in one go."""
    items = [_Item(number / 3) for number in range(30)]
    deadlines = _watched(0.0, *items)
    assert set(deadlines.due(1000.0)) == set(items)


def test_a_clock_that_stands_still_finds_nothing_twice() -> None:
    """Asking again at the same time gives nothing new."""
    deadlines = _watched(0.0, _Item(1.0))
    assert len(deadlines.due(2.0)) == 1
    assert deadlines.due(2.0) == []
    assert deadlines.due(1.0) == []


@given(st.lists(st.tuples(times, times), min_size=1, max_size=20), times)
def test_no_deadline_is_early_and_none_is_later_than_a_tick(moves: list[tuple[float, float]], start: float) -> None:
    """Whatever moves when, an item is due once, between its deadline and one tick after."""
    deadlines: Deadlines[_Item] = Deadlines(start)
    item = _Item(start + moves[0][1])
    deadlines.watch(item)
    now = start
    for step, patience in moves:
        end = now + step
        while now < end:
            now = min(now + TICK_S / 2, end)
            due = deadlines.due(now)
            assert due in ([], [item])
            if due:
                assert item.deadline <= now < item.deadline + 2 * TICK_S
                return
        before = item.deadline
        item.deadline = now + patience
        if item.deadline < before:
            deadlines.watch(item)
    assert deadlines.due(item.deadline + TICK_S + 0.001) == [item]


@given(st.lists(st.tuples(times, times, times), max_size=30))
def test_many_items_do_not_disturb_each_other(plans: list[tuple[float, float, float]]) -> None:
    """Each is due once, whichever way its deadline moved."""
    items = [_Item(first) for first, _, _ in plans]
    deadlines = _watched(0.0, *items)
    for item, (_, second, third) in zip(items, plans, strict=True):
        for deadline in (second, third):
            item.deadline = deadline
            deadlines.watch(item)
    seen = [item for tick in range(1, 400) for item in deadlines.due(tick * TICK_S)]
    assert len(seen) == len(set(seen)) == len(items)
