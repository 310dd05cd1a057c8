"""What was refused is refused again, for a while."""

from __future__ import annotations

from certs.refusals import Refusals


def test_a_refusal_ends_by_itself() -> None:
    """After its seconds."""
    refusals = Refusals()
    assert refusals.add("a", 100.0, 60.0) == 60.0
    assert [refusals.left_s("a", at) for at in (100.0, 130.0, 160.0)] == [60.0, 30.0, 0.0]
    assert len(refusals) == 0


def test_others_are_not_refused() -> None:
    """Nor anybody once all is forgiven."""
    refusals = Refusals()
    refusals.add("a", 100.0, 60.0)
    assert refusals.left_s("b", 100.0) == 0.0
    refusals.clear()
    assert refusals.left_s("a", 100.0) == 0.0


def test_the_oldest_is_forgotten_first() -> None:
    """Names without end do not fill the memory."""
    refusals = Refusals(most=2)
    for name in ("a", "b", "a", "c"):
        refusals.add(name, 0.0, 60.0)
    assert [refusals.left_s(name, 0.0) > 0 for name in "abc"] == [True, False, True]
