"""A certificate authority for tests: certificates of any kind, and visitors that trust it."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import ssl
import tempfile
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.routes import Certificate

_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with its key; `chain` is PEM, the certificate itself first, without the root."""

    names: tuple[str, ...]
    chain: bytes
    key: bytes

    @property
    def certificate(self) -> Certificate:
        """As the data plane is told of it."""
        fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.leaf)).hexdigest()
        return Certificate(fingerprint=fingerprint, names=self.names, chain=self.chain, key=self.key)

    @property
    def leaf(self) -> str:
        """The certificate itself as PEM."""
        end = "-----END CERTIFICATE-----\n"
        return self.chain.decode().partition(end)[0] + end

    @property
    def der(self) -> bytes:
        """The certificate itself as DER."""
        return ssl.PEM_cert_to_DER_cert(self.leaf)

    def write(self, path: Path) -> Path:
        """Put chain and key into one file; gives its path."""
        path.write_bytes(self.chain + self.key)
        return path

    def server_context(self) -> ssl.SSLContext:
        """For a server that shows this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.load_into(context)
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let `context` show this certificate."""
        with tempfile.TemporaryDirectory() as folder:
            context.load_cert_chain(self.write(Path(folder) / "issued.pem"))


class Authority:
    """Signs certificates; with `parent` it is an intermediate one, whose own certificate is a part of every chain."""

    def __init__(self, name: str = "Test Root", parent: Authority | None = None) -> None:
        """Make a key and a certificate for the authority."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        signer = parent or self
        self._certificate = (
            _begun(self._name, signer._name, self._key, (dt.timedelta(days=-1), dt.timedelta(days=30)))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer._key, hashes.SHA256())
        )
        pem = self._certificate.public_bytes(Encoding.PEM)
        self._intermediates: bytes = pem + parent._intermediates if parent is not None else b""
        self.pem = pem.decode()

    def issue(
        self,
        *names: str,
        days: float = 10,
        is_rsa: bool = False,
        common_name: str = "",
        for_client: bool = False,
    ) -> Issued:
        """A certificate for names and addresses, valid from yesterday for so many `days` from now."""
        key: _Key = rsa.generate_private_key(65537, 2048) if is_rsa else ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if for_client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = _begun(
            _named(common_name or "test"),
            self._name,
            key,
            (dt.timedelta(days=min(-1, days - 1)), dt.timedelta(days=days)),
        ).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), False)
        signed = builder.sign(self._key, hashes.SHA256())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Issued(names=names, chain=signed.public_bytes(Encoding.PEM) + self._intermediates, key=private)

    def visitor_context(self, *alpn: str, client: Issued | None = None) -> ssl.SSLContext:
        """For a client that trusts this authority alone, offers these protocols, and shows `client` when asked."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.pem)
        if alpn:
            context.set_alpn_protocols(alpn)
        if client is not None:
            client.load_into(context)
        return context


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _begun(
    subject: x509.Name, issuer: x509.Name, key: _Key, days: tuple[dt.timedelta, dt.timedelta]
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0])
        .not_valid_after(now + days[1])
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
