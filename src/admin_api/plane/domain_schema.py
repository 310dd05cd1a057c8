"""What the endpoints of domains and certificates take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from pydantic import Field

from admin_api.models import Query, make_model
from admin_api.plane.records import DnsRecord, Home, records_of
from admin_api.plane.schema import MAX_PAGE
from state import model
from state.observed import CertificateFact, CertificateStatus
from state.ports import Advice, RevocationReason
from state.rules import Length

MAX_PEM_BYTES: Final = 256 * 1024

DomainStatus: TypeAlias = Literal[CertificateStatus, "off"]

_SHOWN: Final = "Ignored: it is what answers show."
_ANSWERED: Final = ("status", "reason", "records", "tls_listen", "fact")


class DomainView(model.Domain, frozen=True, kw_only=True):
    """A domain and how its certificate does.

    `status` is `active` as long as a valid certificate is served, and `reason` says why it is not. `fact` is all that
    is known of the certificate. `records` are those that the customer has to set, as far as the settings say.
    `tls_listen` are the addresses at which this node serves TLS, null when that is not known.
    """

    status: DomainStatus
    reason: str | None = None
    records: tuple[DnsRecord, ...] = ()
    tls_listen: tuple[str, ...] | None = None
    fact: CertificateFact | None = None


class PemWish(msgspec.Struct, frozen=True, kw_only=True):
    """What to export: the chain for `name`, which the path has as well, and behind it the private key if `with_key`."""

    name: str
    with_key: bool


class DomainPage(msgspec.Struct, frozen=True):
    """Some of the domains, in the order of their names; `next_cursor` is null on the last page."""

    domains: tuple[DomainView, ...]
    next_cursor: str | None


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The last event of a stream: what was watched is there no more."""

    name: str
    status: Literal["removed"] = "removed"


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What the public records of a name say about its chances; nothing is ordered while something is blocking."""

    name: str
    is_blocked: bool
    advice: tuple[Advice, ...]


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate of a chain; `fingerprint` is the SHA-256 of its DER form in hexadecimal digits."""

    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    fingerprint: str


class CertificateDetail(CertificateFact, frozen=True, kw_only=True):
    """How the certificate for a name does, with its chain, leaf first."""

    chain: tuple[Link, ...] = ()


class CertificatePage(msgspec.Struct, frozen=True):
    """Some of the certificates, in the order of their names; `next_cursor` is null on the last page."""

    certificates: tuple[CertificateFact, ...]
    next_cursor: str | None


class Revocation(msgspec.Struct, frozen=True):
    """Why a certificate is revoked. After `key_compromise` its key is never used again."""

    reason: RevocationReason = "unspecified"


class PemBody(msgspec.Struct, frozen=True):
    """A certificate with its chain, leaf first, and its private key, all in PEM."""

    pem: Annotated[str, Length(1, MAX_PEM_BYTES)]

    def __repr__(self) -> str:
        """Nothing that a log must not hold."""
        return "PemBody()"


class ProjectDomain(msgspec.Struct, frozen=True):
    """A custom domain of a project."""

    domain: Annotated[str, Length(1, 255), msgspec.Meta(examples=["shop.example.com"])]


DomainBody: Final = make_model(
    "DomainBody",
    model.Domain,
    {
        "name": (str | None, Field(None, description="If given, the name of the path.")),
        "created_at": (Any, Field(None, description=_SHOWN)),
        "ownership": (Any, Field(None, description="Ignored: the node makes the token.")),
        "revision": (Any, Field(None, description="Ignored: it is If-Match that guards against lost updates.")),
        **{field: (Any, Field(None, description=_SHOWN)) for field in _ANSWERED},
    },
    "A domain as it is wanted. An answer of `GET /domains/{name}` may be sent back as it came.",
)


class DomainsQuery(Query):
    """Which domains to list."""

    limit: int = Field(100, ge=1, le=MAX_PAGE)
    cursor: str | None = Field(None, description="The `next_cursor` of the page before.")
    q: str | None = Field(None, max_length=253, description="Only names that contain this text.")
    status: DomainStatus | None = Field(None, description="Only domains that do like this.")


class CertificatesQuery(Query):
    """Which certificates to list."""

    limit: int = Field(100, ge=1, le=MAX_PAGE)
    cursor: str | None = Field(None, description="The `next_cursor` of the page before.")
    q: str | None = Field(None, max_length=253, description="Only names that contain this text.")
    status: CertificateStatus | None = Field(None, description="Only certificates that do like this.")


def view_of(domain: model.Domain, fact: CertificateFact | None, home: Home) -> DomainView:
    """A domain and how its certificate does."""
    return DomainView(
        **msgspec.structs.asdict(domain),
        status=status_of(domain, fact),
        reason=_reason(fact),
        records=records_of(domain, home),
        tls_listen=home.tls_listen,
        fact=fact,
    )


def status_of(domain: model.Domain, fact: CertificateFact | None) -> DomainStatus:
    """How a domain does: what is reported of it, else whether something will be."""
    if fact is not None:
        return fact.status
    return "off" if domain.certificate == "off" else "pending"


def _reason(fact: CertificateFact | None) -> str | None:
    """Why there is no certificate, or none yet, in one line."""
    if fact is None or fact.status == "active":
        return None
    if fact.status == "failing":
        return fact.last_error or next(iter(fact.advice), None)
    return fact.step or fact.last_error
