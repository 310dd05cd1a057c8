"""The route of a host and a path: the most exact one, whatever changed before; none for a path of two readings."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.policies import Target
from mesh.routes import Delta, Route, RouteKey
from mesh.table import AmbiguousPath, RouteTable

HOSTS = ["*", "*.com", "*.example.com", "example.com", "a.example.com", "b.a.example.com", "p.zexio.app"]
PREFIXES = ["/", "/api", "/api/", "/api/v1", "/apiary", "/x"]
ASKED_HOSTS = [b"example.com", b"a.example.com", b"b.a.example.com", b"q.example.com", b"r.q.com", b"com", b"net", b""]
ASKED_PATHS = [b"/", b"/api", b"/api/", b"/api/v1", b"/api/v1/x?y=/..", b"/apix", b"/apiary", b"/xx", b"/x?y", b"*"]


def _route(host: str, path_prefix: str = "/", port: int = 80) -> Route:
    return Route(host=host, path_prefix=path_prefix, targets=(Target(f"http://t:{port}"),))


def _table(*hosts: str) -> RouteTable:
    return RouteTable([_route(host) for host in hosts], ("zexio.app",))


def _found(table: RouteTable, host: bytes, target: bytes = b"/") -> str | None:
    route = table.match(host, target)
    return None if route is None else route.host


def _prefix(table: RouteTable, target: bytes) -> str | None:
    route = table.match(b"a", target)
    return None if route is None else route.path_prefix


keys = st.builds(RouteKey, host=st.sampled_from(HOSTS), path_prefix=st.sampled_from(PREFIXES))
routes = st.builds(_route, st.sampled_from(HOSTS), st.sampled_from(PREFIXES), st.integers(1, 3))
deltas = st.builds(
    Delta,
    revision=st.integers(1, 100),
    put=st.lists(routes, max_size=4, unique_by=lambda route: route.key).map(tuple),
    removed=st.lists(keys, max_size=3).map(tuple),
)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        (b"example.com", "example.com"),
        (b"a.example.com", "a.example.com"),
        (b"x.example.com", "*.example.com"),
        (b"y.x.example.com", "*.example.com"),
        (b"x.a.example.com", "*.a.example.com"),
        (b"example.net", "*"),
        (b"xexample.com", "*"),
        (b"com", "*"),
        (b"", "*"),
    ],
)
def test_the_most_exact_host_wins(host: bytes, found: str) -> None:
    """An exact name before the wildcard of the longest suffix before the route for everything else."""
    table = _table("example.com", "a.example.com", "*.example.com", "*.a.example.com", "*")
    assert _found(table, host) == found


def test_a_wildcard_does_not_cover_its_own_name() -> None:
    """`*.example.com` has at least one label more than `example.com`."""
    assert _found(_table("*.example.com"), b"example.com") is None


def test_an_unknown_host_has_no_route() -> None:
    """Without a route for everything else there is nothing to find."""
    assert _found(_table("example.com"), b"example.net") is None
    assert _found(RouteTable(), b"example.com") is None


@pytest.mark.parametrize(
    ("host", "found"),
    [
        (b"shop.zexio.app", "shop.zexio.app"),
        (b"main--shop.zexio.app", "shop.zexio.app"),
        (b"a--b--shop.zexio.app", "shop.zexio.app"),
        (b"x.y--shop.zexio.app", "shop.zexio.app"),
        (b"main--blog.zexio.app", "*.zexio.app"),
        (b"main--shop.zexio.dev", None),
        (b"main--shop.example.com", None),
        (b"shop--.zexio.app", "*.zexio.app"),
    ],
)
def test_a_name_before_two_dashes_belongs_to_the_project_behind_them(host: bytes, found: str | None) -> None:
    """contracts/plane.md decision 15, under the project suffixes only."""
    assert _found(_table("shop.zexio.app", "shop.example.com", "*.zexio.app"), host) == found


def test_an_exact_name_with_two_dashes_comes_first() -> None:
    """A route for the whole name is more exact than that of the project."""
    assert _found(_table("shop.zexio.app", "main--shop.zexio.app"), b"main--shop.zexio.app") == "main--shop.zexio.app"


def test_project_suffixes_can_change() -> None:
    """With a leading dot or without."""
    table = _table("shop.zexio.app", "shop.zexio.dev")
    table.use_project_suffixes((".zexio.dev",))
    assert _found(table, b"main--shop.zexio.dev") == "shop.zexio.dev"
    assert _found(table, b"main--shop.zexio.app") is None


@pytest.mark.parametrize(
    ("target", "prefix"),
    [
        (b"/", "/"),
        (b"/api", "/api"),
        (b"/api?x=1", "/api"),
        (b"/api/", "/api"),
        (b"/api/x", "/api"),
        (b"/apix", "/"),
        (b"/api/v1", "/api/v1"),
        (b"/api/v1/x", "/api/v1"),
        (b"/api/v12", "/api"),
        (b"/files/", "/files/"),
        (b"/files/x", "/files/"),
        (b"/files", "/"),
        (b"/API", "/"),
        (b"/x?/api/v1", "/"),
    ],
)
def test_the_longest_prefix_of_whole_segments_wins(target: bytes, prefix: str) -> None:
    """Path and prefix are compared by segment and octet, without the query."""
    table = RouteTable([_route("a", each) for each in ("/", "/api", "/api/v1", "/files/")])
    assert _prefix(table, target) == prefix


def test_a_path_without_a_prefix_has_no_route() -> None:
    """The host alone is not enough when every route of it has a prefix."""
    assert _prefix(RouteTable([_route("a", "/api")]), b"/other") is None


@pytest.mark.parametrize(
    "path",
    [
        b"/api/../x",
        b"/api/..",
        b"/./api",
        b"/api/.",
        b"//api",
        b"/api//x",
        b"/api\\x",
        b"/%2e%2e/api",
        b"/api%2Fx",
        b"/api%5cx",
        b"/..;a=b/api",
        b"/api/.;/x",
    ],
)
def test_a_path_of_two_readings_is_refused_where_routes_depend_on_it(path: bytes) -> None:
    """CVE-2025-66490: the target may read another path than the one the route was chosen by."""
    table = RouteTable([_route("a", "/api"), _route("a"), _route("b")])
    with pytest.raises(AmbiguousPath):
        table.match(b"a", path)
    found = table.match(b"b", path)
    assert found is not None


@pytest.mark.parametrize("path", [b"/...", b"/.well-known/x", b"/a..b", b"/a.", b"/x?a=//../%2e", b"/%20"])
def test_dots_in_names_and_anything_in_the_query_are_no_second_reading(path: bytes) -> None:
    """Only whole segments of dots and hidden slashes are ambiguous."""
    assert _prefix(RouteTable([_route("a", "/api"), _route("a")]), path) == "/"


def test_two_routes_for_one_place_are_refused() -> None:
    """Which of them counts would be a matter of luck."""
    with pytest.raises(ValueError, match="two routes claim a with the path prefix /x"):
        RouteTable([_route("a", "/x", 1), _route("a", "/x", 2)])


def test_what_a_delta_ends_is_given_back() -> None:
    """Removed and replaced routes, not those that never were."""
    removed, replaced, kept = _route("a"), _route("b"), _route("c")
    table = RouteTable([removed, replaced, kept])
    put = (_route("b", port=8080), _route("d"))
    gone = table.apply(Delta(revision=2, put=put, removed=(removed.key, RouteKey("never"), RouteKey("c", "/x"))))
    assert gone == [removed, replaced]
    assert set(table) == {kept, *put}
    assert len(table) == 3


def test_a_delta_removes_before_it_puts() -> None:
    """A route that is in both is there afterwards."""
    table = RouteTable([_route("a")])
    table.apply(Delta(revision=2, put=(_route("a", port=1),), removed=(RouteKey("a"),)))
    assert list(table) == [_route("a", port=1)]


@given(st.lists(routes, max_size=8, unique_by=lambda route: route.key), st.lists(deltas, max_size=6))
def test_deltas_lead_where_a_table_from_nothing_would_be(first: list[Route], changes: list[Delta]) -> None:
    """Whatever changes in whatever order, the same routes are found."""
    table = RouteTable(first)
    wanted = {route.key: route for route in first}
    for delta in changes:
        table.apply(delta)
        for key in delta.removed:
            wanted.pop(key, None)
        wanted.update({route.key: route for route in delta.put})
    anew = RouteTable(wanted.values())
    assert len(table) == len(anew) == len(wanted)
    assert {route.key: route for route in table} == wanted
    for host in ASKED_HOSTS:
        for path in ASKED_PATHS:
            assert table.match(host, path) == anew.match(host, path) == _by_definition(wanted.values(), host, path)


def _by_definition(all_routes: Iterable[Route], host: bytes, target: bytes) -> Route | None:
    """The route that the words of the documentation describe, found by looking at all of them."""
    labels = host.decode().split(".")
    wildcards = ["*." + ".".join(labels[start:]) for start in range(1, len(labels))]
    by_host: dict[str, list[Route]] = {}
    for route in all_routes:
        by_host.setdefault(route.host, []).append(route)
    claimed = next((by_host[name] for name in (host.decode(), *wildcards, "*") if name in by_host), [])
    path = target.decode().partition("?")[0]
    matching = [
        route
        for route in claimed
        if path == route.path_prefix
        or path.startswith(route.path_prefix.rstrip("/") + "/")
        or len(claimed) == 1 == len(route.path_prefix)
    ]
    return max(matching, key=lambda route: len(route.path_prefix), default=None)
