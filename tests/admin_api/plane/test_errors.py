"""The form of Plane's errors."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from aiohttp import web

from admin_api.errors import ApiError, invalid, unauthorized
from admin_api.plane.errors import render
from state.refusal import Problem


def test_error_is_a_sentence() -> None:
    """`{"error": "..."}` and nothing else."""
    answer = render(ApiError(HTTPStatus.CONFLICT, "It is taken.", headers={"Retry-After": "1"}))
    assert (answer.status, answer.headers["Retry-After"]) == (409, "1")
    assert body(answer) == {"error": "It is taken."}


def test_invalid_request_has_its_wrong_fields() -> None:
    """Each with its path and its reason."""
    answer = render(invalid([Problem("targets[0].url", "is empty")]))
    assert answer.status == 400
    assert body(answer) == {
        "error": "targets[0].url is empty",
        "fields": [{"field": "targets[0].url", "reason": "is empty"}],
    }


def test_unknown_caller_gets_no_body() -> None:
    """contracts/plane.md: auth failures are an empty 401; RFC 9110 section 15.5.2 asks for the challenge."""
    answer = render(unauthorized())
    assert (answer.status, answer.body, answer.headers["WWW-Authenticate"]) == (401, None, "X-Signature")


def body(answer: web.Response) -> object:
    """The JSON in an answer."""
    assert isinstance(answer.body, bytes)
    return msgspec.json.decode(answer.body)
