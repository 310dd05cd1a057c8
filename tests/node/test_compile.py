"""From desired state to snapshots and deltas."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rpds import HashTrieMap

from mesh import policies
from mesh import routes as mesh
from mesh.table import RouteTable
from node.compile import Edge, compile_delta, compile_route, compile_snapshot, default_access
from state import policies as state_policies
from state.change import Change, PutOrganization, PutRoute, RemoveRoute, apply
from state.history import HISTORY_LIMIT
from state.model import Desired, Route, Split, Target, Traffic
from state.policies import (
    BasicAuth,
    Circuit,
    Compression,
    Cors,
    Ejection,
    ForwardAuth,
    Hash,
    HeaderEdits,
    HealthCheck,
    Hsts,
    Limits,
    RateLimit,
    Redirect,
    RetryBudget,
    Sticky,
    TargetTls,
    Timeouts,
)
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


WANTED = Route(
    host="shop.example.com",
    targets=(Target("http://127.0.0.1:1", 3, draining=True), Target("unix:/run/shop.sock")),
    org_id="org_a",
    access="tenant",
    tenants=("org_b",),
    balance="random_two",
    path_prefix="/api",
    strip_prefix=True,
    rewrite_prefix="/v2",
    hash=Hash(source="cookie", name="user"),
    sticky=Sticky(cookie="at", max_age_s=9),
    slow_start_s=30.0,
    health=HealthCheck(
        path="/up",
        host="shop",
        interval_s=1.0,
        timeout_s=0.5,
        healthy_after=1,
        unhealthy_after=4,
        statuses=("200-204", "301"),
        body="ok",
    ),
    ejection=Ejection(after=3, base_s=1.0, max_s=2.0, max_share=0.25, statuses=(502,)),
    circuit=Circuit(max_in_flight=10, max_pending=5, pending_s=1.0),
    retries=2,
    retry_budget=RetryBudget(share=0.1, min_per_s=1.0),
    finish_abandoned=True,
    timeouts=Timeouts(connect_s=1.0, response_s=2.0, idle_s=3.0, body_idle_s=4.0, total_s=5.0),
    limits=Limits(max_head_bytes=1, max_headers=2, max_requests_per_connection=3),
    max_body_bytes=99,
    rate_limit=RateLimit(requests=1, per_s=2.0, burst=3, by="header", header="X-Key"),
    allow=("10.0.0.0/8",),
    deny=("10.1.0.0/16",),
    forward_token=True,
    preserve_host=False,
    redirect=Redirect(to="/new", status=301),
    headers=HeaderEdits(
        request={"X-A": "1"},
        response={"X-B": "2"},
        add_request={"X-C": ("3", "4")},
        add_response={"X-D": ("5",)},
        remove_request=("Cookie",),
        remove_response=("Server",),
    ),
    basic_auth=BasicAuth(users={"ada": "hash"}, realm="Staff"),
    forward_auth=ForwardAuth(url="http://127.0.0.1:3/", copy_headers=("X-User",), timeout_s=1.0),
    cors=Cors(origins=("*",), methods=("PUT",), headers=("X-A",), expose=("X-B",), credentials=True, max_age_s=1),
    compression=Compression(encodings=("br",), min_bytes=1, types=("text/*",)),
    error_pages={"5xx": "<p>"},
    intercept_errors=True,
    https="redirect",
    hsts=Hsts(max_age_s=1, include_subdomains=True, preload=True),
    client_ca="PEM",
    target_tls=TargetTls(ca="PEM", server_name="app", verify=False, certificate="a.example"),
    proxy_protocol="v2",
    traffic=Traffic(
        mode="stop",
        hold_s=5.0,
        message="Soon.",
        retry_after_s=60,
        split=Split(targets=(Target("http://127.0.0.1:2"),), by="cookie", share=0.5, name="beta", values=("yes",)),
    ),
    revision=7,
)
COMPILED = mesh.Route(
    host="shop.example.com",
    targets=(policies.Target("http://127.0.0.1:1", 3, is_draining=True), policies.Target("unix:/run/shop.sock")),
    path_prefix="/api",
    org_id="org_a",
    access="tenant",
    tenants=("org_b",),
    forward_token=True,
    preserve_host=False,
    balance="random_two",
    hash=policies.Hash(source="cookie", name="user"),
    sticky=policies.Sticky(cookie="at", max_age_s=9),
    slow_start_s=30.0,
    health=policies.Health(
        path="/up",
        host="shop",
        interval_s=1.0,
        timeout_s=0.5,
        healthy_after=1,
        unhealthy_after=4,
        statuses=((200, 204), (301, 301)),
        body="ok",
    ),
    ejection=policies.Ejection(after=3, base_s=1.0, max_s=2.0, max_share=0.25, statuses=(502,)),
    circuit=policies.Circuit(max_in_flight=10, max_pending=5, pending_s=1.0),
    retries=2,
    retry_budget=policies.RetryBudget(share=0.1, min_per_s=1.0),
    traffic=policies.Traffic(
        mode="stop",
        hold_s=5.0,
        message="Soon.",
        retry_after_s=60,
        split=policies.Split(
            targets=(policies.Target("http://127.0.0.1:2"),), by="cookie", share=0.5, name="beta", values=("yes",)
        ),
    ),
    finish_abandoned=True,
    timeouts=policies.Timeouts(connect_s=1.0, response_s=2.0, idle_s=3.0, body_idle_s=4.0, total_s=5.0),
    limits=policies.Limits(max_body_bytes=99, max_head_bytes=1, max_headers=2, max_requests_per_connection=3),
    rate_limit=policies.RateLimit(requests=1, per_s=2.0, burst=3, by="header", header="X-Key"),
    allow=("10.0.0.0/8",),
    deny=("10.1.0.0/16",),
    strip_prefix=True,
    rewrite_prefix="/v2",
    redirect=policies.Redirect(to="/new", status=301),
    request_headers=policies.HeaderEdits(remove=("Cookie",), set=(("X-A", "1"),), add=(("X-C", "3"), ("X-C", "4"))),
    response_headers=policies.HeaderEdits(remove=("Server",), set=(("X-B", "2"),), add=(("X-D", "5"),)),
    basic_auth=policies.BasicAuth(users=(("ada", "hash"),), realm="Staff"),
    forward_auth=policies.ForwardAuth(url="http://127.0.0.1:3/", copy_headers=("X-User",), timeout_s=1.0),
    cors=policies.Cors(
        origins=("*",), methods=("PUT",), headers=("X-A",), expose=("X-B",), credentials=True, max_age_s=1
    ),
    compression=policies.Compression(encodings=("br",), min_bytes=1, types=("text/*",)),
    error_pages=policies.ErrorPages(pages=(policies.ErrorPage("5xx", "<p>"),), intercept=True),
    https="redirect",
    hsts=policies.Hsts(max_age_s=1, include_subdomains=True, preload=True),
    client_ca="PEM",
    target_tls=policies.TargetTls(ca="PEM", server_name="app", verify=False, certificate="a.example"),
    proxy_protocol="v2",
)
ALIKE = (
    *("Ejection", "Circuit", "RetryBudget", "Hash", "Sticky", "Timeouts", "RateLimit", "Redirect", "ForwardAuth"),
    *("Cors", "Compression", "Hsts", "TargetTls"),
)


def after(desired: Desired, *wanted: Change) -> Desired:
    """Desired state after the changes; those that are refused leave it as it is."""
    for change in wanted:
        try:
            desired = apply(desired, change, at=NOW)
        except Refused:
            continue
    return desired


def table(snapshot: mesh.Snapshot) -> RouteTable:
    """The table that a worker starts with."""
    return RouteTable(snapshot.routes)


def content(routes: RouteTable) -> dict[mesh.RouteKey, mesh.Route]:
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
    assert [name for name, value in fields(WANTED).items() if value == getattr(Route(host="*"), name)] == []
    assert compile_route(WANTED, EDGE) == COMPILED


def test_nothing_of_the_data_plane_is_out_of_reach() -> None:
    """Each of its fields differs from its default in the route above, so each can be said."""
    compiled, default = compile_route(WANTED, EDGE), compile_route(Route(host="*"), EDGE)
    assert [name for name, value in fields(compiled).items() if value == getattr(default, name)] == []


def test_what_a_route_does_not_say_is_the_data_plane_s_default() -> None:
    """Both sides agree about every one."""
    assert compile_route(Route(host="*", targets=LOCAL), EDGE) == mesh.Route(
        host="*", targets=(policies.Target("http://127.0.0.1:9000"),)
    )
    check = compile_route(Route(host="*", health=HealthCheck()), EDGE).health
    assert check == policies.Health()


@pytest.mark.parametrize("name", ALIKE)
def test_policies_have_the_same_fields_on_both_sides(name: str) -> None:
    """With the same types and defaults, rules aside."""
    ours, theirs = getattr(state_policies, name), getattr(policies, name)
    assert [described(field) for field in msgspec.structs.fields(ours)] == [
        described(field) for field in msgspec.structs.fields(theirs)
    ]
    # Which statuses redirect is for the API to know.
    assert {**get_type_hints(ours), "status": int} == {**get_type_hints(theirs), "status": int}


def described(field: msgspec.structs.FieldInfo) -> tuple[str, object]:
    """A field's name and default."""
    return field.name, field.default


