"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from node.cli.moments import ends, moment, span, until

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (59, "59 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (86_400 * 61.9, "61 d")],
)
def test_a_span_has_one_unit(seconds: float, text: str) -> None:
    """The largest of which there are two."""
    assert span(timedelta(seconds=seconds)) == text


def test_a_time_is_said_to_the_minute() -> None:
    """And how far away it is."""
    assert moment("2030-02-03T04:05:06.7Z") == "2030-02-03 04:05 UTC"
    assert until("2030-01-02T04:04:05Z", NOW) == "in 60 min"
    assert until("2030-01-01T03:04:05Z", NOW) == "24 h ago"
    assert until(None, NOW) is None


@pytest.mark.parametrize(
    ("days", "text"), [(60, "in 60 d"), (14, "SOON, in 14 d"), (-3, "EXPIRED 3 d ago"), (0, "EXPIRED 0 s ago")]
)
def test_an_end_that_is_near_is_seen(days: int, text: str) -> None:
    """With less than a sixth of its life left, a certificate should have been renewed long ago."""
    end = NOW + timedelta(days=days)
    fact = {"not_before": (end - timedelta(days=90)).isoformat(), "not_after": end.isoformat()}
    assert ends(fact, NOW) == text


def test_without_a_certificate_there_is_no_end() -> None:
    """And without a beginning no end is soon."""
    assert ends({"not_before": None, "not_after": None}, NOW) is None
    assert ends({"not_before": None, "not_after": (NOW + timedelta(minutes=2)).isoformat()}, NOW) == "in 2 min"
