"""Which route answers under which host: its own, or as a copy under every domain that serves its host."""

from __future__ import annotations

from collections.abc import Iterator

from state.index import members
from state.model import Desired, Route, RouteKey


def served_host(desired: Desired, host: str) -> str:
    """The host whose routes answer for `host`: itself, unless it is a domain that serves another."""
    domain = desired.domains.get(host)
    return host if domain is None or domain.serves is None else domain.serves


def route_behind(desired: Desired, key: RouteKey) -> Route | None:
    """The route that answers under `key`; it has another host than `key` where that is one of a domain."""
    return desired.routes.get(RouteKey(served_host(desired, key.host), key.path_prefix))


def keys_under(desired: Desired, host: str) -> Iterator[RouteKey]:
    """Every key under which a route answers for `host`."""
    for prefix in members(desired.prefixes, served_host(desired, host)):
        yield RouteKey(host, prefix)


def keys_of(desired: Desired, key: RouteKey) -> Iterator[RouteKey]:
    """Every key under which what `key` names in desired state answers, or would if it were there: its own and copies.

    A name that serves another host has no routes of its own; were there some, they would answer nothing.
    """
    if served_host(desired, key.host) == key.host:
        yield key
    for name in members(desired.aliases, key.host):
        yield RouteKey(name, key.path_prefix)
