"""The answers to HTTP-01 and TLS-ALPN-01, put on the stage that every worker plays on."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from certs.keys import general_name
from certs.ports import Stage, Task
from state.holdings import Bundle

# id-pe-acmeIdentifier, RFC 8737 section 3.
ACME_IDENTIFIER: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")

_DER_OCTETS_32: Final = b"\x04\x20"
_VALIDITY: Final = dt.timedelta(days=7)


class HttpSolver:
    """HTTP-01: the key authorization at a path of port 80 (RFC 8555 section 8.3)."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def present(self, task: Task) -> None:
        await self._stage.show_token(task.token, task.key_authorization)

    async def withdraw(self, task: Task) -> None:
        await self._stage.show_token(task.token, None)


class TlsAlpnSolver:
    """TLS-ALPN-01: a certificate for those who ask for `acme-tls/1` at port 443 (RFC 8737)."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def present(self, task: Task) -> None:
        bundle = validation_certificate(task.name, task.key_authorization)
        await self._stage.show_validation(asked_name(task.name), bundle)

    async def withdraw(self, task: Task) -> None:
        await self._stage.show_validation(asked_name(task.name), None)


def asked_name(name: str) -> str:
    """What an authority names in its hello: for an address, that of its reverse lookup (RFC 8738 section 6)."""
    try:
        return ipaddress.ip_address(name).reverse_pointer
    except ValueError:
        return name


def validation_certificate(name: str, key_authorization: str) -> Bundle:
    """The self-signed certificate of RFC 8737 section 3, with a key of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    digest = hashlib.sha256(key_authorization.encode()).digest()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ACME validation")])
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # The authority's clock may be behind ours.
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + _VALIDITY)
        .add_extension(x509.SubjectAlternativeName([general_name(name)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, _DER_OCTETS_32 + digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Bundle(
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        names=(name,),
        chain=certificate.public_bytes(Encoding.PEM),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
