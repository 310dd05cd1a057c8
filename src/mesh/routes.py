"""What the data plane is told: routes, keys and limits as values, and the table that finds a route by host and path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from mesh.policies import (
    BasicAuth,
    Circuit,
    Compression,
    Cors,
    Ejection,
    ErrorPages,
    ForwardAuth,
    Hash,
    HeaderEdits,
    Health,
    Hsts,
    Limits,
    ProxyProtocol,
    RateLimit,
    Redirect,
    RetryBudget,
    Sticky,
    Target,
    TargetTls,
    Timeouts,
    Traffic,
)

Access = Literal["public", "tenant"]
Balance = Literal["round_robin", "least_requests", "random_two", "consistent_hash"]
Https = Literal["off", "on", "redirect"]
AccessLog = Literal["json", "combined", "logfmt", "off"]
TlsVersion = Literal["1.2", "1.3"]

FALLBACK_HOST = "*"

# A target may fold these into another path; the prefix chosen here would not be the one served (CVE-2025-66490).
_AMBIGUOUS_PATH = re.compile(rb"//|\\|(?:^|/)\.{1,2}(?:/|;|$)|%2e|%2f|%5c", re.IGNORECASE)


class AmbiguousPath(ValueError):
    """The path could be read as another one, on a host whose routes depend on the path."""


class RouteKey(msgspec.Struct, frozen=True, omit_defaults=True, order=True):
    """What makes a route unique: the host (`shop.example.com`, `*.example.com`, `*`) and the path prefix."""

    host: str
    path_prefix: str = "/"


class Route(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One host and path prefix, who may use it, and the targets that answer for it.

    `strip_prefix` takes the prefix off the path, `rewrite_prefix` puts another in its place. `client_ca` is PEM: a
    visitor must show a certificate that it signed. `finish_abandoned` lets a target finish what no visitor waits for.
    """

    host: str
    targets: tuple[Target, ...]
    path_prefix: str = "/"
    org_id: str | None = None
    access: Access = "public"
    tenants: tuple[str, ...] = ()
    forward_token: bool = False
    preserve_host: bool = True

    balance: Balance = "round_robin"
    hash: Hash = Hash()
    sticky: Sticky | None = None
    slow_start_s: float = 0.0
    health: Health | None = None
    ejection: Ejection = Ejection()
    circuit: Circuit = Circuit()
    retries: int = 1
    retry_budget: RetryBudget = RetryBudget()
    traffic: Traffic = Traffic()
    finish_abandoned: bool = False

    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    rate_limit: RateLimit | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    strip_prefix: bool = False
    rewrite_prefix: str | None = None
    redirect: Redirect | None = None
    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()
    basic_auth: BasicAuth | None = None
    forward_auth: ForwardAuth | None = None
    cors: Cors | None = None
    compression: Compression | None = None
    error_pages: ErrorPages | None = None

    https: Https = "off"
    hsts: Hsts | None = None
    client_ca: str = ""
    target_tls: TargetTls = TargetTls()
    proxy_protocol: ProxyProtocol = "off"

    @property
    def key(self) -> RouteKey:
        """The identity under which a delta replaces or removes this route."""
        return RouteKey(self.host, self.path_prefix)


