"""Refusals: every problem, the first one at hand."""

from __future__ import annotations

from state.refusal import Problem, Refused, refused


def test_a_refusal_reads_as_a_sentence() -> None:
    """An operator on a terminal sees all of it on one line."""
    refusal = Refused("invalid", [Problem("host", "is empty"), Problem("retries", "must be 0 to 5")])
    assert str(refusal) == "host is empty; retries must be 0 to 5"
    assert (refusal.kind, refusal.field, refusal.reason) == ("invalid", "host", "is empty")


def test_a_refusal_may_be_about_one_field() -> None:
    """Most are."""
    assert refused("missing", "id", "names no organization").problems == (Problem("id", "names no organization"),)
