"""The name server for tests answers as the RFCs say, and fails as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.tsig
import dns.update
import pytest

from tests.support.dns_server import DnsServer, Fault

KEY = dns.tsig.Key("updates", "c2VjcmV0IG9mIHRoZSB1cGRhdGVz")


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    """One with two zones."""
    zones = {
        "example.com": {
            "example.com": ["NS ns.example.com", 'CAA 0 issue "letsencrypt.org"'],
            "a.example.com": ["A 192.0.2.1", "A 192.0.2.2", 'TXT "one"'],
            "alias.example.com": ["CNAME there.example.net"],
            "round.example.com": ["CNAME round.example.com"],
            "deep.under.example.com": ["A 192.0.2.3"],
            "*.wild.example.com": ["A 192.0.2.4"],
        },
        "example.net": {"there.example.net": ["A 192.0.2.5"]},
    }
    async with DnsServer(zones, key=KEY) as running:
        yield running


async def ask(server: DnsServer, name: str, rdtype: str, *, recurse: bool = True) -> dns.message.Message:
    """What the server says by UDP."""
    query = dns.message.make_query(name, rdtype, flags=dns.flags.RD if recurse else dns.flags.Flag(0))
    return await dns.asyncquery.udp(query, server.address, port=server.port, timeout=5)


async def update(
    server: DnsServer, *, key: dns.tsig.Key | None = KEY, zone: str = "example.com", name: str = "t.example.com."
) -> dns.message.Message:
    """What the server says to an update that adds a TXT record."""
    message = dns.update.UpdateMessage(zone, keyring=key)
    message.add(name, 60, "TXT", "value")
    return await dns.asyncquery.tcp(message, server.address, port=server.port, timeout=5)


async def test_records_are_answered_with_authority(server: DnsServer) -> None:
    """All of a type, and the question is noted."""
    answer = await ask(server, "A.example.com", "A")
    assert {rdata.to_text() for rdata in answer.answer[0]} == {"192.0.2.1", "192.0.2.2"}
    assert answer.flags & dns.flags.AA
    assert [tuple(asked) for asked in server.asked] == [("a.example.com", "A", "udp")]
    assert (await ask(server, "example.com", "CAA")).answer[0][0].to_text() == '0 issue "letsencrypt.org"'


@pytest.mark.parametrize(
    ("name", "rcode"),
    [
        ("nothing.example.com", dns.rcode.NXDOMAIN),
        ("a.example.com", dns.rcode.NOERROR),
        ("under.example.com", dns.rcode.NOERROR),
        ("x.a.example.com", dns.rcode.NXDOMAIN),
    ],
)
async def test_nothing_comes_with_the_zone(server: DnsServer, name: str, rcode: dns.rcode.Rcode) -> None:
    """NXDOMAIN for a name that is not there, an empty answer for a type that is not, the SOA with both."""
    answer = await ask(server, name, "AAAA")
    assert (answer.rcode(), answer.answer) == (rcode, [])
    assert answer.authority[0].name.to_text() == "example.com."


async def test_wildcards_make_names(server: DnsServer) -> None:
    """At any depth."""
    assert (await ask(server, "x.y.wild.example.com", "A")).answer[0][0].to_text() == "192.0.2.4"


@pytest.mark.parametrize(("recurse", "count"), [(True, 2), (False, 1)])
async def test_aliases_into_other_zones_need_recursion(server: DnsServer, recurse: bool, count: int) -> None:
    """Without it, it is left to the asker."""
    assert len((await ask(server, "alias.example.com", "A", recurse=recurse)).answer) == count


async def test_a_circle_of_aliases_fails(server: DnsServer) -> None:
    """As at real resolvers."""
    assert (await ask(server, "round.example.com", "A")).rcode() == dns.rcode.SERVFAIL


async def test_zones_of_others_are_refused(server: DnsServer) -> None:
    """It asks nobody."""
    assert (await ask(server, "example.org", "A")).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize(
    ("fault", "rcode"),
    [("servfail", dns.rcode.SERVFAIL), ("notimp", dns.rcode.NOTIMP), ("refused", dns.rcode.REFUSED)],
)
async def test_it_fails_as_told(server: DnsServer, fault: Fault, rcode: dns.rcode.Rcode) -> None:
    """The nearest switch counts: name and type, name, type, everything."""
    server.faults["*"] = "silent"
    server.faults[("a.example.com", "A")] = fault
    assert (await ask(server, "a.example.com", "A")).rcode() == rcode


async def test_a_truncated_answer_is_whole_by_tcp(server: DnsServer) -> None:
    """By UDP there is only the flag."""
    server.faults["TXT"] = "truncated"
    query = dns.message.make_query("a.example.com", "TXT")
    answer, by_tcp = await dns.asyncquery.udp_with_fallback(query, server.address, port=server.port, timeout=5)
    assert (by_tcp, len(answer.answer)) == (True, 1)


async def test_lame_silent_garbled_and_without_edns(server: DnsServer) -> None:
    """The other faults."""
    server.faults["*"] = "lame"
    answer = await ask(server, "a.example.com", "A")
    assert not answer.flags & dns.flags.AA
    assert not answer.answer
    wire = dns.message.make_query("a.example.com", "A").to_wire()
    server.faults["*"] = "silent"
    assert server.answer(wire, "udp") is None
    server.faults["*"] = "garbage"
    with pytest.raises(dns.exception.DNSException):
        dns.message.from_wire(server.answer(wire, "udp") or b"")
    server.faults["*"] = "no-edns"
    assert (await ask(server, "a.example.com", "A")).answer
    with_edns = dns.message.make_query("a.example.com", "A", use_edns=0)
    refused = await dns.asyncquery.udp(with_edns, server.address, port=server.port, timeout=5)
    assert refused.rcode() == dns.rcode.FORMERR


async def test_records_change_under_way(server: DnsServer) -> None:
    """For tests of what customers do."""
    server.put("a.example.com", "A 192.0.2.9")
    assert (await ask(server, "a.example.com", "A")).answer[0][0].to_text() == "192.0.2.9"
    server.put("a.example.com")
    assert (await ask(server, "a.example.com", "A")).rcode() == dns.rcode.NXDOMAIN


async def test_signed_updates_are_taken(server: DnsServer) -> None:
    """Values come beside those there are, and go one by one."""
    assert (await update(server)).rcode() == dns.rcode.NOERROR
    assert (await update(server)).rcode() == dns.rcode.NOERROR
    assert server.texts("t.example.com") == ["value"]
    away = dns.update.UpdateMessage("example.com", keyring=KEY)
    away.delete("a.example.com.", "TXT", "other")
    away.delete("t.example.com.", "TXT", "value")
    await dns.asyncquery.tcp(away, server.address, port=server.port, timeout=5)
    assert (server.texts("a.example.com"), server.texts("t.example.com")) == (["one"], [])


async def test_other_updates_are_not(server: DnsServer) -> None:
    """Unsigned, by a wrong or unknown key, for a zone that is not here or a name outside it."""
    assert (await update(server, key=None)).rcode() == dns.rcode.REFUSED
    assert (await update(server, zone="example.org", name="t.example.org.")).rcode() == dns.rcode.NOTAUTH
    assert (await update(server, name="t.example.net.")).rcode() == dns.rcode.NOTZONE
    with pytest.raises(dns.tsig.PeerBadSignature):
        await update(server, key=dns.tsig.Key("updates", "d3Jvbmc="))
    with pytest.raises(dns.tsig.PeerBadKey):
        await update(server, key=dns.tsig.Key("others", "d3Jvbmc="))
    assert server.updates == 0


async def test_a_set_can_be_deleted(server: DnsServer) -> None:
    """All values of a type."""
    away = dns.update.UpdateMessage("example.com", keyring=KEY)
    away.delete("a.example.com.", "TXT")
    await dns.asyncquery.tcp(away, server.address, port=server.port, timeout=5)
    assert server.texts("a.example.com") == []


async def test_a_late_message_is_refused(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clocks of both sides have to agree (RFC 8945 section 5.2.3); it can also be told to say so."""
    late = dns.update.UpdateMessage("example.com", keyring=KEY)
    with monkeypatch.context() as patch:
        patch.setattr("dns.message.time.time", lambda: 1_000_000_000.0)
        wire = late.to_wire()
    answer = dns.message.from_wire(server.answer(wire, "tcp") or b"", keyring=False)
    assert answer.rcode() == dns.rcode.NOTAUTH
    server.tsig_error = dns.rcode.BADTIME
    with pytest.raises(dns.tsig.PeerBadTime):
        await update(server)


async def test_broken_messages_get_no_answer(server: DnsServer) -> None:
    """And a stream that ends early does not stay."""
    assert server.answer(b"\0" * 5, "udp") is None
    _, writer = await asyncio.open_connection(server.address, server.port)
    writer.write(b"\0")
    writer.close()
    await writer.wait_closed()
