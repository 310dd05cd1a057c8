"""What a domain and its certificate look like in an answer."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from admin_api.plane.domain_schema import PemBody, view_of
from admin_api.plane.records import Home
from state.model import Domain
from state.observed import CertificateFact

SHOP = Domain(name="shop.example.com", created_at=datetime(2030, 1, 2, tzinfo=UTC), revision=7)


@pytest.mark.parametrize(
    ("fact", "status", "reason"),
    [
        (None, "pending", None),
        (CertificateFact(name="a", status="pending", step="waiting: its turn"), "pending", "waiting: its turn"),
        (CertificateFact(name="a", status="issuing", step="validating"), "issuing", "validating"),
        (CertificateFact(name="a", status="active", last_error="no renewal"), "active", None),
        (CertificateFact(name="a", status="failing", last_error="refused", advice=("do",)), "failing", "refused"),
        (CertificateFact(name="a", status="failing", advice=("add a record",)), "failing", "add a record"),
    ],
)
def test_a_status_has_its_reason(fact: CertificateFact | None, status: str, reason: str | None) -> None:
    """Unless everything is well."""
    view = view_of(SHOP, fact, Home())
    assert (view.status, view.reason, view.revision, view.fact) == (status, reason, 7, fact)


def test_a_domain_without_a_certificate_says_so() -> None:
    """None is coming."""
    off = Domain(name="a.example", created_at=SHOP.created_at, certificate="off")
    assert view_of(off, None, Home(tls_listen=())).status == "off"


def test_a_key_is_in_no_repr() -> None:
    """A log may hold that."""
    assert "secret" not in repr(PemBody("secret"))
