"""What a certificate says of itself is remembered beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certs.internal_ca import InternalCa
from certs.keys import Unusable, bundle_of, cert_id
from certs.served import check_servable, held_of, key_id
from state.holdings import Bundle
from state.store import Store
from tests.support.authority import Authority

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
async def leaf(store: Store) -> Bundle:
    """A certificate whose authority can be named."""
    authority = await InternalCa.load(store.shelf("authority"), ("localhost",), NOW)
    return authority.leaf(("a.localhost",), NOW)


async def test_the_plan_is_made_from_the_dates(leaf: Bundle) -> None:
    """And from the moment when it came."""
    held = held_of(leaf, NOW, 0.0)
    assert (held.bundle, held.source, held.key_type) == (leaf, "acme", "p256")
    assert held.plan.not_after == NOW + timedelta(hours=12)
    assert held.plan.renew_at == NOW + timedelta(hours=8)
    assert held.plan.cert_id == cert_id(leaf.chain)
    assert held.plan.poll_at is not None


async def test_nobody_is_asked_about_what_we_signed_ourselves(leaf: Bundle) -> None:
    """There is no window for it."""
    held = held_of(leaf, NOW, 0.0, source="internal")
    assert (held.plan.cert_id, held.plan.poll_at) == ("", None)


async def test_a_certificate_that_replaces_another_early_is_known_as_such(leaf: Bundle) -> None:
    """So that a window in the past is not obeyed again at once."""
    before = held_of(leaf, NOW, 0.0)
    assert held_of(leaf, NOW + timedelta(hours=1), 0.0, before).plan.is_early
    assert not held_of(leaf, NOW + timedelta(hours=9), 0.0, before).plan.is_early
    imported = msgspec.structs.replace(before, source="imported")
    assert not held_of(leaf, NOW + timedelta(hours=1), 0.0, imported).plan.is_early


def test_an_authority_without_a_key_identifier_is_not_asked() -> None:
    """There is no name for the certificate in its questions."""
    issued = Authority().issue("a.example.com")
    held = held_of(bundle_of(issued.chain, issued.key), NOW, 0.0)
    assert (held.plan.cert_id, held.plan.poll_at) == ("", None)


def test_what_is_no_certificate_is_refused() -> None:
    """With a reason."""
    with pytest.raises(Unusable):
        held_of(Bundle(fingerprint="", names=(), chain=b"nothing", key=b""), NOW, 0.0)


def test_a_key_has_a_name_that_tells_nothing_of_it() -> None:
    """The same for every certificate for it."""
    one, other = Authority().issue("a.example.com"), Authority().issue("a.example.com")
    found = key_id(bundle_of(one.chain, one.key))
    assert found == key_id(bundle_of(one.chain, one.key))
    assert found != key_id(bundle_of(other.chain, other.key))


def test_what_openssl_does_not_load_is_not_served() -> None:
    """Every handshake would fail, and nobody would know why."""
    good = Authority().issue("a.example.com")
    check_servable(bundle_of(good.chain, good.key))
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    name = x509.Name([])
    weak = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.example.com")]), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(Unusable, match="ee_key_too_small"):
        check_servable(bundle_of(weak.public_bytes(Encoding.PEM), private))