def fields(value: msgspec.Struct) -> dict[str, object]:
    """The value of each field."""
    return {name: getattr(value, name) for name in value.__struct_fields__}


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


def test_certificates_travel_by_fingerprint() -> None:
    """Those that are new are put, those that are gone removed, and the others stay where they are."""
    one, two, three = (
        mesh.Certificate(fingerprint=print_, names=("a.example",), chain=b"c", key=b"k") for print_ in "123"
    )
    before, edge = Edge(certificates=(one, two)), Edge(certificates=(two, three))
    assert compile_snapshot(Desired(), edge).certificates == (two, three)
    assert compile_delta(0, Desired(), edge, before) == mesh.Delta(
        revision=0, put_certificates=(three,), removed_certificates=("1",)
    )


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


def test_an_inspector_stands_before_a_target() -> None:
    """In the route's own targets and in those of its split; the target stays the same one."""
    split = Split(targets=(Target("http://127.0.0.1:9001"),), share=0.5)
    route = Route(host="shop.example.com", targets=LOCAL, retries=0, traffic=Traffic(split=split))
    vias = {"http://127.0.0.1:9000": "http://127.0.0.1:1", "http://127.0.0.1:9001": "http://127.0.0.1:2"}
    made = compile_route(route, Edge(inspected=HashTrieMap({route.key: vias})))
    assert made.targets == (policies.Target("http://127.0.0.1:9000", via="http://127.0.0.1:1"),)
    assert made.traffic.split is not None
    assert made.traffic.split.targets == (policies.Target("http://127.0.0.1:9001", via="http://127.0.0.1:2"),)
    # An inspector that dies must not cost a request.
    assert (made.retries, made.retry_budget.share) == (1, 1.0)


def test_no_inspector_announces_visitors() -> None:
    """A target that expects a PROXY header is connected to directly."""
    route = Route(host="shop.example.com", targets=LOCAL, proxy_protocol="v2")
    edge = Edge(inspected=HashTrieMap({route.key: {"http://127.0.0.1:9000": "http://127.0.0.1:1"}}))
    assert compile_route(route, edge) == compile_route(route, EDGE)


def test_inspections_travel_in_a_delta() -> None:
    """Only the routes that they begin, change or end for."""
    desired = Desired()
    for host in ("a.example.com", "b.example.com"):
        desired = apply(desired, PutRoute(route=Route(host=host, targets=LOCAL)), at=NOW)
    first, second = sorted(desired.routes)
    before = Edge(inspected=HashTrieMap({first: {"http://127.0.0.1:9000": "http://127.0.0.1:1"}}))
    gone = Edge(revision=1)
    other = Edge(revision=1, inspected=before.inspected.insert(second, {}))
    for edge, hosts_ in ((before, []), (gone, [first.host]), (other, [second.host])):
        delta = compile_delta(desired.revision, desired, edge, before)
        assert delta is not None
        assert [route.host for route in delta.put] == hosts_
