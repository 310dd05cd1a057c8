"""From desired state to snapshots and deltas."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import TypeAlias, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rpds import HashTrieMap

from mesh import policies
from mesh import routes as mesh
from mesh.table import RouteTable
from node.compile import Edge, Inputs, compile_delta, compile_route, compile_snapshot, default_access
from state import policies as state_policies
from state.change import Change, PutOrganization, PutRoute, RemoveRoute, apply
from state.domains import PutDomain, RemoveDomain
from state.history import HISTORY_LIMIT
from state.holdings import Bundle, Holdings
from state.model import CertificateWish, Desired, Domain, Https, Route, RouteKey, Split, Target, Traffic
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
NAMES = ("shop.example.com", "a.example.com", "*.example.com")
SERVED = ("demo.zexio.app", "orders.acme.zexio.internal")
# Which routes there are, what each name serves ("" for itself; None: it is no domain), and what is held for it.
worlds = st.tuples(
    st.sets(st.sampled_from([(host, prefix) for host in SERVED for prefix in ("/", "/api")]), min_size=2),
    st.fixed_dictionaries({name: st.sampled_from([None, "", *SERVED]) for name in NAMES}),
    st.fixed_dictionaries({name: st.sampled_from([None, "1", "2", "both"]) for name in NAMES}),
)
World: TypeAlias = tuple[set[tuple[str, str]], dict[str, str | None], dict[str, str | None]]


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
    delta = compile_delta(Inputs(end, EDGE), Inputs(start, EDGE))
    assert delta is not None
    routes = table(compile_snapshot(Inputs(start, EDGE)))
    routes.apply(delta)
    assert content(routes) == content(table(compile_snapshot(Inputs(end, EDGE))))
    assert delta.revision == end.revision


@given(before=st.lists(changes, max_size=12), later=st.lists(changes, max_size=12))
def test_a_delta_names_only_what_was_touched(before: list[Change], later: list[Change]) -> None:
    """One changed route among many costs work for one."""
    start = after(Desired(), *before)
    end = after(start, *later)
    delta = compile_delta(Inputs(end, EDGE), Inputs(start, EDGE))
    assert delta is not None
    assert len(delta.put) + len(delta.removed) <= end.revision - start.revision


def test_every_field_of_a_route_arrives() -> None:
    """Nothing that the operator said is lost on the way to the data plane."""
    assert [name for name, value in fields(WANTED).items() if value == getattr(Route(host="*"), name)] == []
    assert compile_route(WANTED, EDGE) == COMPILED


def test_nothing_of_the_data_plane_is_out_of_reach() -> None:
    """Each of its fields differs from its default in the route above, so each can be said."""
    compiled, default = compile_route(WANTED, EDGE), compile_route(Route(host="*"), EDGE)
    same = [name for name, value in fields(compiled).items() if value == getattr(default, name)]
    # These are said by domains.
    assert same == ["alias_of", "redirect_covered"]


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
    delta = compile_delta(Inputs(desired, edge), Inputs(desired, EDGE))
    assert delta == mesh.Delta(revision=desired.revision, keys=edge.keys, settings=edge.limits)


def test_certificates_travel_by_fingerprint() -> None:
    """Those that are new are put, those that are gone removed, and the others stay where they are."""
    one, two, three = (
        mesh.Certificate(fingerprint=print_, names=("a.example",), chain=b"c", key=b"k") for print_ in "123"
    )
    before, edge = Edge(certificates=(one, two)), Edge(certificates=(two, three))
    assert compile_snapshot(Inputs(edge=edge)).certificates == (two, three)
    assert compile_delta(Inputs(edge=edge), Inputs(edge=before)) == mesh.Delta(
        revision=0, put_certificates=(three,), removed_certificates=("1",)
    )


def test_unchanged_keys_and_limits_do_not_travel() -> None:
    """An equal value is no change."""
    desired = after(Desired(), PutOrganization(id="org_a"))
    delta = compile_delta(Inputs(desired, copy.deepcopy(EDGE)), Inputs())
    assert delta == mesh.Delta(revision=1)


def test_another_default_needs_a_snapshot() -> None:
    """It may change any route."""
    assert compile_delta(Inputs(edge=Edge(tenant_everywhere=True)), Inputs()) is None
    assert compile_delta(Inputs(edge=Edge(internal_suffixes=("corp",))), Inputs()) is None


def test_too_far_behind_needs_a_snapshot() -> None:
    """Desired remembers what was touched for a while only."""
    wanted = [PutOrganization(id=f"org_{number}") for number in range(HISTORY_LIMIT + 1)]
    assert compile_delta(Inputs(after(Desired(), *wanted)), Inputs()) is None


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
        delta = compile_delta(Inputs(desired, edge), Inputs(desired, before))
        assert delta is not None
        assert [route.host for route in delta.put] == hosts_


def content_of(snapshot: mesh.Snapshot) -> tuple[dict[mesh.RouteKey, mesh.Route], dict[str, mesh.Certificate]]:
    """What a worker that starts with it holds, comparable."""
    return content(table(snapshot)), {each.fingerprint: each for each in snapshot.certificates}


def come_true(world: World, desired: Desired, holdings: Holdings) -> Inputs:
    """What the world looks like after what it takes to make it so, and nothing else."""
    wanted, serves, held = world
    wanted_keys = {RouteKey(host, prefix) for host, prefix in wanted}
    removed = [RemoveDomain(name=name) for name in NAMES if serves[name] is None]
    routes = [
        PutRoute(route=Route(host=key.host, path_prefix=key.path_prefix, targets=LOCAL))
        for key in wanted_keys.difference(desired.routes)
    ]
    domains = [
        PutDomain(domain=Domain(name=name, serves=host or None, created_at=NOW))
        for name, host in serves.items()
        if host is not None and not (name in desired.domains and desired.domains[name].serves == (host or None))
    ]
    gone = [RemoveRoute(host=key.host, path_prefix=key.path_prefix) for key in desired.routes if key not in wanted_keys]
    bundles = {
        name: Bundle(fingerprint=f"{name}{print_}", names=covered(name, print_), chain=b"c", key=b"k")
        if print_
        else None
        for name, print_ in held.items()
    }
    after_all = after(desired, *gone, *routes, *removed, *domains)
    return Inputs(after_all, Edge(has_tls=True), holdings.with_bundles(bundles))


def covered(name: str, print_: str) -> tuple[str, ...]:
    """Some certificates have another name beside the one that is wanted."""
    return (name, NAMES[0]) if print_ == "both" and name != NAMES[0] else (name,)


@given(before=worlds, later=worlds)
def test_a_delta_leads_where_a_snapshot_would_with_domains_and_certificates(before: World, later: World) -> None:
    """Whatever happened to routes, domains and certificates between the two."""
    start = come_true(before, Desired(), Holdings())
    end = come_true(later, start.desired, start.holdings)
    delta = compile_delta(end, start)
    assert delta is not None
    routes, certificates = content_of(compile_snapshot(start))
    worker = RouteTable(routes.values())
    worker.apply(delta)
    for fingerprint in delta.removed_certificates:
        del certificates[fingerprint]
    certificates |= {each.fingerprint: each for each in delta.put_certificates}
    wanted, wanted_certificates = content_of(compile_snapshot(end))
    assert content(worker) == wanted
    assert certificates == wanted_certificates


def serving(*hosts: str, access: str | None = None) -> Desired:
    """Routes of these hosts; the domain shop.customer.net serves the first."""
    desired = Desired()
    for host in hosts:
        route = Route(host=host, targets=LOCAL, access=access)  # type: ignore[arg-type]
        desired = apply(desired, PutRoute(route=route), at=NOW)
    return with_domain(desired, serves=hosts[0])


def with_domain(
    desired: Desired,
    *,
    name: str = "shop.customer.net",
    serves: str | None = None,
    https: Https = "redirect",
    certificate: CertificateWish = "auto",
) -> Desired:
    """Desired state with a domain."""
    domain = Domain(name=name, serves=serves, https=https, certificate=certificate, created_at=NOW)
    return apply(desired, PutDomain(domain=domain), at=NOW)


def held(*certified: str) -> Holdings:
    """Holdings with a certificate for each of these names."""
    return Holdings().with_bundles(
        {name: Bundle(fingerprint=f"of {name}", names=(name,), chain=b"c", key=b"k") for name in certified}
    )


def routes_by_host(inputs: Inputs) -> dict[str, mesh.Route]:
    """The routes of a snapshot."""
    return {route.host: route for route in compile_snapshot(inputs).routes}


SECURE = Edge(has_tls=True)


def test_a_domain_answers_as_the_host_that_it_serves() -> None:
    """With copies of its routes, which differ by their host alone, and are not checked once more."""
    found = routes_by_host(Inputs(serving("demo.zexio.app")))
    assert set(found) == {"demo.zexio.app", "shop.customer.net"}
    copy = found["shop.customer.net"]
    assert copy.alias_of == "demo.zexio.app"
    assert msgspec.structs.replace(copy, host="demo.zexio.app", alias_of="") == found["demo.zexio.app"]


@pytest.mark.parametrize(
    ("served", "said", "access"),
    [
        ("demo.zexio.app", None, "public"),
        ("demo.zexio.app", "tenant", "tenant"),
        ("orders.acme.zexio.internal", None, "tenant"),
        ("orders.acme.zexio.internal", "public", "public"),
    ],
)
def test_a_domain_opens_no_host_of_the_mesh(served: str, said: str | None, access: str) -> None:
    """A copy is for whom the route is; a name outside the mesh makes nothing public that was not."""
    assert routes_by_host(Inputs(serving(served, access=said)))["shop.customer.net"].access == access


def test_a_domain_inside_the_mesh_is_for_tenants() -> None:
    """Of what a route does not say, the stricter of both names holds."""
    desired = with_domain(serving("demo.zexio.app"), name="demo.acme.zexio.internal", serves="demo.zexio.app")
    found = routes_by_host(Inputs(desired))
    assert found["demo.acme.zexio.internal"].access == "tenant"
    assert found["demo.zexio.app"].access == "public"


@pytest.mark.parametrize(
    ("https", "edge", "certified", "expected"),
    [
        ("redirect", SECURE, ("shop.customer.net",), "redirect"),
        ("redirect", SECURE, ("*.customer.net",), "redirect"),
        ("redirect", SECURE, ("other.customer.net",), "off"),
        ("redirect", SECURE, (), "off"),
        ("redirect", EDGE, ("shop.customer.net",), "off"),
        ("off", SECURE, ("shop.customer.net",), "off"),
    ],
)
def test_plain_requests_are_redirected_once_there_is_a_certificate(
    https: Https, edge: Edge, certified: tuple[str, ...], expected: str
) -> None:
    """And somewhere to go: a node without TLS sends nobody there."""
    desired = with_domain(serving("demo.zexio.app"), serves="demo.zexio.app", https=https)
    assert routes_by_host(Inputs(desired, edge, held(*certified)))["shop.customer.net"].https == expected


@pytest.mark.parametrize("https", ["redirect", "on", "off"])
def test_a_route_that_wants_tls_has_it_under_its_domains_too(https: Https) -> None:
    """Whatever the domain says, as soon as there is a certificate: passwords must not go in plain."""
    route = Route(host="demo.zexio.app", targets=LOCAL, https="redirect")
    desired = with_domain(apply(Desired(), PutRoute(route=route), at=NOW), serves=route.host, https=https)
    assert routes_by_host(Inputs(desired, SECURE))["shop.customer.net"].https == "off"
    found = routes_by_host(Inputs(desired, SECURE, held("shop.customer.net")))
    assert found["shop.customer.net"].https == "redirect"


def test_a_wildcard_redirects_only_whom_a_certificate_is_for() -> None:
    """Its route matches names of any depth."""
    desired = with_domain(serving("demo.zexio.app"), name="*.customer.net", serves="demo.zexio.app")
    found = routes_by_host(Inputs(desired, SECURE, held("*.customer.net")))
    assert (found["*.customer.net"].https, found["*.customer.net"].redirect_covered) == ("redirect", True)
    assert (found["shop.customer.net"].https, found["shop.customer.net"].redirect_covered) == ("redirect", False)
    assert not found["demo.zexio.app"].redirect_covered


def test_a_domain_pins_none_of_its_customer_s_other_names() -> None:
    """The route's own host may be the operator's whole zone; example.com is not."""
    hsts = Hsts(max_age_s=31_536_000, include_subdomains=True, preload=True)
    desired = with_domain(
        apply(Desired(), PutRoute(route=Route(host="demo.zexio.app", targets=LOCAL, hsts=hsts)), at=NOW),
        serves="demo.zexio.app",
    )
    found = routes_by_host(Inputs(desired))
    assert found["demo.zexio.app"].hsts == policies.Hsts(max_age_s=31_536_000, include_subdomains=True, preload=True)
    assert found["shop.customer.net"].hsts == policies.Hsts(max_age_s=31_536_000)


def test_a_domain_whose_owner_has_to_be_proved_serves_nobody_before() -> None:
    """By its own token, and in a delta that touches this domain alone."""
    domain = Domain(name="shop.customer.net", serves="demo.zexio.app", created_at=NOW)
    bare = apply(serving("demo.zexio.app"), RemoveDomain(name=domain.name), at=NOW)
    desired = apply(bare, PutDomain(domain=domain, token="token"), at=NOW)
    strict = Edge(asks_ownership=True)
    assert "shop.customer.net" in routes_by_host(Inputs(desired))
    before = Inputs(desired, strict, Holdings().with_proofs({"shop.customer.net": "another", "a.example": "token"}))
    assert set(routes_by_host(before)) == {"demo.zexio.app"}
    now = Inputs(desired, strict, before.holdings.with_proofs({"shop.customer.net": "token"}))
    assert set(routes_by_host(now)) == {"demo.zexio.app", "shop.customer.net"}
    delta = compile_delta(now, before)
    assert delta is not None
    assert [route.host for route in delta.put] == ["shop.customer.net"]


@pytest.mark.parametrize(
    ("name", "token", "certificate"),
    [
        ("shop.customer.net", "", "auto"),
        ("shop.customer.net", "token", "off"),
        ("shop.acme.zexio.internal", "token", "auto"),
    ],
)
def test_what_nobody_has_to_prove_is_served(name: str, token: str, certificate: CertificateWish) -> None:
    """A domain from before the setting, one that is the operator's own business, and one inside."""
    bare = apply(serving("demo.zexio.app"), RemoveDomain(name="shop.customer.net"), at=NOW)
    domain = Domain(name=name, serves="demo.zexio.app", certificate=certificate, created_at=NOW)
    desired = apply(bare, PutDomain(domain=domain, token=token), at=NOW)
    assert name in routes_by_host(Inputs(desired, Edge(asks_ownership=True)))


