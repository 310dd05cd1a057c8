"""History: complete for what it covers, bounded for what it does not."""

from __future__ import annotations

from state.history import HISTORY_LIMIT, History, Touch
from state.kinds import Kind


def touched(revisions: range, start: int = 0) -> History:
    """A history with one touch per revision."""
    history = History(start)
    for revision in revisions:
        history = history.with_touch(Touch(revision, Kind.ROUTE, revision))
    return history


def test_touches_after_a_revision_are_in_order() -> None:
    """The oldest comes first, and the revision itself is not among them."""
    assert [touch.revision for touch in touched(range(1, 6)).after(2)] == [3, 4, 5]


def test_nothing_comes_after_the_newest() -> None:
    """Whoever is up to date has nothing to look at."""
    assert touched(range(1, 6)).after(5) == ()


def test_the_oldest_touch_makes_room() -> None:
    """A full history forgets one touch for each new one, and says from where it is complete."""
    history = touched(range(1, HISTORY_LIMIT + 3))
    assert len(history.touches) == HISTORY_LIMIT
    assert history.start == 2
    assert history.touches[0].revision == 3
