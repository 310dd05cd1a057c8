"""Observed: each report makes the next revision and keeps the rest."""

from __future__ import annotations

from state.observed import CertificateFact, HostFact, Latency, Observed, RouteFact, TargetFact, WorkerFact
from tests.state.samples import NOON

HOST = HostFact(
    cpu_usage=1.5,
    memory_used=1,
    memory_total=4,
    memory_percent=25.0,
    disk_used=1,
    disk_total=2,
    disk_percent=50.0,
    at=NOON,
)


def test_reports_add_up() -> None:
    """A report about one thing does not make others unknown."""
    worker = WorkerFact(index=0, pid=7, ready=True)
    target = TargetFact(address="http://a:1", in_flight=3)
    observed = Observed().with_host(HOST).with_workers([worker]).with_targets([target])
    assert (observed.revision, observed.host, observed.workers) == (3, HOST, (worker,))
    assert observed.targets["http://a:1"] == target


def test_facts_of_a_target_replace_the_older_ones() -> None:
    """By address; other addresses keep theirs."""
    first = Observed().with_targets([TargetFact(address="http://a:1"), TargetFact(address="http://b:1")])
    second = first.with_targets([TargetFact(address="http://a:1", healthy=False, failures=3)])
    assert [second.targets[address].healthy for address in ("http://a:1", "http://b:1")] == [False, True]
    assert first.targets["http://a:1"].healthy


def test_targets_are_forgotten_on_request() -> None:
    """Whether or not they were known."""
    observed = Observed().with_targets([TargetFact(address="http://a:1")])
    assert len(observed.without_targets(["http://a:1", "http://b:1"]).targets) == 0


def test_workers_are_reported_as_a_whole() -> None:
    """A worker that is gone is not among them."""
    observed = Observed().with_workers([WorkerFact(index=0, pid=1), WorkerFact(index=1, pid=2)])
    assert observed.with_workers([WorkerFact(index=0, pid=3, restarts=1)]).workers[0].pid == 3


def test_figures_of_routes_go_by_their_names() -> None:
    """Newer ones replace the older, and a route that is gone has none."""
    first = Observed().with_routes({"a.example/": RouteFact(requests=1), "b.example/api": RouteFact()})
    second = first.with_routes({"a.example/": RouteFact(requests=2, latency_s=Latency(p50=0.1))})
    assert (second.revision, second.routes["a.example/"].requests, len(second.routes)) == (2, 2, 2)
    assert list(second.without_routes(["a.example/", "c.example/"]).routes) == ["b.example/api"]


def test_facts_of_a_certificate_go_by_the_wanted_name() -> None:
    """Newer ones replace the older; a name that is not wanted any more has none."""
    pending = [CertificateFact(name="a.example"), CertificateFact(name="b.example")]
    first = Observed().with_certificates(pending)
    second = first.with_certificates([CertificateFact(name="a.example", status="active", not_after=NOON)])
    assert [second.certificates[name].status for name in ("a.example", "b.example")] == ["active", "pending"]
    assert first.certificates["a.example"].not_after is None
    third = second.without_certificates(["a.example", "c.example"])
    assert (third.revision, list(third.certificates)) == (3, ["b.example"])
