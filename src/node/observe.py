"""Takes what the mesh workers report into observed state, the log and the metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog

from mesh import routes as mesh
from mesh.channel import TargetReport, WorkerReport
from mesh.fleet import FleetObserver
from mesh.health import Probe, probes_of
from mesh.latency import Histogram
from mesh.ledger import RouteReport
from mesh.ports import AccessRecord
from node.aliases import route_behind
from node.compile import Edge, compile_route
from node.handshakes import Handshakes
from node.mesh_keys import MeshKeys
from node.tally import RouteSums, Tally
from node.watch import Watchers
from state.model import Desired, Route, RouteKey, Target
from state.observed import Latency, RouteFact, RouteTargetFact, TargetFact, WorkerFact
from state.ports import Views


class SpanSink(Protocol):
    """Takes exchanges whose traces are recorded."""

    def export(self, records: Iterable[AccessRecord]) -> None:
        """Must not block."""


class Observer(FleetObserver):
    """Listens to the fleet; the newest report of each worker counts."""

    def __init__(self, views: Views, keys: MeshKeys, spans: SpanSink | None = None) -> None:
        """Nothing is reported yet; `keys` hears of keys that tokens name in vain, `spans` of recorded traces."""
        self.tally = Tally()
        self.watchers = Watchers()
        self.handshakes = Handshakes()
        self._spans = spans
        self._changed: set[mesh.RouteKey] = set()
        self._desired = views.desired
        self._observed = views.observed
        self._keys = keys
        self._down: set[Probe] = set()
        # By worker and address, how many seconds were left in the newest report.
        self._ejected: dict[int, dict[str, float]] = {}
        self._workers: dict[int, WorkerFact] = {}
        self._revision = 0

    def reported(self, report: WorkerReport) -> None:
        """A worker counted something, and says which revision it serves."""
        self.tally.take(report)
        self._log_ejections(report)
        fact = self._workers.get(report.index)
        if fact is not None and fact.pid == report.pid:
            self._workers[report.index] = msgspec.structs.replace(fact, revision=report.revision)
        self._show_workers()
        self._show_targets()
        # Every worker reports every second; showing what all of them said is enough work to be done once.
        if self.tally.is_first(report.index):
            self._show_routes()

    def routes_reported(self, reports: Sequence[RouteReport]) -> None:
        """A worker served requests of these routes."""
        self._changed |= self.tally.take_routes(reports)

    def watched(self, records: Sequence[AccessRecord], dropped: int) -> None:
        """Exchanges that somebody watches."""
        self.watchers.take(records, dropped)

    def spans_finished(self, records: Sequence[AccessRecord]) -> None:
        """Exchanges whose traces are recorded."""
        if self._spans is not None:
            self._spans.export(records)

    def published(self, revision: int) -> None:
        """Workers that start from now on begin with this revision; the others say themselves when they have it."""
        self._revision = revision

    def unknown_kid(self, kid: str) -> None:
        """A visitor's token names a key that the workers do not have."""
        self._keys.unknown_kid(kid)

    def certificate_wanted(self, name: str, address: str) -> None:
        """A visitor's handshake waits for a certificate that the workers do not have."""
        self.handshakes.wanted(name, address)

    def complained(self, index: int, message: str) -> None:
        """Something went wrong in a worker."""
        structlog.get_logger().error("something went wrong in a worker", index=index, detail=message)

    def target_turned(self, probe: Probe, reason: str) -> None:
        """A health check took a target out, or back in."""
        log = structlog.get_logger().bind(target=probe.address, route=f"{probe.route.host}{probe.route.path_prefix}")
        if reason:
            self._down.add(probe)
            log.warning("target is down", reason=reason)
        else:
            self._down.discard(probe)
            log.info("target is up again")
        self._show_targets()

    def worker_started(self, index: int, pid: int) -> None:
        """A worker serves."""
        before = self._workers.get(index)
        restarts = before.restarts + 1 if before else 0
        self._workers[index] = WorkerFact(index=index, pid=pid, ready=True, restarts=restarts, revision=self._revision)
        self._show_workers()
        structlog.get_logger().info("worker serves", index=index, pid=pid)

    def worker_died(self, index: int, pid: int, status: int) -> None:
        """A worker ended unasked; its counts stay, what it held is gone."""
        self.tally.forget(index)
        self._ejected.pop(index, None)
        before = self._workers.get(index, WorkerFact(index=index, pid=pid))
        self._workers[index] = msgspec.structs.replace(before, pid=pid, ready=False)
        self._show_workers()
        structlog.get_logger().error("worker died and is replaced", index=index, pid=pid, status=status)

    def _log_ejections(self, report: WorkerReport) -> None:
        known, here = self._ejected.get(report.index, {}), {target.address for target in report.targets}
        out = ejections_of(report)
        for address, left_s in out.items():
            # One that came back and failed again between two reports has more time left than before.
            if left_s > known.get(address, 0.0):
                log = structlog.get_logger().bind(target=address, worker=report.index)
                log.warning("target failed visitors and is ejected where there are others", seconds=round(left_s, 1))
        for address in (known.keys() & here) - out.keys():
            structlog.get_logger().info("ejected target is tried again", target=address, worker=report.index)
        self._ejected[report.index] = out

    def _show_workers(self) -> None:
        workers = tuple(self._workers[index] for index in sorted(self._workers))
        if workers != self._observed.value.workers:
            self._observed.set(self._observed.value.with_workers(workers))

    def _show_targets(self) -> None:
        # A check that ended with its route, or was changed, does not say so.
        self._down = {probe for probe in self._down if _is_wanted(probe, self._desired.value)}
        facts = target_facts(self.tally.targets(), {probe.address for probe in self._down})
        known = self._observed.value.targets
        if gone := known.keys() - facts.keys():
            self._observed.set(self._observed.value.without_targets(gone))
        if changed := [fact for address, fact in facts.items() if known.get(address) != fact]:
            self._observed.set(self._observed.value.with_targets(changed))

    def _show_routes(self) -> None:
        known = self._observed.value.routes
        facts = {}
        down: dict[RouteKey, set[str]] = {}
        for probe in self._down:
            down.setdefault(_key(probe.route), set()).add(probe.address)
        # A route whose targets are down is worth showing before anybody has asked for it.
        unused = {mesh.RouteKey(key.host, key.path_prefix): RouteSums() for key in down}
        for key, sums in {**unused, **self.tally.routes}.items():
            # A domain that serves a host has figures of its own, and the targets of that host.
            route = route_behind(self._desired.value, _key(key))
            if route is None:
                self.tally.forget_route(key)
                continue
            name = str(_key(key))
            before = known.get(name)
            fact = before if before is not None and key not in self._changed else route_fact(sums)
            facts[name] = with_targets(fact, route, self._observed.value.targets, down.get(route.key, ()))
        self._changed.clear()
        if gone := known.keys() - facts.keys():
            self._observed.set(self._observed.value.without_routes(gone))
        if news := {key: fact for key, fact in facts.items() if known.get(key) != fact}:
            self._observed.set(self._observed.value.with_routes(news))


