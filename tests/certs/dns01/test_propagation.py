"""The wait ends when all who answer have the value, and says who has not."""

from __future__ import annotations

import asyncio

import pytest

from certs.dns01.propagation import wait_until_seen
from certs.errors import IssueError
from certs.resolve import Resolver
from tests.support.dns_server import DnsServer

PLACE = "_acme-challenge.shop.example.com"
ZONE = {
    "example.com": ["NS ns1.example.com", "NS ns2.example.com"],
    "ns1.example.com": ["A 127.0.0.1"],
    "ns2.example.com": ["A 127.0.0.2"],
}


async def wait(resolver: Resolver, *, limit_s: float = 20.0) -> None:
    """Wait for the value, looking often."""
    await wait_until_seen(PLACE, "value", resolver, limit_s=limit_s, pause_s=0.005)


async def test_all_servers_of_the_zone_have_to_have_it() -> None:
    """The second one gets it late, and has another value meanwhile."""
    async with DnsServer({"example.com": ZONE}) as first:
        second = DnsServer({"example.com": ZONE}, address="127.0.0.2")
        await second.start(first.port)
        try:
            first.put(PLACE, 'TXT "other"', 'TXT "value"')
            resolver = Resolver([first.where], attempt_s=10, authority_port=first.port)
            waiting = asyncio.get_running_loop().create_task(wait(resolver), name="waiting")
            await second.heard.wait()
            second.put(PLACE, 'TXT "other"')
            assert not waiting.done()
            second.put(PLACE, 'TXT "other"', 'TXT "value"')
            await waiting
            second.put(PLACE)
            with pytest.raises(IssueError, match=r"s: ns2\.example\.com \(127\.0\.0\.2\) has no such record") as caught:
                await wait(resolver, limit_s=0.5)
            assert (caught.value.kind, caught.value.identifier) == ("solver", PLACE)
            second.faults["*"] = "servfail"
            await wait(resolver)
        finally:
            await second.stop()


async def test_resolvers_are_asked_where_the_zone_cannot_be(server: DnsServer, resolver: Resolver) -> None:
    """They may not do SOA, or the zone's servers are out of reach."""
    server.faults["SOA"] = "notimp"
    server.put(PLACE, 'TXT "other"')
    with pytest.raises(IssueError, match=r"127\.0\.0\.1 has another value"):
        await wait(resolver, limit_s=0.5)
    server.put(PLACE, 'TXT "value"')
    await wait(resolver)


async def test_when_nobody_answers_waiting_is_all(server: DnsServer, resolver: Resolver) -> None:
    """Not knowing is no failure."""
    server.faults["*"] = "servfail"
    await wait(resolver, limit_s=0.03)


async def test_the_wait_can_be_given_up(server: DnsServer, resolver: Resolver) -> None:
    """No task stays behind."""
    waiting = asyncio.get_running_loop().create_task(wait(resolver), name="waiting")
    await server.heard.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(asyncio.all_tasks()) == 1