class VerifyKey(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One key that may verify mesh tokens: a shared secret or a PEM public key, bound to one algorithm."""

    algorithm: str
    material: bytes
    kid: str | None = None

    def __repr__(self) -> str:
        """Without the secret."""
        return f"VerifyKey({self.algorithm!r}, kid={self.kid!r})"


class AccessKeys(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Which mesh tokens are believed; `generation` changes whenever any other field does.

    `max_lifetime_s`, when set, makes `iat` a required claim and bounds the time from it to `exp`.
    """

    generation: int = 0
    issuer: str = "zexio-service-mesh"
    audience: str | None = None
    leeway_s: float = 30.0
    max_lifetime_s: float | None = None
    max_token_bytes: int = 8192
    keys: tuple[VerifyKey, ...] = ()


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate and its key as PEM; `names` are the DNS names and addresses it covers, wildcards included."""

    fingerprint: str
    names: tuple[str, ...]
    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        """Without the key."""
        return f"Certificate({self.fingerprint!r}, names={self.names!r})"


class MeshSettings(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Limits and habits of a worker that hold for every route. Times in seconds, sizes in bytes; 0 is no limit.

    `proxy_protocol_from` are the networks whose connections begin with a PROXY header. `default_certificate` is a name
    that the certificate covers which visitors get who name no host, or an unknown one; without it they get none.
    `tracing` is the share of new traces that are sampled; None: the proxy makes no spans.
    """

    project_suffixes: tuple[str, ...] = ("zexio.app", "zexio.dev")
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol_from: tuple[str, ...] = ()
    access_log: AccessLog = "off"
    error_page: str = ""

    max_head_bytes: int = 32 * 1024
    max_headers: int = 100
    max_target_bytes: int = 8 * 1024
    max_body_bytes: int = 0
    max_connections: int = 65_536
    max_connections_per_address: int = 4096
    max_requests_per_connection: int = 10_000

    head_timeout_s: float = 10.0
    body_idle_s: float = 60.0
    min_bytes_per_s: int = 128
    keepalive_idle_s: float = 75.0
    connect_timeout_s: float = 5.0
    response_timeout_s: float = 60.0
    idle_timeout_s: float = 60.0
    total_timeout_s: float = 0.0
    tunnel_idle_s: float = 3600.0
    pool_idle_s: float = 60.0
    pool_size: int = 256

    tls_min_version: TlsVersion = "1.2"
    tls_handshake_s: float = 10.0
    tls_contexts: int = 1000
    default_certificate: str = ""
    https_port: int = 443

    http2: bool = True
    http2_cleartext: bool = False
    http2_max_streams: int = 100

    tracing: float | None = None


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="snapshot"):
    """Everything the data plane knows at one revision."""

    revision: int
    routes: tuple[Route, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    keys: AccessKeys = AccessKeys()
    settings: MeshSettings = MeshSettings()


class Delta(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="delta"):
    """The difference to the revision before it; `None` for keys and settings means unchanged.

    Certificates go by fingerprint: one that is replaced is put and removed in the same delta.
    """

    revision: int
    put: tuple[Route, ...] = ()
    removed: tuple[RouteKey, ...] = ()
    put_certificates: tuple[Certificate, ...] = ()
    removed_certificates: tuple[str, ...] = ()
    keys: AccessKeys | None = None
    settings: MeshSettings | None = None


# The routes of one host by path prefix.
_Entries = tuple[tuple[bytes, Route], ...]


class RouteTable:
    """Finds the route of a host and a path in constant time.

    The table belongs to one event loop. A delta changes it in place, so that one route among 100,000 costs work for
    one route; the routes in it are frozen, so a request keeps what it found whatever happens to the table.
    """

    __slots__ = ("_exact", "_fallback", "_project_suffixes", "_size", "_wildcard", "_with_client_ca")

    def __init__(self, routes: Iterable[Route] = (), project_suffixes: Iterable[str] = ()) -> None:
        """Index `routes`; raises ValueError when two of them claim the same host and path prefix."""
        self._exact: dict[bytes, _Entries] = {}
        self._wildcard: dict[bytes, _Entries] = {}
        self._fallback: dict[bytes, _Entries] = {}
        self.use_project_suffixes(project_suffixes)
        self._size = 0
        self._with_client_ca = 0
        for route in routes:
            if self._put(route) is not None:
                raise ValueError(f"two routes claim {route.host} with the path prefix {route.path_prefix}")

    def __len__(self) -> int:
        """How many routes are in the table."""
        return self._size

    def __iter__(self) -> Iterator[Route]:
        """Every route, in no particular order."""
        for index in (self._exact, self._wildcard, self._fallback):
            for entries in index.values():
                for _prefix, route in entries:
                    yield route

    def use_project_suffixes(self, suffixes: Iterable[str]) -> None:
        """Under these suffixes `<anything>--<project>.<suffix>` is found as `<project>.<suffix>`."""
        self._project_suffixes = tuple(b"." + suffix.encode().strip(b".") for suffix in suffixes)

    def apply(self, delta: Delta) -> list[Route]:
        """Remove and put the routes that `delta` names; gives the routes that are in force no more."""
        gone = [self._remove(key) for key in delta.removed]
        gone += [self._put(route) for route in delta.put]
        return [route for route in gone if route is not None]

    def match(self, host: bytes, target: bytes) -> Route | None:
        """The route for a folded host (lower case, no port, no trailing dot) and a target in origin-form, or None.

        Raises AmbiguousPath when the host's routes depend on the path and the path has more than one reading.
        """
        entries = self._exact.get(host) or self._match_less_exact(host)
        if entries is None:
            return None
        prefix, route = entries[0]
        if prefix == b"/":
            return route
        path = target.partition(b"?")[0]
        if _AMBIGUOUS_PATH.search(path):
            raise AmbiguousPath
        for prefix, route in entries:
            if path.startswith(prefix) and (
                len(path) == len(prefix) or prefix[-1] == 0x2F or path[len(prefix)] == 0x2F
            ):
                return route
        return None

    def client_ca(self, host: bytes) -> tuple[str, bool]:
        """What the certificates of a host's visitors are verified against, and whether all its routes need one.

        Asked before any request; nothing when no route needs one.
        """
        if not self._with_client_ca:
            return "", False
        entries = self._exact.get(host) or self._match_less_exact(host) or ()
        wanted = [route.client_ca for _prefix, route in entries]
        return next(filter(None, wanted), ""), all(wanted)

    def _match_less_exact(self, host: bytes) -> _Entries | None:
        for suffix in self._project_suffixes:
            # contracts/plane.md decision 15: the text after the last `--` names the project.
            if host.endswith(suffix) and b"--" in host:
                found = self._exact.get(host[host.rindex(b"--") + 2 :])
                if found:
                    return found
        dot = host.find(b".")
        while dot >= 0:
            found = self._wildcard.get(host[dot:])
            if found:
                return found
            dot = host.find(b".", dot + 1)
        return self._fallback.get(b"")

    def _index(self, host: str) -> tuple[dict[bytes, _Entries], bytes]:
        if host == FALLBACK_HOST:
            return self._fallback, b""
        if host.startswith("*."):
            return self._wildcard, host[1:].encode()
        return self._exact, host.encode()

    def _put(self, route: Route) -> Route | None:
        index, key = self._index(route.host)
        prefix = route.path_prefix.encode()
        replaced, others = _without(index.get(key, ()), prefix)
        # Longest prefix first, so that the first match is the most exact one.
        index[key] = tuple(sorted([*others, (prefix, route)], key=lambda entry: -len(entry[0])))
        self._size += replaced is None
        self._with_client_ca += bool(route.client_ca) - (replaced is not None and bool(replaced.client_ca))
        return replaced

    def _remove(self, key: RouteKey) -> Route | None:
        index, host = self._index(key.host)
        removed, others = _without(index.get(host, ()), key.path_prefix.encode())
        if others:
            index[host] = others
        else:
            index.pop(host, None)
        self._size -= removed is not None
        self._with_client_ca -= removed is not None and bool(removed.client_ca)
        return removed


def _without(entries: _Entries, prefix: bytes) -> tuple[Route | None, _Entries]:
    found = next((route for other, route in entries if other == prefix), None)
    return found, tuple(entry for entry in entries if entry[0] != prefix)
