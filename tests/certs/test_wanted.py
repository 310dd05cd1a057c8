"""Which names want a certificate, and which certificate covers which name."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from certs.settings import CertsSettings
from certs.wanted import Wanted, all_wanted, covers, is_internal, is_named, touched_names, wanted
from state.hosts import wildcard_of
from state.kinds import Kind
from state.model import CertificateWish, Desired, Domain, Route, Target

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SETTINGS = CertsSettings(names=("admin.example.net",), ownership=True)


def test_a_domain_is_wanted_since_it_was_made() -> None:
    """With what the customer has to put into a TXT record."""
    found = wanted("shop.example.com", desired(domain("shop.example.com")), SETTINGS, ())
    assert found == Wanted(name="shop.example.com", origin="domain", ownership="token", since=NOON)


def test_ownership_counts_only_where_the_operator_asks_for_it() -> None:
    """A domain has a token all the same."""
    found = wanted("shop.example.com", desired(domain("shop.example.com")), CertsSettings(), ())
    assert found is not None
    assert found.ownership == ""


def test_a_domain_with_certificates_off_is_not_wanted() -> None:
    """Whatever the settings and visitors say."""
    off = desired(domain("admin.example.net", "off"))
    assert wanted("admin.example.net", off, SETTINGS, {"admin.example.net"}) is None


def test_settings_and_visitors_want_names_too() -> None:
    """And nobody wants the others."""
    assert origin("admin.example.net") == "settings"
    assert origin("new.example.org", {"new.example.org"}) == "demand"
    assert origin("other.example.org") is None


def test_an_internal_name_is_wanted_from_ourselves() -> None:
    """No authority asks for its owner."""
    found = wanted("db.zexio.internal", desired(domain("db.zexio.internal")), SETTINGS, ())
    assert found == Wanted(name="db.zexio.internal", origin="domain", is_internal=True, since=NOON)


def test_all_wanted_names_are_found_at_once() -> None:
    """Each with its reason."""
    value = desired(domain("shop.example.com"), domain("off.example.com", "off"))
    found = all_wanted(value, SETTINGS, {"new.example.org", "shop.example.com"})
    origins = {name: wish.origin for name, wish in found.items()}
    assert origins == {"shop.example.com": "domain", "admin.example.net": "settings", "new.example.org": "demand"}


def test_only_domains_that_were_touched_are_looked_at() -> None:
    """A thousand changes one by one are not a thousand times a thousand names."""
    value = desired(domain("a.example.com"), domain("b.example.com"), route("c.example.com"))
    assert touched_names(value, 1) == frozenset({"b.example.com"})
    assert touched_names(value, value.revision) == frozenset()
    assert touched_names(Desired.restored(7, {}), 3) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("zexio.internal", True),
        ("a.b.zexio.internal", True),
        ("*.zexio.internal", True),
        ("notzexio.internal", False),
        ("zexio.internal.example.com", False),
        ("demo.localhost", True),
    ],
)
def test_internal_is_what_lies_below_a_suffix(name: str, expected: bool) -> None:
    """Label by label."""
    assert is_internal(name, CertsSettings().internal_suffixes) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shop.example.com", True),
        ("www.shop.example.com", False),
        ("demo.zexio.app", True),
        ("a.wild.example.com", True),
        ("a.b.wild.example.com", True),
        ("wild.example.com", False),
        ("other.example.com", False),
    ],
)
def test_routes_and_domains_name_hosts(name: str, expected: bool) -> None:
    """The wildcard of a route stands for several labels, and the route for all other hosts names none."""
    value = desired(domain("shop.example.com"), route("demo.zexio.app"), route("*.wild.example.com"), route("*"))
    assert is_named(name, value) is expected


@pytest.mark.parametrize(
    ("names", "name", "expected"),
    [
        (("a.example.com",), "a.example.com", True),
        (("*.example.com",), "a.example.com", True),
        (("*.example.com",), "a.b.example.com", False),
        (("*.example.com",), "example.com", False),
        (("*.example.com",), "*.example.com", True),
        (("*.com",), "*.example.com", False),
    ],
)
def test_a_wildcard_covers_one_label(names: tuple[str, ...], name: str, expected: bool) -> None:
    """And no other wildcard."""
    assert covers(names, name) is expected


def test_a_name_has_one_wildcard() -> None:
    """That of its parent."""
    assert wildcard_of("a.b.example.com") == "*.b.example.com"


def origin(name: str, demanded: set[str] | None = None) -> str | None:
    """Who wants a name, when there are no domains."""
    found = wanted(name, Desired(), SETTINGS, demanded or set())
    return None if found is None else found.origin


def domain(name: str, certificate: CertificateWish = "auto") -> Domain:
    """A domain of noon."""
    return Domain(name=name, certificate=certificate, created_at=NOON, ownership="token")


def route(host: str) -> Route:
    """A route to nowhere."""
    return Route(host=host, targets=(Target("http://127.0.0.1:1"),))


def desired(*values: Domain | Route) -> Desired:
    """What is wanted after one change for each."""
    found = Desired()
    for value in values:
        kind = Kind.DOMAIN if isinstance(value, Domain) else Kind.ROUTE
        found = found.advanced_to(found.revision + 1).with_value(kind, value)
    return found
