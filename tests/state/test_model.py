"""Desired: persistent maps, counted uses, and what was touched."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.history import HISTORY_LIMIT
from state.index import members
from state.kinds import Kind
from state.model import Desired, Domain, Entity, Organization, Route, RouteKey
from state.policies import HeaderEdits
from tests.state.samples import NOON, domain, route


def with_routes(*hosts: str) -> Desired:
    """One revision per route."""
    desired = Desired()
    for host in hosts:
        desired = desired.advanced_to(desired.revision + 1).with_value(Kind.ROUTE, route(host, org_id="org_a"))
    return desired


@pytest.mark.parametrize("key", [RouteKey("a.example"), RouteKey("*.a.example", "/api/v1"), RouteKey("[::1]", "/x")])
def test_a_route_key_is_read_back_from_its_text(key: RouteKey) -> None:
    """The store keeps keys as text."""
    assert RouteKey.parse(str(key)) == key


def test_a_route_survives_json() -> None:
    """What is written is what is read, defaults and edits included."""
    original = route(headers=HeaderEdits(request={"X-Stage": "live"}))
    assert msgspec.json.decode(msgspec.json.encode(original), type=Route) == original


def test_a_change_leaves_the_value_before_it_alone() -> None:
    """Whoever holds an older value keeps it."""
    before = with_routes("a.example")
    after = before.advanced_to(2).without(Kind.ROUTE, RouteKey("a.example"))
    assert (len(before.routes), len(after.routes)) == (1, 0)


def test_touched_since_names_each_value_once() -> None:
    """A value touched twice is looked at once."""
    desired = with_routes("a.example", "b.example", "a.example")
    a, b = ((Kind.ROUTE, RouteKey(host)) for host in ("a.example", "b.example"))
    assert desired.touched_since(1) == frozenset({a, b})
    assert desired.touched_since(2) == frozenset({a})
    assert desired.touched_since(3) == frozenset()


def test_touched_since_does_not_guess() -> None:
    """Beyond the history, and before a restart, the answer is: look at everything."""
    desired = with_routes(*(f"h{number}.example" for number in range(HISTORY_LIMIT + 10)))
    assert desired.touched_since(9) is None
    assert desired.touched_since(10) is not None
    assert Desired.restored(7, {}).touched_since(6) is None


def test_uses_follow_the_references() -> None:
    """An organization is in use for as long as a route names it."""
    desired = with_routes("a.example", "b.example")
    key = (Kind.ORGANIZATION, "org_a")
    assert desired.uses[key] == 2
    desired = desired.with_value(Kind.ROUTE, route("a.example", org_id="org_b"))
    assert (desired.uses[key], desired.uses[Kind.ORGANIZATION, "org_b"]) == (1, 1)
    desired = desired.without(Kind.ROUTE, RouteKey("b.example"))
    assert key not in desired.uses


def test_a_restored_value_equals_the_one_that_was_built() -> None:
    """Reading everything gives the same maps and counts as the changes did."""
    built = with_routes("a.example", "b.example").with_value(
        Kind.ORGANIZATION, Organization(id="org_a", name="A", created_at=NOON, revision=2)
    )
    assert content(restored(built)) == content(built)


def restored(desired: Desired) -> Desired:
    """What reading all its values gives."""
    return Desired.restored(desired.revision, {kind: list(desired.values(kind).values()) for kind in Kind})


def content(desired: Desired) -> tuple[object, ...]:
    """What two values are compared by; how they came about is not part of it."""
    return (desired.revision, desired.uses, desired.prefixes, desired.aliases, *(desired.values(kind) for kind in Kind))


def test_removing_what_is_not_there_is_harmless() -> None:
    """Catching up may hear of a value that was made and removed in between."""
    assert len(Desired().without(Kind.ROUTE, RouteKey("a.example")).routes) == 0


def test_a_domain_survives_json() -> None:
    """What is written is what is read."""
    original = domain(serves="demo.example", certificate="off", https="on", ownership="token", revision=3)
    assert msgspec.json.decode(msgspec.json.encode(original), type=Domain) == original


def test_the_routes_of_a_host_are_found_without_looking_at_others() -> None:
    """By their prefixes, for as long as they are there."""
    desired = with_routes("a.example", "b.example").with_value(Kind.ROUTE, route("a.example", path_prefix="/api"))
    assert {str(found.key) for found in desired.routes_of("a.example")} == {"a.example/", "a.example/api"}
    desired = desired.without(Kind.ROUTE, RouteKey("a.example", "/api"))
    assert [str(found.key) for found in desired.routes_of("a.example")] == ["a.example/"]
    assert desired.routes_of("c.example") == []


def test_the_domains_that_answer_as_a_host_are_listed_under_it() -> None:
    """Those with routes of their own are listed nowhere."""
    desired = Desired()
    for name, serves in (("x.example", "a.example"), ("y.example", "a.example"), ("z.example", None)):
        desired = desired.with_value(Kind.DOMAIN, domain(name, serves=serves))
    assert set(members(desired.aliases, "a.example")) == {"x.example", "y.example"}
    desired = desired.with_value(Kind.DOMAIN, domain("x.example", serves="b.example")).without(Kind.DOMAIN, "y.example")
    assert {host: set(names) for host, names in desired.aliases.items()} == {"b.example": {"x.example"}}


HOSTS = st.sampled_from(["a.example", "b.example", "c.example"])
ORG_IDS = st.sampled_from([None, "org_a", "org_b"])
VALUES = st.one_of(
    st.builds(
        lambda host, prefix, org_id: route(host, path_prefix=prefix, org_id=org_id),
        HOSTS,
        st.sampled_from(["/", "/api"]),
        ORG_IDS,
    ),
    st.builds(lambda name, serves: domain(name, serves=serves), HOSTS, st.none() | HOSTS),
    st.builds(Organization, id=st.sampled_from(["org_a", "org_b"]), name=st.just("A"), created_at=st.just(NOON)),
)


@given(st.lists(st.tuples(VALUES, st.booleans()), max_size=30))
def test_any_sequence_leads_to_what_a_start_would_read(steps: list[tuple[Entity, bool]]) -> None:
    """The counts and indexes that changes keep are those that are made of all the values."""
    kinds = {Organization: Kind.ORGANIZATION, Route: Kind.ROUTE, Domain: Kind.DOMAIN}
    desired = Desired()
    for value, is_put in steps:
        kind = kinds[type(value)]
        desired = desired.advanced_to(desired.revision + 1)
        desired = desired.with_value(kind, value) if is_put else desired.without(kind, value.key)
    assert content(restored(desired)) == content(desired)
