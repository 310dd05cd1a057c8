"""The node's metrics as Prometheus reads them. No label grows with the number of hosts or visitors.

Routes, targets and certificates have figures of their own only as far as the operator asks: the busiest so many of
them, or those that are most in need of somebody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from mesh.channel import TargetReport
from mesh.code import is_compiled
from mesh.latency import COARSE, Histogram
from node.certificate_metrics import Counts, certificate_metrics, nothing_counted
from node.settings import MetricsSection
from node.tally import RouteSums, Tally, Totals
from node.version import version
from state.observed import Observed
from state.ports import Views

_COUNTERS: Final = (
    ("accepted", "zexio_connections_accepted", "Connections of visitors."),
    ("refused", "zexio_connections_refused", "Connections beyond the limit, closed at once."),
    ("handshakes", "zexio_tls_handshakes", "TLS handshakes that succeeded."),
    ("handshake_failures", "zexio_tls_handshake_failures", "TLS handshakes that failed."),
    ("h2_connections", "zexio_http2_connections", "Connections of visitors that speak HTTP/2."),
    ("h2_streams", "zexio_http2_streams", "Requests over HTTP/2."),
    ("dials", "zexio_target_connections", "Connections made to targets."),
    ("retries", "zexio_retries", "Second tries of requests, with another target or another connection."),
    ("ejections", "zexio_target_ejections", "How often a worker took a target out for failing."),
    ("rate_limited", "zexio_rate_limited_requests", "Requests beyond a route's rate limit."),
    ("received", "zexio_received_bytes", "Bytes of request bodies."),
    ("sent", "zexio_sent_bytes", "Bytes of response bodies."),
    ("compressed_in", "zexio_compression_input_bytes", "Bytes of bodies that were compressed, before."),
    ("compressed_out", "zexio_compression_output_bytes", "Bytes of bodies that were compressed, after."),
    ("dropped_records", "zexio_access_records_dropped", "Access records that nobody read in time."),
    ("dropped_spans", "zexio_spans_dropped", "Spans that the workers could not hand over in time."),
)
_BOUNDS: Final = (*map(str, COARSE), "+Inf")
_DURATION: Final = "From the head of the request to the end of the answer, tunnels left out."
_FIRST_BYTE: Final = "From the head of the request to the head of the target's answer."
_HOST: Final = (
    ("cpu_usage", "zexio_host_cpu_percent", "Share of the processors in use."),
    ("memory_used", "zexio_host_memory_used_bytes", "Memory in use."),
    ("memory_total", "zexio_host_memory_bytes", "Memory of the machine."),
    ("disk_used", "zexio_host_disk_used_bytes", "Used space of the root file system."),
    ("disk_total", "zexio_host_disk_bytes", "Size of the root file system."),
)


class Metrics(Collector):
    """Reads the values when it is asked, so that nothing is kept twice."""

    def __init__(
        self,
        views: Views,
        tally: Tally,
        section: MetricsSection | None = None,
        counts: Callable[[], Counts] = nothing_counted,
    ) -> None:
        """`section` says how many targets, routes and certificates get figures of their own; the default without.

        `counts` gives what was counted while certificates were obtained.
        """
        self._views = views
        self._tally = tally
        self._section = section or MetricsSection()
        self._counts = counts
        self._version = version()
        self._started_at = time.time()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Every metric of the node; called by the registry."""
        totals = self._tally.totals()
        yield InfoMetricFamily("zexio_build", "The program.", {"version": self._version})
        yield _gauge("zexio_compiled", "1 where the hot modules are machine code, 0 for Python.", is_compiled())
        yield _gauge("process_start_time_seconds", "When the control process started.", self._started_at)
        # prometheus_client has a collector for this, which reads files; a scrape runs on the admin API's loop.
        yield CounterMetricFamily("process_cpu_seconds", "CPU time of the control process.", value=time.process_time())
        yield from _requests(totals)
        yield from _durations(self._tally.everything)
        desired, observed = self._views.desired.value, self._views.observed.value
        yield from _workers(observed)
        yield _gauge("zexio_desired_revision", "The newest revision of desired state.", desired.revision)
        yield _gauge("zexio_routes", "Routes in desired state.", len(desired.routes))
        yield from _host(observed)
        yield _gauge("zexio_targets", "Targets that are in use, or that a check found down.", len(observed.targets))
        down = sum(not target.healthy for target in observed.targets.values())
        yield _gauge("zexio_targets_down", "Targets that get no requests because they fail.", down)
        yield from _targets(self._tally, self._section.top_targets)
        yield from _routes(self._tally, self._section.top_routes)
        yield from certificate_metrics(observed, self._counts(), self._section.top_certificates)

    def describe(self) -> Iterator[Metric]:
        """Nothing: the registry need not collect to learn the names."""
        return iter(())