def test_a_certificate_of_a_file_counts_too() -> None:
    """It is as good as any."""
    certificate = mesh.Certificate(fingerprint="1", names=("shop.customer.net",), chain=b"c", key=b"k")
    edge = Edge(has_tls=True, certificates=(certificate,))
    assert routes_by_host(Inputs(serving("demo.zexio.app"), edge))["shop.customer.net"].https == "redirect"
    delta = compile_delta(Inputs(serving("demo.zexio.app"), edge), Inputs(serving("demo.zexio.app"), SECURE))
    assert delta is not None
    assert [route.https for route in delta.put] == ["redirect"]


def test_a_domain_with_routes_of_its_own_redirects_as_well() -> None:
    """What the route says itself holds whatever there is."""
    routes = (
        Route(host="own.customer.net", targets=LOCAL),
        Route(host="red.customer.net", targets=LOCAL, https="redirect"),
    )
    desired = Desired()
    for route in routes:
        desired = with_domain(apply(desired, PutRoute(route=route), at=NOW), name=route.host)
    plain, secure = Inputs(desired, SECURE), Inputs(desired, SECURE, held("own.customer.net"))
    assert [routes_by_host(inputs)["own.customer.net"].https for inputs in (plain, secure)] == ["off", "redirect"]
    assert [routes_by_host(inputs)["red.customer.net"].https for inputs in (plain, secure)] == ["redirect", "redirect"]


