"""What name servers say is told from what they do not say, and caches can be passed by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from certs.resolve import Answer, Resolver, Server, server_of, with_parents
from tests.support.dns_server import DnsServer, Fault

ZONES = {
    "example.com": {
        "example.com": ["NS ns.example.com", 'CAA 0 issue "letsencrypt.org; validationmethods=dns-01"'],
        "ns.example.com": ["A 127.0.0.1"],
        "shop.example.com": ["A 192.0.2.1", "A 192.0.2.2", 'TXT "two" "parts"'],
        "alias.example.com": ["CNAME There.Example.net"],
        "dangling.example.com": ["CNAME gone.example.net"],
        "round.example.com": ["CNAME square.example.com"],
        "square.example.com": ["CNAME round.example.com"],
    },
    "example.net": {
        "example.net": ["NS ns.example.com"],
        "there.example.net": ["AAAA 2001:db8::1"],
    },
}


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    """Resolver and authority in one."""
    async with DnsServer(ZONES) as running:
        yield running


@pytest.fixture
def resolver(server: DnsServer) -> Resolver:
    """Asks that server."""
    return Resolver([server.where], attempt_s=10, authority_port=server.port)


@pytest.fixture
def hasty(server: DnsServer) -> Resolver:
    """Asks that server, but does not wait for it."""
    return Resolver([server.where], attempt_s=0.02, authority_port=server.port)


async def test_records_are_found(resolver: Resolver) -> None:
    """In plain spelling: strings of TXT joined, CAA without quotes."""
    assert sorted((await resolver.look_up("shop.example.com", "A")).values) == ["192.0.2.1", "192.0.2.2"]
    assert (await resolver.look_up("shop.example.com", "TXT")).values == ("twoparts",)
    caa = await resolver.look_up("example.com", "CAA")
    assert caa.values == ("0 issue letsencrypt.org; validationmethods=dns-01",)


async def test_aliases_are_followed(resolver: Resolver) -> None:
    """And named, in lower case and without a dot at the end."""
    answer = await resolver.look_up("alias.example.com", "AAAA")
    assert (answer.outcome, answer.values, answer.aliases) == ("found", ("2001:db8::1",), ("there.example.net",))
    assert answer.owner == "there.example.net"


@pytest.mark.parametrize(
    ("name", "outcome"),
    [("shop.example.com", "empty"), ("nothing.example.com", "missing"), ("dangling.example.com", "missing")],
)
async def test_nothing_is_an_answer(resolver: Resolver, name: str, outcome: str) -> None:
    """No record of the type, no such name, or an alias of no such name."""
    answer = await resolver.look_up(name, "AAAA")
    assert (answer.outcome, answer.values, answer.is_definite) == (outcome, (), True)


@pytest.mark.parametrize("fault", ["servfail", "notimp", "refused"])
async def test_a_failure_is_no_answer(server: DnsServer, resolver: Resolver, fault: Fault) -> None:
    """It says nothing about the name, and why."""
    server.faults["shop.example.com"] = fault
    answer = await resolver.look_up("shop.example.com", "A")
    assert (answer.outcome, answer.reason) == ("unknown", f"127.0.0.1 answered {fault.upper()}")


@pytest.mark.parametrize("fault", ["silent", "garbage"])
async def test_silence_is_no_answer(server: DnsServer, hasty: Resolver, fault: Fault) -> None:
    """Nor is what cannot be read: anyone could have sent it."""
    server.faults["shop.example.com"] = fault
    answer = await hasty.look_up("shop.example.com", "A")
    assert (answer.outcome, answer.reason) == ("unknown", "127.0.0.1 did not answer in 0.02 s")


async def test_a_question_may_be_given_up_before_it_is_sent(server: DnsServer) -> None:
    """Its socket does not stay, or the loop would never end."""
    resolver = Resolver([server.where], attempt_s=0)
    assert (await resolver.look_up("shop.example.com", "A")).outcome == "unknown"
    for _ in range(5):
        asking = asyncio.get_running_loop().create_task(resolver.look_up("shop.example.com", "A"), name="asking")
        await asyncio.sleep(0)
        asking.cancel()


async def test_a_circle_of_aliases_is_a_failure(resolver: Resolver) -> None:
    """Of the resolver, or seen here."""
    assert (await resolver.look_up("round.example.com", "A")).outcome == "unknown"
    assert (await resolver.look_up_fresh("round.example.com", "A")).outcome == "unknown"


async def test_the_next_server_is_asked(server: DnsServer) -> None:
    """After one that fails and one that is not there."""
    async with DnsServer(ZONES) as failing, DnsServer() as gone:
        failing.faults["*"] = "servfail"
        await gone.stop()
        resolver = Resolver([gone.where, failing.where, server.where], attempt_s=10)
        assert (await resolver.look_up("shop.example.com", "A")).outcome == "found"


async def test_without_servers_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine may have no resolver."""
    monkeypatch.setattr("certs.resolve._servers_of_this_machine", tuple)
    answer = await Resolver().look_up("shop.example.com", "A")
    assert (answer.outcome, answer.reason) == ("unknown", "no resolver is configured")


async def test_the_resolvers_of_the_machine_are_the_default() -> None:
    """Whatever they are here."""
    assert all(isinstance(server, Server) for server in await Resolver().servers())


async def test_a_long_answer_comes_by_tcp(server: DnsServer, resolver: Resolver) -> None:
    """When the datagram was cut."""
    server.faults["TXT"] = "truncated"
    assert (await resolver.look_up("shop.example.com", "TXT")).outcome == "found"
    assert [asked.transport for asked in server.asked] == ["udp", "tcp"]


