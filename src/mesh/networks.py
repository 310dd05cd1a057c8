"""Networks of addresses: who is let in, and who is believed."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# RFC 4291 section 2.5.5.2: a listener for both families tells of IPv4 peers by these addresses.
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
_MAX_REMEMBERED: Final = 16_384


class Networks:
    """A set of networks; the time of a look-up does not depend on how many there are.

    IPv4-mapped IPv6 addresses and networks are taken for the IPv4 ones. What is no address (`unix`) is in no network.
    """

    __slots__ = ("_known", "_masks")

    def __init__(self, cidrs: Iterable[str]) -> None:
        """Networks as `192.0.2.0/24`, or single addresses; raises ValueError for anything else."""
        # For each IP version and length of the prefix, the prefixes: few masks, and each costs one look-up.
        masks: dict[tuple[int, int], set[int]] = {}
        for cidr in cidrs:
            version, bits, value = _network(cidr)
            masks.setdefault((version, bits), set()).add(value)
        self._masks = {key: frozenset(values) for key, values in masks.items()}
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        """Whether there is any network."""
        return bool(self._masks)

    def has(self, address: str) -> bool:
        """Whether the address is in one of the networks; remembered for addresses that come again."""
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            known = self._known[address] = self._look_up(address)
        return known

    def _look_up(self, address: str) -> bool:
        try:
            version, value = _address(address)
        except ValueError:
            return False
        width = 32 if version == 4 else 128
        return any(value >> (width - bits) in prefixes for (of, bits), prefixes in self._masks.items() if of == version)


class Door:
    """Who is let in: everybody without an `allow`, else who is in it; never who is in `deny`."""

    __slots__ = ("_allow", "_deny")

    def __init__(self, allow: Iterable[str], deny: Iterable[str]) -> None:
        """Networks as for `Networks`; raises ValueError."""
        self._allow = Networks(allow)
        self._deny = Networks(deny)

    def __bool__(self) -> bool:
        """Whether anybody is ever turned away."""
        return bool(self._allow) or bool(self._deny)

    def lets_in(self, address: str) -> bool:
        """Whether a visitor from `address` may pass."""
        if self._deny and self._deny.has(address):
            return False
        return not self._allow or self._allow.has(address)


def _network(cidr: str) -> tuple[int, int, int]:
    """Version, length of the prefix, and the prefix as a number."""
    network = ipaddress.ip_network(cidr)
    bits, value = network.prefixlen, int(network.network_address)
    if network.version == 6 and network.subnet_of(_MAPPED):
        return 4, bits - 96, (value & 0xFFFFFFFF) >> (128 - bits)
    return network.version, bits, value >> (network.max_prefixlen - bits)


def _address(text: str) -> tuple[int, int]:
    address = ipaddress.ip_address(text)
    if address.version == 6 and address.ipv4_mapped is not None:
        return 4, int(address.ipv4_mapped)
    return address.version, int(address)
