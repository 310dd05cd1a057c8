"""The authority for names that no public one certifies: a root that can sign for these alone, and short leaves."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Self

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from state.errors import Stale
from state.holdings import Bundle
from state.hosts import is_within
from state.ports import Shelf

_ROOT_LIFE: Final = timedelta(days=3652)
# With less than this left, a new root is made, so that there is time to have it trusted.
_ROOT_WORN: Final = timedelta(days=365)
_LEAF_LIFE: Final = timedelta(hours=12)
# The clocks of visitors are not all right.
_SET_BACK: Final = timedelta(minutes=5)

_USAGES: Final = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


class _Root(msgspec.Struct, frozen=True):
    """What is kept on the shelf: both in PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        """Nothing that a log must not hold."""
        return "_Root()"


class InternalCa:
    """Signs certificates for names under `suffixes` with a root whose name constraints allow nothing else.

    The constraints (RFC 5280 section 4.2.1.10) are what makes it safe to trust the root on a workstation: whoever gets
    hold of its key can still not pretend to be a bank.
    """

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, suffixes: Sequence[str]) -> None:
        """Sign with this root; `load` finds or makes one."""
        self._certificate = certificate
        self._key = key
        self._suffixes = tuple(suffixes)
        self.root_pem = certificate.public_bytes(Encoding.PEM)

    @classmethod
    async def load(cls, shelf: Shelf, suffixes: Sequence[str], now: datetime) -> Self:
        """The authority for these suffixes, whose root is made when there is none, or when it ends within a year.

        Each set of suffixes has its own root, as a root can never sign for more than it was made for. Of nodes that
        start at the same time, all use the root of the one that wrote first. Raises ValueError without suffixes, or for
        an empty one, which would allow every name there is; and what the shelf raises.
        """
        suffixes = tuple(sorted({suffix.lower().strip(".") for suffix in suffixes}))
        if not all(suffixes) or not suffixes:
            raise ValueError("the internal authority needs suffixes to be limited to")
        place = f"internal-{hashlib.sha256(chr(10).join(suffixes).encode()).hexdigest()[:16]}"
        while True:
            found = await shelf.get(place)
            if found is not None and found.body is not None:
                root = msgspec.msgpack.decode(found.body, type=_Root)
                certificate = x509.load_pem_x509_certificate(root.certificate)
                authority = cls(certificate, _private(root.key), suffixes)
                if not authority.is_worn(now):
                    return authority
            version = 0 if found is None else found.version
            try:
                await shelf.put(place, msgspec.msgpack.encode(_made(suffixes, now)), expect=version)
            except Stale:
                continue

    def is_worn(self, now: datetime) -> bool:
        """Whether the root ends within a year, and `load` would make another."""
        return now >= self._certificate.not_valid_after_utc - _ROOT_WORN

    def covers(self, name: str) -> bool:
        """Whether a name (or `*.` before one) is under one of the suffixes."""
        return is_within(name, self._suffixes)

    def leaf(self, names: Sequence[str], now: datetime) -> Bundle:
        """A certificate with a new key for these names, for twelve hours. It costs a millisecond of a processor.

        Raises ValueError for no names, and for those that are not under the suffixes.
        """
        foreign = [name for name in names if not self.covers(name)]
        if foreign or not names:
            raise ValueError(f"the internal authority does not certify {', '.join(foreign) or 'nothing'}")
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            # Without a common name, which has 64 characters at most; the names are critical then (section 4.2.1.6).
            _begun(x509.Name([]), self._certificate.subject, key)
            .not_valid_before(now - _SET_BACK)
            .not_valid_after(min(now + _LEAF_LIFE, self._certificate.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        signed = builder.sign(self._key, hashes.SHA256())
        return Bundle(
            fingerprint=signed.fingerprint(hashes.SHA256()).hex(),
            names=tuple(names),
            chain=signed.public_bytes(Encoding.PEM),
            key=_pem(key),
        )


def _made(suffixes: Sequence[str], now: datetime) -> _Root:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Zexio"),
            # A browser shows all roots in one list, and each node has its own.
            x509.NameAttribute(NameOID.COMMON_NAME, f"Zexio internal {x509.random_serial_number() % 16**8:08x}"),
        ]
    )
    constraints = x509.NameConstraints(
        permitted_subtrees=[x509.DNSName(suffix) for suffix in suffixes],
        # A kind of name that is not constrained at all is allowed (section 4.2.1.10), so addresses are excluded.
        excluded_subtrees=[x509.IPAddress(ipaddress.ip_network(every)) for every in ("0.0.0.0/0", "::/0")],
    )
    builder = (
        _begun(subject, subject, key)
        .not_valid_before(now - _SET_BACK)
        .not_valid_after(now + _ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        # The constraints are about names of hosts: they keep nobody from signing programs or mails.
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(constraints, critical=True)
    )
    certificate = builder.sign(key, hashes.SHA256())
    return _Root(certificate.public_bytes(Encoding.PEM), _pem(key))


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _USAGES})


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the key of the internal authority is not on an elliptic curve")
    return key
