"""Name servers for the tests of DNS-01."""

from __future__ import annotations

from collections.abc import AsyncIterator

import dns.tsig
import pytest

from certs.resolve import Resolver
from tests.support.dns_server import DnsServer

ZONES = {
    "example.com": {
        "example.com": ["NS ns.example.com"],
        "ns.example.com": ["A 127.0.0.1"],
        "_acme-challenge.delegated.example.com": ["CNAME delegated.acme.example.net"],
        "_acme-challenge.also.example.com": ["CNAME delegated.acme.example.net"],
    },
    "acme.example.net": {"acme.example.net": ["NS ns.example.com"]},
}


@pytest.fixture
def key() -> dns.tsig.Key:
    """The key that updates are signed with."""
    return dns.tsig.Key("updates", "Ly8vc2VjcmV0IG9mIHRoZSB1cGRhdGVzLy8v")


@pytest.fixture
async def server(key: dns.tsig.Key) -> AsyncIterator[DnsServer]:
    """Resolver and authority in one, which takes signed updates."""
    async with DnsServer(ZONES, key=key) as running:
        yield running


@pytest.fixture
def resolver(server: DnsServer) -> Resolver:
    """Asks that server."""
    return Resolver([server.where], attempt_s=10, authority_port=server.port)


@pytest.fixture
def hasty(server: DnsServer) -> Resolver:
    """Asks that server, but does not wait for it."""
    return Resolver([server.where], attempt_s=0.02, authority_port=server.port)
