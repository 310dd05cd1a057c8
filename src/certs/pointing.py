"""Whether the address records of a name lead here, and what has to become of those that do not."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from certs.resolve import Answer
from state.ports import Advice

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# Networks whose owner passes requests on to the servers of its customers. cloudflare.com/ips, unchanged since 2021.
_PROXIES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "Cloudflare": (
            *("103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22", "104.16.0.0/13", "104.24.0.0/14"),
            *("108.162.192.0/18", "131.0.72.0/22", "141.101.64.0/18", "162.158.0.0/15", "172.64.0.0/13"),
            *("173.245.48.0/20", "188.114.96.0/20", "190.93.240.0/20", "197.234.240.0/22", "198.41.128.0/17"),
            *("2400:cb00::/32", "2405:8100::/32", "2405:b500::/32", "2606:4700::/32", "2803:f800::/32"),
            *("2a06:98c0::/29", "2c0f:f248::/32"),
        ),
    }
)
_PROXY_NETWORKS: Final = tuple(
    (owner, ipaddress.ip_network(text)) for owner, texts in _PROXIES.items() for text in texts
)


# Of the addresses of a name.
_SHOWN: Final = 4


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """Where records have to lead: the name that a CNAME may point to, and addresses or networks."""

    name: str | None = None
    addresses: tuple[str, ...] = ()

    @property
    def networks(self) -> tuple[Network, ...]:
        """The addresses as networks. Raises ValueError for what is none."""
        return tuple(ipaddress.ip_network(text, strict=False) for text in self.addresses)

    def has(self, address: str) -> bool:
        """Whether an address is one of ours."""
        return any(ipaddress.ip_address(address) in network for network in self.networks)


class Pointing(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be judged: the answers for a name, and what the outcome is for.

    `is_apex`: the name is that of its zone, which cannot have a CNAME (RFC 1034 section 3.6.2). `is_needed`: without
    addresses that lead here no challenge can be answered. `has_http`: HTTP-01 is among the challenges.
    """

    name: str
    a: Answer
    aaaa: Answer
    is_apex: bool = False
    is_needed: bool = True
    has_http: bool = True

    @property
    def addresses(self) -> tuple[str, ...]:
        """All that were found."""
        return self.a.values + self.aaaa.values

    @property
    def aliases(self) -> tuple[str, ...]:
        """The CNAME targets on the way."""
        return self.a.aliases or self.aaaa.aliases


def judge(seen: Pointing, home: Home) -> list[Advice]:
    """What has to change, the most important first; nothing when all is well or nothing can be said."""
    if not seen.addresses:
        return _of_none(seen, home)
    if home.name is not None and home.name in seen.aliases:
        return []
    return _of_found(seen, home) if home.addresses else _of_local(seen)


def _of_none(seen: Pointing, home: Home) -> list[Advice]:
    is_missing = "missing" in {seen.a.outcome, seen.aaaa.outcome}
    if not is_missing and not (seen.a.is_definite and seen.aaaa.is_definite):
        reason = seen.a.reason or seen.aaaa.reason
        text = f"The addresses of {seen.name} could not be looked up: {reason}. That may pass by itself."
        return [Advice(is_blocking=False, text=text)]
    state = "does not exist" if is_missing else "has no address"
    if seen.aliases:
        text = f"CNAME {seen.name} points to {seen.aliases[0]}, but {seen.aliases[-1]} {state}"
        return [Advice(is_blocking=seen.is_needed, text=f"{text}; {_point_it(seen, home)}")]
    says = "There is no DNS record for" if is_missing else "There is no A or AAAA record for"
    return [Advice(is_blocking=seen.is_needed, text=f"{says} {seen.name}; add {_records(seen, home)}")]


def _of_local(seen: Pointing) -> list[Advice]:
    local = [address for address in seen.addresses if not ipaddress.ip_address(address).is_global]
    if len(local) < len(seen.addresses):
        return []
    text = f"{_kind(local[0])} {seen.name} is {local[0]}, which cannot be reached from the internet"
    return [Advice(is_blocking=False, text=text)]


