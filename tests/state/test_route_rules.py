"""Route rules: each field in its bounds, all problems at once."""

from __future__ import annotations

from typing import Any

import pytest

from state.model import Target
from state.policies import BasicAuth, HeaderEdits, HealthCheck, Redirect, Timeouts
from state.refusal import Refused
from state.route_rules import fold_route, org_id_reason
from tests.state.samples import TARGET, route

USERS = BasicAuth(users={"ada": f"$argon2id$v=19$m=19456,t=2,p=1${'a' * 22}${'b' * 43}"})


def problem_fields(**fields: Any) -> list[str]:  # noqa: ANN401 - any field of a route
    """The fields that a route is refused for."""
    with pytest.raises(Refused) as refusal:
        fold_route(route(**fields))
    return [problem.field for problem in refusal.value.problems]


def test_a_route_is_folded() -> None:
    """Host and targets get their one spelling, and everything else stays."""
    folded = fold_route(route("Shop.Example.COM", targets=(Target("http://App", 3),), retries=5))
    assert folded == route("shop.example.com", targets=(Target("http://app:80", 3),), retries=5)


@pytest.mark.parametrize(
    "fields",
    [
        {"org_id": "org:A_1.b-c"},
        {"path_prefix": "/api/v1"},
        {"path_prefix": "/api/"},
        {"path_prefix": "/.well-known/x;v=1/%C3%A9"},
        {"path_prefix": "/a..b/...c"},
        {"health": HealthCheck(path="/ready?deep=1")},
        {"timeouts": Timeouts(connect_s=0.001, response_s=86_400, idle_s=1)},
        {"retries": 0},
        {"max_body_bytes": 0},
        {"max_body_bytes": 2**63 - 1},
        {"access": "tenant"},
        {"targets": (Target("http://a:1", 0), Target("http://b:1", 1000))},
        {"headers": HeaderEdits(request={"X-Stage": "live"})},
        {"targets": (), "redirect": Redirect(to="https://{host}{path}")},
        {"rewrite_prefix": "/v2/"},
        {"error_pages": {"502": "x" * 65_536, "4xx": ""}, "intercept_errors": True},
        {"allow": ("10.0.0.0/8", "::1/128")},
        {"basic_auth": USERS, "access": "public", "org_id": "org_a"},
    ],
)
def test_what_a_route_may_say(fields: dict[str, Any]) -> None:
    """The edges of every range belong to it."""
    assert fold_route(route(**fields)) == route(**fields)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"host": "a.example:80"}, ["host"]),
        ({"targets": ()}, ["targets"]),
        ({"targets": tuple(Target(f"http://h{number}:1") for number in range(257))}, ["targets"]),
        ({"targets": (Target("http://a:1", 0),)}, ["targets"]),
        ({"targets": (TARGET, Target("a:1"))}, ["targets[1].url"]),
        ({"targets": (Target("http://A"), Target("http://a:80"))}, ["targets[1].url"]),
        (
            {"targets": (Target("http://a:1", -1), Target("http://b:1", 1001))},
            ["targets[0].weight", "targets[1].weight"],
        ),
        ({"org_id": ""}, ["org_id"]),
        ({"health": HealthCheck(path="health")}, ["health.path"]),
        ({"health": HealthCheck(path="/a b")}, ["health.path"]),
        ({"health": HealthCheck(path="/a\r\nX: y")}, ["health.path"]),
        ({"health": HealthCheck(interval_s=0, timeout_s=-1)}, ["health.interval_s", "health.timeout_s"]),
        (
            {"health": HealthCheck(healthy_after=0, unhealthy_after=101)},
            ["health.healthy_after", "health.unhealthy_after"],
        ),
        ({"timeouts": Timeouts(connect_s=0, response_s=86_401)}, ["timeouts.connect_s", "timeouts.response_s"]),
        ({"timeouts": Timeouts(idle_s=float("nan"))}, ["timeouts.idle_s"]),
        ({"timeouts": Timeouts(idle_s=float("inf"))}, ["timeouts.idle_s"]),
        ({"strip_prefix": True, "rewrite_prefix": "/v2"}, ["rewrite_prefix"]),
        ({"intercept_errors": True}, ["intercept_errors"]),
        ({"redirect": Redirect(to="/"), "health": HealthCheck()}, ["targets", "health"]),
        ({"tenants": ("-",)}, ["tenants[0]"]),
        ({"basic_auth": USERS, "access": "tenant", "org_id": "org_a"}, ["basic_auth"]),
        (
            {"basic_auth": USERS, "access": "public", "tenants": ("org_b",), "forward_token": True},
            ["tenants", "forward_token"],
        ),
        ({"allow": ("10.0.0.1/8",), "slow_start_s": 3601.0}, ["slow_start_s", "allow[0]"]),
        ({"error_pages": {"200": "x", "5xx": "x" * 65_537}}, ["error_pages['200']", "error_pages['5xx']"]),
        ({"retries": 6}, ["retries"]),
        ({"retries": -1}, ["retries"]),
        ({"max_body_bytes": -1}, ["max_body_bytes"]),
        ({"max_body_bytes": 2**63}, ["max_body_bytes"]),
        ({"headers": HeaderEdits(response={"Host": "x"})}, ["headers.response['Host']"]),
        ({"host": "", "retries": 9, "targets": (Target("x"),)}, ["host", "targets[0].url", "retries"]),
    ],
)
def test_what_a_route_may_not_say(fields: dict[str, Any], wrong: list[str]) -> None:
    """Every wrong field is named, in the order of the route."""
    assert problem_fields(**fields) == wrong


@pytest.mark.parametrize(
    "prefix",
    [
        *("", "api", "//", "/a//b", "/.", "/..", "/a/../b", "/a/..;x/b", "/a/./b", "/a?x", "/a#x", "/a b", "/a\\b"),
        *("/%2e%2e/a", "/a%2Fb", "/a%5cb", "/a%00", "/a%", "/a%zz", "/é", "/a\n", "/" + "a" * 1024),
    ],
)
def test_a_prefix_has_one_reading(prefix: str) -> None:
    """Nothing that a target might fold into another path."""
    assert problem_fields(path_prefix=prefix) == ["path_prefix"]


@pytest.mark.parametrize("org_id", ["", "-a", ".a", "a b", "a/b", "é", "a" * 129, "a\n"])
def test_organization_ids_are_plain(org_id: str) -> None:
    """They stand in tokens, headers and logs."""
    assert org_id_reason(org_id) is not None


@pytest.mark.parametrize("org_id", ["a", "0", "org_A", "acme:eu.prod-1", "a" * 128])
def test_organization_ids_may_be_structured(org_id: str) -> None:
    """As other systems make them."""
    assert org_id_reason(org_id) is None
