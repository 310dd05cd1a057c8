"""Chains as answers describe them."""

from __future__ import annotations

from admin_api.plane.pem import links_of
from tests.support.authority import Authority


def test_every_certificate_of_a_chain_is_described() -> None:
    """Leaf first, each by its issuer."""
    issued = Authority("Middle", Authority("Root")).issue("shop.example.com")
    leaf, middle = links_of(issued.chain)
    assert (leaf.issuer, middle.subject, middle.issuer) == ("CN=Middle", "CN=Middle", "CN=Root")
    assert leaf.fingerprint == issued.certificate.fingerprint
    assert leaf.not_before < leaf.not_after


def test_what_cannot_be_read_is_no_chain() -> None:
    """And no error either: the rest of the answer stands."""
    assert links_of(b"") == ()
    assert links_of(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n") == ()
