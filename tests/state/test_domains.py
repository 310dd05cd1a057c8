"""Domains: what a caller may say of one, and what would contradict the routes or another domain."""

from __future__ import annotations

from datetime import timedelta

import pytest

from state.change import PutRoute, RemoveRoute, apply
from state.domains import PutDomain, RemoveDomain, check_host, fold_name, placed
from state.kinds import Kind
from state.model import Desired
from state.refusal import RefusalKind, Refused
from tests.state.samples import NOON, domain, put, put_domain

LATER = NOON + timedelta(days=1)


@pytest.fixture(scope="module")
def desired() -> Desired:
    """Two hosts with routes, a domain that answers as one of them does, and one with a route of its own."""
    found = Desired()
    for change in (
        put("demo.example"),
        put("own.example", path_prefix="/api"),
        put_domain("www.example.com", serves="demo.example", token="first"),
        put_domain("own.example"),
    ):
        found = apply(found, change, at=NOON)
    return found


def refusal(desired: Desired, change: PutDomain) -> Refused:
    """The refusal that a domain meets."""
    with pytest.raises(Refused) as caught:
        placed(desired, change, LATER)
    return caught.value


def test_a_domain_may_answer_as_a_host_with_routes_does(desired: Desired) -> None:
    """In any spelling, and with a wildcard for many names at once."""
    assert placed(desired, put_domain("a.example.com", serves="DEMO.example."), NOON).serves == "demo.example"
    assert placed(desired, put_domain("*.example.com", serves="demo.example"), NOON).name == "*.example.com"


def test_a_domain_may_have_routes_of_its_own_or_none_yet(desired: Desired) -> None:
    """Its certificate can be there before its routes are."""
    assert placed(desired, put_domain("own.example"), NOON).serves is None
    assert placed(desired, put_domain("later.example"), NOON).serves is None


@pytest.mark.parametrize(
    ("change", "kind", "problem"),
    [
        (put_domain("*"), "invalid", "name is no domain name"),
        (put_domain("192.0.2.1"), "invalid", "name is no domain name"),
        (put_domain("a_b.example"), "invalid", "name has an underscore, which no certificate may have"),
        (put_domain("a.example", serves="b..example"), "invalid", "serves has an empty label"),
        (put_domain("demo.example", serves="Demo.example"), "invalid", "serves is the domain itself"),
        (
            put_domain("own.example", serves="demo.example"),
            "conflict",
            "name has routes of its own, and cannot answer as demo.example does beside them",
        ),
        (
            put_domain("a.example", serves="www.example.com"),
            "conflict",
            "serves is itself a domain, which answers as demo.example does: name that",
        ),
        (put_domain("a.example", serves="b.example"), "missing", "serves names no host with routes"),
    ],
)
def test_a_refusal_says_what_is_in_the_way(
    desired: Desired, change: PutDomain, kind: RefusalKind, problem: str
) -> None:
    """In words that an operator can act on."""
    found = refusal(desired, change)
    assert (found.kind, str(found)) == (kind, problem)


def test_a_host_that_lost_its_routes_is_no_step_to_another(desired: Desired) -> None:
    """Otherwise two steps would lead to the routes, and only one is followed."""
    bare = apply(desired, RemoveRoute(host="demo.example"), at=NOON)
    found = refusal(bare, put_domain("demo.example", serves="own.example"))
    assert (found.kind, str(found)) == ("conflict", "name is what 1 other domain answers as")


def test_a_domain_keeps_its_birthday_and_its_token(desired: Desired) -> None:
    """The customer has put the token into a record already."""
    again = placed(desired, put_domain("WWW.example.com", https="off", token="second", ownership="mine"), LATER)
    assert (again.created_at, again.ownership, again.https) == (NOON, "first", "off")


def test_a_new_domain_gets_a_token_when_it_is_asked_for(desired: Desired) -> None:
    """One that was there before goes on without: nobody would be served until its customer made the record."""
    assert placed(desired, put_domain("new.example", token="first"), LATER).ownership == "first"
    assert placed(desired, put_domain("new.example"), LATER).ownership == ""
    old = apply(desired, put_domain("own.example"), at=NOON)
    assert placed(old, put_domain("own.example", https="off", token="first"), LATER).ownership == ""


def test_a_domain_that_was_removed_begins_anew(desired: Desired) -> None:
    """It may be another customer's now, who has to prove it again."""
    bare = apply(desired, RemoveDomain(name="www.example.com"), at=LATER)
    again = placed(bare, put_domain("www.example.com", token="second"), LATER)
    assert (again.created_at, again.ownership) == (LATER, "second")


def test_a_name_has_one_spelling() -> None:
    """The one that certificates and the mesh have."""
    assert fold_name("*.BÜCHER.example.") == "*.xn--bcher-kva.example"
    with pytest.raises(Refused, match="name has a single label"):
        fold_name("localhost")


def test_a_host_is_free_for_routes_unless_it_answers_as_another(desired: Desired) -> None:
    """Whether it is a domain or not."""
    check_host(desired, "own.example")
    check_host(desired, "new.example")
    with pytest.raises(Refused, match="host is a domain that answers as demo"):
        check_host(desired, "www.example.com")


def test_one_domain_among_many_is_found_by_name() -> None:
    """A thousand others are not looked at: each refusal and each answer comes from an index."""
    desired = apply(Desired(), put("demo.example"), at=NOON)
    for number in range(1000):
        desired = apply(desired, put_domain(f"h{number}.example", serves="demo.example"), at=NOON)
    assert len(desired.aliases["demo.example"]) == 1000
    assert desired.touched_since(1000) == frozenset({(Kind.DOMAIN, "h999.example")})
    assert desired.domains["h7.example"] == domain("h7.example", serves="demo.example", revision=9)


@pytest.mark.parametrize(
    "wide",
    [put("*.example.com", org_id="a"), put_domain("*.example.com", serves="a.zexio.app")],
    ids=["route", "domain"],
)
def test_a_name_below_the_wildcard_of_another_organization_is_refused(wide: PutRoute | PutDomain) -> None:
    """Its visitors are theirs; below one's own, and below one that is nobody's, a name may be."""
    found = Desired()
    for change in (put("a.zexio.app", org_id="a"), put("b.zexio.app", org_id="b"), wide, put("*.example.org")):
        found = apply(found, change, at=NOON)
    caught = refusal(found, put_domain("pay.example.com", serves="b.zexio.app"))
    assert (caught.kind, str(caught)) == (
        "conflict",
        "name is below *.example.com, which is of another organization",
    )
    assert placed(found, put_domain("pay.example.com", serves="a.zexio.app"), NOON).serves == "a.zexio.app"
    assert placed(found, put_domain("x.example.org", serves="b.zexio.app"), NOON).serves == "b.zexio.app"