async def test_a_server_without_edns_is_asked_without(server: DnsServer, resolver: Resolver) -> None:
    """There are still some."""
    server.faults["*"] = "no-edns"
    assert (await resolver.look_up("shop.example.com", "A")).outcome == "found"


async def test_a_name_that_is_none_is_unknown(resolver: Resolver) -> None:
    """It may come out of a longer one."""
    assert (await resolver.look_up(f"{'a' * 64}.example.com", "A")).outcome == "unknown"


@pytest.mark.parametrize("name", ["example.com", "shop.example.com", "a.b.example.com", "alias.example.com"])
async def test_the_zone_of_a_name_is_found(resolver: Resolver, name: str) -> None:
    """Also where nothing is, and where an alias leads into another zone."""
    assert await resolver.zone_of(name) == "example.com"
    authorities = await resolver.authorities_of(name)
    assert authorities is not None
    assert [(server.name, server.address) for server in authorities.servers] == [("ns.example.com", "127.0.0.1")]


@pytest.mark.parametrize("fault", ["notimp", "servfail"])
async def test_zones_may_be_unknown(server: DnsServer, resolver: Resolver, fault: Fault) -> None:
    """Some resolvers do not do SOA and NS; then what they say of the name has to do."""
    server.faults["SOA"] = fault
    assert await resolver.zone_of("shop.example.com") is None
    assert await resolver.authorities_of("shop.example.com") is None
    assert (await resolver.look_up_fresh("shop.example.com", "A")).outcome == "found"


async def test_addresses_without_end_are_not_all_taken(server: DnsServer, resolver: Resolver) -> None:
    """Each of them is judged; of other records, each may be the one that counts."""
    server.put("many.example.com", *(f"A 192.0.2.{number}" for number in range(68)))
    assert len((await resolver.look_up("many.example.com", "A")).values) == 64


async def test_a_zone_cannot_have_thousands_asked(server: DnsServer, resolver: Resolver) -> None:
    """Its owner is the customer, who may name addresses of anybody."""
    server.put("ns.example.com", *(f"A 192.0.2.{number}" for number in range(1, 20)))
    authorities = await resolver.authorities_of("shop.example.com")
    assert authorities is not None
    assert len(authorities.servers) == 2


async def test_a_zone_without_servers(server: DnsServer, resolver: Resolver) -> None:
    """Nor does a name of one label have a zone here."""
    server.put("ns.example.com")
    assert await resolver.authorities_of("shop.example.com") is None
    assert await resolver.zone_of("localhost") is None


async def test_what_is_fresh_comes_from_the_zone(server: DnsServer) -> None:
    """The resolver still has yesterday's answer; aliases are followed through their zones."""
    async with DnsServer(ZONES) as cache:
        for owner in ("new.example.com", "alias.example.com"):
            cache.put(owner)
        resolver = Resolver([cache.where], attempt_s=10, authority_port=server.port)
        server.put("new.example.com", "CNAME there.example.net")
        assert (await resolver.look_up("new.example.com", "AAAA")).outcome == "missing"
        answer = await resolver.look_up_fresh("new.example.com", "AAAA")
        assert (answer.name, answer.values, answer.aliases) == (
            "new.example.com",
            ("2001:db8::1",),
            ("there.example.net",),
        )
        server.put("there.example.net")
        assert (await resolver.look_up_fresh("new.example.com", "AAAA")).outcome == "missing"


async def test_a_lame_server_is_not_believed(server: DnsServer) -> None:
    """Then the resolver is."""
    async with DnsServer(ZONES) as cache:
        server.faults["*"] = "lame"
        resolver = Resolver([cache.where], attempt_s=10, authority_port=server.port)
        lame = await resolver.ask(Server("127.0.0.1", server.port, "ns.example.com"), "shop.example.com", "A")
        assert lame.reason == "ns.example.com (127.0.0.1) is not responsible for it"
        assert (await resolver.look_up_fresh("shop.example.com", "A")).outcome == "found"


async def test_questions_can_be_given_up(server: DnsServer) -> None:
    """No task stays behind."""
    server.faults["*"] = "silent"
    resolver = Resolver([server.where], attempt_s=60, authority_port=server.port)
    asking = asyncio.get_running_loop().create_task(resolver.look_up_fresh("shop.example.com", "A"), name="asking")
    await server.heard.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.1:5353", Server("192.0.2.1", 5353)),
        ("192.0.2.1", Server("192.0.2.1")),
        ("[2001:db8::1]:53", Server("2001:db8::1")),
        ("2001:db8::1", Server("2001:db8::1")),
    ],
)
def test_servers_are_read(text: str, server: Server) -> None:
    """With and without a port."""
    assert server_of(text) == server


@pytest.mark.parametrize("text", ["", "dns.example.com:53", "192.0.2.1:0", "192.0.2.1:dns", "192.0.2.1:70000"])
def test_what_is_no_server_is_refused(text: str) -> None:
    """Names cannot be looked up before there is a resolver."""
    with pytest.raises(ValueError, match=r"."):
        Resolver([text])


def test_the_names_above() -> None:
    """Nearest first, without the root."""
    assert with_parents("a.example.com") == ("a.example.com", "example.com", "com")


def test_an_answer_without_aliases_is_of_its_own_name() -> None:
    """The owner is where records would have to be made."""
    assert Answer(name="a.example.com", type="A", outcome="empty").owner == "a.example.com"
