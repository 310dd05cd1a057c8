"""Which route answers under which host."""

from __future__ import annotations

from node.aliases import keys_of, keys_under, route_behind, served_host
from state.change import Change, apply
from state.domains import PutDomain
from state.model import Desired, Domain, RouteKey
from tests.state.samples import NOON, put


def desired() -> Desired:
    """A host with two routes, a domain that serves it, and a domain with a route of its own."""
    wanted: list[Change] = [
        put("demo.zexio.app"),
        put("demo.zexio.app", path_prefix="/api"),
        put("own.example.com"),
        PutDomain(domain=Domain(name="shop.example.com", serves="demo.zexio.app", created_at=NOON)),
        PutDomain(domain=Domain(name="own.example.com", created_at=NOON)),
    ]
    state = Desired()
    for change in wanted:
        state = apply(state, change, at=NOON)
    return state


def test_a_domain_answers_as_the_host_that_it_serves() -> None:
    """With all routes of that host, and with none that it has not."""
    state = desired()
    assert served_host(state, "shop.example.com") == "demo.zexio.app"
    found = route_behind(state, RouteKey("shop.example.com", "/api"))
    assert found is state.routes[RouteKey("demo.zexio.app", "/api")]
    assert route_behind(state, RouteKey("shop.example.com", "/admin")) is None
    assert {key.path_prefix for key in keys_under(state, "shop.example.com")} == {"/", "/api"}


def test_a_host_answers_with_its_own_routes() -> None:
    """Whether it is a domain or not."""
    state = desired()
    for host in ("demo.zexio.app", "own.example.com", "nobody.example.com"):
        assert served_host(state, host) == host
    assert list(keys_under(state, "own.example.com")) == [RouteKey("own.example.com", "/")]
    assert list(keys_under(state, "nobody.example.com")) == []


def test_a_route_answers_under_its_own_host_and_under_every_domain_that_serves_it() -> None:
    """Also one that is no longer there: what was made of it is to be removed."""
    state = desired()
    assert set(keys_of(state, RouteKey("demo.zexio.app", "/gone"))) == {
        RouteKey("demo.zexio.app", "/gone"),
        RouteKey("shop.example.com", "/gone"),
    }
    assert list(keys_of(state, RouteKey("own.example.com", "/"))) == [RouteKey("own.example.com", "/")]


def test_a_domain_that_serves_has_no_routes_of_its_own() -> None:
    """No key may be answered for twice."""
    assert list(keys_of(desired(), RouteKey("shop.example.com", "/"))) == []
