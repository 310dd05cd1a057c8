"""Takes what the mesh workers report into observed state, the log and the metrics."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import structlog

from mesh.channel import TargetReport, WorkerReport
from mesh.fleet import FleetObserver
from mesh.targets import EJECT_AFTER
from node.mesh_keys import MeshKeys
from node.tally import Tally
from state.cell import Cell
from state.observed import Observed, TargetFact, WorkerFact


class Observer(FleetObserver):
    """Listens to the fleet; the newest report of each worker counts."""

    def __init__(self, observed: Cell[Observed], keys: MeshKeys) -> None:
        """Nothing is reported yet; `keys` hears of keys that tokens name in vain."""
        self.tally = Tally()
        self._observed = observed
        self._keys = keys
        self._workers: dict[int, WorkerFact] = {}
        self._revision = 0

    def reported(self, report: WorkerReport) -> None:
        """A worker counted something."""
        self.tally.take(report)
        self._show_targets()

    def live(self, revision: int) -> None:
        """Every worker serves this revision."""
        self._revision = revision
        for index, fact in self._workers.items():
            self._workers[index] = msgspec.structs.replace(fact, revision=revision)
        self._show_workers()

    def unknown_kid(self, kid: str) -> None:
        """A visitor's token names a key that the workers do not have."""
        self._keys.unknown_kid(kid)

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
        self._workers[index] = msgspec.structs.replace(before, ready=False)
        self._show_workers()
        structlog.get_logger().error("worker died and is replaced", index=index, pid=before.pid, status=status)

    def _show_workers(self) -> None:
        workers = tuple(self._workers[index] for index in sorted(self._workers))
        if workers != self._observed.value.workers:
            self._observed.set(self._observed.value.with_workers(workers))

    def _show_targets(self) -> None:
        facts = target_facts(self.tally.targets())
        known = self._observed.value.targets
        if gone := known.keys() - facts.keys():
            self._observed.set(self._observed.value.without_targets(gone))
        if changed := [fact for address, fact in facts.items() if known.get(address) != fact]:
            self._observed.set(self._observed.value.with_targets(changed))


def target_facts(reports: Iterable[TargetReport]) -> dict[str, TargetFact]:
    """One fact per address of what several workers saw: requests add up, the worst run of failures counts."""
    facts: dict[str, TargetFact] = {}
    for report in reports:
        known = facts.get(report.address, TargetFact(address=report.address))
        failures = max(known.failures, report.failures)
        facts[report.address] = TargetFact(
            address=report.address,
            healthy=failures < EJECT_AFTER,
            in_flight=known.in_flight + report.in_flight,
            failures=failures,
        )
    return facts
