"""What is true now, as frozen values: the machine, the targets, the routes and the workers, as they were reported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

import msgspec
from rpds import HashTrieMap

CertificateStatus = Literal["pending", "issuing", "active", "failing"]
CertificateSource = Literal["acme", "internal", "imported", "file"]


class HostFact(msgspec.Struct, frozen=True, kw_only=True):
    """The load of the machine, by the names of contracts/plane.md decision 6: sizes in bytes, shares in percent."""

    cpu_usage: float
    memory_used: int
    memory_total: int
    memory_percent: float
    disk_used: int
    disk_total: int
    disk_percent: float
    at: datetime


class TargetFact(msgspec.Struct, frozen=True, kw_only=True):
    """How a target does: requests so far, those in flight now, and failures in a row.

    It is not `healthy` while a health check of some route finds it down, or while a worker has `ejected` it for failing
    visitors.
    """

    address: str
    healthy: bool = True
    ejected: bool = False
    requests: int = 0
    in_flight: int = 0
    failures: int = 0


class RouteTargetFact(msgspec.Struct, frozen=True, kw_only=True):
    """A target of a route. The figures are those of its address, for all routes that use it; its state is the route's.

    It is not `healthy` while the route's own health check finds it down, or while a worker has `ejected` it for failing
    visitors, of whatever route, and this one has others.
    """

    address: str
    requests: int = 0
    in_flight: int = 0
    failures: int = 0
    healthy: bool = True
    ejected: bool = False
    draining: bool = False


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long things take, in seconds: half, nine and ninety-nine of a hundred no longer. None: nothing yet."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None


class RouteFact(msgspec.Struct, frozen=True, kw_only=True):
    """How a route does, all workers together since they started: `statuses` count by class (`2xx`), sizes in bytes.

    `latency_s` is from the request's head to the end of the answer, `first_byte_s` to its first byte from a target.
    `retries` are second tries of requests, `rate_limited` requests that were answered with 429.
    """

    requests: int = 0
    statuses: Mapping[str, int] = msgspec.field(default_factory=dict)
    bytes_received: int = 0
    bytes_sent: int = 0
    latency_s: Latency = Latency()
    first_byte_s: Latency = Latency()
    in_flight: int = 0
    retries: int = 0
    rate_limited: int = 0
    targets: tuple[RouteTargetFact, ...] = ()


class WorkerFact(msgspec.Struct, frozen=True, kw_only=True):
    """A mesh worker process: `revision` is the newest that it serves, `restarts` how often it was replaced."""

    index: int
    pid: int
    ready: bool = False
    restarts: int = 0
    revision: int = 0


class CertificateFact(msgspec.Struct, frozen=True, kw_only=True):
    """How the certificate of a wanted name does. What is None is not known, or there is none yet.

    `status` is "active" as long as a valid certificate is served, whatever becomes of its renewal; "pending" waits for
    its turn, "issuing" has an order under way (`step` says where it is), "failing" has no valid certificate and a
    `last_error`. `advice` is what the customer must change, in plain words. `orders` counts those of the last week.
    """

    name: str
    status: CertificateStatus = "pending"
    source: CertificateSource = "acme"
    issuer: str | None = None
    names: tuple[str, ...] = ()
    serial: str | None = None
    fingerprint: str | None = None
    key_type: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    renew_at: datetime | None = None
    step: str | None = None
    challenge: str | None = None
    attempts: int = 0
    orders: int = 0
    last_error: str | None = None
    failed_at: datetime | None = None
    advice: tuple[str, ...] = ()
    next_try: datetime | None = None


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was reported, at one revision. Not durable: whoever reports can find it out again.

    `routes` go by the text of their `state.model.RouteKey`, `certificates` by the name that is wanted.
    """

    revision: int = 0
    host: HostFact | None = None
    targets: HashTrieMap[str, TargetFact] = HashTrieMap()
    routes: HashTrieMap[str, RouteFact] = HashTrieMap()
    workers: tuple[WorkerFact, ...] = ()
    certificates: HashTrieMap[str, CertificateFact] = HashTrieMap()

    def with_host(self, host: HostFact) -> Observed:
        """The next revision, with new figures of the machine."""
        return msgspec.structs.replace(self, revision=self.revision + 1, host=host)

    def with_targets(self, facts: Iterable[TargetFact]) -> Observed:
        """The next revision, with `facts` in place of those of the same addresses."""
        targets = self.targets.update((fact.address, fact) for fact in facts)
        return msgspec.structs.replace(self, revision=self.revision + 1, targets=targets)

    def without_targets(self, addresses: Iterable[str]) -> Observed:
        """The next revision, with nothing known of `addresses`."""
        targets = self.targets
        for address in addresses:
            targets = targets.discard(address)
        return msgspec.structs.replace(self, revision=self.revision + 1, targets=targets)

    def with_routes(self, facts: Mapping[str, RouteFact]) -> Observed:
        """The next revision, with `facts` in place of those of the same routes."""
        return msgspec.structs.replace(self, revision=self.revision + 1, routes=self.routes.update(facts.items()))

    def without_routes(self, keys: Iterable[str]) -> Observed:
        """The next revision, with nothing known of the routes that `keys` name."""
        routes = self.routes
        for key in keys:
            routes = routes.discard(key)
        return msgspec.structs.replace(self, revision=self.revision + 1, routes=routes)

    def with_workers(self, workers: Iterable[WorkerFact]) -> Observed:
        """The next revision, with exactly these workers."""
        return msgspec.structs.replace(self, revision=self.revision + 1, workers=tuple(workers))

    def with_certificates(self, facts: Iterable[CertificateFact]) -> Observed:
        """The next revision, with `facts` in place of those of the same names."""
        certificates = self.certificates.update((fact.name, fact) for fact in facts)
        return msgspec.structs.replace(self, revision=self.revision + 1, certificates=certificates)

    def without_certificates(self, names: Iterable[str]) -> Observed:
        """The next revision, with nothing known of the certificates for `names`."""
        certificates = self.certificates
        for name in names:
            certificates = certificates.discard(name)
        return msgspec.structs.replace(self, revision=self.revision + 1, certificates=certificates)
