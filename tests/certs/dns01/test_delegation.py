"""The record has to be where the customer's CNAME leads."""

from __future__ import annotations

import pytest

from certs.dns01.delegation import may_be_at, place_of, record_of
from certs.resolve import Resolver
from tests.support.dns_server import DnsServer, Fault


def test_where_authorities_look() -> None:
    """RFC 8555 section 8.4."""
    assert record_of("shop.example.com") == "_acme-challenge.shop.example.com"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("shop.example.com", "_acme-challenge.shop.example.com"),
        ("delegated.example.com", "delegated.acme.example.net"),
    ],
)
async def test_aliases_are_followed(resolver: Resolver, name: str, place: str) -> None:
    """Though there is nothing yet where they lead."""
    assert await place_of(name, resolver) == place


async def test_a_new_alias_is_seen_past_the_caches(server: DnsServer) -> None:
    """The customer has just made it."""
    async with DnsServer(
        {"example.com": {"example.com": ["NS ns.example.com"], "ns.example.com": ["A 127.0.0.1"]}}
    ) as old:
        resolver = Resolver([old.where], attempt_s=10, authority_port=server.port)
        old.put_zone("acme.example.net", {"acme.example.net": ["NS ns.example.com"]})
        assert await place_of("delegated.example.com", resolver) == "delegated.acme.example.net"


@pytest.mark.parametrize("fault", ["servfail", "silent"])
async def test_when_dns_fails_the_name_itself_is_the_guess(
    server: DnsServer, resolver: Resolver, hasty: Resolver, fault: Fault
) -> None:
    """It is the place of most."""
    server.faults["*"] = fault
    assert (
        await place_of("delegated.example.com", hasty if fault == "silent" else resolver)
        == "_acme-challenge.delegated.example.com"
    )


@pytest.mark.parametrize("place", ["shop.acme.example.net", "a.b.acme.example.net", "_acme-challenge.shop.example.com"])
def test_a_record_may_be_made_where_the_operator_says(place: str) -> None:
    """Below a zone for that, and at the name's own place."""
    assert may_be_at(place, "shop.example.com", ("acme.example.net",))


@pytest.mark.parametrize(
    "place", ["other.zexio.app", "acme.example.net", "evilacme.example.net", "_acme-challenge.other.example.com"]
)
def test_a_record_is_made_nowhere_else(place: str) -> None:
    """The customer's CNAME leads wherever the customer likes."""
    assert not may_be_at(place, "shop.example.com", ("acme.example.net",))
