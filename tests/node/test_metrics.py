"""The Prometheus text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.channel import TargetReport
from mesh.latency import BOUNDS, COARSE
from mesh.ledger import RouteReport
from mesh.routes import RouteKey
from node.cli.status import samples
from node.metrics import Metrics
from node.settings import MetricsSection
from node.tally import Tally
from state.cell import Cell
from state.change import PutRoute, apply
from state.model import Desired, Route, Target
from state.observed import HostFact, Observed, TargetFact, WorkerFact
from tests.support.records import report

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


def served(host: str, requests: int) -> RouteReport:
    """So many requests that took half a second, and the target a quarter of one."""
    return RouteReport(
        route=RouteKey(host),
        statuses=(0, 0, requests, 0, 0, 0, 0, 0, 0, 0),
        durations={BOUNDS.index(0.5): requests},
        durations_sum_s=0.5 * requests,
        first_bytes={BOUNDS.index(0.25): requests},
        first_bytes_sum_s=0.25 * requests,
    )


@pytest.fixture
def tally() -> Tally:
    """What one worker counted."""
    tally = Tally()
    counted: dict[str, Any] = {
        "accepted": 9,
        "refused": 1,
        "handshakes": 6,
        "handshake_failures": 2,
        "requests": 7,
        "dials": 3,
        "retries": 1,
        "received": 100,
        "sent": 200,
        "compressed_in": 90,
        "compressed_out": 30,
        "statuses": (0, 0, 5, 0, 1, 1),
        "causes": {"connection_refused": 1},
        "connections": 4,
        "in_flight": 2,
        "targets": (TargetReport("http://127.0.0.1:1", 1, 0, 5), TargetReport("http://127.0.0.1:2", 0, 0, 2)),
    }
    tally.take(report(0, **counted))
    tally.take_routes([served("shop.example.com", 5), served("blog.example.com", 2)])
    return tally


def test_the_node_is_told_in_numbers(tally: Tally) -> None:
    """Requests, failures, connections, workers, state and the machine."""
    found = samples(Metrics(Views(), tally).render().decode())
    assert found["zexio_requests_total"] == {"2xx": 5, "4xx": 1, "5xx": 1}
    assert found["zexio_failures_total"] == {"connection_refused": 1}
    assert found["zexio_connections_accepted_total"] == {"": 9}
    assert found["zexio_tls_handshakes_total"] == {"": 6}
    assert found["zexio_tls_handshake_failures_total"] == {"": 2}
    assert found["zexio_retries_total"] == {"": 1}
    assert found["zexio_compression_input_bytes_total"] == {"": 90}
    assert found["zexio_compression_output_bytes_total"] == {"": 30}
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
    found = samples(Metrics(Views(), tally, MetricsSection(top_targets=1)).render().decode())
    assert found["zexio_target_requests_total"] == {"http://127.0.0.1:1": 5}
    assert found["zexio_target_in_flight"] == {"http://127.0.0.1:1": 1}


def test_durations_are_a_histogram(tally: Tally) -> None:
    """Of all routes together, each bucket with all that were as quick."""
    found = samples(Metrics(Views(), tally).render().decode())
    buckets = found["zexio_request_duration_seconds_bucket"]
    assert buckets == {**{str(bound): 7.0 * (bound >= 0.5) for bound in COARSE}, "+Inf": 7.0}
    assert found["zexio_request_duration_seconds_sum"] == {"": 3.5}
    assert found["zexio_first_byte_seconds_bucket"]["0.25"] == 7
    assert found["zexio_first_byte_seconds_count"] == {"": 7}


def test_the_busiest_routes_can_be_asked_for(tally: Tally) -> None:
    """As many as the setting says, and no more."""
    text = Metrics(Views(), tally, MetricsSection(top_routes=1)).render().decode()
    labels = 'host="shop.example.com",path_prefix="/"'
    assert f'zexio_route_requests_total{{{labels},status="2xx"}} 5.0' in text
    assert 'zexio_route_duration_seconds_bucket{host="shop.example.com",le="0.5",path_prefix="/"} 5.0' in text
    assert f"zexio_route_first_byte_seconds_sum{{{labels}}} 1.25" in text
    assert "blog.example.com" not in text


def test_nothing_measured_is_nothing_said() -> None:
    """A node that has just started has no figures of the machine."""
    views = Views()
    views.observed.set(Observed())
    found = samples(Metrics(views, Tally()).render().decode())
    assert "zexio_host_cpu_percent" not in found
    assert found["zexio_connections_accepted_total"] == {"": 0}
