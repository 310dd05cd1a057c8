"""Everything that a name's certificate depends on is looked up in time, and what was not learned does not block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from certs.preflight import Expectation, asking_of, check, expectation_of
from certs.resolve import Resolver
from certs.settings import ISSUERS, CertsSettings, IssuerSpec, Rfc2136Spec
from tests.support.dns_server import DnsServer, Fault

ZONES = {
    "example.com": {
        "example.com": ["NS ns.example.com", "A 203.0.113.9", 'CAA 0 issue "letsencrypt.org"'],
        "ns.example.com": ["A 127.0.0.1"],
        "shop.example.com": ["CNAME edge.zexio.app"],
        "old.example.com": ["CNAME old-host.example.net"],
        "strict.example.com": ["A 198.51.100.7", 'CAA 0 issue ";"'],
        "*.wild.example.com": ["A 203.0.113.9"],
        "_zexio.shop.example.com": ['TXT "t0ken"'],
    },
    "example.net": {"old-host.example.net": ["A 203.0.113.9"]},
    "zexio.app": {"zexio.app": ["NS ns.example.com"], "edge.zexio.app": ["A 198.51.100.7"]},
    "com": {},
}
EXPECTED = Expectation(public_name="edge.zexio.app", issuers=(asking_of(ISSUERS["letsencrypt"]),))


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


async def texts(name: str, expectation: Expectation, resolver: Resolver) -> list[str]:
    """What is said of a name that is blocked."""
    report = await check(name, expectation, resolver)
    assert report.is_blocked
    return [advice.text for advice in report.advice]


async def test_nothing_is_said_of_a_name_that_is_well(server: DnsServer, resolver: Resolver) -> None:
    """And no question is asked twice."""
    report = await check("shop.example.com", EXPECTED, resolver)
    assert (report.advice, report.is_blocked, report.is_owned) == ((), False, True)
    assert len(server.asked) == len(set(server.asked))


async def test_records_that_lead_elsewhere_block(resolver: Resolver) -> None:
    """Whether CNAME or address; the name of a zone takes no CNAME."""
    assert await texts("old.example.com", EXPECTED, resolver) == [
        "CNAME old.example.com points to old-host.example.net; point it to edge.zexio.app"
    ]
    assert await texts("example.com", EXPECTED, resolver) == ["A example.com is 203.0.113.9; change it to 198.51.100.7"]
    assert await texts("new.example.com", EXPECTED, resolver) == [
        "There is no DNS record for new.example.com; add a CNAME record that points to edge.zexio.app"
    ]


async def test_caa_of_the_name_and_above_it(server: DnsServer, resolver: Resolver) -> None:
    """The nearest counts."""
    assert "keeps letsencrypt.org from issuing" in (await texts("strict.example.com", EXPECTED, resolver))[0]
    server.put("example.com", "NS ns.example.com", 'CAA 0 issue "digicert.com"')
    assert (await texts("shop.example.com", EXPECTED, resolver))[0].startswith("CAA example.com says")


async def test_wildcards_need_dns_01(resolver: Resolver) -> None:
    """With it, their addresses only matter to visitors."""
    expected = Expectation(public_addresses=("198.51.100.7",))
    first = (await texts("*.wild.example.com", expected, resolver))[0]
    assert first.startswith("A certificate for *.wild.example.com can only be had by DNS-01")
    with_dns = Expectation(public_addresses=("198.51.100.7",), challenges=frozenset({"dns-01"}))
    report = await check("*.wild.example.com", with_dns, resolver)
    assert not report.is_blocked
    assert [advice.text for advice in report.advice] == [
        "A *.wild.example.com is 203.0.113.9; change it to 198.51.100.7"
    ]


async def test_ownership_when_it_is_asked_for(resolver: Resolver) -> None:
    """The token is in the zone of the domain."""
    owned = Expectation(token="t0ken")
    assert (await check("shop.example.com", owned, resolver)).is_owned
    report = await check("strict.example.com", owned, resolver)
    assert (report.is_blocked, report.is_owned) == (True, False)


@pytest.mark.parametrize("fault", ["servfail", "notimp", "refused", "silent"])
async def test_not_knowing_blocks_nothing(server: DnsServer, resolver: Resolver, hasty: Resolver, fault: Fault) -> None:
    """But it is said; a proof of ownership that cannot be seen is the exception."""
    server.faults["*"] = fault
    asked = hasty if fault == "silent" else resolver
    report = await check("old.example.com", EXPECTED, asked)
    assert not report.is_blocked
    assert [advice.text.partition(" could not")[0] for advice in report.advice] == [
        "The addresses of old.example.com",
        "The CAA records of old.example.com",
    ]
    assert not (await check("shop.example.com", Expectation(token="t0ken"), asked)).is_owned


async def test_all_together_has_a_limit(server: DnsServer) -> None:
    """Whatever the servers do."""
    server.faults["*"] = "silent"
    slow = Resolver([server.where], attempt_s=60)
    began = asyncio.get_running_loop().time()
    report = await check("shop.example.com", EXPECTED, slow, limit_s=0.02)
    assert asyncio.get_running_loop().time() - began < 30
    assert not report.is_blocked
    assert "no name server answered in time" in report.advice[0].text


async def test_a_change_is_seen_past_the_caches(server: DnsServer) -> None:
    """The resolver has kept that there was nothing, from when we asked first."""
    async with DnsServer(ZONES) as cache:
        cache.put("shop.example.com")
        resolver = Resolver([cache.where], attempt_s=10, authority_port=server.port)
        assert (await check("shop.example.com", EXPECTED, resolver)).advice == ()
        server.faults["*"] = "servfail"
        assert (await check("shop.example.com", EXPECTED, resolver)).is_blocked


async def test_the_name_of_this_service_itself(server: DnsServer, resolver: Resolver) -> None:
    """It cannot point to itself, and has to have an address."""
    addresses = Expectation(public_name="edge.zexio.app", public_addresses=("198.51.100.7",))
    assert (await check("edge.zexio.app", addresses, resolver)).advice == ()
    server.put("edge.zexio.app", "A 203.0.113.9")
    assert await texts("edge.zexio.app", addresses, resolver) == [
        "A edge.zexio.app is 203.0.113.9; change it to 198.51.100.7"
    ]
    server.put("edge.zexio.app", 'TXT "nothing else"')
    report = await check("strict.example.com", Expectation(public_name="edge.zexio.app"), resolver)
    assert not report.is_blocked
    assert "edge.zexio.app, where records have to point, has no address itself" in report.advice[0].text


def test_what_the_settings_expect() -> None:
    """DNS-01 counts only with a provider; issuers go by the names that they are known by."""
    settings = CertsSettings(public_name="edge.zexio.app", public_addresses=("198.51.100.7",))
    expected = expectation_of(settings, token="t0ken")
    assert expected.challenges == {"http-01", "tls-alpn-01"}
    assert (expected.public_name, expected.token) == ("edge.zexio.app", "t0ken")
    assert [issuer.identities for issuer in expected.issuers] == [("letsencrypt.org",)]
    assert "dns-01" in expectation_of(CertsSettings(dns_command=("hook",))).challenges
    spec = Rfc2136Spec(server="192.0.2.1:53", key_file=Path("key"))
    assert "dns-01" in expectation_of(CertsSettings(rfc2136=spec)).challenges
    assert expectation_of(settings, issuers=()).issuers == ()


def test_the_names_of_issuers() -> None:
    """Those of the directory before those known of old; an issuer of one's own has none."""
    assert asking_of(ISSUERS["google"]).identities == ("pki.goog",)
    assert asking_of(ISSUERS["zerossl"]).identities[0] == "sectigo.com"
    assert asking_of(ISSUERS["google"], identities=("g.example",), account="a").identities == ("g.example",)
    assert asking_of(IssuerSpec(name="own", directory="https://ca.example.com/dir")).identities == ()
