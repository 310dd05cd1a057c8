"""Changes: what each does, what it refuses, and that any sequence of them is what a plain dictionary would say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.change import (
    Absent,
    Change,
    Expectation,
    IfMatch,
    Present,
    PutOrganization,
    PutRoute,
    RemoveOrganization,
    RemoveRoute,
    apply,
)
from state.domains import DomainChange, PutDomain, RemoveDomain
from state.kinds import Kind
from state.model import Desired, Organization, Route, RouteKey
from state.refusal import RefusalKind, Refused
from tests.state.samples import NOON, certificate, domain, put, put_domain, route, written


def after(*changes: Change) -> Desired:
    """What is wanted after some changes to nothing."""
    desired = Desired()
    for change in changes:
        desired = apply(desired, change, at=NOON)
    return desired


def refusal(desired: Desired, change: Change, expect: Expectation | None = None) -> Refused:
    """The refusal that a change meets."""
    with pytest.raises(Refused) as caught:
        apply(desired, change, at=NOON, expect=expect)
    return caught.value


def test_a_route_is_put_at_the_next_revision() -> None:
    """The revision that a caller gives is ignored, for it is the answer's."""
    desired = after(put("A.example", revision=99))
    assert desired.revision == 1
    assert written(desired, "a.example") == route("a.example", revision=1)


def test_a_route_is_replaced_as_a_whole() -> None:
    """What the new one does not say is the default, not what the old one said."""
    desired = after(put(retries=3), put(max_body_bytes=10))
    assert written(desired) == route(max_body_bytes=10, revision=2)


def test_routes_of_one_host_differ_by_prefix() -> None:
    """Each has its own revision."""
    desired = after(put(), put(path_prefix="/api"))
    assert [written(desired, path_prefix=prefix).revision for prefix in ("/", "/api")] == [1, 2]


def test_a_wish_that_is_granted_is_no_change() -> None:
    """Repeating a PUT keeps the revision, so nothing is written and no worker hears of it."""
    desired = after(put("a.example", org_id="org_a"))
    assert apply(desired, put("A.Example", org_id="org_a"), at=NOON + timedelta(days=1)) is desired


def test_a_new_organization_comes_with_its_route() -> None:
    """In the same revision; the route is what the change is about, so it is the first touch."""
    desired = after(put(org_id="org_a"))
    assert desired.organizations["org_a"] == Organization(id="org_a", name="org_a", created_at=NOON, revision=1)
    assert [touch.key for touch in desired.history.after(0)] == [RouteKey("shop.example.com"), "org_a"]


def test_a_known_organization_stays_as_it_is() -> None:
    """A route does not rename its organization."""
    desired = after(PutOrganization(id="org_a", name="Acme"), put(org_id="org_a"))
    assert desired.organizations["org_a"].name == "Acme"


def test_a_tenant_route_needs_no_organization() -> None:
    """It admits no token then (contracts/plane.md decision 9), which is a safe way to begin."""
    assert written(after(put(access="tenant"))).org_id is None


def test_a_route_is_removed_by_any_spelling() -> None:
    """Host names are folded on the way out as on the way in."""
    desired = after(put("bücher.example"), RemoveRoute(host="BÜCHER.example"))
    assert (len(desired.routes), desired.revision) == (0, 2)


def test_an_organization_keeps_its_birthday() -> None:
    """Renaming is no new beginning."""
    desired = apply(
        after(PutOrganization(id="org_a")), PutOrganization(id="org_a", name="Acme"), at=NOON + timedelta(1)
    )
    assert desired.organizations["org_a"] == Organization(id="org_a", name="Acme", created_at=NOON, revision=2)


def test_an_organization_without_routes_is_removed() -> None:
    """Once nothing names it any more."""
    desired = after(put(org_id="org_a"), put(org_id=None), RemoveOrganization(id="org_a"))
    assert len(desired.organizations) == 0


@pytest.mark.parametrize(
    ("change", "kind", "field"),
    [
        (put("a.example:80"), "invalid", "host"),
        (RemoveRoute(host="a..example"), "invalid", "host"),
        (RemoveRoute(host="a.example"), "missing", "host"),
        (RemoveRoute(host="shop.example.com", path_prefix="/api"), "missing", "host"),
        (PutOrganization(id="-"), "invalid", "id"),
        (PutOrganization(id="org_a", name=""), "invalid", "name"),
        (PutOrganization(id="org_a", name="a\nb"), "invalid", "name"),
        (PutOrganization(id="org_a", name="a" * 256), "invalid", "name"),
        (RemoveOrganization(id="org_b"), "missing", "id"),
        (RemoveOrganization(id="org_a"), "conflict", "id"),
        (put_domain("localhost"), "invalid", "name"),
        (RemoveDomain(name="a..example"), "invalid", "name"),
        (RemoveDomain(name="a.example"), "missing", "name"),
    ],
)
def test_a_refusal_names_its_kind_and_field(change: Change, kind: RefusalKind, field: str) -> None:
    """The API answers with a status for the one and a path for the other."""
    found = refusal(after(put(org_id="org_a")), change)
    assert (found.kind, found.field) == (kind, field)


