"""What a route's policies come to: its own wishes where it has any, else the settings of the worker."""

from __future__ import annotations

import pytest

from mesh.errors import NO_TARGET, Failure
from mesh.policies import (
    BasicAuth,
    ErrorPage,
    ErrorPages,
    ForwardAuth,
    HeaderEdits,
    Limits,
    RateLimit,
    Timeouts,
    Traffic,
)
from mesh.routes import MeshSettings, Route
from mesh.rules import Rules

SETTINGS = MeshSettings(
    connect_timeout_s=1, response_timeout_s=2, idle_timeout_s=3, body_idle_s=4, total_timeout_s=5, max_body_bytes=6
)


def _rules(**wishes: object) -> Rules:
    return Rules(Route(host="a", targets=(), **wishes), SETTINGS)  # type: ignore[arg-type]


def test_settings_hold_where_a_route_says_nothing() -> None:
    """A body may not stand still for longer than anything may."""
    rules = _rules()
    assert (rules.connect_s, rules.response_s, rules.idle_s, rules.total_s) == (1, 2, 3, 5)
    assert (rules.body_idle_s, rules.max_body_bytes) == (3, 6)


def test_a_route_s_own_limits_come_first() -> None:
    """0 lifts a limit that can be lifted."""
    own = Timeouts(connect_s=10, response_s=20, idle_s=30, body_idle_s=40, total_s=0)
    rules = _rules(timeouts=own, limits=Limits(max_body_bytes=60))
    assert (rules.connect_s, rules.response_s, rules.idle_s, rules.total_s) == (10, 20, 30, 0)
    assert (rules.body_idle_s, rules.max_body_bytes) == (40, 60)


def test_an_open_route_is_one_with_nothing_to_check() -> None:
    """Requests of others go the long way."""
    plain = Rules(Route(host="a", targets=()), MeshSettings())
    assert plain.is_open
    assert not plain.takes_time
    assert plain.dressing is None
    assert plain.rewrite is None
    assert plain.request_edits is None


@pytest.mark.parametrize(
    "wish",
    [
        {"access": "tenant"},
        {"https": "redirect"},
        {"client_ca": "x"},
        {"allow": ("10.0.0.0/8",)},
        {"rate_limit": RateLimit(requests=1)},
        {"rate_limit": RateLimit(requests=1, by="token")},
        {"traffic": Traffic(mode="stop")},
        {"traffic": Traffic(mode="pause")},
        {"basic_auth": BasicAuth(users=())},
        {"forward_auth": ForwardAuth(url="http://127.0.0.1:1/")},
        {"limits": Limits(max_body_bytes=1)},
    ],
)
def test_a_route_with_a_wish_is_not_open(wish: dict[str, object]) -> None:
    """Whatever it is that has to be looked at."""
    assert not Rules(Route(host="a", targets=(), **wish), MeshSettings()).is_open  # type: ignore[arg-type]


def test_edits_alone_leave_a_route_open() -> None:
    """They change requests and refuse none."""
    rules = Rules(Route(host="a", targets=(), request_headers=HeaderEdits(set=(("A", "b"),))), MeshSettings())
    assert rules.is_open
    assert rules.request_edits is not None


def test_a_paused_route_gives_its_requests_the_time() -> None:
    """To be held, and then to be checked."""
    assert _rules(traffic=Traffic(mode="pause", hold_s=100)).checks_s > 100


def test_a_failure_is_told_on_the_route_s_own_page() -> None:
    """To those who read pages; others get data."""
    rules = _rules(error_pages=ErrorPages(pages=(ErrorPage("5xx", "<p>{status}"),)))
    _, fields, body = rules.failure_answer(Failure(NO_TARGET), b"text/html", b"id")
    assert (body, fields.value(b"content-type")) == (b"<p>503", b"text/html; charset=utf-8")
    assert rules.failure_answer(Failure(NO_TARGET), b"*/*", b"id")[2] == b"<p>503"
    _, fields, _ = rules.failure_answer(Failure(NO_TARGET), b"application/json", b"id")
    assert fields.value(b"content-type") == b"application/json"
