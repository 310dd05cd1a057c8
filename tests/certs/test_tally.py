"""What was done is counted."""

from __future__ import annotations

from certs.tally import Counts, Tally


def test_everything_is_counted_by_itself() -> None:
    """Failures by their kind."""
    tally = Tally()
    assert tally.counts == Counts()
    tally.ordered()
    tally.ordered()
    tally.obtained()
    for kind in ("caa", "caa", "preflight"):
        tally.failed(kind)
    assert tally.counts == Counts(orders=2, obtained=1, failures={"caa": 2, "preflight": 1})


def test_counts_do_not_change_afterwards() -> None:
    """They are a value."""
    tally = Tally()
    before = tally.counts
    tally.failed("dns")
    assert before.failures == {}
