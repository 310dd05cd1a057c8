"""The answers to challenges are what the RFCs say, and stand where the authority looks."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certs import challenges
from certs.challenges import HttpSolver, TlsAlpnSolver
from certs.keys import is_same_key
from certs.ports import Task
from tests.certs.issuing import Issuing
from tests.support.challenge_server import ChallengeServer


def task(name: str) -> Task:
    """Something to show."""
    return Task(name=name, type="http-01", token="token-token-token", key_authorization="token.thumb")


async def test_http_01_is_a_token_while_it_is_presented(stage: ChallengeServer) -> None:
    """Withdrawing what is not there is quiet."""
    solver = HttpSolver(stage)
    await solver.present(task("a.example"))
    assert stage.tokens == {"token-token-token": "token.thumb"}
    for _ in range(2):
        await solver.withdraw(task("a.example"))
        assert stage.is_empty


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("a.example", "a.example"),
        ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
        ("2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"),
    ],
)
async def test_tls_alpn_01_is_a_certificate_by_the_name_in_the_hello(
    stage: ChallengeServer, name: str, asked: str
) -> None:
    """Addresses are asked for by their reverse names, RFC 8738 section 6."""
    solver = TlsAlpnSolver(stage)
    await solver.present(task(name))
    assert list(stage.validations) == [asked]
    await solver.withdraw(task(name))
    assert stage.is_empty


def test_the_certificate_of_tls_alpn_01() -> None:
    """RFC 8737 section 3: one name, and a critical extension with the digest as a DER octet string."""
    bundle = challenges.validation_certificate("a.example", "token.thumb")
    certificate = x509.load_pem_x509_certificate(bundle.chain)
    alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(alternatives) == [x509.DNSName("a.example")]
    extension = certificate.extensions.get_extension_for_oid(challenges.ACME_IDENTIFIER)
    assert extension.critical
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    assert extension.value.value == b"\x04\x20" + hashlib.sha256(b"token.thumb").digest()
    assert is_same_key(bundle.key, bundle.chain)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    certificate.verify_directly_issued_by(certificate)
    assert bundle.names == ("a.example",)


async def test_pebble_takes_the_certificate_of_an_address(issuing: Issuing) -> None:
    """And so do other authorities of RFC 8738."""
    issued = await issuing.issue("127.0.0.1", challenges=("tls-alpn-01",))
    assert issued.bundle.names == ("127.0.0.1",)
    assert issuing.stage.shown == ["1.0.0.127.in-addr.arpa"]
