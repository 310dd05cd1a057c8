"""What the data plane is told: routes, certificates, keys and limits as values."""

from __future__ import annotations

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


class RouteKey(msgspec.Struct, frozen=True, omit_defaults=True, order=True):
    """What makes a route unique: the host (`shop.example.com`, `*.example.com`, `*`) and the path prefix."""

    host: str
    path_prefix: str = "/"


class Route(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One host and path prefix, who may use it, and the targets that answer for it.

    `alias_of` is the host whose route with the same prefix this one is a copy of; that route's health checks hold for
    this one too. `strip_prefix` takes the prefix off the path, `rewrite_prefix` puts another in its place. `client_ca`
    is PEM: a visitor must show a certificate that it signed. `finish_abandoned` lets a target finish what no visitor
    waits for. With `redirect_covered` only those are redirected to HTTPS for whose name there is a certificate.
    """

    host: str
    targets: tuple[Target, ...]
    path_prefix: str = "/"
    alias_of: str = ""
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
    redirect_covered: bool = False
    hsts: Hsts | None = None
    client_ca: str = ""
    target_tls: TargetTls = TargetTls()
    proxy_protocol: ProxyProtocol = "off"

    @property
    def key(self) -> RouteKey:
        """The identity under which a delta replaces or removes this route."""
        return RouteKey(self.host, self.path_prefix)

    @property
    def checked_as(self) -> RouteKey:
        """The route whose health checks tell which targets of this one are down."""
        return RouteKey(self.alias_of or self.host, self.path_prefix)


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


class Challenges(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What authorities ask for while they validate names: few at a time, so always told as a whole.

    `tokens` are pairs of a token and its key authorization, for HTTP-01 (RFC 8555 section 8.3). `validations` are the
    certificates of TLS-ALPN-01, each with the one name that it answers for (RFC 8737 section 3).
    """

    tokens: tuple[tuple[str, str], ...] = ()
    validations: tuple[Certificate, ...] = ()


class MeshSettings(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Limits and habits of a worker that hold for every route. Times in seconds, sizes in bytes; 0 is no limit.

    `proxy_protocol_from` are the networks whose connections begin with a PROXY header. `default_certificate` is a name
    that the certificate covers which visitors get who name no host, or an unknown one; without it they get none.
    `on_demand_s` is how long a handshake waits, beside the time that it takes itself, for a certificate that the
    control process is asked for when none covers a name; 0: it is not asked. `tracing` is the share of new traces that
    are sampled; None: the proxy makes no spans.
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
    on_demand_s: float = 0.0
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
    challenges: Challenges = Challenges()
    keys: AccessKeys = AccessKeys()
    settings: MeshSettings = MeshSettings()


class Delta(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="delta"):
    """The difference to the revision before it; `None` for challenges, keys and settings means unchanged.

    Certificates go by fingerprint: one that is replaced is put and removed in the same delta.
    """

    revision: int
    put: tuple[Route, ...] = ()
    removed: tuple[RouteKey, ...] = ()
    put_certificates: tuple[Certificate, ...] = ()
    removed_certificates: tuple[str, ...] = ()
    challenges: Challenges | None = None
    keys: AccessKeys | None = None
    settings: MeshSettings | None = None
