"""Addresses lead here, elsewhere or through a proxy, and the advice says what to change into what."""

from __future__ import annotations

import pytest

from certs.pointing import Home, Pointing, judge
from certs.resolve import Answer, Outcome

NAME = "shop.example.com"
EDGE = Home(name="edge.zexio.app", addresses=("198.51.100.7", "2001:db8::7"))
ADDRESSES = Home(addresses=("198.51.100.7", "2001:db8::7"))
ONLY_IPV4 = Home(addresses=("198.51.100.7",))
NONE: tuple[str, ...] = ()


def seen(
    a: tuple[str, ...] = NONE,
    aaaa: tuple[str, ...] = NONE,
    *,
    nothing: tuple[Outcome, Outcome] = ("empty", "empty"),
    aliases: tuple[str, ...] = NONE,
) -> Pointing:
    """What was found for the name; what `nothing` means where there are no addresses."""
    return Pointing(
        name=NAME,
        a=Answer(name=NAME, type="A", outcome="found" if a else nothing[0], values=a, aliases=aliases, reason="why"),
        aaaa=Answer(name=NAME, type="AAAA", outcome="found" if aaaa else nothing[1], values=aaaa, aliases=aliases),
    )


def changed(pointing: Pointing, **changes: bool) -> Pointing:
    """The same with other circumstances."""
    wishes = {"is_apex": False, "is_needed": True, "has_http": True} | changes
    return Pointing(
        name=pointing.name,
        a=pointing.a,
        aaaa=pointing.aaaa,
        is_apex=wishes["is_apex"],
        is_needed=wishes["is_needed"],
        has_http=wishes["has_http"],
    )


def said(pointing: Pointing, home: Home) -> list[tuple[bool, str]]:
    """What blocks, and the words."""
    return [(advice.is_blocking, advice.text) for advice in judge(pointing, home)]


@pytest.mark.parametrize("home", [EDGE, ADDRESSES, Home(addresses=("198.51.100.0/24", "2001:db8::/64"))])
@pytest.mark.parametrize(
    "pointing", [seen(("198.51.100.7",)), seen(("198.51.100.7",), ("2001:db8::7",)), seen(aaaa=("2001:db8:0::7",))]
)
def test_all_is_well(home: Home, pointing: Pointing) -> None:
    """Single addresses and networks."""
    assert said(pointing, home) == []


def test_an_alias_of_our_name_is_well_whatever_its_addresses() -> None:
    """They change from one question to the next at some providers."""
    assert said(seen(("203.0.113.9",), aliases=("www.example.net", "edge.zexio.app")), EDGE) == []


def test_an_alias_that_points_elsewhere() -> None:
    """The first target is what the customer has written."""
    pointing = seen(("203.0.113.9",), aliases=("old-host.example.net", "pool.example.net"))
    assert said(pointing, EDGE) == [
        (True, "CNAME shop.example.com points to old-host.example.net; point it to edge.zexio.app")
    ]
    assert said(pointing, ADDRESSES) == [
        (
            True,
            (
                "CNAME shop.example.com points to old-host.example.net; "
                "replace it by an A record with 198.51.100.7 and an AAAA record with 2001:db8::7"
            ),
        )
    ]


def test_an_alias_that_points_nowhere() -> None:
    """Its target may have gone, or have no address."""
    pointing = seen(nothing=("missing", "missing"), aliases=("old-host.example.net",))
    assert said(pointing, EDGE) == [
        (
            True,
            (
                "CNAME shop.example.com points to old-host.example.net, but old-host.example.net does not exist; "
                "point it to edge.zexio.app"
            ),
        )
    ]
    assert "has no address" in said(seen(aliases=("old-host.example.net",)), EDGE)[0][1]


def test_an_address_that_is_elsewhere() -> None:
    """A name is better than an address, where it is possible."""
    pointing = seen(("203.0.113.9",))
    assert said(pointing, EDGE) == [
        (
            True,
            "A shop.example.com is 203.0.113.9; replace it by a CNAME record that points to edge.zexio.app",
        )
    ]
    expected = [(True, "A shop.example.com is 203.0.113.9; change it to 198.51.100.7")]
    assert said(pointing, ADDRESSES) == expected
    assert said(changed(pointing, is_apex=True), EDGE) == expected


def test_both_addresses_elsewhere() -> None:
    """A CNAME stands alone."""
    pointing = seen(("203.0.113.9",), ("2001:db8:9::9",))
    assert [text for _, text in said(pointing, EDGE)] == [
        "A shop.example.com is 203.0.113.9; replace it by a CNAME record that points to edge.zexio.app",
        "AAAA shop.example.com is 2001:db8:9::9; remove it",
    ]
    assert [text for _, text in said(pointing, ONLY_IPV4)] == [
        "A shop.example.com is 203.0.113.9; change it to 198.51.100.7",
        "AAAA shop.example.com is 2001:db8:9::9; remove it",
    ]


def test_ipv6_elsewhere_blocks_though_ipv4_is_right() -> None:
    """Authorities prefer it, and go back to IPv4 only when nothing answers."""
    pointing = seen(("198.51.100.7",), ("2001:db8:9::9",))
    text = "AAAA shop.example.com is 2001:db8:9::9, which is not here, and authorities try IPv6 first; "
    assert said(pointing, ADDRESSES) == [(True, f"{text}change it to 2001:db8::7")]
    assert said(pointing, ONLY_IPV4) == [(True, f"{text}remove it")]


