"""What workers report becomes observed state."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mesh.channel import TargetReport, WorkerReport
from mesh.health import Probe, probes_of
from mesh.targets import EJECT_AFTER
from node.compile import Edge, compile_route
from node.mesh_keys import MeshKeys
from node.observe import Observer, target_facts
from node.settings import load
from state.cell import Cell
from state.change import PutRoute, apply
from state.model import Desired, HealthCheck, Route, Target
from state.observed import Observed, TargetFact, WorkerFact

ADDRESS = "http://127.0.0.1:1"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Views:
    """One checked route, and nothing observed."""

    def __init__(self) -> None:
        """As a node has them when it starts."""
        route = Route(host="shop.example.com", targets=(Target(ADDRESS),), health=HealthCheck())
        self.desired = Cell(apply(Desired(), PutRoute(route=route), at=NOW))
        self.observed = Cell(Observed())


@pytest.fixture
def views() -> Views:
    """What is wanted and what is true."""
    return Views()


@pytest.fixture
def observed(views: Views) -> Cell[Observed]:
    """What is true."""
    return views.observed


@pytest.fixture
async def observer(views: Views, tmp_path: Path) -> Observer:
    """An observer of a node with a secret of its own."""
    keys = MeshKeys(load(None, {}, {"--data": str(tmp_path)}), Cell(Edge()))
    return Observer(views, keys)


def report(index: int, *targets: TargetReport, revision: int = 1) -> WorkerReport:
    """A report of a worker that saw these targets."""
    return WorkerReport(
        index=index,
        pid=100 + index,
        revision=revision,
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
    """With the process, and the revision that they begin with."""
    observer.worker_started(1, 101)
    observer.published(7)
    observer.worker_started(0, 100)
    assert observed.value.workers == (
        WorkerFact(index=0, pid=100, ready=True, revision=7),
        WorkerFact(index=1, pid=101, ready=True),
    )


async def test_each_worker_says_itself_what_it_serves(observer: Observer, observed: Cell[Observed]) -> None:
    """One that hangs is not at the revision of the others."""
    for index in (0, 1):
        observer.worker_started(index, 100 + index)
    observer.published(7)
    observer.reported(report(1, revision=7))
    assert [worker.revision for worker in observed.value.workers] == [0, 7]


async def test_a_dead_worker_is_not_ready_until_it_is_replaced(observer: Observer, observed: Cell[Observed]) -> None:
    """The log names the process that died, the fact counts the replacement."""
    observer.worker_started(0, 100)
    with capture_logs() as logs:
        observer.worker_died(0, 100, -9)
        observer.worker_died(0, 150, 1)
    assert [(entry["pid"], entry["status"]) for entry in logs] == [(100, -9), (150, 1)]
    assert observed.value.workers == (WorkerFact(index=0, pid=150, ready=False),)
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


def probe(views: Views) -> Probe:
    """The check of the route."""
    (route,) = views.desired.value.routes.values()
    (found,) = probes_of(compile_route(route, Edge()))
    return found


async def test_a_target_that_fails_its_check_is_told(observer: Observer, views: Views) -> None:
    """The log says which, for which route and why; the fact is unhealthy until it passes again."""
    with capture_logs() as logs:
        observer.target_turned(probe(views), "status 503")
        assert views.observed.value.targets[ADDRESS].healthy is False
        observer.reported(report(0, TargetReport(ADDRESS, 0, 0, 3)))
        assert views.observed.value.targets[ADDRESS].healthy is False
        observer.target_turned(probe(views), "")
    assert views.observed.value.targets[ADDRESS].healthy
    assert [(entry["event"], entry["target"], entry["route"]) for entry in logs] == [
        ("target is down", ADDRESS, "shop.example.com/"),
        ("target is up again", ADDRESS, "shop.example.com/"),
    ]
    assert logs[0]["reason"] == "status 503"


async def test_a_check_that_has_ended_counts_no_more(observer: Observer, views: Views) -> None:
    """Nobody will ever say that its target is up again."""
    observer.target_turned(probe(views), "status 503")
    route = Route(host="shop.example.com", targets=(Target(ADDRESS),))
    views.desired.set(apply(views.desired.value, PutRoute(route=route), at=NOW))
    observer.reported(report(0, TargetReport(ADDRESS, 0, 0, 3)))
    assert views.observed.value.targets[ADDRESS].healthy


async def test_what_goes_wrong_in_a_worker_is_in_the_log(observer: Observer) -> None:
    """Under the number of the worker, whatever its own output is."""
    with capture_logs() as logs:
        observer.complained(1, "Traceback\nKeyError")
    assert (logs[0]["log_level"], logs[0]["index"], logs[0]["detail"]) == ("error", 1, "Traceback\nKeyError")
