"""What workers report becomes observed state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mesh.channel import TargetReport, WorkerReport
from mesh.targets import EJECT_AFTER
from node.compile import Edge
from node.mesh_keys import MeshKeys
from node.observe import Observer, target_facts
from node.settings import load
from state.cell import Cell
from state.observed import Observed, TargetFact, WorkerFact

Report = Callable[..., WorkerReport]


@pytest.fixture
def observed() -> Cell[Observed]:
    """Nothing observed."""
    return Cell(Observed())


@pytest.fixture
async def observer(observed: Cell[Observed], tmp_path: Path) -> Observer:
    """An observer of a node with a secret of its own."""
    keys = MeshKeys(load(None, {}, {"--data": str(tmp_path)}), Cell(Edge()))
    return Observer(observed, keys)


def report(index: int, *targets: TargetReport) -> WorkerReport:
    """A report of a worker that saw these targets."""
    return WorkerReport(
        index=index,
        pid=100 + index,
        revision=1,
        accepted=0,
        refused=0,
        requests=0,
        dials=0,
        received=0,
        sent=0,
        statuses=(),
        causes={},
        connections=0,
        in_flight=0,
        targets=targets,
    )


async def test_workers_are_known_from_their_start(observer: Observer, observed: Cell[Observed]) -> None:
    """With the process, and the newest revision that is live."""
    observer.worker_started(1, 101)
    observer.live(7)
    observer.worker_started(0, 100)
    assert observed.value.workers == (
        WorkerFact(index=0, pid=100, ready=True, revision=7),
        WorkerFact(index=1, pid=101, ready=True, revision=7),
    )


async def test_a_dead_worker_is_not_ready_until_it_is_replaced(observer: Observer, observed: Cell[Observed]) -> None:
    """The log names the process that died, the fact counts the replacement."""
    observer.worker_started(0, 100)
    with capture_logs() as logs:
        observer.worker_died(0, 0, -9)
    assert (logs[0]["pid"], logs[0]["status"]) == (100, -9)
    assert observed.value.workers[0].ready is False
    observer.worker_started(0, 200)
    assert observed.value.workers == (WorkerFact(index=0, pid=200, ready=True, restarts=1),)


async def test_a_worker_may_die_before_it_serves(observer: Observer, observed: Cell[Observed]) -> None:
    """It is shown as not ready."""
    observer.worker_died(0, 100, 1)
    assert observed.value.workers == (WorkerFact(index=0, pid=100, ready=False),)


async def test_targets_are_facts_while_somebody_sees_them(observer: Observer, observed: Cell[Observed]) -> None:
    """A target that no worker mentions any more is forgotten."""
    for index in (0, 1):
        observer.worker_started(index, 100 + index)
    observer.reported(report(0, TargetReport("http://a", 2, 0, 9), TargetReport("http://b", 0, 0, 1)))
    observer.reported(report(1, TargetReport("http://a", 1, 0, 9)))
    assert observed.value.targets["http://a"] == TargetFact(address="http://a", in_flight=3)
    observer.reported(report(0, TargetReport("http://a", 2, 0, 9)))
    assert list(observed.value.targets) == ["http://a"]


async def test_a_report_without_news_is_no_revision(observer: Observer, observed: Cell[Observed]) -> None:
    """Whoever watches what is observed is left in peace."""
    observer.worker_started(0, 100)
    observer.reported(report(0, TargetReport("http://a", 1, 0, 1)))
    revision = observed.revision
    observer.reported(report(0, TargetReport("http://a", 1, 0, 1)))
    assert observed.revision == revision


@pytest.mark.parametrize(("failures", "healthy"), [(EJECT_AFTER - 1, True), (EJECT_AFTER, False)])
def test_a_target_that_a_worker_gave_up_is_unhealthy(failures: int, healthy: bool) -> None:
    """The worst that any worker saw is what counts."""
    facts = target_facts([TargetReport("http://a", 0, 0, 0), TargetReport("http://a", 0, failures, 0)])
    assert facts["http://a"].healthy is healthy
    assert facts["http://a"].failures == failures
