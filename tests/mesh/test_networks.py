"""Which addresses are in which networks, whatever way they are written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.networks import Door, Networks

v4_networks = st.ip_addresses(v=4).flatmap(
    lambda address: st.integers(0, 32).map(lambda bits: ipaddress.ip_network((address, bits), strict=False))
)
v6_networks = st.ip_addresses(v=6).flatmap(
    lambda address: st.integers(97, 128).map(lambda bits: ipaddress.ip_network((address, bits), strict=False))
)


@pytest.mark.parametrize(
    ("cidr", "address", "is_in"),
    [
        ("192.0.2.0/24", "192.0.2.255", True),
        ("192.0.2.0/24", "192.0.3.0", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("0.0.0.0/0", "203.0.113.9", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("::/0", "2001:db8::1", True),
        ("::/0", "192.0.2.1", False),
        ("2001:db8::/32", "2001:db8:ffff::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("192.0.2.0/24", "::ffff:192.0.2.9", True),
        ("192.0.2.0/24", "::ffff:c000:209", True),
        ("::ffff:192.0.2.0/120", "192.0.2.9", True),
        ("::ffff:192.0.2.0/120", "192.0.3.9", False),
        ("::ffff:0:0/96", "203.0.113.9", True),
        ("::/64", "::ffff:192.0.2.9", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "unix", False),
        ("::/0", "", False),
        ("::/0", "192.0.2.1.example.com", False),
    ],
)
def test_an_address_is_in_a_network_or_not(cidr: str, address: str, is_in: bool) -> None:
    """The second look is answered from memory."""
    networks = Networks([cidr])
    assert [networks.has(address), networks.has(address)] == [is_in, is_in]


@pytest.mark.parametrize("wrong", ["", "example.com", "192.0.2.1/24", "192.0.2.0/33", "2001:db8::/129"])
def test_what_is_no_network_is_refused(wrong: str) -> None:
    """A network with bits behind its prefix is a slip of the pen."""
    with pytest.raises(ValueError, match=r"does not appear to be|has host bits set"):
        Networks(["192.0.2.0/24", wrong])


@given(st.lists(v4_networks | v6_networks, max_size=5), st.ip_addresses())
def test_the_answers_are_those_of_the_standard_library(
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network],
    stranger: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """For an address of each network, and one from anywhere."""
    found = Networks([str(network) for network in networks])
    for address in (stranger, *(network.network_address for network in networks)):
        spellings = {address, ipaddress.IPv6Address(f"::ffff:{address}") if address.version == 4 else address}
        assert found.has(str(address)) == any(each in network for each in spellings for network in networks)


def test_the_memory_of_addresses_is_bounded() -> None:
    """A scan from a whole network leaves nothing behind for ever."""
    networks = Networks(["10.0.0.0/9"])
    for number in range(20_000):
        networks.has(str(ipaddress.IPv4Address(0x0A000000 + number)))
    assert len(networks._known) < 20_000


@pytest.mark.parametrize(
    ("allow", "deny", "let_in", "turned_away"),
    [
        ((), (), ["192.0.2.1", "2001:db8::1", "unix"], []),
        (("192.0.2.0/24",), (), ["192.0.2.1"], ["192.0.3.1", "2001:db8::1", "unix"]),
        ((), ("192.0.2.0/24",), ["192.0.3.1", "unix"], ["192.0.2.1", "::ffff:192.0.2.1"]),
        (("192.0.2.0/24",), ("192.0.2.128/25",), ["192.0.2.1"], ["192.0.2.129", "10.0.0.1"]),
        (("192.0.2.1",), ("192.0.2.0/24",), [], ["192.0.2.1"]),
    ],
)
def test_a_door(allow: tuple[str, ...], deny: tuple[str, ...], let_in: list[str], turned_away: list[str]) -> None:
    """To deny is stronger than to allow, and a door without lists is open."""
    door = Door(allow, deny)
    assert [address for address in (*let_in, *turned_away) if door.lets_in(address)] == let_in
    assert bool(door) == bool(allow or deny)
