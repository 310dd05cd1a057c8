"""Conditional requests (RFC 9110 section 13) for resources whose ETag is their revision."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

from multidict import CIMultiDictProxy

from admin_api.errors import ApiError
from state.change import Absent, Expectation, IfMatch, Present

ANY: Final = "*"

_TAG: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_TAGS: Final = re.compile(rf"{_TAG.pattern}(?:[ \t]*,[ \t]*{_TAG.pattern})*")


def etag(revision: int) -> str:
    """The strong validator of what was written at `revision`."""
    return f'"{revision}"'


def is_fresh(headers: CIMultiDictProxy[str], tag: str) -> bool:
    """Whether the client of a GET has the current representation, so that the answer is 304; raises ApiError 400."""
    tags = _tags(headers, "If-None-Match")
    # Weak comparison, section 8.8.3.2: our own tags are strong, a cache on the way may have weakened them.
    return ANY in tags or tag in {given.removeprefix("W/") for given in tags}


def expectation(headers: CIMultiDictProxy[str], current: int | None) -> Expectation | None:
    """What must hold when the change is made, given the resource's `current` revision, or None when it does not exist.

    None means that the client asked for nothing. The expectation names one revision, so the store can check it again
    at the moment of the change. Raises ApiError 412 when it cannot hold any more, and 400 for a malformed header.
    """
    tag = None if current is None else etag(current)
    if_match, if_none_match = _tags(headers, "If-Match"), _tags(headers, "If-None-Match")
    if not if_match and not if_none_match:
        return None
    if if_match and (tag is None or not {ANY, tag} & if_match):
        raise failed()
    if if_none_match and tag is not None and {ANY, tag} & {given.removeprefix("W/") for given in if_none_match}:
        raise failed()
    if current is None:
        return Absent()
    return Present() if if_match == {ANY} and not if_none_match else IfMatch(current)


def failed() -> ApiError:
    """The answer to a request whose condition does not hold."""
    return ApiError(HTTPStatus.PRECONDITION_FAILED, "The resource is not in the state that the request asks for.")


def _tags(headers: CIMultiDictProxy[str], name: str) -> frozenset[str]:
    if name not in headers:
        return frozenset()
    field = ", ".join(headers.getall(name)).strip(" \t")
    if field == ANY:
        return frozenset({ANY})
    # A condition that cannot be read must not count as none.
    if not _TAGS.fullmatch(field):
        raise ApiError(HTTPStatus.BAD_REQUEST, f'{name} must be * or a list of quoted tags such as "17".')
    return frozenset(_TAG.findall(field))
