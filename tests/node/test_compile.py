"""From desired state to snapshots and deltas."""

from __future__ import annotations

import copy
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import routes as mesh
from node.compile import Edge, compile_delta, compile_route, compile_snapshot, default_access
from state.change import Change, PutOrganization, PutRoute, RemoveRoute, apply
from state.history import HISTORY_LIMIT
from state.model import Desired, HeaderEdits, HealthCheck, Route, Target, Timeouts
from state.refusal import Refused

NOW = datetime(2030, 1, 1, tzinfo=UTC)
EDGE = Edge()
LOCAL = (Target("http://127.0.0.1:9000"),)

hosts = st.sampled_from(["shop.example.com", "*.example.com", "orders.acme.zexio.internal", "*", "demo.zexio.app"])
prefixes = st.sampled_from(["/", "/api", "/api/v2"])
routes = st.builds(
    lambda host, prefix, org, access, retries: Route(
        host=host, path_prefix=prefix, org_id=org, access=access, retries=retries, targets=LOCAL
    ),
    hosts,
    prefixes,
    st.sampled_from([None, "org_a", "org_b"]),
    st.sampled_from([None, "public"]),
    st.integers(0, 2),
)
changes = st.one_of(
    st.builds(PutRoute, route=routes),
    st.builds(RemoveRoute, host=hosts, path_prefix=prefixes),
    st.builds(PutOrganization, id=st.sampled_from(["org_a", "org_c"]), name=st.sampled_from(["Acme", "Globex"])),
)


def after(desired: Desired, *wanted: Change) -> Desired:
    """Desired state after the changes; those that are refused leave it as it is."""
    for change in wanted:
        try:
            desired = apply(desired, change, at=NOW)
        except Refused:
            continue
    return desired


def table(snapshot: mesh.Snapshot) -> mesh.RouteTable:
    """The table that a worker starts with."""
    return mesh.RouteTable(snapshot.routes)


def content(routes: mesh.RouteTable) -> dict[mesh.RouteKey, mesh.Route]:
    """What a table holds, comparable."""
    return {route.key: route for route in routes}


@given(before=st.lists(changes, max_size=12), later=st.lists(changes, max_size=12))
def test_a_delta_leads_where_a_snapshot_would(before: list[Change], later: list[Change]) -> None:
    """Whatever happened between two revisions, a worker that applies the delta holds what a new worker is given."""
    start = after(Desired(), *before)
    end = after(start, *later)
    delta = compile_delta(start.revision, end, EDGE, EDGE)
    assert delta is not None
    routes = table(compile_snapshot(start, EDGE))
    routes.apply(delta)
    assert content(routes) == content(table(compile_snapshot(end, EDGE)))
    assert delta.revision == end.revision


@given(before=st.lists(changes, max_size=12), later=st.lists(changes, max_size=12))
def test_a_delta_names_only_what_was_touched(before: list[Change], later: list[Change]) -> None:
    """One changed route among many costs work for one."""
    start = after(Desired(), *before)
    end = after(start, *later)
    delta = compile_delta(start.revision, end, EDGE, EDGE)
    assert delta is not None
    assert len(delta.put) + len(delta.removed) <= end.revision - start.revision


def test_every_field_of_a_route_arrives() -> None:
    """Nothing that the operator said is lost on the way to the data plane."""
    wanted = Route(
        host="shop.example.com",
        targets=(Target("http://127.0.0.1:1", 3), Target("unix:/run/shop.sock")),
        org_id="org_a",
        access="tenant",
        balance="random_two",
        path_prefix="/api",
        strip_prefix=True,
        health=HealthCheck(path="/up", interval_s=1.0, timeout_s=0.5, healthy_after=1, unhealthy_after=4),
        timeouts=Timeouts(connect_s=1.0, response_s=2.0, idle_s=3.0),
        retries=2,
        max_body_bytes=99,
        forward_token=True,
        preserve_host=False,
        headers=HeaderEdits(request={"X-A": "1"}, response={"X-B": "2"}),
        https="redirect",
        revision=7,
    )
    assert compile_route(wanted, EDGE) == mesh.Route(
        host="shop.example.com",
        targets=(mesh.Target("http://127.0.0.1:1", 3), mesh.Target("unix:/run/shop.sock")),
        path_prefix="/api",
        org_id="org_a",
        access="tenant",
        balance="random_two",
        strip_prefix=True,
        health=mesh.Health(path="/up", interval_s=1.0, timeout_s=0.5, healthy_after=1, unhealthy_after=4),
        timeouts=mesh.Timeouts(connect_s=1.0, response_s=2.0, idle_s=3.0),
        retries=2,
        max_body_bytes=99,
        forward_token=True,
        preserve_host=False,
        request_headers=(("X-A", "1"),),
        response_headers=(("X-B", "2"),),
        https="redirect",
    )


@pytest.mark.parametrize(
    ("host", "access"),
    [
        ("orders.acme.zexio.internal", "tenant"),
        ("zexio.internal", "tenant"),
        ("*.zexio.internal", "tenant"),
        ("*.internal", "tenant"),
        ("notzexio.internal", "public"),
        ("demo.zexio.app", "public"),
        ("app-1.zexio.dev", "public"),
        ("shop.example.com", "public"),
        ("*.example.com", "public"),
        ("*", "public"),
    ],
)
def test_the_default_access_goes_by_suffix(host: str, access: str) -> None:
    """contracts/plane.md decision 9."""
    assert default_access(host, EDGE) == access


def test_a_node_may_make_tenant_the_default_everywhere() -> None:
    """contracts/plane.md decision 9; what a route says itself still holds."""
    edge = Edge(tenant_everywhere=True)
    route = Route(host="demo.zexio.app", targets=LOCAL)
    assert compile_route(route, edge).access == "tenant"
    assert compile_route(msgspec.structs.replace(route, access="public"), edge).access == "public"


def test_new_keys_and_limits_travel_in_a_delta() -> None:
    """A rotated key does not resend the routes."""
    desired = after(Desired(), PutRoute(route=Route(host="a.example.com", targets=LOCAL)))
    edge = Edge(keys=mesh.AccessKeys(generation=2), limits=mesh.MeshSettings(max_headers=50))
    delta = compile_delta(desired.revision, desired, edge, EDGE)
    assert delta == mesh.Delta(revision=desired.revision, keys=edge.keys, settings=edge.limits)


def test_unchanged_keys_and_limits_do_not_travel() -> None:
    """An equal value is no change."""
    delta = compile_delta(0, after(Desired(), PutOrganization(id="org_a")), copy.deepcopy(EDGE), EDGE)
    assert delta == mesh.Delta(revision=1)


def test_another_default_needs_a_snapshot() -> None:
    """It may change any route."""
    assert compile_delta(0, Desired(), Edge(tenant_everywhere=True), EDGE) is None
    assert compile_delta(0, Desired(), Edge(internal_suffixes=("corp",)), EDGE) is None


def test_too_far_behind_needs_a_snapshot() -> None:
    """Desired remembers what was touched for a while only."""
    wanted = [PutOrganization(id=f"org_{number}") for number in range(HISTORY_LIMIT + 1)]
    assert compile_delta(0, after(Desired(), *wanted), EDGE, EDGE) is None