def test_the_routes_of_a_host_ask_for_certificates_of_one_authority() -> None:
    """A visitor shows one before it says for which of them; a route that asks for none may stand beside them."""
    one, other = certificate("one.example"), certificate("other.example")
    desired = after(put(client_ca=one), put(path_prefix="/open"), put(path_prefix="/api", client_ca=one))
    found = refusal(desired, put(path_prefix="/api", client_ca=other))
    assert (found.kind, found.field) == ("conflict", "client_ca")
    assert written(after(put(client_ca=one), put(client_ca=other))).client_ca == other


def test_a_domain_is_put_at_the_next_revision() -> None:
    """What the program says of a domain is not the caller's to say."""
    wanted = put_domain("WWW.example.com.", created_at=NOON - timedelta(1), ownership="theirs", revision=99)
    desired = after(wanted)
    assert dict(desired.domains.items()) == {"www.example.com": domain("www.example.com", revision=1)}


def test_a_domain_is_removed_by_any_spelling() -> None:
    """Names are folded on the way out as on the way in."""
    desired = after(put_domain("bücher.example"), RemoveDomain(name="BÜCHER.example"))
    assert (len(desired.domains), desired.revision) == (0, 2)


@pytest.mark.parametrize("change", [put_domain(https="off"), RemoveDomain(name="www.example.com")])
def test_an_expectation_about_a_domain_is_checked(change: DomainChange) -> None:
    """As that about a route is."""
    desired = after(put_domain())
    assert apply(desired, change, at=NOON, expect=IfMatch(1)).revision == 2
    assert refusal(desired, change, IfMatch(7)).kind == "precondition"


def test_a_host_that_answers_as_another_has_no_routes_of_its_own() -> None:
    """One of the two would never be asked."""
    desired = after(put(), put_domain(serves="shop.example.com"))
    found = refusal(desired, put("WWW.example.com", path_prefix="/api"))
    assert (found.kind, found.field) == ("conflict", "host")
    assert str(found) == "host is a domain that answers as shop.example.com does"
    assert len(after(put_domain(), put("www.example.com")).routes) == 1


def test_a_removal_that_is_refused_says_how_many_routes_are_in_the_way() -> None:
    """An operator who sees a number knows whether to look further."""
    desired = after(put("a.example", org_id="org_a"), put("b.example", org_id="org_a"))
    assert refusal(desired, RemoveOrganization(id="org_a")).reason == "is still the organization of 2 routes"


@pytest.mark.parametrize("expect", [IfMatch(1), Present()])
@pytest.mark.parametrize("change", [put(retries=0), RemoveRoute(host="shop.example.com")])
def test_an_expectation_that_holds_lets_the_change_through(change: Change, expect: Expectation) -> None:
    """A matching revision, or any at all."""
    assert apply(after(put()), change, at=NOON, expect=expect).revision == 2


def test_absence_may_be_expected() -> None:
    """For a route that is to be created and never replaced."""
    assert apply(Desired(), put(), at=NOON, expect=Absent()).revision == 1


@pytest.mark.parametrize("expect", [IfMatch(2), Absent()])
def test_an_expectation_about_what_is_there_may_fail(expect: Expectation) -> None:
    """The refusal says what was found."""
    found = refusal(after(put()), put(retries=0), expect)
    assert (found.kind, found.reason) == ("precondition", "is 1 by now")


@pytest.mark.parametrize("expect", [IfMatch(1), Present()])
@pytest.mark.parametrize("change", [put("b.example"), RemoveRoute(host="b.example")])
def test_an_expectation_about_what_is_not_there_fails(change: Change, expect: Expectation) -> None:
    """For a removal too: it is the caller's knowledge that is wrong, not the name."""
    assert refusal(after(put()), change, expect).kind == "precondition"


def test_an_expectation_is_checked_before_nothing_is_done() -> None:
    """A PUT that would change nothing still fails when its condition does."""
    assert refusal(after(put()), put(), IfMatch(7)).kind == "precondition"


