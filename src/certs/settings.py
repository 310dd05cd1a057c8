"""What the operator says about certificates, as values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec

ChallengeType: TypeAlias = Literal["http-01", "tls-alpn-01", "dns-01"]
KeyType: TypeAlias = Literal["p256", "p384", "rsa2048", "rsa3072", "rsa4096"]


class IssuerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An authority: the URL of its ACME directory, that of its staging twin if any, and how it is asked.

    `eab_kid` and `eab_hmac` (base64url) bind the account (RFC 8555 section 7.3.4). `roots` is a PEM file that the
    authority's own server is verified with. `chain` is the common name of the root whose chain is preferred.
    `orders_per_3h` and `certificates_per_domain_week` are our own limits, below those that it publishes.
    """

    name: str
    directory: str
    staging: str | None = None
    contact: tuple[str, ...] = ()
    accept_terms: bool = True
    eab_kid: str | None = None
    eab_hmac: str | None = None
    roots: Path | None = None
    profile: str | None = None
    chain: str | None = None
    orders_per_3h: int = 200
    certificates_per_domain_week: int = 40

    def __repr__(self) -> str:
        """Nothing that a log must not hold."""
        return f"IssuerSpec({self.name!r}, {self.directory!r})"


# letsencrypt.org/docs/rate-limits: 300 orders per account and 3 hours, 50 certificates per registered domain and week.
ISSUERS: Final[Mapping[str, IssuerSpec]] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            IssuerSpec(
                name="letsencrypt",
                directory="https://acme-v02.api.letsencrypt.org/directory",
                staging="https://acme-staging-v02.api.letsencrypt.org/directory",
            ),
            IssuerSpec(
                name="letsencrypt-staging",
                directory="https://acme-staging-v02.api.letsencrypt.org/directory",
            ),
            IssuerSpec(name="zerossl", directory="https://acme.zerossl.com/v2/DV90"),
            IssuerSpec(
                name="google",
                directory="https://dv.acme-v02.api.pki.goog/directory",
                staging="https://dv.acme-v02.test-api.pki.goog/directory",
            ),
        )
    }
)


class Rfc2136Spec(msgspec.Struct, frozen=True, kw_only=True):
    """A name server that takes updates: `server` is `host:port`, `key_file` a TSIG key as `tsig-keygen` writes it."""

    server: str
    key_file: Path | None = None
    zone: str | None = None


class CertsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about certificates. Times in seconds.

    `names` want a certificate beside those of domains. `public_addresses` and `public_name` are where the customer's
    records have to point; without them that is not judged. `resolvers` are `host:port`; none: those of the machine.
    `dns_delegation` are zones that customers may lead `_acme-challenge` of their names into.
    `max_orders_per_name_week` holds whatever a schedule says. `warn_url` gets events by POST, signed with
    `warn_secret`.
    """

    issuers: tuple[IssuerSpec, ...] = (ISSUERS["letsencrypt"],)
    challenges: tuple[ChallengeType, ...] = ("http-01", "tls-alpn-01", "dns-01")
    key_type: KeyType = "p256"
    names: tuple[str, ...] = ()

    preflight: Literal["off", "warn", "block"] = "block"
    ownership: bool = False
    resolvers: tuple[str, ...] = ()
    public_addresses: tuple[str, ...] = ()
    public_name: str | None = None

    rfc2136: Rfc2136Spec | None = None
    dns_command: tuple[str, ...] = ()
    dns_delegation: tuple[str, ...] = ()
    dns_propagation_s: float = 120.0

    on_demand: bool = False
    ask_url: str | None = None
    internal_suffixes: tuple[str, ...] = ("zexio.internal", "localhost")

    parallel: int = 8
    order_timeout_s: float = 300.0
    max_orders_per_name_week: int = 5

    warn_url: str | None = None
    warn_secret: str | None = None

    def __repr__(self) -> str:
        """Nothing that a log must not hold."""
        return f"CertsSettings(issuers={self.issuers!r})"
