"""Turns what operators asked for into what the data plane is told: whole snapshots, and deltas of what was touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from rpds import HashTrieMap

from mesh import policies
from mesh import routes as mesh
from node.aliases import keys_of, keys_under, route_behind
from node.coverage import Coverage, Turn, certificate_of, newly_proved
from state import model
from state import policies as state_policies
from state.holdings import Holdings
from state.hosts import is_within
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
    a route for a while: addresses of inspectors by the URL of the target. `certificates` are those of files. `has_tls`
    says whether visitors can come by TLS at all, `asks_ownership` whether domains have to be proved to be served.
    """

    revision: int = 0
    inspected: Inspected = HashTrieMap()
    keys: mesh.AccessKeys = mesh.AccessKeys()
    limits: mesh.MeshSettings = mesh.MeshSettings()
    certificates: tuple[mesh.Certificate, ...] = ()
    has_tls: bool = False
    asks_ownership: bool = False
    internal_suffixes: tuple[str, ...] = ("zexio.internal",)
    tenant_everywhere: bool = False


class Inputs(msgspec.Struct, frozen=True):
    """What the data plane is compiled from, at one moment."""

    desired: model.Desired = model.Desired()
    edge: Edge = Edge()
    holdings: Holdings = Holdings()

    @property
    def coverage(self) -> Coverage:
        """The certificates that there are."""
        return Coverage(self.edge.certificates, self.holdings)


def compile_snapshot(inputs: Inputs) -> mesh.Snapshot:
    """Everything the data plane needs, from nothing."""
    desired, edge, coverage = inputs.desired, inputs.edge, inputs.coverage
    keys = (key for route in desired.routes for key in keys_of(desired, route))
    found = map(_Compiler(inputs, coverage).under, keys)
    return mesh.Snapshot(
        revision=desired.revision,
        routes=tuple(route for route in found if route is not None),
        certificates=coverage.certificates(),
        challenges=_challenges(inputs.holdings),
        keys=edge.keys,
        settings=edge.limits,
    )


def compile_delta(now: Inputs, before: Inputs) -> mesh.Delta | None:
    """What changed between what the data plane was compiled from `before`, and what it is to be compiled from `now`.

    The work is that of what was touched, however much there is in all. None when only a snapshot will do: the revision
    is too far behind to know what was touched, or a rule that every route is compiled by has changed.
    """
    touched = now.desired.touched_since(before.desired.revision)
    if touched is None or _rules(now.edge) != _rules(before.edge):
        return None
    edge, coverage = now.edge, now.coverage
    turn = Turn(coverage, before.coverage)
    keys = _touched_keys(now, before, touched, turn)
    compiler = _Compiler(now, coverage)
    wanted = [(key, compiler.under(key)) for key in sorted(keys)]
    return mesh.Delta(
        revision=now.desired.revision,
        put=tuple(route for _key, route in wanted if route is not None),
        removed=tuple(mesh.RouteKey(key.host, key.path_prefix) for key, route in wanted if route is None),
        put_certificates=turn.put(),
        removed_certificates=turn.removed(),
        challenges=_new_challenges(now.holdings, before.holdings),
        keys=edge.keys if edge.keys != before.edge.keys else None,
        settings=edge.limits if edge.limits != before.edge.limits else None,
    )


def compile_route(route: model.Route, edge: Edge) -> mesh.Route:
    """One route as the data plane knows it under its own host, with its access decided."""
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
    return covers or is_within(host, (suffix,))


def _rules(edge: Edge) -> tuple[tuple[str, ...], bool, bool, bool]:
    return edge.internal_suffixes, edge.tenant_everywhere, edge.has_tls, edge.asks_ownership


