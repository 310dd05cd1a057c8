"""What Prometheus is told of certificates: how many there are in which state, and about those that need somebody."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from heapq import nsmallest
from types import MappingProxyType
from typing import Final, Protocol, get_args

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from state.observed import CertificateFact, CertificateStatus, Observed

_STATUSES: Final[Sequence[str]] = get_args(CertificateStatus)
_LABELS: Final = ("name", "issuer")
# An authority says what kind of problem it is, and may say anything.
_MOST_KINDS: Final = 40
_OTHER: Final = "other"


class Counts(Protocol):
    """What was counted since the process started. `failures` go by kind, as `certs.errors.IssueError` has it."""

    @property
    def orders(self) -> int:
        """Orders that were created."""
        ...

    @property
    def obtained(self) -> int:
        """Certificates that came of them."""
        ...

    @property
    def failures(self) -> Mapping[str, int]:
        """Attempts that failed."""
        ...


class NothingCounted(msgspec.Struct, frozen=True):
    """The counts of a node that obtains no certificates."""

    orders: int = 0
    obtained: int = 0
    failures: Mapping[str, int] = MappingProxyType({})


def nothing_counted() -> Counts:
    """The counts of a node that obtains no certificates."""
    return NothingCounted()


def certificate_metrics(observed: Observed, counts: Counts, most: int) -> Iterator[Metric]:
    """Every metric of certificates; `most` of them have figures of their own, those that are worst off first."""
    facts = observed.certificates.values()
    statuses: Counter[str] = Counter(fact.status for fact in facts)
    states = GaugeMetricFamily("zexio_certificates", "Names that want a certificate, by status.", labels=["status"])
    for status in _STATUSES:
        states.add_metric([status], statuses[status])
    yield states
    yield CounterMetricFamily("zexio_certificate_orders", "Orders made at authorities.", value=counts.orders)
    yield CounterMetricFamily("zexio_certificates_obtained", "Certificates obtained.", value=counts.obtained)
    failures = CounterMetricFamily(
        "zexio_certificate_failures", "Attempts to obtain a certificate that failed, by kind.", labels=["kind"]
    )
    for kind, number in sorted(_bounded(counts.failures).items()):
        failures.add_metric([kind], number)
    yield failures
    yield from _of_names(nsmallest(most, facts, key=_need))


def _of_names(facts: Sequence[CertificateFact]) -> Iterator[Metric]:
    if not facts:
        return
    ends = GaugeMetricFamily(
        "zexio_certificate_not_after_seconds", "When the certificate ends, in Unix time.", labels=_LABELS
    )
    renewals = GaugeMetricFamily(
        "zexio_certificate_renew_at_seconds", "When it is to be renewed, in Unix time.", labels=_LABELS
    )
    attempts = GaugeMetricFamily(
        "zexio_certificate_attempts", "Attempts that failed since it was last obtained.", labels=_LABELS
    )
    for fact in facts:
        labels = [fact.name, fact.issuer or ""]
        if fact.not_after is not None:
            ends.add_metric(labels, fact.not_after.timestamp())
        if fact.renew_at is not None:
            renewals.add_metric(labels, fact.renew_at.timestamp())
        attempts.add_metric(labels, fact.attempts)
    yield from (ends, renewals, attempts)


def _need(fact: CertificateFact) -> tuple[bool, float, str]:
    """Sorts those first that fail, and then those that end soonest."""
    return fact.status != "failing", _seconds(fact.not_after), fact.name


def _seconds(moment: datetime | None) -> float:
    return math.inf if moment is None else moment.timestamp()


def _bounded(failures: Mapping[str, int]) -> Mapping[str, int]:
    if len(failures) <= _MOST_KINDS:
        return failures
    frequent = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
    kept = dict(frequent[: _MOST_KINDS - 1])
    return {**kept, _OTHER: kept.get(_OTHER, 0) + sum(number for _kind, number in frequent[_MOST_KINDS - 1 :])}
