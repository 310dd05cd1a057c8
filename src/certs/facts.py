"""What is reported of a name, made from what is remembered of it and from what is being done."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from certs.record import Held, Record, Standing
from state.observed import CertificateFact, CertificateStatus

_NOTHING: Final = Standing()


def fact_of(record: Record, now: datetime, standing: Standing = _NOTHING, *, is_wanted: bool = True) -> CertificateFact:
    """The fact about a name. One that is not wanted is not renewed."""
    progress, order_at = standing.progress, record.order_at(now, standing)
    fields: dict[str, Any] = {
        "attempts": record.history.failures,
        "orders": len(record.orders.of_week(now)),
        "last_error": _last_error(record, standing),
        "failed_at": record.history.failed_at if standing.obstacle is None else standing.obstacle.since,
        # While something stands in the way, this is what to change, and nothing else.
        "advice": standing.advice if standing.obstacle is None else standing.obstacle.advice,
        "next_try": order_at if is_wanted and record.wants_order(now) and order_at > now else None,
        "step": progress.step if progress else _waiting(standing),
        "challenge": progress.challenge if progress else None,
    }
    if record.held is not None:
        fields |= _of_certificate(record.held, is_wanted=is_wanted)
    return CertificateFact(name=record.name, status=_status(record, standing, now), **fields)


def covered_fact(name: str, cover: Record, now: datetime) -> CertificateFact:
    """The fact about a name that needs no certificate because that of `cover` is for it too."""
    fact = fact_of(cover, now)
    return CertificateFact(
        name=name,
        status="active",
        source=fact.source,
        issuer=fact.issuer,
        names=fact.names,
        serial=fact.serial,
        fingerprint=fact.fingerprint,
        key_type=fact.key_type,
        not_before=fact.not_before,
        not_after=fact.not_after,
        renew_at=fact.renew_at,
        step=f"covered by the certificate for {cover.name}",
    )


def _of_certificate(held: Held, *, is_wanted: bool) -> dict[str, Any]:
    return {
        "source": held.source,
        "issuer": held.issuer,
        "names": held.bundle.names,
        "serial": held.serial,
        "fingerprint": held.bundle.fingerprint,
        "key_type": held.key_type,
        "not_before": held.plan.not_before,
        "not_after": held.plan.not_after,
        "renew_at": held.plan.renew_at if is_wanted else None,
    }


def _waiting(standing: Standing) -> str | None:
    return None if standing.wait is None else f"waiting: {standing.wait.reason}"


def _last_error(record: Record, standing: Standing) -> str | None:
    if standing.obstacle is not None:
        return standing.obstacle.advice[0]
    return record.history.last_error or None


def _status(record: Record, standing: Standing, now: datetime) -> CertificateStatus:
    if record.held is not None and record.held.is_valid(now):
        return "active"
    if standing.progress is not None:
        return "issuing"
    return "failing" if _last_error(record, standing) else "pending"
