"""What workers report becomes observed state."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mesh.channel import TargetReport
from mesh.health import Probe, probes_of
from mesh.latency import BOUNDS
from mesh.ledger import RouteReport
from mesh.ports import AccessRecord
from mesh.routes import RouteKey
from node.compile import Edge, compile_route
from node.mesh_keys import MeshKeys
from node.observe import Observer, target_facts
from node.settings import load
from state.cell import Cell
from state.change import PutRoute, RemoveRoute, apply
from state.domains import PutDomain, RemoveDomain
from state.model import Desired, Domain, Route, Target
from state.observed import Latency, Observed, RouteFact, RouteTargetFact, TargetFact, WorkerFact
from state.policies import HealthCheck
from tests.support.records import record, report

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
    observer.reported(report(0, targets=(TargetReport("http://a", 2, 0, 9), TargetReport("http://b", 0, 0, 1))))
    observer.reported(report(1, targets=(TargetReport("http://a", 1, 0, 9),)))
    assert observed.value.targets["http://a"] == TargetFact(address="http://a", in_flight=3, requests=18)
    observer.reported(report(0, targets=(TargetReport("http://a", 2, 0, 9),)))
    assert list(observed.value.targets) == ["http://a"]


async def test_a_report_without_news_is_no_revision(observer: Observer, observed: Cell[Observed]) -> None:
    """Whoever watches what is observed is left in peace."""
    observer.worker_started(0, 100)
    observer.reported(report(0, targets=(TargetReport("http://a", 1, 0, 1),)))
    revision = observed.revision
    observer.reported(report(0, targets=(TargetReport("http://a", 1, 0, 1),)))
    assert observed.revision == revision


@pytest.mark.parametrize("ejected_s", [1.5, 0.0])
def test_a_target_that_a_worker_took_out_is_unhealthy(ejected_s: float) -> None:
    """The worst that any worker saw is what counts."""
    facts = target_facts([TargetReport("http://a", 0, 7, 0, ejected_s), TargetReport("http://a", 0, 0, 0)])
    is_out = ejected_s > 0
    assert facts["http://a"] == TargetFact(address="http://a", healthy=not is_out, ejected=is_out, failures=7)


async def test_an_ejection_and_its_end_are_in_the_log(observer: Observer) -> None:
    """With the target and the worker, once each; not the end of one whose target is gone or whose worker died."""

    def say(index: int, *left_s: float) -> None:
        observer.reported(report(index, targets=tuple(TargetReport(ADDRESS, 0, 5, 9, left) for left in left_s)))

    observer.worker_started(0, 100)
    with capture_logs() as logs:
        # Routes that speak to it in another way have a record of their own.
        say(0, 9.96, 0.0)
        say(0, 8.9, 0.0)
        say(1, 0.0)
        say(0, 0.0, 0.0)
        say(0, 19.5)
        say(0, 19.9)
        say(0)
        say(0, 3.0)
        observer.worker_died(0, 100, -9)
        say(0, 0.0)
    told = [(entry["event"], entry.get("seconds")) for entry in logs if entry.get("target") == ADDRESS]
    out, back = "target failed visitors and is ejected where there are others", "ejected target is tried again"
    assert told == [(out, 10.0), (back, None), (out, 19.5), (out, 19.9), (out, 3.0)]
    assert logs[0]["worker"] == 0


async def test_the_state_of_a_target_is_that_for_the_route(observer: Observer, views: Views) -> None:
    """What the check of one route finds says nothing of another one; an ejection does where there are others."""
    second = Target("http://127.0.0.1:2")
    other = Route(host="blog.example.com", targets=(Target(ADDRESS), second))
    views.desired.set(apply(views.desired.value, PutRoute(route=other), at=NOW))
    found = probe(views)
    observer.routes_reported([served("shop.example.com"), served("blog.example.com")])
    observer.target_turned(found, "status 503")
    observer.reported(report(0, targets=(TargetReport(ADDRESS, 0, 0, 3),)))

    def state(host: str) -> tuple[bool, bool]:
        fact, *_second = views.observed.value.routes[f"{host}/"].targets
        return fact.healthy, fact.ejected

    assert (state("shop.example.com"), state("blog.example.com")) == ((False, False), (True, False))
    observer.target_turned(found, "")
    observer.reported(report(0, targets=(TargetReport(ADDRESS, 0, 5, 3, 9.0),)))
    # Who has no other target goes on using it.
    assert (state("shop.example.com"), state("blog.example.com")) == ((True, False), (False, True))


def probe(views: Views) -> Probe:
    """The check of the route that has one."""
    (found,) = [
        found for each in views.desired.value.routes.values() for found in probes_of(compile_route(each, Edge()))
    ]
    return found


async def test_a_target_that_fails_its_check_is_told(observer: Observer, views: Views) -> None:
    """The log says which, for which route and why; the fact is unhealthy until it passes again."""
    with capture_logs() as logs:
        observer.target_turned(probe(views), "status 503")
        assert views.observed.value.targets[ADDRESS].healthy is False
        observer.reported(report(0, targets=(TargetReport(ADDRESS, 0, 0, 3),)))
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
    observer.reported(report(0, targets=(TargetReport(ADDRESS, 0, 0, 3),)))
    assert views.observed.value.targets[ADDRESS].healthy


async def test_what_goes_wrong_in_a_worker_is_in_the_log(observer: Observer) -> None:
    """Under the number of the worker, whatever its own output is."""
    with capture_logs() as logs:
        observer.complained(1, "Traceback\nKeyError")
    assert (logs[0]["log_level"], logs[0]["index"], logs[0]["detail"]) == ("error", 1, "Traceback\nKeyError")


def served(host: str, requests: int = 1) -> RouteReport:
    """So many requests that took half a second each."""
    return RouteReport(
        route=RouteKey(host),
        statuses=(0, 0, requests, 0, 0, 0, 0, 0, 0, 0),
        received=1,
        sent=2,
        retries=3,
        rate_limited=4,
        durations={BOUNDS.index(0.5): requests},
        durations_sum_s=0.5 * requests,
    )


async def test_what_a_route_did_is_a_fact(observer: Observer, views: Views) -> None:
    """The sums of all workers, how long it took, and what its targets do; of routes that are wanted only."""
    observer.routes_reported([served("shop.example.com"), served("gone.example.com")])
    observer.routes_reported([served("shop.example.com", 2)])
    observer.reported(report(0, targets=(TargetReport(ADDRESS, 1, 0, 3),)))
    assert dict(views.observed.value.routes) == {
        "shop.example.com/": RouteFact(
            requests=3,
            statuses={"2xx": 3},
            bytes_received=2,
            bytes_sent=4,
            latency_s=Latency(p50=0.5, p90=0.5, p99=0.5),
            in_flight=1,
            retries=6,
            rate_limited=8,
            targets=(RouteTargetFact(address=ADDRESS, requests=3, in_flight=1),),
        )
    }


async def test_a_target_that_is_down_is_told_before_anybody_asks_for_its_route(
    observer: Observer, views: Views
) -> None:
    """Until it is up again: then there is nothing to say of the route."""
    observer.target_turned(probe(views), "status 503")
    observer.reported(report(0))
    (target,) = views.observed.value.routes["shop.example.com/"].targets
    assert (target.address, target.healthy) == (ADDRESS, False)
    observer.target_turned(probe(views), "")
    observer.reported(report(0))
    assert not views.observed.value.routes


async def test_a_target_that_empties_is_told_without_new_requests(observer: Observer, views: Views) -> None:
    """Whoever drains one waits for that; a report without news is no revision."""
    observer.routes_reported([served("shop.example.com")])
    observer.reported(report(0, targets=(TargetReport(ADDRESS, 1, 0, 3),)))
    observer.reported(report(0, targets=(TargetReport(ADDRESS, 0, 0, 3),)))
    assert views.observed.value.routes["shop.example.com/"].in_flight == 0
    revision = views.observed.revision
    observer.reported(report(0, targets=(TargetReport(ADDRESS, 0, 0, 3),)))
    assert views.observed.revision == revision


async def test_a_route_that_goes_takes_its_figures_with_it(observer: Observer, views: Views) -> None:
    """If it comes again it begins at zero."""
    observer.routes_reported([served("shop.example.com")])
    observer.reported(report(0))
    (key,) = views.desired.value.routes
    route = views.desired.value.routes[key]
    views.desired.set(apply(views.desired.value, RemoveRoute(host=key.host, path_prefix=key.path_prefix), at=NOW))
    observer.reported(report(0))
    assert not views.observed.value.routes
    views.desired.set(apply(views.desired.value, PutRoute(route=route), at=NOW))
    observer.routes_reported([served("shop.example.com")])
    observer.reported(report(0))
    assert views.observed.value.routes["shop.example.com/"].requests == 1


class Sink:
    """Keeps the spans."""

    def __init__(self) -> None:
        """None yet."""
        self.records: list[AccessRecord] = []

    def export(self, records: Iterable[AccessRecord]) -> None:
        """Keep them."""
        self.records += records


async def test_spans_are_exported_where_there_is_somebody_to_take_them(views: Views, tmp_path: Path) -> None:
    """A worker that has not heard yet that nobody does harms nobody."""
    keys, sink = MeshKeys(load(None, {}, {"--data": str(tmp_path)}), Cell(Edge())), Sink()
    Observer(views, keys, sink).spans_finished([record()])
    assert sink.records == [record()]
    Observer(views, keys).spans_finished([record()])


async def test_watched_exchanges_reach_their_watchers(observer: Observer) -> None:
    """What the fleet hears is what they are given."""
    stream = observer.watchers.follow()
    line = asyncio.get_running_loop().create_task(anext(stream), name="next")
    await asyncio.sleep(0)
    observer.watched([record()], 0)
    assert b"shop.example.com" in await line
    await stream.aclose()


async def test_a_domain_has_figures_of_its_own(views: Views, observer: Observer, observed: Cell[Observed]) -> None:
    """With the targets of the host that it serves; they end with the domain."""
    domain = Domain(name="shop.customer.net", serves="shop.example.com", created_at=NOW)
    views.desired.set(apply(views.desired.value, PutDomain(domain=domain), at=NOW))
    served = RouteReport(
        route=RouteKey("shop.customer.net"),
        statuses=(0, 0, 3, 0, 0, 0, 0, 0, 0, 0),
        durations={BOUNDS.index(0.5): 3},
        durations_sum_s=1.5,
        first_bytes={},
        first_bytes_sum_s=0.0,
    )
    observer.routes_reported([served])
    observer.reported(report(0))
    (fact,) = observed.value.routes.values()
    assert list(observed.value.routes) == ["shop.customer.net/"]
    assert (fact.requests, [target.address for target in fact.targets]) == (3, [ADDRESS])
    views.desired.set(apply(views.desired.value, RemoveDomain(name="shop.customer.net"), at=NOW))
    observer.reported(report(0))
    assert not observed.value.routes


async def test_a_wanted_certificate_is_asked_for(observer: Observer) -> None:
    """By name, and for whom."""
    asked: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def certificate_for(name: str, address: str) -> float:
        asked.put_nowait((name, address))
        return 0.0

    observer.handshakes.use(certificate_for, lambda _name, _wait_s: None)
    observer.certificate_wanted("shop.example.com", "192.0.2.1")
    assert await asked.get() == ("shop.example.com", "192.0.2.1")
