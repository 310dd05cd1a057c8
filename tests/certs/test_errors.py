"""Why there is no certificate: what is kept of it decides what is next."""

from __future__ import annotations

from certs.errors import IssueError


def test_the_text_is_what_was_said() -> None:
    """And the rest can be asked for."""
    error = IssueError("rateLimited", "too many orders", status=429, retry_after_s=60.0, identifier="a.example")
    assert str(error) == error.detail == "too many orders"
    assert (error.kind, error.status, error.retry_after_s, error.identifier) == ("rateLimited", 429, 60.0, "a.example")


def test_most_is_often_not_known() -> None:
    """A connection that fails has no status."""
    error = IssueError("unreachable", "no route to the authority")
    assert (error.status, error.retry_after_s, error.identifier) == (None, None, None)
