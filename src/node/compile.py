"""Turns what operators asked for into what the data plane is told: whole snapshots, and deltas of what was touched."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias, TypeVar

import msgspec
from rpds import HashTrieMap

from mesh import policies
from mesh import routes as mesh
from state import model
from state import policies as state_policies
from state.kinds import Kind
from state.text_rules import status_range

S = TypeVar("S", bound=msgspec.Struct)

Vias: TypeAlias = Mapping[str, str]
Inspected: TypeAlias = "HashTrieMap[model.RouteKey, Vias]"

_NO_VIAS: Final[Vias] = MappingProxyType({})
# The inspector may go at any time, and then every request that it has may be sent again.
_INSPECTED_BUDGET: Final = policies.RetryBudget(share=1.0, min_per_s=1000.0)


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """What routes do not say themselves: keys, limits, certificates, and who may use a route that names no access.

    `revision` counts the changes of this value since the node started. `inspected` is what stands before the targets of
    a route for a while: addresses of inspectors by the URL of the target.
    """

    revision: int = 0
    inspected: Inspected = HashTrieMap()
    keys: mesh.AccessKeys = mesh.AccessKeys()
    limits: mesh.MeshSettings = mesh.MeshSettings()
    certificates: tuple[mesh.Certificate, ...] = ()
    internal_suffixes: tuple[str, ...] = ("zexio.internal",)
    tenant_everywhere: bool = False


def compile_snapshot(desired: model.Desired, edge: Edge) -> mesh.Snapshot:
    """Everything the data plane needs, from nothing."""
    routes = tuple(compile_route(route, edge) for route in desired.routes.values())
    return mesh.Snapshot(
        revision=desired.revision,
        routes=routes,
        certificates=edge.certificates,
        keys=edge.keys,
        settings=edge.limits,
    )


def compile_delta(since: int, desired: model.Desired, edge: Edge, before: Edge) -> mesh.Delta | None:
    """What changed between the revision `since`, compiled with `before`, and `desired` compiled with `edge`.

    The work is that of the touched routes, however many there are in all. None when only a snapshot will do: the
    revision is too far behind to know what was touched, or the rule that every route is compiled by has changed.
    """
    touched = desired.touched_since(since)
    if touched is None or _default_rule(edge) != _default_rule(before):
        return None
    keys = {key for kind, key in touched if kind is Kind.ROUTE} | _newly_seen(edge.inspected, before.inspected)
    wanted = [(key, desired.routes.get(key)) for key in sorted(keys)]
    return mesh.Delta(
        revision=desired.revision,
        put=tuple(compile_route(route, edge) for _key, route in wanted if route is not None),
        removed=tuple(mesh.RouteKey(key.host, key.path_prefix) for key, route in wanted if route is None),
        put_certificates=tuple(each for each in edge.certificates if each not in before.certificates),
        removed_certificates=tuple(sorted(_fingerprints(before) - _fingerprints(edge))),
        keys=edge.keys if edge.keys != before.keys else None,
        settings=edge.limits if edge.limits != before.limits else None,
    )


def compile_route(route: model.Route, edge: Edge) -> mesh.Route:
    """One route as the data plane knows it, with its access decided."""
    vias = _vias(route, edge)
    return mesh.Route(
        host=route.host,
        targets=_targets(route.targets, vias),
        path_prefix=route.path_prefix,
        org_id=route.org_id,
        access=route.access or default_access(route.host, edge),
        tenants=route.tenants,
        forward_token=route.forward_token,
        preserve_host=route.preserve_host,
        balance=route.balance,
        hash=_alike(route.hash, policies.Hash),
        sticky=_alike_or_none(route.sticky, policies.Sticky),
        slow_start_s=route.slow_start_s,
        health=_health(route.health),
        ejection=_alike(route.ejection, policies.Ejection),
        circuit=_alike(route.circuit, policies.Circuit),
        retries=max(1, route.retries) if vias else route.retries,
        retry_budget=_INSPECTED_BUDGET if vias else _alike(route.retry_budget, policies.RetryBudget),
        traffic=_traffic(route.traffic, vias),
        finish_abandoned=route.finish_abandoned,
        timeouts=_alike(route.timeouts, policies.Timeouts),
        limits=_limits(route),
        rate_limit=_alike_or_none(route.rate_limit, policies.RateLimit),
        allow=route.allow,
        deny=route.deny,
        strip_prefix=route.strip_prefix,
        rewrite_prefix=route.rewrite_prefix,
        redirect=_alike_or_none(route.redirect, policies.Redirect),
        request_headers=_edits(route.headers.remove_request, route.headers.request, route.headers.add_request),
        response_headers=_edits(route.headers.remove_response, route.headers.response, route.headers.add_response),
        basic_auth=_basic_auth(route.basic_auth),
        forward_auth=_alike_or_none(route.forward_auth, policies.ForwardAuth),
        cors=_alike_or_none(route.cors, policies.Cors),
        compression=_alike_or_none(route.compression, policies.Compression),
        error_pages=_error_pages(route),
        https=route.https,
        hsts=_alike_or_none(route.hsts, policies.Hsts),
        client_ca=route.client_ca,
        target_tls=_alike(route.target_tls, policies.TargetTls),
        proxy_protocol=route.proxy_protocol,
    )


def default_access(host: str, edge: Edge) -> mesh.Access:
    """Who may use a route that does not say: inside the mesh its organization, elsewhere everyone.

    contracts/plane.md decision 9. A wildcard that covers an internal suffix counts as inside.
    """
    is_internal = any(_overlaps(host, suffix) for suffix in edge.internal_suffixes)
    return "tenant" if edge.tenant_everywhere or is_internal else "public"


def _overlaps(host: str, suffix: str) -> bool:
    covers = host.startswith("*.") and f".{suffix}".endswith(host[1:])
    return covers or host == suffix or host.endswith(f".{suffix}")


def _fingerprints(edge: Edge) -> set[str]:
    return {certificate.fingerprint for certificate in edge.certificates}


def _default_rule(edge: Edge) -> tuple[tuple[str, ...], bool]:
    return edge.internal_suffixes, edge.tenant_everywhere


def _alike(value: msgspec.Struct, kind: type[S]) -> S:
    """A value that both sides write with the same fields."""
    return msgspec.convert(value, kind, from_attributes=True)


def _alike_or_none(value: msgspec.Struct | None, kind: type[S]) -> S | None:
    return None if value is None else _alike(value, kind)


def _newly_seen(now: Inspected, before: Inspected) -> set[model.RouteKey]:
    """The routes that are inspected in another way than before."""
    return {key for key in (*now, *before) if now.get(key) != before.get(key)}


def _vias(route: model.Route, edge: Edge) -> Vias:
    # An inspector makes connections of its own, and nothing tells it whose address to announce.
    return edge.inspected.get(route.key, _NO_VIAS) if route.proxy_protocol == "off" else _NO_VIAS


def _targets(targets: tuple[model.Target, ...], vias: Vias) -> tuple[policies.Target, ...]:
    return tuple(
        policies.Target(target.url, target.weight, target.draining, via=vias.get(target.url, "")) for target in targets
    )


def _health(check: state_policies.HealthCheck | None) -> policies.Health | None:
    if check is None:
        return None
    return policies.Health(
        path=check.path,
        host=check.host,
        interval_s=check.interval_s,
        timeout_s=check.timeout_s,
        healthy_after=check.healthy_after,
        unhealthy_after=check.unhealthy_after,
        statuses=tuple(status_range(text) for text in check.statuses),
        body=check.body,
    )


def _limits(route: model.Route) -> policies.Limits:
    return policies.Limits(
        max_body_bytes=route.max_body_bytes,
        max_head_bytes=route.limits.max_head_bytes,
        max_headers=route.limits.max_headers,
        max_requests_per_connection=route.limits.max_requests_per_connection,
    )


def _traffic(traffic: model.Traffic, vias: Vias) -> policies.Traffic:
    return policies.Traffic(
        mode=traffic.mode,
        hold_s=traffic.hold_s,
        message=traffic.message,
        retry_after_s=traffic.retry_after_s,
        split=_split(traffic.split, vias),
    )


def _split(split: model.Split | None, vias: Vias) -> policies.Split | None:
    if split is None:
        return None
    return policies.Split(
        targets=_targets(split.targets, vias), by=split.by, share=split.share, name=split.name, values=split.values
    )


def _edits(
    removed: tuple[str, ...], replaced: Mapping[str, str], added: Mapping[str, tuple[str, ...]]
) -> policies.HeaderEdits:
    pairs = tuple((name, value) for name, values in added.items() for value in values)
    return policies.HeaderEdits(remove=removed, set=tuple(replaced.items()), add=pairs)


def _basic_auth(auth: state_policies.BasicAuth | None) -> policies.BasicAuth | None:
    return None if auth is None else policies.BasicAuth(users=tuple(auth.users.items()), realm=auth.realm)


def _error_pages(route: model.Route) -> policies.ErrorPages | None:
    if not route.error_pages:
        return None
    pages = tuple(policies.ErrorPage(statuses, html) for statuses, html in route.error_pages.items())
    return policies.ErrorPages(pages=pages, intercept=route.intercept_errors)
