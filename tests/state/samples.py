"""Values that the tests of this folder start from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from state.change import Actor, PutRoute
from state.domains import PutDomain
from state.model import Desired, Domain, Route, RouteKey, Target

NOON: Final = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)
OPERATOR: Final = Actor(kind="operator", name="ada", address="127.0.0.1")
TARGET: Final = Target("http://127.0.0.1:9000")


def route(host: str = "shop.example.com", **fields: Any) -> Route:  # noqa: ANN401 - any field of a route
    """A route to one target."""
    return Route(**{"host": host, "targets": (TARGET,), **fields})


def put(host: str = "shop.example.com", **fields: Any) -> PutRoute:  # noqa: ANN401
    """The change that puts such a route."""
    return PutRoute(route=route(host, **fields))


def written(desired: Desired, host: str = "shop.example.com", path_prefix: str = "/") -> Route:
    """The route as it is wanted."""
    return desired.routes[RouteKey(host, path_prefix)]


def domain(name: str = "www.example.com", **fields: Any) -> Domain:  # noqa: ANN401
    """A domain; nobody serves it unless `serves` says so."""
    return Domain(**{"name": name, "created_at": NOON, **fields})


def put_domain(name: str = "www.example.com", *, token: str = "", **fields: Any) -> PutDomain:  # noqa: ANN401
    """The change that puts such a domain."""
    return PutDomain(domain=domain(name, **fields), token=token)


def certificate(name: str = "ca.example") -> str:
    """A certificate in PEM that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOON)
        .not_valid_after(NOON + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()
