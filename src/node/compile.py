"""Turns what operators asked for into what the data plane is told: whole snapshots, and deltas of what was touched."""

from __future__ import annotations

import msgspec

from mesh import routes as mesh
from state import model
from state.kinds import Kind


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """What routes do not say themselves: keys, limits, and who may use a route that names no access.

    `revision` counts the changes of this value since the node started.
    """

    revision: int = 0
    keys: mesh.AccessKeys = mesh.AccessKeys()
    limits: mesh.MeshSettings = mesh.MeshSettings()
    internal_suffixes: tuple[str, ...] = ("zexio.internal",)
    tenant_everywhere: bool = False


def compile_snapshot(desired: model.Desired, edge: Edge) -> mesh.Snapshot:
    """Everything the data plane needs, from nothing."""
    routes = tuple(compile_route(route, edge) for route in desired.routes.values())
    return mesh.Snapshot(revision=desired.revision, routes=routes, keys=edge.keys, settings=edge.limits)


def compile_delta(since: int, desired: model.Desired, edge: Edge, before: Edge) -> mesh.Delta | None:
    """What changed between the revision `since`, compiled with `before`, and `desired` compiled with `edge`.

    The work is that of the touched routes, however many there are in all. None when only a snapshot will do: the
    revision is too far behind to know what was touched, or the rule that every route is compiled by has changed.
    """
    touched = desired.touched_since(since)
    if touched is None or _default_rule(edge) != _default_rule(before):
        return None
    keys = [key for kind, key in touched if kind is Kind.ROUTE]
    wanted = [(key, desired.routes.get(key)) for key in sorted(keys)]
    return mesh.Delta(
        revision=desired.revision,
        put=tuple(compile_route(route, edge) for _key, route in wanted if route is not None),
        removed=tuple(mesh.RouteKey(key.host, key.path_prefix) for key, route in wanted if route is None),
        keys=edge.keys if edge.keys != before.keys else None,
        settings=edge.limits if edge.limits != before.limits else None,
    )


def compile_route(route: model.Route, edge: Edge) -> mesh.Route:
    """One route as the data plane knows it, with its access decided."""
    return mesh.Route(
        host=route.host,
        targets=tuple(mesh.Target(target.url, target.weight) for target in route.targets),
        path_prefix=route.path_prefix,
        org_id=route.org_id,
        access=route.access or default_access(route.host, edge),
        balance=route.balance,
        strip_prefix=route.strip_prefix,
        health=_health(route.health),
        timeouts=_timeouts(route.timeouts),
        retries=route.retries,
        max_body_bytes=route.max_body_bytes,
        forward_token=route.forward_token,
        preserve_host=route.preserve_host,
        request_headers=tuple(route.headers.request.items()),
        response_headers=tuple(route.headers.response.items()),
        https=route.https,
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


def _default_rule(edge: Edge) -> tuple[tuple[str, ...], bool]:
    return edge.internal_suffixes, edge.tenant_everywhere


def _health(check: model.HealthCheck | None) -> mesh.Health | None:
    if check is None:
        return None
    return mesh.Health(
        path=check.path,
        interval_s=check.interval_s,
        timeout_s=check.timeout_s,
        healthy_after=check.healthy_after,
        unhealthy_after=check.unhealthy_after,
    )


def _timeouts(limits: model.Timeouts) -> mesh.Timeouts:
    return mesh.Timeouts(connect_s=limits.connect_s, response_s=limits.response_s, idle_s=limits.idle_s)