def test_changes_are_tagged_values() -> None:
    """They can be sent, and the audit names them by their tag."""
    change = put()
    assert msgspec.json.decode(msgspec.json.encode(change), type=Change) == change
    assert PutRoute.__struct_config__.tag == "put_route"


HOSTS = st.sampled_from(["a.example", "B.example", "*.b.example", "*"])
NAMES = st.sampled_from(["a.example", "B.example", "*.b.example", "w.example"])
ORG_IDS = st.sampled_from([None, "org_a", "org_b"])
PREFIXES = st.sampled_from(["/", "/api"])
CHANGES = st.one_of(
    st.builds(
        lambda host, prefix, org_id, retries: put(host, path_prefix=prefix, org_id=org_id, retries=retries),
        *(HOSTS, PREFIXES, ORG_IDS, st.integers(0, 6)),
    ),
    st.builds(RemoveRoute, host=HOSTS, path_prefix=PREFIXES),
    st.builds(PutOrganization, id=st.sampled_from(["org_a", "org_b"]), name=st.sampled_from(["A", "B", ""])),
    st.builds(RemoveOrganization, id=st.sampled_from(["org_a", "org_b"])),
    st.builds(lambda name, serves: put_domain(name, serves=serves), NAMES, st.none() | HOSTS | NAMES),
    st.builds(RemoveDomain, name=NAMES),
)


class Model:
    """The same rules on plain dictionaries."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], tuple[str | None, int]] = {}
        self.organizations: dict[str, str] = {}
        self.domains: dict[str, str | None] = {}

    def accepts(self, change: Change) -> bool:
        """Make the change; False when it is refused."""
        match change:
            case PutRoute(route=wanted):
                return self.put_route(wanted)
            case RemoveRoute(host=host, path_prefix=prefix):
                return self.routes.pop((host.lower(), prefix), None) is not None
            case PutOrganization(id=org_id, name=name):
                if name:
                    self.organizations[org_id] = name
                return bool(name)
            case RemoveOrganization(id=org_id):
                is_used = any(owner == org_id for owner, _ in self.routes.values())
                return not is_used and self.organizations.pop(org_id, None) is not None
            case PutDomain(domain=domain):
                return self.put_domain(domain.name.lower(), domain.serves and domain.serves.lower())
            case RemoveDomain(name=name):
                return self.domains.pop(name.lower(), self) is not self
            case _:
                raise AssertionError(change)

    def put_route(self, wanted: Route) -> bool:
        """As a change of its own, with the organization that comes with it."""
        if wanted.retries > 5 or self.domains.get(wanted.host.lower()):
            return False
        self.routes[wanted.host.lower(), wanted.path_prefix] = (wanted.org_id, wanted.retries)
        if wanted.org_id is not None:
            self.organizations.setdefault(wanted.org_id, wanted.org_id)
        return True

    def put_domain(self, name: str, serves: str | None) -> bool:
        """One step to routes, from a name that has none and that nobody else stops at."""
        hosts = {host for host, _ in self.routes}
        is_step = serves != name and serves in hosts and name not in hosts and name not in self.domains.values()
        if serves is not None and not is_step:
            return False
        self.domains[name] = serves
        return True


@given(st.lists(CHANGES, max_size=40))
def test_any_sequence_of_changes_is_what_the_model_says(changes: list[Change]) -> None:
    """The same changes are refused, the same content is there, and what was touched is what differs."""
    desired, model = Desired(), Model()
    for change in changes:
        before = desired
        try:
            desired = apply(desired, change, at=NOON)
        except Refused:
            assert not model.accepts(change)
        else:
            assert model.accepts(change)
            assert set(desired.touched_since(before.revision) or ()) == difference(before, desired)
    assert {(key.host, key.path_prefix): (r.org_id, r.retries) for key, r in desired.routes.items()} == model.routes
    assert {org.id: org.name for org in desired.organizations.values()} == model.organizations
    assert {name: domain.serves for name, domain in desired.domains.items()} == model.domains
    assert all(desired.uses[reference] for value in desired.routes.values() for reference in value.references)


def difference(before: Desired, desired: Desired) -> set[tuple[Kind, Any]]:
    """Every kind and key whose value is not the same in both."""
    keys = {(kind, key) for kind in Kind for key in (*before.values(kind), *desired.values(kind))}
    return {(kind, key) for kind, key in keys if before.get(kind, key) != desired.get(kind, key)}