def test_a_certificate_that_comes_touches_its_domain_alone() -> None:
    """Among many, and in the same delta as the certificate itself."""
    desired = with_domain(serving("demo.zexio.app", "other.zexio.app"), name="b.customer.net", serves="other.zexio.app")
    before, now = Inputs(desired, SECURE), Inputs(desired, SECURE, held("shop.customer.net"))
    delta = compile_delta(now, before)
    assert delta is not None
    assert [(route.host, route.https) for route in delta.put] == [("shop.customer.net", "redirect")]
    assert [each.fingerprint for each in delta.put_certificates] == ["of shop.customer.net"]
    back = compile_delta(Inputs(desired, SECURE, now.holdings.with_bundle("shop.customer.net", None)), now)
    assert back is not None
    assert [(route.host, route.https) for route in back.put] == [("shop.customer.net", "off")]
    assert back.removed_certificates == ("of shop.customer.net",)


def test_a_renewal_touches_no_route() -> None:
    """Nothing but the certificate has changed."""
    desired = serving("demo.zexio.app")
    before = Inputs(desired, SECURE, held("shop.customer.net"))
    renewed = Bundle(fingerprint="2", names=("shop.customer.net",), chain=b"c", key=b"k")
    now = Inputs(desired, SECURE, before.holdings.with_bundle("shop.customer.net", renewed))
    delta = compile_delta(now, before)
    assert delta is not None
    assert (delta.put, delta.removed, delta.removed_certificates) == ((), (), ("of shop.customer.net",))
    assert [each.fingerprint for each in delta.put_certificates] == ["2"]


