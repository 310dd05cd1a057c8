"""What a route may say: every field in its one spelling, or all that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from state.header_rules import header_problems
from state.hosts import fold_route_host
from state.model import HealthCheck, Route, Target
from state.refusal import Problem, Refused
from state.target_urls import fold_target_url

MAX_TARGETS: Final = 256
MAX_WEIGHT: Final = 1000
MAX_RETRIES: Final = 5
MAX_CHECKS: Final = 100
MAX_BODY_BYTES: Final = 2**63 - 1
MAX_SECONDS: Final = 86_400.0
MAX_PATH: Final = 1024

_ORG_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
# RFC 3986 section 3.3: what a path is written with.
_PREFIX: Final = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
# A target may fold these into another path than the one that was matched.
_AMBIGUOUS: Final = re.compile(r"//|/\.{1,2}(?:/|;|$)|%(?:00|2e|2f|5c)", re.IGNORECASE)
_REQUEST_PATH: Final = re.compile(r"/[\x21\x22\x24-\x7e]*")


def fold_route(route: Route) -> Route:
    """The route with its host and targets in their one spelling; raises Refused with every problem there is."""
    problems: list[Problem] = []
    host = _fold(fold_route_host, route.host, "host", problems)
    targets = tuple(
        Target(_fold(fold_target_url, target.url, f"targets[{place}].url", problems), target.weight)
        for place, target in enumerate(route.targets)
    )
    folded = msgspec.structs.replace(route, host=host, targets=targets)
    problems += _problems(folded)
    if problems:
        raise Refused("invalid", problems)
    return folded


def org_id_reason(org_id: str) -> str | None:
    """Why `org_id` cannot name an organization; None when it can."""
    if _ORG_ID.fullmatch(org_id):
        return None
    return "must be 1 to 128 letters, digits, `_`, `.`, `:` or `-`, with a letter or a digit first"


def _fold(fold: Callable[[str], str], text: str, field: str, problems: list[Problem]) -> str:
    try:
        return fold(text)
    except ValueError as reason:
        problems.append(Problem(field, str(reason)))
        return text


def _problems(route: Route) -> Iterator[Problem]:
    yield from _target_problems(route.targets)
    if route.org_id is not None and (reason := org_id_reason(route.org_id)):
        yield Problem("org_id", reason)
    yield from _prefix_problems(route.path_prefix)
    if route.health is not None:
        yield from _health_problems(route.health)
    for name in ("connect_s", "response_s", "idle_s"):
        yield from _duration(f"timeouts.{name}", getattr(route.timeouts, name))
    yield from _range("retries", route.retries, 0, MAX_RETRIES)
    if route.max_body_bytes is not None:
        yield from _range("max_body_bytes", route.max_body_bytes, 0, MAX_BODY_BYTES)
    yield from header_problems("headers.request", route.headers.request)
    yield from header_problems("headers.response", route.headers.response)


def _target_problems(targets: tuple[Target, ...]) -> Iterator[Problem]:
    if not 1 <= len(targets) <= MAX_TARGETS:
        yield Problem("targets", f"must be 1 to {MAX_TARGETS} targets")
    elif not any(target.weight for target in targets):
        yield Problem("targets", "all have the weight 0")
    seen: set[str] = set()
    for place, target in enumerate(targets):
        yield from _range(f"targets[{place}].weight", target.weight, 0, MAX_WEIGHT)
        if target.url in seen:
            yield Problem(f"targets[{place}].url", "is listed twice")
        seen.add(target.url)


def _prefix_problems(prefix: str) -> Iterator[Problem]:
    if len(prefix) > MAX_PATH:
        yield Problem("path_prefix", f"is longer than {MAX_PATH} characters")
    elif not _PREFIX.fullmatch(prefix):
        yield Problem("path_prefix", "must begin with a slash and be written as the path of a URL, without a query")
    elif _AMBIGUOUS.search(prefix):
        yield Problem("path_prefix", "has a dot segment, an empty segment or an encoded separator")


def _health_problems(health: HealthCheck) -> Iterator[Problem]:
    if len(health.path) > MAX_PATH or not _REQUEST_PATH.fullmatch(health.path):
        yield Problem("health.path", f"must begin with a slash, in at most {MAX_PATH} visible ASCII characters")
    yield from _duration("health.interval_s", health.interval_s)
    yield from _duration("health.timeout_s", health.timeout_s)
    yield from _range("health.healthy_after", health.healthy_after, 1, MAX_CHECKS)
    yield from _range("health.unhealthy_after", health.unhealthy_after, 1, MAX_CHECKS)


def _duration(field: str, seconds: float) -> Iterator[Problem]:
    # Written so that NaN, which is on neither side of any number, is refused.
    if not 0 < seconds <= MAX_SECONDS:
        yield Problem(field, f"must be more than 0 and at most {MAX_SECONDS:.0f} seconds")


def _range(field: str, value: int, low: int, high: int) -> Iterator[Problem]:
    if not low <= value <= high:
        yield Problem(field, f"must be {low} to {high}")
