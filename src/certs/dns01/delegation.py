"""Where the record of a DNS-01 challenge has to be: `_acme-challenge.<name>`, or where a CNAME there leads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from certs.resolve import Resolver

_LABEL: Final = "_acme-challenge"


def record_of(name: str) -> str:
    """Where authorities look (RFC 8555 section 8.4); `name` is without `*.`."""
    return f"{_LABEL}.{name}"


def may_be_at(place: str, name: str, zones: Iterable[str]) -> bool:
    """Whether the record for `name` may be made at `place`: at the name's own place, and below one of `zones`.

    The CNAME is the customer's, and may lead anywhere in what we can change. A record there that is only for a moment
    takes a wildcard's place at its name (RFC 4592 section 2.2.2), which may be another customer's.
    """
    return place == record_of(name) or any(place.endswith(f".{zone}") for zone in zones)


async def place_of(name: str, resolver: Resolver) -> str:
    """The name that needs the TXT record, which is elsewhere when `_acme-challenge` of the name is an alias.

    A customer who delegates that one name need not let us change anything else. Where the CNAME leads to nothing is as
    good: the record is not there yet. When DNS does not answer, the name itself is the best guess.
    """
    answer = await resolver.look_up_fresh(record_of(name), "TXT")
    return answer.owner if answer.is_definite else record_of(name)