def test_a_touched_route_touches_its_copies() -> None:
    """Put and removed alike, and those of no other host."""
    before = serving("demo.zexio.app", "other.zexio.app")
    put = apply(before, PutRoute(route=Route(host="demo.zexio.app", path_prefix="/api", targets=LOCAL)), at=NOW)
    delta = compile_delta(Inputs(put), Inputs(before))
    assert delta is not None
    assert [(route.host, route.path_prefix) for route in delta.put] == [
        ("demo.zexio.app", "/api"),
        ("shop.customer.net", "/api"),
    ]
    removed = apply(put, RemoveRoute(host="demo.zexio.app", path_prefix="/api"), at=NOW)
    delta = compile_delta(Inputs(removed), Inputs(put))
    assert delta is not None
    assert [key.host for key in delta.removed] == ["demo.zexio.app", "shop.customer.net"]


def test_a_domain_that_goes_takes_its_copies_along() -> None:
    """Those of the host that it served when it was compiled."""
    before = serving("demo.zexio.app", "other.zexio.app")
    delta = compile_delta(Inputs(apply(before, RemoveDomain(name="shop.customer.net"), at=NOW)), Inputs(before))
    assert delta == mesh.Delta(revision=before.revision + 1, removed=(mesh.RouteKey("shop.customer.net"),))


