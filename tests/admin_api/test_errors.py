"""The one error type."""

from __future__ import annotations

import pytest

from admin_api.errors import invalid, refusal, unauthorized
from state.refusal import Problem, RefusalKind, Refused, refused

PROBLEMS = (Problem("host", "is empty"), Problem("targets", "has none"))


@pytest.mark.parametrize(
    ("kind", "status"), [("invalid", 400), ("missing", 404), ("conflict", 409), ("precondition", 412)]
)
def test_every_kind_of_refusal_has_a_status(kind: RefusalKind, status: int) -> None:
    """What `state` refuses reaches the caller as the sentence that it said."""
    error = refusal(refused(kind, "id", "names no organization"))
    assert (error.status, error.message) == (status, "id names no organization")


def test_only_an_invalid_request_has_wrong_fields() -> None:
    """A conflict is not the fault of a field."""
    assert refusal(Refused("invalid", PROBLEMS)).problems == PROBLEMS
    assert refusal(Refused("conflict", PROBLEMS)).problems == ()


def test_all_wrong_fields_are_named_at_once() -> None:
    """Nobody has to send a request twice to learn of the second mistake."""
    error = invalid(PROBLEMS)
    assert (error.status, error.problems) == (400, PROBLEMS)
    assert error.message == "host is empty; targets has none"


def test_unknown_caller_learns_nothing() -> None:
    """A 401 has no fields."""
    error = unauthorized()
    assert (error.status, error.problems) == (401, ())