def _requests(totals: Totals) -> Iterator[Metric]:
    requests = CounterMetricFamily("zexio_requests", "Answered requests by class of status.", labels=["status"])
    for status, number in sorted(totals.statuses.items()):
        requests.add_metric([status], number)
    yield requests
    failures = CounterMetricFamily(
        "zexio_failures", "Answers that the proxy made, by cause (RFC 9209).", labels=["cause"]
    )
    for cause, number in sorted(totals.causes.items()):
        failures.add_metric([cause], number)
    yield failures
    for count, name, text in _COUNTERS:
        yield CounterMetricFamily(name, text, value=totals.counts[count])
    yield _gauge("zexio_requests_in_flight", "Requests that a target is working on.", totals.in_flight)
    yield _gauge("zexio_connections", "Connections of visitors that are open.", totals.connections)


def _durations(sums: RouteSums) -> Iterator[Metric]:
    yield _histogram("zexio_request_duration_seconds", _DURATION, [([], sums.durations)])
    yield _histogram("zexio_first_byte_seconds", _FIRST_BYTE, [([], sums.first_bytes)])


def _histogram(
    name: str, text: str, values: Iterable[tuple[list[str], Histogram]], labels: Sequence[str] = ()
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for label, histogram in values:
        buckets = [(bound, float(number)) for bound, number in zip(_BOUNDS, histogram.coarse(), strict=True)]
        family.add_metric(label, buckets, histogram.sum_s)
    return family


def _workers(observed: Observed) -> Iterator[Metric]:
    ready = GaugeMetricFamily("zexio_worker_ready", "Whether the worker serves.", labels=["worker"])
    restarts = CounterMetricFamily("zexio_worker_restarts", "How often the worker was replaced.", labels=["worker"])
    revision = GaugeMetricFamily("zexio_worker_revision", "The revision that the worker serves.", labels=["worker"])
    for worker in observed.workers:
        label = [str(worker.index)]
        ready.add_metric(label, worker.ready)
        restarts.add_metric(label, worker.restarts)
        revision.add_metric(label, worker.revision)
    yield from (ready, restarts, revision)


def _host(observed: Observed) -> Iterator[Metric]:
    if observed.host is not None:
        for field, name, text in _HOST:
            yield _gauge(name, text, getattr(observed.host, field))


def _targets(tally: Tally, most: int) -> Iterator[Metric]:
    if not most:
        return
    sums: dict[str, TargetReport] = {}
    for seen in tally.targets():
        known = sums.get(seen.address, TargetReport(seen.address, 0, 0, 0))
        sums[seen.address] = msgspec.structs.replace(
            known, in_flight=known.in_flight + seen.in_flight, requests=known.requests + seen.requests
        )
    busiest = sorted(sums.values(), key=lambda target: -target.requests)[:most]
    requests = CounterMetricFamily("zexio_target_requests", "Requests to the busiest targets.", labels=["target"])
    in_flight = GaugeMetricFamily(
        "zexio_target_in_flight", "Requests in flight to the busiest targets.", labels=["target"]
    )
    for target in busiest:
        requests.add_metric([target.address], target.requests)
        in_flight.add_metric([target.address], target.in_flight)
    yield from (requests, in_flight)


def _routes(tally: Tally, most: int) -> Iterator[Metric]:
    if not most:
        return
    labels = ["host", "path_prefix"]
    requests = CounterMetricFamily(
        "zexio_route_requests",
        "Answered requests of the busiest routes by class of status.",
        labels=[*labels, "status"],
    )
    busiest = sorted(tally.routes.items(), key=lambda item: -item[1].requests)[:most]
    for key, sums in busiest:
        for status, number in sums.by_class().items():
            requests.add_metric([key.host, key.path_prefix, status], number)
    yield requests
    durations = [([key.host, key.path_prefix], sums.durations) for key, sums in busiest]
    yield _histogram("zexio_route_duration_seconds", f"{_DURATION} The busiest routes.", durations, labels)
    first_bytes = [([key.host, key.path_prefix], sums.first_bytes) for key, sums in busiest]
    yield _histogram("zexio_route_first_byte_seconds", f"{_FIRST_BYTE} The busiest routes.", first_bytes, labels)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