def test_copies_are_inspected_as_their_route_is() -> None:
    """Whoever watches a host sees the requests by all its names."""
    desired = serving("demo.zexio.app")
    key = next(iter(desired.routes))
    edge = Edge(inspected=HashTrieMap({key: {"http://127.0.0.1:9000": "http://127.0.0.1:1"}}))
    delta = compile_delta(Inputs(desired, edge), Inputs(desired))
    assert delta is not None
    assert [route.targets[0].via for route in delta.put] == ["http://127.0.0.1:1"] * 2


def test_challenges_travel_as_a_whole() -> None:
    """When one comes or goes, and not with anything else."""
    validation = Bundle(fingerprint="v", names=("a.example", "b.example"), chain=b"c", key=b"k")
    holdings = Holdings().with_token("t2", "t2.x").with_token("t1", "t1.x").with_validation("a.example", validation)
    challenges = mesh.Challenges(
        tokens=(("t1", "t1.x"), ("t2", "t2.x")),
        validations=(mesh.Certificate(fingerprint="v", names=("a.example",), chain=b"c", key=b"k"),),
    )
    assert compile_snapshot(Inputs(holdings=holdings)).challenges == challenges
    assert compile_delta(Inputs(holdings=holdings), Inputs()) == mesh.Delta(revision=0, challenges=challenges)
    later = holdings.with_bundle("a.example", validation)
    delta = compile_delta(Inputs(holdings=later), Inputs(holdings=holdings))
    assert delta is not None
    assert delta.challenges is None
    gone = holdings.with_token("t1", None).with_token("t2", None).with_validation("a.example", None)
    delta = compile_delta(Inputs(holdings=gone), Inputs(holdings=holdings))
    assert delta == mesh.Delta(revision=0, challenges=mesh.Challenges())


def test_tls_that_comes_needs_a_snapshot() -> None:
    """It may redirect any domain."""
    assert compile_delta(Inputs(edge=SECURE), Inputs()) is None
