"""Domains: names that visitors use, beside the routes that answer, and what keeps the two from contradicting."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec

from state.hosts import fold_domain, fold_route_host
from state.index import members
from state.model import Desired, Domain
from state.refusal import Refused, refused
from state.route_rules import fold_value


class PutDomain(msgspec.Struct, frozen=True, kw_only=True, tag="put_domain"):
    """Create a domain, or replace the one of the same name.

    Its `created_at`, its `ownership` and its `revision` are ignored: they stay as they are. A new domain gets the
    ownership token `token`, which the caller has made of random bytes; "" asks for no proof.
    """

    domain: Domain
    token: str = ""


class RemoveDomain(msgspec.Struct, frozen=True, kw_only=True, tag="remove_domain"):
    """Remove the domain of a name; its certificate is not renewed any more."""

    name: str


DomainChange: TypeAlias = PutDomain | RemoveDomain


def fold_name(name: str) -> str:
    """The name of a domain in its one spelling; raises Refused."""
    try:
        return fold_domain(name)
    except ValueError as reason:
        raise refused("invalid", "name", str(reason)) from None


def placed(desired: Desired, change: PutDomain, at: datetime) -> Domain:
    """The domain as it is wanted among the others and the routes; raises Refused when it contradicts them."""
    wanted = fold_value(change.domain)
    if wanted.serves is not None:
        host = _folded_host(wanted.serves)
        _check_serves(desired, wanted.name, host)
        _check_wildcards(desired, wanted.name, host)
        wanted = msgspec.structs.replace(wanted, serves=host)
    current = desired.domains.get(wanted.name)
    # One that was there without a proof goes on without: it would answer nobody until its customer made the record.
    ownership = change.token if current is None else current.ownership
    return msgspec.structs.replace(wanted, created_at=current.created_at if current else at, ownership=ownership)


def check_host(desired: Desired, host: str) -> None:
    """Refuse a route of its own for a host that answers as another does: one of the two would never be asked."""
    domain = desired.domains.get(host)
    if domain is not None and domain.serves is not None:
        raise refused("conflict", "host", f"is a domain that answers as {domain.serves} does")


def _folded_host(host: str) -> str:
    try:
        return fold_route_host(host)
    except ValueError as reason:
        raise refused("invalid", "serves", str(reason)) from None


def _check_serves(desired: Desired, name: str, host: str) -> None:
    if host == name:
        raise refused("invalid", "serves", "is the domain itself")
    if members(desired.prefixes, name):
        raise refused("conflict", "name", f"has routes of its own, and cannot answer as {host} does beside them")
    if others := len(members(desired.aliases, name)):
        raise _chain("name", f"is what {others} other {'domain answers' if others == 1 else 'domains answer'} as")
    served = desired.domains.get(host)
    if served is not None and served.serves is not None:
        raise _chain("serves", f"is itself a domain, which answers as {served.serves} does: name that")
    if not members(desired.prefixes, host):
        raise refused("missing", "serves", "names no host with routes")


def _check_wildcards(desired: Desired, name: str, host: str) -> None:
    """Refuse a name that would take visitors from another organization's wildcard."""
    own = _owners(desired, host)
    labels = name.removeprefix("*.").split(".")
    for start in range(1, len(labels)):
        wildcard = "*." + ".".join(labels[start:])
        domain = desired.domains.get(wildcard)
        others = _owners(desired, wildcard if domain is None or domain.serves is None else domain.serves)
        if wildcard != name and own and others and own.isdisjoint(others):
            raise refused("conflict", "name", f"is below {wildcard}, which is of another organization")


def _owners(desired: Desired, host: str) -> set[str]:
    return {route.org_id for route in desired.routes_of(host) if route.org_id is not None}


def _chain(field: str, reason: str) -> Refused:
    # Only one step is followed when routes are compiled, so that no two domains can point at one another.
    return refused("conflict", field, reason)