def route_fact(sums: RouteSums) -> RouteFact:
    """What a route did, from the sums of all workers."""
    return RouteFact(
        requests=sums.requests,
        statuses=sums.by_class(),
        bytes_received=sums.received,
        bytes_sent=sums.sent,
        latency_s=_latency(sums.durations),
        first_byte_s=_latency(sums.first_bytes),
        retries=sums.retries,
        rate_limited=sums.rate_limited,
    )


def with_targets(
    fact: RouteFact, route: Route, targets: Mapping[str, TargetFact], down: Collection[str] = ()
) -> RouteFact:
    """The fact with what its route's targets do now; one that nobody has used yet does nothing.

    `down` are the addresses that the route's own health check found down.
    """
    facts = tuple(
        _route_target(target, targets.get(target.url), is_down=target.url in down, may_be_out=may_be_out)
        for target, may_be_out in _targets(route)
    )
    in_flight = sum(each.in_flight for each in facts)
    if (facts, in_flight) == (fact.targets, fact.in_flight):
        return fact
    return msgspec.structs.replace(fact, targets=facts, in_flight=in_flight)


def _route_target(target: Target, fact: TargetFact | None, *, is_down: bool, may_be_out: bool) -> RouteTargetFact:
    fact = fact or TargetFact(address=target.url)
    is_out = fact.ejected and may_be_out
    return RouteTargetFact(
        address=target.url,
        requests=fact.requests,
        in_flight=fact.in_flight,
        failures=fact.failures,
        healthy=not (is_down or is_out),
        ejected=is_out,
        draining=target.draining,
    )


def _targets(route: Route) -> Iterator[tuple[Target, bool]]:
    """Each target once, and whether the route does without it while it is ejected."""
    split = route.traffic.split
    seen: set[str] = set()
    for group in (route.targets, split.targets if split is not None else ()):
        # mesh.targets: so many may be out at a time, and the last one is used all the same.
        may_be_out = len(group) > 1 and int(len(group) * route.ejection.max_share) > 0
        for target in group:
            if target.url not in seen:
                seen.add(target.url)
                yield target, may_be_out


def _key(key: mesh.RouteKey) -> RouteKey:
    return RouteKey(key.host, key.path_prefix)


def _latency(histogram: Histogram) -> Latency:
    if not histogram.number:
        return Latency()
    p50, p90, p99 = histogram.quantiles(0.5, 0.9, 0.99)
    return Latency(p50=p50, p90=p90, p99=p99)


def target_facts(reports: Iterable[TargetReport], down: Collection[str] = ()) -> dict[str, TargetFact]:
    """One fact per address of what several workers saw: requests add up, the worst run of failures counts.

    Addresses that a worker has ejected, or that are `down` by a health check, are not healthy.
    """
    facts = {address: TargetFact(address=address, healthy=False) for address in down}
    for report in reports:
        known = facts.get(report.address, TargetFact(address=report.address))
        facts[report.address] = TargetFact(
            address=report.address,
            healthy=known.healthy and not report.ejected_s,
            ejected=known.ejected or report.ejected_s > 0,
            in_flight=known.in_flight + report.in_flight,
            failures=max(known.failures, report.failures),
            requests=known.requests + report.requests,
        )
    return facts


def ejections_of(report: WorkerReport) -> dict[str, float]:
    """How many seconds each target is still out that the worker has ejected, by address."""
    out: dict[str, float] = {}
    for target in report.targets:
        # An address has several records where routes speak to it in different ways.
        if target.ejected_s > 0:
            out[target.address] = max(target.ejected_s, out.get(target.address, 0.0))
    return out


def _is_wanted(probe: Probe, desired: Desired) -> bool:
    route = desired.routes.get(RouteKey(probe.route.host, probe.route.path_prefix))
    return route is not None and probe in probes_of(compile_route(route, Edge()))
