"""The keys that verify mesh tokens: each parsed once, judged fit, and bound to one algorithm."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import Algorithm, ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from mesh.routes import VerifyKey
from mesh.tokens import ALGORITHMS, KID, Token

# The default of the seed's implementation: whoever has read that can mint tokens (contracts/plane.md, Auth).
WELL_KNOWN_SECRET: Final = b"zexio-mesh-secret-key"
MIN_SECRET_BYTES: Final = 32
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
MAX_KEYS: Final = 256
# Each of these may cost a signature check per token, so there are few: enough to replace an old key by a new one.
MAX_UNNAMED_KEYS: Final = 4

# Under a public key among these points anyone can make signatures (RFC 8032 section 5.1.7 multiplies by the key). The
# sign bit is left out, so these are the eight points of small order and the unreduced spellings of two of them.
_SMALL_ORDER_POINTS = frozenset(
    bytes.fromhex(point)
    for point in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


class PreparedKey(msgspec.Struct, frozen=True):
    """A parsed key and the one algorithm that it may be used with."""

    algorithm: str
    checker: Algorithm
    material: Any

    def verifies(self, token: Token) -> bool:
        """Whether the token was signed with this key's counterpart."""
        return self.checker.verify(token.signing_input, self.material, token.signature)


class Keyring:
    """Finds the key of a token: in the table of its algorithm, by its kid, else among the few keys without a kid."""

    __slots__ = ("_kids", "_named", "_unnamed")

    def __init__(self, keys: tuple[VerifyKey, ...]) -> None:
        """Parse every key; raises ValueError with a sentence for the operator when one of them is unfit."""
        if len(keys) > MAX_KEYS:
            raise ValueError(f"there are more than {MAX_KEYS} keys for mesh tokens")
        kids = [key.kid for key in keys if key.kid is not None]
        self._kids = frozenset(kids)
        if len(self._kids) != len(kids):
            raise ValueError("two keys for mesh tokens have the same kid")
        # One table per algorithm that *keys* are bound to: a public key is in none where it could serve as a secret.
        self._named: dict[str, dict[str, PreparedKey]] = {algorithm: {} for algorithm in ALGORITHMS}
        self._unnamed: dict[str, list[PreparedKey]] = {algorithm: [] for algorithm in ALGORITHMS}
        for key in keys:
            self._add(key)

    def verifies(self, token: Token) -> bool:
        """Whether the key that the token names, or a key without a name, verifies its signature."""
        if token.kid in self._kids:
            named = self._named[token.algorithm].get(token.kid)
            return named is not None and named.verifies(token)
        return any(key.verifies(token) for key in self._unnamed[token.algorithm])

    def knows(self, kid: str) -> bool:
        """Whether a key, of whatever algorithm, has this kid."""
        return kid in self._kids

    def _add(self, key: VerifyKey) -> None:
        prepared = prepare(key)
        if key.kid is not None:
            self._named[key.algorithm][key.kid] = prepared
            return
        unnamed = self._unnamed[key.algorithm]
        unnamed.append(prepared)
        if len(unnamed) > MAX_UNNAMED_KEYS:
            raise ValueError(f"there are more than {MAX_UNNAMED_KEYS} {key.algorithm} keys without a kid")


def prepare(key: VerifyKey) -> PreparedKey:
    """Parse `key`; raises ValueError, in a sentence that quotes no secret, when it is unfit for its algorithm."""
    if key.kid is not None and KID.fullmatch(key.kid) is None:
        raise ValueError("a kid is 1 to 128 characters out of A-Z a-z 0-9 _ . -")
    match key.algorithm:
        case "HS256":
            return PreparedKey("HS256", *_secret(key.material))
        case "RS256":
            return PreparedKey("RS256", RSAAlgorithm(RSAAlgorithm.SHA256), _rsa(key.material))
        case "ES256":
            return PreparedKey("ES256", ECAlgorithm(ECAlgorithm.SHA256), _p256(key.material))
        case "EdDSA":
            return PreparedKey("EdDSA", OKPAlgorithm(), _ed25519(key.material))
        case _:
            raise ValueError(f"the algorithm of a key is one of {', '.join(ALGORITHMS)}")


def _secret(material: bytes) -> tuple[HMACAlgorithm, bytes]:
    if material.strip() == WELL_KNOWN_SECRET:
        raise ValueError("the mesh secret is a published default: set one of your own, or none and the node makes one")
    if len(material) < MIN_SECRET_BYTES:
        needs = f"HS256 needs at least {MIN_SECRET_BYTES} (RFC 7518 section 3.2)"
        raise ValueError(f"the mesh secret has {len(material)} bytes, {needs}")
    algorithm = HMACAlgorithm(HMACAlgorithm.SHA256)
    try:
        return algorithm, algorithm.prepare_key(material)
    except InvalidKeyError:
        raise ValueError("the mesh secret is a public key or a JWK, HS256 needs a shared secret") from None


def _rsa(material: bytes) -> RSAPublicKey:
    key = _public_key(material)
    if isinstance(key, RSAPublicKey) and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return key
    raise ValueError(f"RS256 needs an RSA key of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits (RFC 7518 section 3.3)")


def _p256(material: bytes) -> EllipticCurvePublicKey:
    key = _public_key(material)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    raise ValueError("ES256 needs an elliptic curve key on P-256 (RFC 7518 section 3.4)")


def _ed25519(material: bytes) -> Ed25519PublicKey:
    key = _public_key(material)
    if isinstance(key, Ed25519PublicKey) and not _is_small(key.public_bytes_raw()):
        return key
    raise ValueError("EdDSA needs an Ed25519 key that is no point of small order (RFC 8037)")


def _is_small(point: bytes) -> bool:
    return point[:-1] + bytes([point[-1] & 0x7F]) in _SMALL_ORDER_POINTS


def _public_key(material: bytes) -> PublicKeyTypes:
    try:
        return load_pem_public_key(material)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("the key is not a public key in PEM form") from None
