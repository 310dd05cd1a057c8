"""Public keys that verify mesh tokens, from PEM files and from JWK Sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from mesh.keys import prepare
from mesh.routes import VerifyKey
from mesh.tokens import strict_base64url, strict_json

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

MAX_SET_KEYS: Final = 64
MAX_PEM_BYTES: Final = 64 * 1024
MAX_NUMBER_DIGITS: Final = 1400  # of base64url: an RSA modulus of 8192 bits, and something to spare
# RFC 7518 section 6: members of a private or a symmetric key, which have no business in a published set.
_SECRET_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class KeySetError(ValueError):
    """A key file or a key set that must not be used; the text is for the operator."""


class KeySet(msgspec.Struct, frozen=True):
    """The usable keys of a JWK Set, and a sentence for each of the others (RFC 7517 section 5: ignore those)."""

    keys: tuple[VerifyKey, ...]
    skipped: tuple[str, ...] = ()


def load_pem(path: Path, kid: str | None = None) -> VerifyKey:
    """The public key in a PEM file, bound to the algorithm that its type has here; raises KeySetError or OSError.

    RSA means RS256, P-256 means ES256, Ed25519 means EdDSA.
    """
    with path.open("rb") as file:
        content = file.read(MAX_PEM_BYTES)
    if b"PRIVATE KEY-----" in content:
        raise KeySetError(f"{path} holds a private key, which only the issuer of tokens may have; give the public one")
    if content.count(b"-----BEGIN ") > 1:
        raise KeySetError(f"{path} holds more than one key; give each its own file")
    try:
        key = load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeySetError(f"{path} holds no public key in PEM form") from None
    try:
        return _bound(key, kid)
    except KeySetError as error:
        raise KeySetError(f"{path}: {error}") from None


def parse_jwks(document: bytes) -> KeySet:
    """The keys of a JWK Set (RFC 7517 section 5) that can verify mesh tokens.

    Raises KeySetError when the whole set cannot be trusted: it is no JWK Set, two keys have the same kid, it holds
    private or symmetric keys, or none of its keys is usable.
    """
    try:
        value = strict_json(document)
    except ValueError as error:
        raise KeySetError(f"the key set is no JSON: {error}") from None
    members = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise KeySetError("the document is no JWK Set")
    if len(members) > MAX_SET_KEYS:
        raise KeySetError(f"the key set has more than {MAX_SET_KEYS} keys")
    _refuse_dangerous(members)
    keys, skipped = [], []
    for index, member in enumerate(members):
        try:
            keys.append(_from_jwk(member))
        except ValueError as error:
            skipped.append(f"key {index}: {error}")
    if not keys:
        raise KeySetError("; ".join(["the key set has no usable key", *skipped]))
    return KeySet(tuple(keys), tuple(skipped))


def _refuse_dangerous(members: list[dict[str, object]]) -> None:
    kids = [member["kid"] for member in members if isinstance(member.get("kid"), str)]
    if len(set(kids)) != len(kids):
        raise KeySetError("two keys of the key set have the same kid")
    if any(member.get("kty") == "oct" or not _SECRET_MEMBERS.isdisjoint(member) for member in members):
        raise KeySetError("the key set publishes a private or symmetric key")


def _from_jwk(jwk: Mapping[str, object]) -> VerifyKey:
    readers: Mapping[object, Callable[[Mapping[str, object]], PublicKey]] = {"RSA": _rsa, "EC": _p256, "OKP": _ed25519}
    kty = jwk.get("kty")
    if not isinstance(kty, str) or kty not in readers:
        raise KeySetError("kty is none of RSA, EC and OKP")
    # RFC 7517 sections 4.2 and 4.3: both may be given, and then both have to allow it.
    if jwk.get("use", "sig") != "sig":
        raise KeySetError("use is not sig")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise KeySetError("key_ops has no verify")
    kid = jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise KeySetError("kid is not a string")
    key = _bound(readers[kty](jwk), kid)
    if jwk.get("alg", key.algorithm) != key.algorithm:
        raise KeySetError(f"alg is not {key.algorithm}, the algorithm of this kind of key here")
    return key


def _rsa(jwk: Mapping[str, object]) -> RSAPublicKey:
    return RSAPublicNumbers(_number(jwk, "e"), _number(jwk, "n")).public_key()


def _p256(jwk: Mapping[str, object]) -> EllipticCurvePublicKey:
    if jwk.get("crv") != "P-256":
        raise KeySetError("crv is not P-256")
    return EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), SECP256R1()).public_key()


def _ed25519(jwk: Mapping[str, object]) -> Ed25519PublicKey:
    if jwk.get("crv") != "Ed25519":
        raise KeySetError("crv is not Ed25519")
    return Ed25519PublicKey.from_public_bytes(_octets(jwk, "x"))


def _number(jwk: Mapping[str, object], name: str) -> int:
    return int.from_bytes(_octets(jwk, name), "big")


def _octets(jwk: Mapping[str, object], name: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str) or not value.isascii() or len(value) > MAX_NUMBER_DIGITS:
        raise KeySetError(f"{name} is missing, too long or no base64url")
    return strict_base64url(value.encode())


def _bound(key: object, kid: str | None) -> VerifyKey:
    match key:
        case RSAPublicKey():
            algorithm = "RS256"
        case EllipticCurvePublicKey():
            algorithm = "ES256"
        case Ed25519PublicKey():
            algorithm = "EdDSA"
        case _:
            raise KeySetError("the key is none of RSA, P-256 and Ed25519")
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    bound = VerifyKey(algorithm=algorithm, material=pem, kid=kid)
    try:
        prepare(bound)
    except ValueError as error:
        raise KeySetError(str(error)) from None
    return bound
