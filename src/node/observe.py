"""Takes what the mesh workers report into observed state, the log and the metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec
import structlog

from mesh.channel import TargetReport, WorkerReport
from mesh.fleet import FleetObserver
from mesh.health import Probe, probes_of
from mesh.targets import EJECT_AFTER
from node.compile import Edge, compile_route
from node.mesh_keys import MeshKeys
from node.tally import Tally
from state.model import Desired, RouteKey
from state.observed import TargetFact, WorkerFact
from state.ports import Views


class Observer(FleetObserver):
    """Listens to the fleet; the newest report of each worker counts."""

    def __init__(self, views: Views, keys: MeshKeys) -> None:
        """Nothing is reported yet; `keys` hears of keys that tokens name in vain."""
        self.tally = Tally()
        self._desired = views.desired
        self._observed = views.observed
        self._keys = keys
        self._down: set[Probe] = set()
        self._workers: dict[int, WorkerFact] = {}
        self._revision = 0

    def reported(self, report: WorkerReport) -> None:
        """A worker counted something, and says which revision it serves."""
        self.tally.take(report)
        fact = self._workers.get(report.index)
        if fact is not None and fact.pid == report.pid:
            self._workers[report.index] = msgspec.structs.replace(fact, revision=report.revision)
        self._show_workers()
        self._show_targets()

    def published(self, revision: int) -> None:
        """Workers that start from now on begin with this revision; the others say themselves when they have it."""
        self._revision = revision

    def unknown_kid(self, kid: str) -> None:
        """A visitor's token names a key that the workers do not have."""
        self._keys.unknown_kid(kid)

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
        before = self._workers.get(index, WorkerFact(index=index, pid=pid))
        self._workers[index] = msgspec.structs.replace(before, pid=pid, ready=False)
        self._show_workers()
        structlog.get_logger().error("worker died and is replaced", index=index, pid=pid, status=status)

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


def target_facts(reports: Iterable[TargetReport], down: Collection[str] = ()) -> dict[str, TargetFact]:
    """One fact per address of what several workers saw: requests add up, the worst run of failures counts.

    Addresses that are `down` by a health check are not healthy, whoever has seen them.
    """
    facts = {address: TargetFact(address=address, healthy=False) for address in down}
    for report in reports:
        known = facts.get(report.address, TargetFact(address=report.address))
        failures = max(known.failures, report.failures)
        facts[report.address] = TargetFact(
            address=report.address,
            healthy=failures < EJECT_AFTER and report.address not in down,
            in_flight=known.in_flight + report.in_flight,
            failures=failures,
        )
    return facts


def _is_wanted(probe: Probe, desired: Desired) -> bool:
    route = desired.routes.get(RouteKey(probe.route.host, probe.route.path_prefix))
    return route is not None and probe in probes_of(compile_route(route, Edge()))
