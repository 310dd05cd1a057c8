"""What an authority answers (RFC 8555 section 7.1), read strictly where we depend on it and not at all elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import msgspec

from certs.errors import IssueError

T = TypeVar("T")

# An hour would be plenty for whoever asks us to wait, but limits by the week are real.
LONGEST_WAIT_S: Final = 31 * 86_400.0

_LONGEST_DETAIL: Final = 500
_CONTROLS: Final = re.compile(r"[\x00-\x20\x7f-\x9f]+")
_ERROR_PREFIX: Final = "urn:ietf:params:acme:error:"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16,512}")


class Identifier(msgspec.Struct, frozen=True):
    """A name (`dns`) or an address (`ip`)."""

    type: str
    value: str


class Problem(msgspec.Struct, frozen=True):
    """An error as RFC 7807 and RFC 8555 section 6.7 have it."""

    type: str = "about:blank"
    detail: str | None = None
    title: str | None = None
    identifier: Identifier | None = None
    subproblems: tuple[Problem, ...] | None = None


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """What a directory says about the authority."""

    terms_of_service: str | None = None
    caa_identities: tuple[str, ...] | None = None
    external_account_required: bool | None = None
    profiles: Mapping[str, str] | None = None


class Directory(msgspec.Struct, frozen=True, rename="camel"):
    """Where everything is. Without `renewal_info` the authority does not know RFC 9773."""

    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str
    renewal_info: str | None = None
    meta: Meta = Meta()


class AccountBody(msgspec.Struct, frozen=True):
    """An account; `orders` is where its orders are listed, where that is offered."""

    status: str = "valid"
    contact: tuple[str, ...] | None = None
    orders: str | None = None


class Challenge(msgspec.Struct, frozen=True):
    """One way to show that a name is ours."""

    type: str
    url: str
    status: str = "pending"
    token: str = ""
    error: Problem | None = None


class Authorization(msgspec.Struct, frozen=True):
    """A name that has to be shown to be ours; `identifier` is without `*.`."""

    identifier: Identifier
    status: str
    challenges: tuple[Challenge, ...] = ()
    wildcard: bool = False
    url: str = ""


class Order(msgspec.Struct, frozen=True):
    """An order; `certificate` is where the chain is, once there is one."""

    status: str
    identifiers: tuple[Identifier, ...]
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str | None = None
    error: Problem | None = None
    url: str = ""


class OrderList(msgspec.Struct, frozen=True):
    """One page of an account's orders."""

    orders: tuple[str, ...] | None = None


class SuggestedWindow(msgspec.Struct, frozen=True):
    """When the authority would like a renewal."""

    start: datetime
    end: datetime


class RenewalAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """RFC 9773 section 4.2; the `URL` in capitals is its."""

    suggested_window: SuggestedWindow
    explanation_url: str | None = msgspec.field(default=None, name="explanationURL")


def read(kind: type[T], body: bytes) -> T:
    """`body` as a value of this kind; raises IssueError `badAnswer` when it is none."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The reason names a field, never a value.
        raise IssueError("badAnswer", f"the authority's answer is no {kind.__name__}: {error}") from error


def checked_token(challenge: Challenge) -> str:
    """The token of a challenge; raises IssueError `badAnswer` for one that must not become a part of a path."""
    if _TOKEN.fullmatch(challenge.token) is None:
        raise IssueError("badAnswer", f"the authority's token for {challenge.type} is not base64url")
    return challenge.token


def retry_after_s(value: str | None, date: str | None, now: float) -> float | None:
    """The seconds that a Retry-After field asks for (RFC 9110 section 10.2.3), in either form; None without one.

    A point in time is held against the same answer's `Date`, so that a clock of ours that is wrong does not matter,
    else against `now` (seconds since 1970). Never negative, and at most a month.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # Any number of digits may come, and twelve are more than a month.
        return min(float(text.lstrip("0")[:12] or "0"), LONGEST_WAIT_S)
    until = _timestamp(text)
    if until is None:
        return None
    since = _timestamp(date) if date is not None else None
    return min(max(until - (now if since is None else since), 0.0), LONGEST_WAIT_S)


def failure_of(status: int, body: bytes, wait_s: float | None = None) -> IssueError:
    """The error that an answer of status 400 or more stands for."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return IssueError(
            _kind_of_status(status), f"the authority answered {status}", status=status, retry_after_s=wait_s
        )
    error = failure(problem)
    kind = error.kind if problem.type.startswith(_ERROR_PREFIX) else _kind_of_status(status)
    return IssueError(kind, error.detail, status=status, retry_after_s=wait_s, identifier=error.identifier)


def failure(problem: Problem | None, otherwise: str = "the authority gave no reason") -> IssueError:
    """The error that a problem stands for: of several in one, the first that names an identifier."""
    if problem is None:
        return IssueError("badAnswer", otherwise)
    # RFC 8555 section 6.7.1: the outer problem is only a wrapping then.
    for inner in problem.subproblems or ():
        if inner.identifier is not None:
            return failure(inner)
    kind = problem.type.removeprefix(_ERROR_PREFIX)
    name = problem.identifier.value if problem.identifier is not None else None
    detail = one_line(problem.detail or problem.title or "") or otherwise
    return IssueError(_short(kind), detail, identifier=name)


def one_line(text: str) -> str:
    """Text of others, fit for a log line: no control characters, and an end."""
    line = _CONTROLS.sub(" ", text).strip()
    return line if len(line) <= _LONGEST_DETAIL else f"{line[:_LONGEST_DETAIL]}..."


def _short(kind: str) -> str:
    """A problem type as a word: what follows the last colon or slash."""
    word = re.split(r"[:/#]", kind)[-1]
    return word if re.fullmatch(r"[A-Za-z0-9-]{1,40}", word) else "badAnswer"


def _kind_of_status(status: int) -> str:
    if status == 429:
        return "rateLimited"
    return "serverInternal" if status >= 500 else "badAnswer"


def _timestamp(text: str) -> float | None:
    """Seconds since 1970 of an HTTP date in any of its three forms, or with any zone."""
    try:
        found = parsedate_to_datetime(text)
        # asctime, and the zone `-0000`, come without one: HTTP means UTC (RFC 9110 section 5.6.7).
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
