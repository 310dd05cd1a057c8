"""Where visitors reach this node, and the DNS records that lead a domain there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import msgspec

from state.hosts import is_within
from state.model import Domain

RecordType: TypeAlias = Literal["CNAME", "ALIAS", "A", "AAAA", "TXT"]

_PROOF: Final = "proves whose the domain is"
_WAY: Final = "brings visitors here"
# A zone has other records at its own name, and a CNAME stands alone (RFC 1034 section 3.6.2).
_FLAT: Final = (
    "brings visitors here; a CNAME cannot stand at the name of a zone, and DNS services call this differently"
)


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """What the API says of this node to whoever adds a domain.

    `public_name` and `public_addresses` are where records have to lead. With `ownership` a new domain gets a token for
    its proof. Names under `internal_suffixes` are in no public zone. A project's host is below `project_suffix`.
    `tls_listen` are the addresses of the TLS listeners, None: they are not known.
    """

    public_name: str | None = None
    public_addresses: tuple[str, ...] = ()
    ownership: bool = False
    internal_suffixes: tuple[str, ...] = ()
    project_suffix: str = "zexio.app"
    tls_listen: tuple[str, ...] | None = None

    def has(self, name: str) -> bool:
        """Whether a domain is internal."""
        return is_within(name, self.internal_suffixes)

    def owns(self, name: str) -> bool:
        """Whether a domain is one of the node's own names, which is no customer's to have, or covers one."""
        bare = name.removeprefix("*.")
        own = [*self.internal_suffixes, self.project_suffix, *([self.public_name] if self.public_name else [])]
        return is_within(name, own) or (bare != name and any(is_within(suffix, (bare,)) for suffix in own))


class DnsRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record that the customer has to set, and what it is good for."""

    type: RecordType
    name: str
    value: str
    reason: str


def records_of(domain: Domain, home: Home) -> tuple[DnsRecord, ...]:
    """The records that a domain needs, as far as the settings say; none for an internal one."""
    if home.has(domain.name):
        return ()
    return (*_proof(domain, home), *_way(domain.name, home))


def _proof(domain: Domain, home: Home) -> Iterator[DnsRecord]:
    if home.ownership and domain.ownership and domain.certificate == "auto":
        # certs.ownership looks there.
        name = f"_zexio.{domain.name.removeprefix('*.')}"
        yield DnsRecord(type="TXT", name=name, value=domain.ownership, reason=_PROOF)


def _way(name: str, home: Home) -> Iterator[DnsRecord]:
    addresses = [address for address in home.public_addresses if "/" not in address]
    is_apex = name.count(".") == 1
    if name == home.public_name:
        return
    if home.public_name is not None and not is_apex:
        yield DnsRecord(type="CNAME", name=name, value=home.public_name, reason=_WAY)
    elif addresses:
        for address in addresses:
            yield DnsRecord(type="AAAA" if ":" in address else "A", name=name, value=address, reason=_WAY)
    elif home.public_name is not None:
        yield DnsRecord(type="ALIAS", name=name, value=home.public_name, reason=_FLAT)