def test_ipv4_elsewhere_only_warns_while_ipv6_is_right() -> None:
    """The same preference; visitors are worse off."""
    assert said(seen(("203.0.113.9",), ("2001:db8::7",)), ADDRESSES) == [
        (False, "A shop.example.com is 203.0.113.9; change it to 198.51.100.7")
    ]


def test_one_of_several_elsewhere_only_warns() -> None:
    """It may go well."""
    assert said(seen(("198.51.100.7", "203.0.113.9")), ADDRESSES) == [
        (
            False,
            (
                "A shop.example.com is 203.0.113.9, which is not here, and authorities may ask any of the addresses; "
                "remove that one"
            ),
        )
    ]
    mixed = said(seen(("198.51.100.7", "203.0.113.9"), aliases=("pool.example.net",)), EDGE)
    assert mixed == [
        (
            False,
            (
                "CNAME shop.example.com points to pool.example.net, which also has the address 203.0.113.9; "
                "point it to edge.zexio.app"
            ),
        )
    ]


def test_ipv4_elsewhere_only_warns_while_ipv6_is_unknown() -> None:
    """That could be right."""
    ((is_blocking, _),) = said(seen(("203.0.113.9",), nothing=("empty", "unknown")), ADDRESSES)
    assert not is_blocking


@pytest.mark.parametrize(
    ("nothing", "begin"),
    [
        (("missing", "missing"), "There is no DNS record for shop.example.com"),
        (("missing", "unknown"), "There is no DNS record for shop.example.com"),
        (("empty", "empty"), "There is no A or AAAA record for shop.example.com"),
    ],
)
def test_nothing_there(nothing: tuple[Outcome, Outcome], begin: str) -> None:
    """What to add depends on what is ours."""
    pointing = seen(nothing=nothing)
    assert said(pointing, EDGE) == [(True, f"{begin}; add a CNAME record that points to edge.zexio.app")]
    assert said(pointing, ONLY_IPV4) == [(True, f"{begin}; add an A record with 198.51.100.7")]
    assert said(pointing, Home()) == [
        (True, f"{begin}; add an A or AAAA record with the public address of this server")
    ]
    assert said(changed(pointing, is_apex=True), Home(name="edge.zexio.app"))[0][1].endswith(
        "add an ALIAS or ANAME record that points to edge.zexio.app, or A and AAAA records with its addresses"
    )


@pytest.mark.parametrize("nothing", [("unknown", "unknown"), ("empty", "unknown"), ("unknown", "empty")])
def test_not_knowing_blocks_nothing(nothing: tuple[Outcome, Outcome]) -> None:
    """Half an answer is none."""
    ((is_blocking, text),) = said(seen(nothing=nothing), EDGE)
    assert not is_blocking
    assert text.startswith("The addresses of shop.example.com could not be looked up")


def test_cloudflare_is_warned_of() -> None:
    """HTTP-01 gets through it, the TLS handshake does not."""
    pointing = seen(("104.16.1.1", "172.64.0.1"), ("2606:4700::1",))
    ((is_blocking, text),) = said(pointing, EDGE)
    assert not is_blocking
    assert text.startswith("A shop.example.com is 104.16.1.1, which is Cloudflare: ")
    ((is_blocking, text),) = said(changed(pointing, has_http=False), EDGE)
    assert is_blocking
    assert text.endswith("switch its proxy off, or point it to edge.zexio.app")
    ((is_blocking, text),) = said(changed(pointing, has_http=False, is_needed=False), EDGE)
    assert not is_blocking
    assert said(seen(("104.16.1.1", "203.0.113.9")), ADDRESSES)[0][0]


def test_the_proxy_of_the_operator_is_ours() -> None:
    """Its networks are among the public addresses."""
    assert said(seen(("104.16.1.1",)), Home(addresses=("104.16.0.0/13",))) == []


def test_with_dns_01_addresses_only_warn() -> None:
    """They are not needed for the certificate."""
    for pointing in (seen(("203.0.113.9",)), seen(), seen(("203.0.113.9",), aliases=("old.example.net",))):
        ((is_blocking, _),) = said(changed(pointing, is_needed=False), EDGE)
        assert not is_blocking


def test_addresses_that_nobody_can_reach() -> None:
    """Where nothing was configured that is all that can be said."""
    assert said(seen(("10.0.0.1",)), Home()) == [
        (False, "A shop.example.com is 10.0.0.1, which cannot be reached from the internet")
    ]
    assert said(seen(("10.0.0.1",), ("2606:4700::1",)), Home()) == []


def test_a_name_that_has_no_address_of_its_own_yet() -> None:
    """Then its alias is all that can be judged."""
    assert said(seen(("203.0.113.9",)), Home(name="edge.zexio.app")) == [
        (False, "A shop.example.com is 203.0.113.9, which cannot be reached from the internet")
    ]


def test_thousands_of_addresses_are_not_all_told() -> None:
    """The zone is the customer's, and an operator reads the advice."""
    ((_, text),) = said(seen(tuple(f"192.0.2.{number}" for number in range(200))), ADDRESSES)
    assert text.startswith("A shop.example.com is 192.0.2.0, 192.0.2.1, 192.0.2.2, 192.0.2.3 and 196 more;")
