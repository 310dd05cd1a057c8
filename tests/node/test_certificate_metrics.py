"""What Prometheus is told of certificates."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client.core import Metric

from node.certificate_metrics import NothingCounted, certificate_metrics, nothing_counted
from state.observed import CertificateFact, Observed

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ENDS = NOW.timestamp()


def observed(*facts: CertificateFact) -> Observed:
    """These certificates."""
    return Observed().with_certificates(facts)


def by_name(metrics: list[Metric]) -> dict[str, dict[tuple[str, ...], float]]:
    """The values by the name of the metric and its labels."""
    return {
        metric.name: {tuple(sample.labels.values()): sample.value for sample in metric.samples} for metric in metrics
    }


def test_names_are_counted_by_status() -> None:
    """Those that there are none of too, so that a rule can be written before there are."""
    facts = [CertificateFact(name="a"), CertificateFact(name="b", status="active", not_after=NOW)]
    found = by_name(list(certificate_metrics(observed(*facts), nothing_counted(), 0)))
    assert found["zexio_certificates"] == {("pending",): 1, ("issuing",): 0, ("active",): 1, ("failing",): 0}
    assert not any("b" in labels for values in found.values() for labels in values)


def test_what_obtaining_them_came_to() -> None:
    """Orders, certificates, and failures by kind."""
    counts = NothingCounted(orders=9, obtained=7, failures={"caa": 1, "rateLimited": 2})
    found = by_name(list(certificate_metrics(observed(), counts, 10)))
    assert found["zexio_certificate_orders"] == {(): 9}
    assert found["zexio_certificates_obtained"] == {(): 7}
    assert found["zexio_certificate_failures"] == {("caa",): 1, ("rateLimited",): 2}


def test_an_authority_cannot_make_up_labels_without_end() -> None:
    """The frequent kinds are kept, the others are one."""
    counts = NothingCounted(failures={f"kind{number}": number for number in range(1, 101)})
    found = by_name(list(certificate_metrics(observed(), counts, 10)))["zexio_certificate_failures"]
    assert len(found) == 40
    assert sum(found.values()) == sum(range(1, 101))
    assert found["kind100",] == 100


def test_those_that_need_somebody_have_figures_of_their_own() -> None:
    """First those that fail, then those that end soonest, and no more than are asked for."""
    facts = [
        CertificateFact(name="late", status="active", issuer="x", not_after=NOW.replace(year=2031), renew_at=NOW),
        CertificateFact(name="soon", status="active", issuer="x", not_after=NOW, renew_at=NOW, attempts=2),
        CertificateFact(name="bad", status="failing", attempts=3),
        CertificateFact(name="new"),
    ]
    found = by_name(list(certificate_metrics(observed(*facts), nothing_counted(), 2)))
    assert found["zexio_certificate_not_after_seconds"] == {("soon", "x"): ENDS}
    assert found["zexio_certificate_renew_at_seconds"] == {("soon", "x"): ENDS}
    assert found["zexio_certificate_attempts"] == {("bad", ""): 3, ("soon", "x"): 2}
