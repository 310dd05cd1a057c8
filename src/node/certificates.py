"""Certificates for visitors from PEM files: a chain and its key in one file, or the key in a `.key` beside it."""

from __future__ import annotations

import datetime as dt
import hashlib
import ssl
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from mesh.routes import Certificate
from mesh.tls import load_chain

_MAX_BYTES: Final = 1024 * 1024
_KEY: Final = b"PRIVATE KEY-----"
_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"


class CertificateError(ValueError):
    """A file does not hold what it has to; the message names the file, and never tells of the key."""


def load(paths: Iterable[Path]) -> tuple[Certificate, ...]:
    """The certificate in each file; raises CertificateError, and OSError for files that cannot be read.

    One that has expired is loaded all the same, with a warning: visitors then learn what is wrong from their browser.
    There is a warning too for one that is never shown, because others that cover the same names last longer.
    """
    loaded = {path: _load(path) for path in paths}
    _warn_of_unused(loaded)
    return tuple(loaded.values())


def _load(path: Path) -> Certificate:
    content = _read(path)
    chain = _chain(path, content)
    key_path, key_content = _key_file(path, content)
    key = _key(key_path, key_content)
    leaf = _leaf(chain, key)
    if leaf is None:
        raise CertificateError(f"{path}: no certificate in it belongs to the key in {key_path}")
    names = _names(leaf)
    if not names:
        raise CertificateError(f"{path}: the certificate has no name")
    _warn_of_dates(path, leaf)
    found = Certificate(
        fingerprint=hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest(),
        names=names,
        chain=b"".join(one.public_bytes(Encoding.PEM) for one in _sorted(leaf, chain)),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    _check_servable(path, found)
    return found


def _check_servable(path: Path, certificate: Certificate) -> None:
    """Refuse what workers could not show to anybody: a key that is too short, say, or a signature of the past."""
    try:
        load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate)
    except ssl.SSLError as error:
        reason = (error.reason or "unknown").lower().replace("_", " ")
        raise CertificateError(f"{path}: no handshake would succeed with it: {reason}") from None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise CertificateError(f"{path} is too long to be a certificate")
    return content


def _chain(path: Path, content: bytes) -> Sequence[x509.Certificate]:
    if _CERTIFICATE not in content:
        raise CertificateError(f"{path} holds no certificate in PEM form")
    try:
        return x509.load_pem_x509_certificates(content)
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(f"{path} holds a certificate that cannot be read") from None


def _key_file(path: Path, content: bytes) -> tuple[Path, bytes]:
    """Where the key is, and what is there."""
    if _KEY in content:
        return path, content
    beside = path.with_suffix(".key")
    try:
        return beside, _read(beside)
    except FileNotFoundError:
        raise CertificateError(f"{path} holds no key, and there is no {beside}") from None


def _key(path: Path, content: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(content, password=None)
    except TypeError:
        raise CertificateError(f"{path}: the key is encrypted; write it without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        # What cryptography says could quote the file.
        raise CertificateError(f"{path} holds no key that can be read") from None


def _leaf(chain: Sequence[x509.Certificate], key: PrivateKeyTypes) -> x509.Certificate | None:
    """The certificate that the key belongs to, wherever in the file it is."""
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(*form)
    return next((one for one in chain if one.public_key().public_bytes(*form) == public), None)


def _sorted(leaf: x509.Certificate, chain: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """The leaf, then who signed it, and so on; what does not belong to it is left out, and so is a root.

    TLS wants this order (RFC 8446 section 4.4.2), and a visitor has the root itself or does not trust it.
    """
    ordered = [leaf]
    while True:
        signed = ordered[-1]
        signer = next((one for one in chain if one not in ordered and one.subject == signed.issuer), None)
        if signer is None or signer.issuer == signer.subject:
            return ordered
        ordered.append(signer)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    """What the certificate covers; its common name counts only where there is nothing better (RFC 9525 section 2)."""
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(str(attribute.value).lower() for attribute in common)
    hosts = [name.lower().rstrip(".") for name in alternatives.get_values_for_type(x509.DNSName)]
    return (*hosts, *map(str, alternatives.get_values_for_type(x509.IPAddress)))


def _warn_of_dates(path: Path, leaf: x509.Certificate) -> None:
    now = dt.datetime.now(dt.UTC)
    if leaf.not_valid_after_utc <= now:
        _warn("the certificate has expired", path, leaf.not_valid_after_utc)
    elif leaf.not_valid_before_utc > now:
        _warn("the certificate is not yet valid", path, leaf.not_valid_before_utc)


def _warn_of_unused(loaded: Mapping[Path, Certificate]) -> None:
    # The order of mesh.tls.Certificates: of those that cover a name, the one that lasts longest, or else the newest.
    ends = {path: x509.load_pem_x509_certificate(found.chain).not_valid_after_utc for path, found in loaded.items()}
    shown = {name: path for path in sorted(loaded, key=lambda path: ends[path]) for name in loaded[path].names}
    for path, found in loaded.items():
        others = {shown[name] for name in found.names}
        if path not in others and all(loaded[other].fingerprint != found.fingerprint for other in others):
            structlog.get_logger().warning(
                "the certificate is never shown: others with its names last longer",
                path=str(path),
                others=sorted(map(str, others)),
            )


def _warn(event: str, path: Path, when: dt.datetime) -> None:
    structlog.get_logger().warning(event, path=str(path), when=when.isoformat())
