"""The Prometheus text."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mesh.channel import TargetReport, WorkerReport
from node.cli.status import samples
from node.metrics import Metrics
from node.tally import Tally
from state.cell import Cell
from state.change import PutRoute, apply
from state.model import Desired, Route, Target
from state.observed import HostFact, Observed, TargetFact, WorkerFact

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Views:
    """One route, one worker, one measurement."""

    def __init__(self) -> None:
        """As a node has them some seconds after its start."""
        route = Route(host="shop.example.com", targets=(Target("http://127.0.0.1:1"),))
        self.desired = Cell(apply(Desired(), PutRoute(route=route), at=NOW))
        host = HostFact(
            cpu_usage=12.5,
            memory_used=1,
            memory_total=2,
            memory_percent=50,
            disk_used=3,
            disk_total=4,
            disk_percent=75,
            at=NOW,
        )
        worker = WorkerFact(index=0, pid=1, ready=True, restarts=2, revision=1)
        targets = [TargetFact(address="http://127.0.0.1:1"), TargetFact(address="http://127.0.0.1:2", healthy=False)]
        self.observed = Cell(Observed(host=host, workers=(worker,)).with_targets(targets))


@pytest.fixture
def tally() -> Tally:
    """What one worker counted."""
    tally = Tally()
    tally.take(
        WorkerReport(
            index=0,
            pid=1,
            revision=1,
            accepted=9,
            refused=1,
            requests=7,
            dials=3,
            received=100,
            sent=200,
            statuses=(0, 0, 5, 0, 1, 1),
            causes={"connection_refused": 1},
            connections=4,
            in_flight=2,
            targets=(TargetReport("http://127.0.0.1:1", 1, 0, 5), TargetReport("http://127.0.0.1:2", 0, 0, 2)),
        )
    )
    return tally


def test_the_node_is_told_in_numbers(tally: Tally) -> None:
    """Requests, failures, connections, workers, state and the machine."""
    found = samples(Metrics(Views(), tally).render().decode())
    assert found["zexio_requests_total"] == {"2xx": 5, "4xx": 1, "5xx": 1}
    assert found["zexio_failures_total"] == {"connection_refused": 1}
    assert found["zexio_connections_accepted_total"] == {"": 9}
    assert found["zexio_connections"] == {"": 4}
    assert found["zexio_requests_in_flight"] == {"": 2}
    assert found["zexio_worker_ready"] == {"0": 1}
    assert found["zexio_worker_restarts_total"] == {"0": 2}
    assert found["zexio_worker_revision"] == {"0": 1}
    assert found["zexio_desired_revision"] == {"": 1}
    assert found["zexio_routes"] == {"": 1}
    assert (found["zexio_targets"], found["zexio_targets_down"]) == ({"": 2}, {"": 1})
    assert found["zexio_host_cpu_percent"] == {"": 12.5}
    assert found["process_cpu_seconds_total"][""] > 0


def test_no_label_grows_with_the_traffic(tally: Tally) -> None:
    """Neither hosts nor targets are labels unless they are asked for."""
    text = Metrics(Views(), tally).render().decode()
    assert "shop.example.com" not in text
    assert "127.0.0.1" not in text


def test_the_busiest_targets_can_be_asked_for(tally: Tally) -> None:
    """As many as the setting says, and no more."""
    found = samples(Metrics(Views(), tally, top_targets=1).render().decode())
    assert found["zexio_target_requests_total"] == {"http://127.0.0.1:1": 5}
    assert found["zexio_target_in_flight"] == {"http://127.0.0.1:1": 1}


def test_nothing_measured_is_nothing_said() -> None:
    """A node that has just started has no figures of the machine."""
    views = Views()
    views.observed.set(Observed())
    found = samples(Metrics(views, Tally()).render().decode())
    assert "zexio_host_cpu_percent" not in found
    assert found["zexio_connections_accepted_total"] == {"": 0}
