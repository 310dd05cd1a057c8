"""Which names want a certificate, on whose word, and which certificate covers which name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from certs.settings import CertsSettings
from state.hosts import is_within, wildcard_of
from state.index import members
from state.kinds import Kind
from state.model import Desired

Origin: TypeAlias = Literal["domain", "settings", "demand"]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A name that wants a certificate, and why: an operator's domain, the settings, or a visitor's handshake.

    An internal name never goes to an authority. `ownership` is what the customer's TXT record has to hold, or "".
    """

    name: str
    origin: Origin
    is_internal: bool = False
    ownership: str = ""
    since: datetime | None = None


def wanted(name: str, desired: Desired, settings: CertsSettings, demanded: Collection[str]) -> Wanted | None:
    """Whether `name` is wanted, and why; None when it is not. `demanded` are the names that handshakes asked for."""
    inside = is_internal(name, settings.internal_suffixes)
    domain = desired.domains.get(name)
    if domain is not None and domain.certificate == "auto":
        token = domain.ownership if settings.ownership and not inside else ""
        return Wanted(name=name, origin="domain", is_internal=inside, ownership=token, since=domain.created_at)
    if domain is not None:
        # The operator said "off" of this very name: that goes before what settings and visitors say.
        return None
    if name in settings.names:
        return Wanted(name=name, origin="settings", is_internal=inside)
    if name in demanded:
        return Wanted(name=name, origin="demand", is_internal=inside)
    return None


def all_wanted(desired: Desired, settings: CertsSettings, demanded: Collection[str]) -> Mapping[str, Wanted]:
    """Every wanted name."""
    names = {*desired.domains, *settings.names, *demanded}
    found = ((name, wanted(name, desired, settings, demanded)) for name in names)
    return {name: wish for name, wish in found if wish is not None}


def touched_names(desired: Desired, revision: int) -> frozenset[str] | None:
    """The domains that were put or removed after `revision`; None, for every one, when that is too long ago."""
    touched = desired.touched_since(revision)
    return None if touched is None else frozenset(key for kind, key in touched if kind is Kind.DOMAIN)


def is_internal(name: str, suffixes: Iterable[str]) -> bool:
    """Whether a name is one of the suffixes or below one, so that no authority can know it."""
    return is_within(name, suffixes)


def is_named(name: str, desired: Desired) -> bool:
    """Whether a route or a domain names this host, itself or by a wildcard; the route for all other hosts is none."""
    return any(is_host(host, desired) for host in _spellings(name))


def leaf_name(name: str, desired: Desired) -> str:
    """Which name an internal leaf for `name` is for: the wildcard beside it, if that is why it is named.

    So there are no more leaves than operators have named, whatever visitors make up. Verifiers accept no wildcard that
    is followed by a single label.
    """
    wildcard = wildcard_of(name)
    is_wild = not is_host(name, desired) and is_host(wildcard, desired) and wildcard.count(".") > 1
    return wildcard if is_wild else name


def covers(names: Collection[str], name: str) -> bool:
    """Whether a certificate with these names is good for `name`, which may be a wildcard itself."""
    return name in names or (not name.startswith("*.") and wildcard_of(name) in names)


def is_host(host: str, desired: Desired) -> bool:
    """Whether there is a domain, or a route, of this very name."""
    return host in desired.domains or bool(members(desired.prefixes, host))


def _spellings(name: str) -> Iterator[str]:
    """The hosts of routes that match a name: itself, and `*.` before everything that follows a dot."""
    yield name
    rest = name
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"
