"""Issuers of mesh tokens, honest and not: keys, claims, and tokens made of any header, payload and signature."""

from __future__ import annotations

import base64
import enum
import functools
import json
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

from mesh.policies import Target
from mesh.routes import Access, AccessKeys, Route, VerifyKey

NOW: Final = 1_800_000_000
SECRET: Final = b"a mesh secret of more than 32 octets"
ISSUER: Final = "zexio-service-mesh"
OWNER: Final = "org_a"
STRANGER: Final = "org_b"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Absent(enum.Enum):
    """As the value of a claim or of a header parameter: leave it out."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


@functools.cache
def private_key(kid: str) -> PrivateKey:
    """The private key of this name: `rsa...`, `ec...` or `ed...`, made on first use."""
    if kid.startswith("rsa"):
        return rsa.generate_private_key(65537, 2048)
    if kid.startswith("ec"):
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def public_pem(kid: str) -> bytes:
    """The public half of that key."""
    return private_key(kid).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_jwk(kid: str, /, **members: object) -> dict[str, object]:
    """The public half as a JWK; `members` are added, or left out when ABSENT."""
    algorithm = algorithm_of(kid)
    jwk = json.loads(get_default_algorithms()[algorithm].to_jwk(private_key(kid).public_key()))
    jwk.pop("key_ops", None)
    return _without_absent({**jwk, "kid": kid, "alg": algorithm, "use": "sig", **members})


def algorithm_of(kid: str | None) -> str:
    """The algorithm that belongs to a key of this name; None stands for the shared secret."""
    return "HS256" if kid is None else {"rsa": "RS256", "ec": "ES256", "ed": "EdDSA"}[kid.partition("-")[0]]


def verify_key(kid: str | None) -> VerifyKey:
    """What a proxy is given to verify with that key."""
    material = SECRET if kid is None else public_pem(kid)
    return VerifyKey(algorithm=algorithm_of(kid), material=material, kid=kid)


def access_keys(**rules: Any) -> AccessKeys:  # noqa: ANN401
    """The shared secret without a kid, and `rsa-1`, `ec-1` and `ed-1`."""
    keys = tuple(verify_key(kid) for kid in (None, "rsa-1", "ec-1", "ed-1"))
    return AccessKeys(**{"keys": keys, **rules})


def route(access: Access = "tenant", org_id: str | None = OWNER, tenants: tuple[str, ...] = ()) -> Route:
    """A route of an organization."""
    target = Target("http://127.0.0.1:9")
    return Route(host="shop.example.com", targets=(target,), access=access, org_id=org_id, tenants=tenants)


def claims(now: float = NOW, /, **changes: object) -> dict[str, object]:
    """Claims that are valid for an hour, with these changes."""
    valid = {
        "iss": ISSUER,
        "iat": int(now),
        "exp": int(now) + 3600,
        "orgId": OWNER,
        "userId": "user_1",
        "sourceService": "web",
        "targetService": "api",
    }
    return _without_absent({**valid, **changes})


def sign(kid: str | None, message: bytes) -> bytes:
    """A signature by the key of this name, or by the shared secret, with the algorithm that belongs to it."""
    return signed_with(algorithm_of(kid), SECRET if kid is None else private_key(kid), message)


def signed_with(algorithm: str, key: Any, message: bytes) -> bytes:  # noqa: ANN401
    """A signature by any key, whether it suits the algorithm or not."""
    return get_default_algorithms()[algorithm].sign(message, key)


def mint(payload: dict[str, object] | bytes, signer: str | None = None, /, **header: object) -> bytes:
    """A token signed by the key of this name; `header` adds and replaces parameters, ABSENT leaves them out."""
    parameters = {"alg": algorithm_of(signer), "typ": "JWT", "kid": ABSENT if signer is None else signer, **header}
    signed = signing_input(_without_absent(parameters), payload)
    return signed + b"." + base64url(sign(signer, signed))


def signing_input(header: dict[str, object] | bytes, payload: dict[str, object] | bytes) -> bytes:
    """The part of a token that is signed."""
    return b".".join(base64url(part if isinstance(part, bytes) else encode(part)) for part in (header, payload))


def encode(value: object) -> bytes:
    """The shortest JSON text of a value."""
    return json.dumps(value, separators=(",", ":")).encode()


def base64url(data: bytes) -> bytes:
    """Without padding, as in RFC 7515 section 2."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def bearer(token: bytes) -> bytes:
    """The value of an Authorization field."""
    return b"Bearer " + token


def _without_absent(members: dict[str, Any]) -> dict[str, object]:
    return {name: value for name, value in members.items() if value is not ABSENT}