def _touched_keys(now: Inputs, before: Inputs, touched: Iterable[tuple[Kind, Any]], turn: Turn) -> set[model.RouteKey]:
    """The keys under which something else may answer than before, or nothing any more."""
    routes = {key for kind, key in touched if kind is Kind.ROUTE}
    routes |= _newly_seen(now.edge.inspected, before.edge.inspected)
    names = {key for kind, key in touched if kind is Kind.DOMAIN} | set(turn.domains(now.desired))
    names |= newly_proved(now.holdings, before.holdings)
    keys = {key for route in routes for key in keys_of(now.desired, route)}
    # A domain that is gone, or serves another host now, leaves the copies that it had.
    keys.update(key for name in names for inputs in (now, before) for key in keys_under(inputs.desired, name))
    return keys


class _Compiler:
    """Compiles what answers under a key; a host that a thousand domains serve is compiled once."""

    def __init__(self, inputs: Inputs, coverage: Coverage) -> None:
        self._desired = inputs.desired
        self._proved = inputs.holdings.proved
        self._edge = inputs.edge
        self._coverage = coverage
        self._served: dict[model.RouteKey, mesh.Route] = {}

    def under(self, key: model.RouteKey) -> mesh.Route | None:
        """What answers under `key`, if anything."""
        route, domain = route_behind(self._desired, key), self._desired.domains.get(key.host)
        if route is None:
            return None
        if domain is None:
            return compile_route(route, self._edge)
        if key.host != route.host and not self._is_owned(domain):
            # Whoever may add domains must not get the visitors of names that lead here and are not theirs.
            return None
        # Until there is a certificate, visitors are better served in plain than sent to where their browser warns them.
        is_secure = self._edge.has_tls and self._coverage.covers(key.host)
        https = "off" if not is_secure else "redirect" if route.https == "redirect" else domain.https
        if key.host != route.host:
            return self._copy(route, key.host, https)
        compiled = compile_route(route, self._edge)
        if route.https == "redirect":
            return compiled
        return msgspec.structs.replace(compiled, https=https, redirect_covered=_is_deep(key.host, https))

    def _is_owned(self, domain: model.Domain) -> bool:
        """Whether that was proved, or nobody asks: inside, and without a certificate, it is the operator's affair."""
        is_asked = self._edge.asks_ownership and domain.certificate == "auto" and domain.ownership != ""
        if not is_asked or is_within(domain.name, self._edge.internal_suffixes):
            return True
        return self._proved.get(domain.name) == domain.ownership

    def _copy(self, route: model.Route, host: str, https: mesh.Https) -> mesh.Route:
        compiled = self._served.get(route.key)
        if compiled is None:
            compiled = self._served[route.key] = compile_route(route, self._edge)
        access = route.access or _closer(compiled.access, default_access(host, self._edge))
        return msgspec.structs.replace(
            compiled,
            host=host,
            alias_of=route.host,
            access=access,
            https=https,
            redirect_covered=_is_deep(host, https),
            hsts=_own(compiled.hsts),
        )


def _is_deep(host: str, https: mesh.Https) -> bool:
    """Whether what redirects matches names that its certificate is not for."""
    return https == "redirect" and host.startswith("*.")


def _own(hsts: policies.Hsts | None) -> policies.Hsts | None:
    """For the name alone: what else is below a customer's name, and which lists it is on, is not for us to say."""
    return None if hsts is None else msgspec.structs.replace(hsts, include_subdomains=False, preload=False)


def _closer(one: mesh.Access, other: mesh.Access) -> mesh.Access:
    """The access of a copy: were it that of its own name alone, a customer's domain would open a host of the mesh."""
    return "tenant" if "tenant" in (one, other) else "public"


def _challenges(holdings: Holdings) -> mesh.Challenges:
    validations = (
        msgspec.structs.replace(certificate_of(bundle), names=(name,))
        for name, bundle in sorted(holdings.validations.items())
    )
    return mesh.Challenges(tokens=tuple(sorted(holdings.tokens.items())), validations=tuple(validations))


def _new_challenges(now: Holdings, before: Holdings) -> mesh.Challenges | None:
    if now.tokens is before.tokens and now.validations is before.validations:
        return None
    challenges = _challenges(now)
    return challenges if challenges != _challenges(before) else None


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
