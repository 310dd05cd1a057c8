"""Keys, signing requests and certificates in PEM: made, read, and held against one another."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from types import MappingProxyType
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from certs.settings import KeyType
from state.holdings import Bundle

_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

_MAKERS: Final[Mapping[KeyType, Callable[[], _Key]]] = MappingProxyType(
    {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
        "rsa3072": lambda: rsa.generate_private_key(65537, 3072),
        "rsa4096": lambda: rsa.generate_private_key(65537, 4096),
    }
)


class Unusable(ValueError):
    """PEM is not what it has to be; the text is one line and holds nothing secret."""


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate says of itself. `serial` and `fingerprint` (SHA-256 of the DER) are hexadecimal digits."""

    names: tuple[str, ...]
    serial: str
    fingerprint: str
    key_type: str
    issuer: str
    not_before: datetime
    not_after: datetime


def make_key(key_type: KeyType) -> bytes:
    """A new private key in PEM (PKCS #8). RSA takes up to seconds: not for the event loop."""
    return _private_pem(_MAKERS[key_type]())


def make_csr(key_pem: bytes, names: Sequence[str]) -> bytes:
    """A signing request in PEM for names and addresses. It has no subject: common names are of the past."""
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(
        x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False
    )
    return builder.sign(load_key(key_pem), hashes.SHA256()).public_bytes(Encoding.PEM)


def der_of_csr(csr_pem: bytes) -> bytes:
    """A signing request as RFC 8555 section 7.4 sends it, before base64url."""
    return x509.load_pem_x509_csr(csr_pem).public_bytes(Encoding.DER)


def der_of_leaf(chain_pem: bytes) -> bytes:
    """The first certificate of a chain as RFC 8555 section 7.6 sends it, before base64url."""
    return certificates(chain_pem)[0].public_bytes(Encoding.DER)


def load_key(key_pem: bytes) -> _Key:
    """The private key in `key_pem`; raises Unusable when there is none, or none that signs certificates."""
    try:
        key = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        # The reason is not told: it could quote the file.
        raise Unusable("there is no private key in PEM without a password") from error
    if not isinstance(key, _Key):
        raise Unusable("the private key is of a kind that certificates do not use")
    return key


def bundle_of(chain_pem: bytes, key_pem: bytes) -> Bundle:
    """Chain and key as the node keeps them; raises Unusable unless they belong together, leaf first.

    What stands around the certificates is dropped. Dates are not looked at.
    """
    chain = certificates(chain_pem)
    key = load_key(key_pem)
    if _public_bytes(key.public_key()) != _public_bytes(chain[0].public_key()):
        raise Unusable("the certificate is for another key")
    return Bundle(
        fingerprint=chain[0].fingerprint(hashes.SHA256()).hex(),
        names=names_of(chain[0]),
        chain=b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain),
        key=_private_pem(key),
    )


def is_same_key(key_pem: bytes, chain_pem: bytes) -> bool:
    """Whether the first certificate of a chain is for this private key; raises Unusable when one cannot be read."""
    return _public_bytes(load_key(key_pem).public_key()) == _public_bytes(certificates(chain_pem)[0].public_key())


def certificates(chain_pem: bytes) -> list[x509.Certificate]:
    """A chain, leaf first; raises Unusable unless each certificate after it has signed the one before."""
    try:
        chain = x509.load_pem_x509_certificates(chain_pem)
    except ValueError as error:
        raise Unusable(f"there is no chain of certificates in PEM: {error}") from error
    # A chain that was cut off inside a certificate loads without it.
    if chain_pem.count(b"-----BEGIN CERTIFICATE-----") != len(chain):
        raise Unusable("the chain of certificates is cut off")
    for subject, issuer in pairwise(chain):
        try:
            subject.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise Unusable("the chain is broken: a certificate is not signed by the one that follows it") from error
    return chain


def leaf_of(chain_pem: bytes) -> Leaf:
    """About the first certificate of a chain; raises Unusable when it cannot be read."""
    leaf = certificates(chain_pem)[0]
    return Leaf(
        names=names_of(leaf),
        serial=f"{leaf.serial_number:x}",
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        key_type=key_type_of(leaf.public_key()),
        issuer=common_name(leaf.issuer),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
    )


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The names and addresses that a certificate is for; raises Unusable when it cannot be told."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise Unusable("the certificate does not say which names it is for") from error
    addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    return (*(name.lower() for name in found.get_values_for_type(x509.DNSName)), *addresses)


def key_type_of(key: PublicKeyTypes) -> str:
    """`p256`, `rsa2048` and so on; for what we do not make ourselves, the name that the library has."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {"secp256r1": "p256", "secp384r1": "p384"}.get(key.curve.name, key.curve.name)
    return type(key).__name__.removesuffix("PublicKey").strip("_").lower()


def common_name(name: x509.Name) -> str:
    """The common name, or nothing."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def preferred_chain(chains: Iterable[bytes], root: str | None) -> bytes:
    """Of several chains for one leaf, the first that ends below (or with) the root of that common name, else the first.

    Raises Unusable as `certificates` does, for the first chain only: a broken alternative is as good as none.
    """
    first, *others = chains
    certificates(first)
    for chain in (first, *others):
        if root is not None and _ends_with(chain, root):
            return chain
    return first


def cert_id(leaf_pem: bytes) -> str:
    """The name of a certificate in questions about its renewal (RFC 9773 section 4.1); Unusable when it has none."""
    leaf = certificates(leaf_pem)[0]
    try:
        authority = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        authority = None
    if authority is None:
        raise Unusable("the certificate does not name the key of its authority")
    # As in DER: two's complement, so there is an octet more when the first bit of the number is set.
    serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")
    return f"{base64url(authority)}.{base64url(serial)}"


def base64url(data: bytes) -> str:
    """Without padding, as JOSE and ACME want it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _ends_with(chain: bytes, root: str) -> bool:
    try:
        last = certificates(chain)[-1]
    except Unusable:
        return False
    return common_name(last.issuer) == root


def general_name(name: str) -> x509.GeneralName:
    """A name or an address as certificates spell it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private_pem(key: _Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
