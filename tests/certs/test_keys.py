"""Keys and certificates are what they have to be, and belong together, before they are kept."""

from __future__ import annotations

import base64
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from certs import keys
from certs.keys import Unusable
from certs.settings import KeyType
from tests.support.authority import Authority

ROOT = Authority()
MIDDLE = Authority("Test Intermediate", ROOT)
ISSUED = MIDDLE.issue("a.example.com", "*.a.example.com", "192.0.2.1")


@pytest.mark.parametrize("key_type", ["p256", "p384", "rsa2048", "rsa3072"])
def test_a_key_and_a_request_of_each_type(key_type: KeyType) -> None:
    """The request is signed, has no subject, and names everything."""
    key = keys.make_key(key_type)
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")
    csr = x509.load_pem_x509_csr(keys.make_csr(key, ("a.example", "*.a.example", "2001:db8::1")))
    assert csr.is_signature_valid
    assert not list(csr.subject)
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example", "*.a.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["2001:db8::1"]
    public = csr.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    assert keys.key_type_of(public) == key_type


def test_two_keys_are_two() -> None:
    """One for each certificate."""
    assert keys.make_key("p256") != keys.make_key("p256")


def test_a_request_as_it_is_sent() -> None:
    """DER, of the same request."""
    csr = keys.make_csr(keys.make_key("p256"), ("a.example",))
    assert x509.load_der_x509_csr(keys.der_of_csr(csr)) == x509.load_pem_x509_csr(csr)
    assert keys.der_of_leaf(ISSUED.chain) == ISSUED.der


def test_a_bundle() -> None:
    """Whatever stands around the certificates goes, and the key is kept in PKCS #8."""
    bundle = keys.bundle_of(b"subject=a\r\n" + ISSUED.chain + b"trailing words\n", ISSUED.key)
    assert bundle.names == ("a.example.com", "*.a.example.com", "192.0.2.1")
    assert bundle.fingerprint == ISSUED.certificate.fingerprint
    assert bundle.chain == ISSUED.chain
    traditional = keys.load_key(ISSUED.key).private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    assert keys.bundle_of(ISSUED.chain, traditional) == bundle


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        (b"", "no chain of certificates"),
        (b"<html>", "no chain of certificates"),
        (ISSUED.chain[:-200], "cut off"),
        (ISSUED.chain[:300], "no chain of certificates"),
        (ISSUED.chain + ISSUED.leaf.encode(), "broken"),
        (
            b"".join(
                reversed(
                    [
                        part + b"-----END CERTIFICATE-----\n"
                        for part in ISSUED.chain.split(b"-----END CERTIFICATE-----\n")[:2]
                    ]
                )
            ),
            "broken|another key",
        ),
        (MIDDLE.issue("a.example.com").chain, "another key"),
        (MIDDLE.issue().chain, "which names"),
    ],
)
def test_chains_that_are_none(chain: bytes, reason: str) -> None:
    """Each is told apart in one line."""
    key = ISSUED.key
    if reason == "which names":
        nameless = MIDDLE.issue()
        chain, key = nameless.chain, nameless.key
    with pytest.raises(Unusable, match=reason) as caught:
        keys.bundle_of(chain, key)
    assert "\n" not in str(caught.value)


def test_keys_that_are_none() -> None:
    """Encrypted, of a kind that signs nothing, or no key: and nothing of it is told."""
    encrypted = keys.load_key(ISSUED.key).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    agreement = x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for key in (b"", ISSUED.chain, encrypted, agreement, ISSUED.key[:100]):
        with pytest.raises(Unusable) as caught:
            keys.bundle_of(ISSUED.chain, key)
        assert "-----" not in str(caught.value)


def test_what_a_certificate_says_of_itself() -> None:
    """In UTC, with hexadecimal digits."""
    leaf = keys.leaf_of(ISSUED.chain)
    certificate = x509.load_der_x509_certificate(ISSUED.der)
    assert int(leaf.serial, 16) == certificate.serial_number
    assert (leaf.key_type, leaf.issuer, leaf.fingerprint) == (
        "p256",
        "Test Intermediate",
        ISSUED.certificate.fingerprint,
    )
    assert leaf.not_after - leaf.not_before == dt.timedelta(days=11)
    assert leaf.not_after.tzinfo is dt.UTC


def test_whether_a_key_is_that_of_a_chain() -> None:
    """By its public half."""
    assert keys.is_same_key(ISSUED.key, ISSUED.chain)
    assert not keys.is_same_key(keys.make_key("p256"), ISSUED.chain)


def test_kinds_of_keys_that_we_do_not_make() -> None:
    """They may be imported, and have a name."""
    assert keys.key_type_of(ed25519.Ed25519PrivateKey.generate().public_key()) == "ed25519"
    assert keys.key_type_of(ec.generate_private_key(ec.SECP521R1()).public_key()) == "secp521r1"


def test_the_preferred_chain() -> None:
    """By the name of the root that ends it; broken ones are passed over."""
    other = Authority("Other Root")
    chains = [ISSUED.chain, b"broken", Authority("Test Intermediate", other).issue("a.example.com").chain]
    assert keys.preferred_chain(chains, "Other Root") == chains[2]
    assert keys.preferred_chain(chains, "Test Root") == chains[0]
    assert keys.preferred_chain(chains, "No Such Root") == chains[0]
    assert keys.preferred_chain(chains, None) == chains[0]
    with pytest.raises(Unusable):
        keys.preferred_chain([b"broken", ISSUED.chain], "Test Root")


@pytest.mark.parametrize("serial", [0x87654321, 0x7F, 0x80, 1 << 152])
def test_the_name_of_a_certificate_in_questions_about_its_renewal(serial: int) -> None:
    """RFC 9773 section 4.1: both parts as in the DER, where a first bit that is set wants an octet before it."""
    identifier = bytes.fromhex("69885b6b87464041e1b37b847bd0ae2cde01c8d4")
    pem = certificate_with(x509.AuthorityKeyIdentifier(identifier, None, None), serial)
    found, number = keys.cert_id(pem).split(".")
    assert base64.urlsafe_b64decode(found + "=") == identifier
    octets = base64.urlsafe_b64decode(number + "=" * (-len(number) % 4))
    assert int.from_bytes(octets, "big", signed=True) == serial
    if serial == 0x87654321:
        # The example of the RFC.
        assert keys.cert_id(pem) == "aYhba4dGQEHhs3uEe9CuLN4ByNQ.AIdlQyE"


def test_a_certificate_without_such_a_name() -> None:
    """It cannot be asked about."""
    with pytest.raises(Unusable, match="does not name the key of its authority"):
        keys.cert_id(certificate_with(x509.BasicConstraints(ca=False, path_length=None), 1))


def certificate_with(extension: x509.ExtensionType, serial: int) -> bytes:
    """A certificate with an extension and a serial number."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(extension, critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