def _of_found(seen: Pointing, home: Home) -> list[Advice]:
    foreign = [address for address in seen.addresses if not home.has(address)]
    if not foreign:
        return []
    owner = _proxy_of(foreign)
    if owner is not None:
        return [_of_proxy(seen, home, foreign, owner)]
    is_blocking = seen.is_needed and _leads_away(seen, foreign)
    if seen.aliases:
        text = f"CNAME {seen.name} points to {seen.aliases[0]}"
        if len(foreign) < len(seen.addresses):
            text += f", which also has the address {_some(foreign)}"
        return [Advice(is_blocking=is_blocking, text=f"{text}; {_point_it(seen, home)}")]
    families = [answer for answer in (seen.a, seen.aaaa) if not set(answer.values).isdisjoint(foreign)]
    texts = [_of_family(seen, home, family, foreign) for family in families]
    return [Advice(is_blocking=is_blocking, text=text) for text in texts]


def _of_family(seen: Pointing, home: Home, family: Answer, foreign: Sequence[str]) -> str:
    wrong = [value for value in family.values if value in foreign]
    text = f"{family.type} {seen.name} is {_some(wrong)}"
    if len(wrong) < len(family.values):
        return f"{text}, which is not here, and authorities may ask any of the addresses; remove that one"
    if len(foreign) < len(seen.addresses) and family.type == "AAAA":
        text += ", which is not here, and authorities try IPv6 first"
    elif _takes_alias(seen, home) and family is seen.a:
        return f"{text}; replace it by {_records(seen, home)}"
    right = [address for address in _single(home) if _kind(address) == family.type]
    if right and (not _takes_alias(seen, home) or len(foreign) < len(seen.addresses)):
        return f"{text}; change it to {', '.join(right)}"
    return f"{text}; remove it" if family is seen.aaaa and seen.a.values else f"{text}; {_point_it(seen, home)}"


def _leads_away(seen: Pointing, foreign: Sequence[str]) -> bool:
    """Whether an authority that prefers IPv6 is led elsewhere for sure; with a mixture it may still come here.

    Authorities fall back to IPv4 only where IPv6 does not connect at all, and elsewhere somebody answers.
    """
    first = seen.aaaa.values or seen.a.values
    return seen.aaaa.is_definite and set(first) <= set(foreign)


def _of_proxy(seen: Pointing, home: Home, foreign: Sequence[str], owner: str) -> Advice:
    text = f"{_kind(foreign[0])} {seen.name} is {foreign[0]}, which is {owner}: "
    if not seen.is_needed:
        return Advice(is_blocking=False, text=f"{text}visitors come here only if it passes them on")
    if seen.has_http:
        text += "a certificate can be had only if it passes plain requests for /.well-known/acme-challenge/ on to here"
        return Advice(is_blocking=False, text=text)
    text += f"validation at the TLS handshake does not get through it; switch its proxy off, or {_point_it(seen, home)}"
    return Advice(is_blocking=True, text=text)


def _proxy_of(addresses: Sequence[str]) -> str | None:
    """Who owns the proxy that all the addresses belong to, if anyone."""
    owners = {
        next((owner for owner, network in _PROXY_NETWORKS if ipaddress.ip_address(address) in network), None)
        for address in addresses
    }
    return owners.pop() if len(owners) == 1 else None


def _point_it(seen: Pointing, home: Home) -> str:
    return f"point it to {home.name}" if _takes_alias(seen, home) else f"replace it by {_records(seen, home)}"


def _records(seen: Pointing, home: Home) -> str:
    """The records that lead here, as the end of a sentence."""
    if _takes_alias(seen, home):
        return f"a CNAME record that points to {home.name}"
    if single := _single(home):
        return " and ".join(f"an {_kind(address)} record with {address}" for address in single[:4])
    if home.name is not None and home.name != seen.name:
        return f"an ALIAS or ANAME record that points to {home.name}, or A and AAAA records with its addresses"
    return "an A or AAAA record with the public address of this server"


def _takes_alias(seen: Pointing, home: Home) -> bool:
    return home.name is not None and home.name != seen.name and not seen.is_apex


def _single(home: Home) -> list[str]:
    return [address for address in home.addresses if "/" not in address]


def _some(addresses: Sequence[str]) -> str:
    """The first of them: there may be thousands."""
    more = len(addresses) - _SHOWN
    return ", ".join(addresses[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _kind(address: str) -> str:
    return "AAAA" if ":" in address else "A"
