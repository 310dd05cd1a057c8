"""One value per operator's act, and `apply`, which makes the next `Desired` of it or refuses."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, TypeAlias

import msgspec

from state.domains import DomainChange, PutDomain, RemoveDomain, check_host, fold_name, placed
from state.hosts import fold_route_host
from state.kinds import Kind
from state.model import Desired, Entity, Organization, Route, RouteKey
from state.refusal import refused
from state.route_rules import fold_route, org_id_reason
from state.traffic import RouteChange, TrafficChange, kept, steered

MAX_NAME: Final = 255


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for a change, for the audit; `address` is where the request came from."""

    kind: Literal["operator", "worker", "system"]
    name: str
    address: str | None = None


class PutOrganization(msgspec.Struct, frozen=True, kw_only=True, tag="put_organization"):
    """Create an organization, or rename it; without a name it is called by its id."""

    id: str
    name: str | None = None


class RemoveOrganization(msgspec.Struct, frozen=True, kw_only=True, tag="remove_organization"):
    """Remove an organization that no route names any more."""

    id: str


class PutRoute(msgspec.Struct, frozen=True, kw_only=True, tag="put_route"):
    """Create a route, or replace the one of the same host and path prefix.

    Its `revision`, its `traffic` and which of its targets are draining are ignored: they stay as they are. An
    organization that the route is the first to name comes into being with it, called by its id.
    """

    route: Route


class RemoveRoute(RouteChange, frozen=True, kw_only=True, tag="remove_route"):
    """Remove the route of a host and a path prefix."""


Change: TypeAlias = PutOrganization | RemoveOrganization | PutRoute | RemoveRoute | DomainChange | TrafficChange


class IfMatch(msgspec.Struct, frozen=True, tag="if_match"):
    """The value must be the one that this revision wrote (RFC 9110 section 13.1.1)."""

    revision: int


class Absent(msgspec.Struct, frozen=True, tag="absent"):
    """There must be no such value yet (`If-None-Match: *`)."""


class Present(msgspec.Struct, frozen=True, tag="present"):
    """There must be such a value (`If-Match: *`)."""


Expectation: TypeAlias = IfMatch | Absent | Present


def apply(desired: Desired, change: Change, *, at: datetime, expect: Expectation | None = None) -> Desired:
    """What is wanted after `change`, one revision later; `desired` itself when the change changes nothing.

    `at` is the moment that new values carry; `expect` is checked against the value that the change is about, which is
    also the first touch of the new revision. Raises Refused.
    """
    match change:
        case PutOrganization():
            return _put_organization(desired, change, at, expect)
        case RemoveOrganization():
            return _remove_organization(desired, change, expect)
        case PutRoute():
            return _put_route(desired, fold_route(change.route), at, expect)
        case RemoveRoute():
            return _remove_route(desired, change, expect)
        case PutDomain():
            return _put_domain(desired, change, at, expect)
        case RemoveDomain():
            return _remove_domain(desired, change, expect)
        case _:
            return _steer_route(desired, change, expect)


def _put_organization(desired: Desired, change: PutOrganization, at: datetime, expect: Expectation | None) -> Desired:
    if reason := org_id_reason(change.id):
        raise refused("invalid", "id", reason)
    name = change.id if change.name is None else change.name
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise refused("invalid", "name", f"must be 1 to {MAX_NAME} printable characters")
    current = desired.organizations.get(change.id)
    _check(current, expect)
    created_at = current.created_at if current else at
    return _put(desired, Kind.ORGANIZATION, current, Organization(id=change.id, name=name, created_at=created_at))


def _remove_organization(desired: Desired, change: RemoveOrganization, expect: Expectation | None) -> Desired:
    current = desired.organizations.get(change.id)
    _check(current, expect)
    if current is None:
        raise refused("missing", "id", "names no organization")
    if routes := desired.uses.get((Kind.ORGANIZATION, change.id)):
        raise refused("conflict", "id", f"is still the organization of {routes} {'route' if routes == 1 else 'routes'}")
    return _next(desired).without(Kind.ORGANIZATION, change.id)


def _put_route(desired: Desired, route: Route, at: datetime, expect: Expectation | None) -> Desired:
    current = desired.routes.get(route.key)
    _check(current, expect)
    check_host(desired, route.host)
    _check_client_ca(desired, route)
    after = _put(desired, Kind.ROUTE, current, kept(route, current))
    if route.org_id is None or route.org_id in desired.organizations:
        return after
    owner = Organization(id=route.org_id, name=route.org_id, created_at=at, revision=after.revision)
    return after.with_value(Kind.ORGANIZATION, owner)


def _check_client_ca(desired: Desired, route: Route) -> None:
    """Refuse a second authority for one host: its visitors are asked for a certificate before they name a path."""
    if not route.client_ca:
        return
    for other in desired.routes_of(route.host):
        if other.key != route.key and other.client_ca not in {"", route.client_ca}:
            reason = f"is another than that of {other.key}, and a connection is asked for one certificate only"
            raise refused("conflict", "client_ca", reason)


def _remove_route(desired: Desired, change: RemoveRoute, expect: Expectation | None) -> Desired:
    return _next(desired).without(Kind.ROUTE, _found_route(desired, change, expect).key)


def _put_domain(desired: Desired, change: PutDomain, at: datetime, expect: Expectation | None) -> Desired:
    current = desired.domains.get(fold_name(change.domain.name))
    _check(current, expect)
    return _put(desired, Kind.DOMAIN, current, placed(desired, change, at))


def _remove_domain(desired: Desired, change: RemoveDomain, expect: Expectation | None) -> Desired:
    name = fold_name(change.name)
    current = desired.domains.get(name)
    _check(current, expect)
    if current is None:
        raise refused("missing", "name", "names no domain")
    return _next(desired).without(Kind.DOMAIN, name)


def _steer_route(desired: Desired, change: TrafficChange, expect: Expectation | None) -> Desired:
    current = _found_route(desired, change, expect)
    return _put(desired, Kind.ROUTE, current, steered(current, change))


def _found_route(desired: Desired, change: RouteChange, expect: Expectation | None) -> Route:
    try:
        key = RouteKey(fold_route_host(change.host), change.path_prefix)
    except ValueError as reason:
        raise refused("invalid", "host", str(reason)) from None
    current = desired.routes.get(key)
    _check(current, expect)
    if current is None:
        raise refused("missing", "host", f"has no route with the path prefix {change.path_prefix}")
    return current


def _check(current: Entity | None, expect: Expectation | None) -> None:
    match expect:
        case IfMatch(revision) if current is None or current.revision != revision:
            raise refused("precondition", "revision", _found(current))
        case Absent() if current is not None:
            raise refused("precondition", "revision", _found(current))
        case Present() if current is None:
            raise refused("precondition", "revision", _found(current))


def _found(current: Entity | None) -> str:
    return "is none: there is no such value" if current is None else f"is {current.revision} by now"


def _put(desired: Desired, kind: Kind, current: Entity | None, value: Entity) -> Desired:
    # A wish that is already granted is no change: repeating a PUT keeps the ETag, the disk and the mesh at rest.
    if current is not None and current == msgspec.structs.replace(value, revision=current.revision):
        return desired
    after = _next(desired)
    return after.with_value(kind, msgspec.structs.replace(value, revision=after.revision))


def _next(desired: Desired) -> Desired:
    return desired.advanced_to(desired.revision + 1)
