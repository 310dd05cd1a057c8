"""The one way a request to the admin API fails, whatever dialect it came in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from state.refusal import Problem, RefusalKind, Refused

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_STATUS_OF_REFUSAL: Final[Mapping[RefusalKind, HTTPStatus]] = MappingProxyType(
    {
        "invalid": HTTPStatus.BAD_REQUEST,
        "missing": HTTPStatus.NOT_FOUND,
        "conflict": HTTPStatus.CONFLICT,
        "precondition": HTTPStatus.PRECONDITION_FAILED,
    }
)


class ApiError(Exception):
    """A request that gets an error answer; handlers raise it, and the dialect that owns the path gives it a form.

    `message` is for the caller, `problems` are the wrong fields of an invalid request, `headers` go with the answer.
    """

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        problems: Iterable[Problem] = (),
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.problems = tuple(problems)
        self.headers = headers


def refusal(refused: Refused) -> ApiError:
    """The answer to a change that `state` refused."""
    problems = refused.problems if refused.kind == "invalid" else ()
    return ApiError(_STATUS_OF_REFUSAL[refused.kind], str(refused), problems)


def invalid(problems: Iterable[Problem]) -> ApiError:
    """The answer to a request with wrong fields, all of them at once."""
    return refusal(Refused("invalid", problems))


def unauthorized() -> ApiError:
    """The answer to a caller who could not prove who it is; it never says which part of the proof was wrong."""
    return ApiError(HTTPStatus.UNAUTHORIZED, "Authentication failed.")
