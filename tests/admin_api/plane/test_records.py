"""Which records a domain needs."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from admin_api.plane.records import Home, records_of
from certs.ownership import record_of
from state.model import Domain

NOW = datetime(2030, 1, 2, tzinfo=UTC)
HOME = Home(public_name="edge.zexio.app", internal_suffixes=("zexio.internal",), ownership=True)


def domain(name: str = "shop.example.com", **fields: object) -> Domain:
    """A domain with a token."""
    return msgspec.structs.replace(Domain(name=name, created_at=NOW, ownership="token"), **fields)


def said(wanted: Domain, home: Home) -> list[tuple[str, str, str]]:
    """Its records: type, name and value."""
    return [(record.type, record.name, record.value) for record in records_of(wanted, home)]


def test_a_name_is_proved_and_points_here() -> None:
    """The proof is where it is looked for."""
    assert said(domain(), HOME) == [
        ("TXT", record_of("shop.example.com"), "token"),
        ("CNAME", "shop.example.com", "edge.zexio.app"),
    ]


def test_a_wildcard_is_proved_by_the_name_under_which_it_stands() -> None:
    """As its own record would be a match for everything."""
    assert said(domain("*.shop.example.com"), HOME)[0] == ("TXT", record_of("*.shop.example.com"), "token")


@pytest.mark.parametrize(
    ("home", "expected"),
    [
        (Home(), []),
        (Home(public_name="edge.zexio.app"), [("ALIAS", "example.com", "edge.zexio.app")]),
        (Home(public_name="example.com"), []),
        (
            Home(public_name="edge.zexio.app", public_addresses=("192.0.2.1", "2001:db8::1", "10.0.0.0/8")),
            [("A", "example.com", "192.0.2.1"), ("AAAA", "example.com", "2001:db8::1")],
        ),
    ],
)
def test_the_name_of_a_zone_has_no_cname(home: Home, expected: list[tuple[str, str, str]]) -> None:
    """But addresses, or what DNS services have in its place; and nothing is made up."""
    assert said(domain("example.com"), home) == expected


def test_no_proof_is_asked_of_a_name_that_wants_no_certificate() -> None:
    """Or where the operator asks for none."""
    assert [record.type for record in records_of(domain(certificate="off"), HOME)] == ["CNAME"]
    assert records_of(domain(), Home()) == ()


@pytest.mark.parametrize("name", ["shop.zexio.internal", "*.zexio.internal", "zexio.internal"])
def test_an_internal_name_is_in_no_public_zone(name: str) -> None:
    """So it needs no records."""
    assert HOME.has(name)
    assert records_of(domain(name), HOME) == ()


def test_a_name_that_only_looks_internal_is_not() -> None:
    """Labels count, not letters."""
    assert not HOME.has("notzexio.internal")


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("demo.zexio.app", True),
        ("*.zexio.app", True),
        ("edge.example.net", True),
        ("*.edge.example.net", True),
        ("*.example.net", True),
        ("db.acme.zexio.internal", True),
        ("example.net", False),
        ("shop.example.com", False),
        ("notzexio.app", False),
    ],
)
def test_the_names_of_the_node(name: str, is_ours: bool) -> None:
    """Its suffixes, what is below them, and what covers them."""
    home = Home(public_name="edge.example.net", internal_suffixes=("zexio.internal",))
    assert home.owns(name) is is_ours
