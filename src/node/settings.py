"""The node's one settings value: sections, defaults, and the rules that no node may start against."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_type_hints

import msgspec

from certs.settings import ChallengeType, KeyType
from mesh.keys import MIN_SECRET_BYTES, WELL_KNOWN_SECRET
from node.sources import Entry, Problem, read_environment, read_file, read_flags
from node.values import (
    Address,
    CertificateName,
    Contact,
    Count,
    Entries,
    Few,
    HostName,
    Leeway,
    NameServer,
    Network,
    Number,
    OptionalSeconds,
    Origin,
    Place,
    Port,
    Ratio,
    Seconds,
    Secret,
    Size,
    Streams,
    Suffix,
    Text,
    Url,
    Workers,
    accepts,
    check_keys_url,
    convert,
    holds_secret,
)


class NodeSection(msgspec.Struct, frozen=True, kw_only=True):
    """The node as a whole: `data` is the folder of all it keeps, `store` a database URL in place of SQLite there."""

    data: Path
    store: Secret | None = None
    drain_s: Seconds = 30.0


class MeshSection(msgspec.Struct, frozen=True, kw_only=True):
    """The data plane. The fields above the blank line are the node's own, those below it are `mesh.MeshSettings`.

    Numbers of connections are those of one worker.
    """

    listen: tuple[Address, ...] = (Address("0.0.0.0:8082"),)
    tls_listen: tuple[Address, ...] = ()
    workers: Workers = 1
    internal_suffixes: tuple[Suffix, ...] = (Suffix("zexio.internal"),)
    default_access: Literal["by_suffix", "tenant"] = "by_suffix"
    error_page: Path | None = None

    project_suffixes: tuple[Suffix, ...] = (Suffix("zexio.app"), Suffix("zexio.dev"))
    trusted_proxies: tuple[Network, ...] = ()
    proxy_protocol_from: tuple[Network, ...] = ()
    max_head_bytes: Size = 32 * 1024
    max_headers: Count = 100
    max_target_bytes: Size = 8 * 1024
    max_body_bytes: Number = 0
    max_connections: Count = 65_536
    max_connections_per_address: Number = 4096
    max_requests_per_connection: Number = 10_000
    head_timeout_s: Seconds = 10.0
    body_idle_s: Seconds = 60.0
    min_bytes_per_s: Number = 128
    keepalive_idle_s: Seconds = 75.0
    connect_timeout_s: Seconds = 5.0
    response_timeout_s: Seconds = 60.0
    idle_timeout_s: Seconds = 60.0
    total_timeout_s: OptionalSeconds = 0.0
    tunnel_idle_s: Seconds = 3600.0
    pool_idle_s: Seconds = 60.0
    pool_size: Number = 256
    http2: bool = True
    http2_cleartext: bool = False
    http2_max_streams: Streams = 100


class TlsSection(msgspec.Struct, frozen=True, kw_only=True):
    """TLS to visitors: `certificates` are PEM files, each with a chain and its key, or the key in a `.key` beside it.

    `default` is a name that the certificate covers which visitors get who name no host, or an unknown one. `contexts`
    is how many certificates each worker keeps ready. `public_port` is where visitors reach the listener, for redirects:
    by default its own port.
    """

    certificates: tuple[Path, ...] = ()
    default: Text | None = None
    min_version: Literal["1.2", "1.3"] = "1.2"
    handshake_s: Seconds = 10.0
    contexts: Count = 1000
    public_port: Port | None = None


class CertsSection(msgspec.Struct, frozen=True, kw_only=True):
    """Certificates that the node obtains itself; `certs.settings.CertsSettings` says what the values mean.

    `issuers` are well-known names, https addresses of ACME directories, or paths of issuer files
    (`node.issuer_files`). `contact` and `accept_terms` hold for issuers that say nothing else. `on_demand_s` is how
    long a handshake waits.
    """

    issuers: tuple[Text, ...] = ("letsencrypt",)
    contact: tuple[Contact, ...] = ()
    accept_terms: bool = True
    challenges: tuple[ChallengeType, ...] = ("http-01", "tls-alpn-01", "dns-01")
    key_type: KeyType = "p256"
    names: tuple[CertificateName, ...] = ()

    preflight: Literal["off", "warn", "block"] = "block"
    ownership: bool = False
    resolvers: tuple[NameServer, ...] = ()
    public_addresses: tuple[Place, ...] = ()
    public_name: HostName | None = None

    rfc2136_server: NameServer | None = None
    rfc2136_key_file: Path | None = None
    rfc2136_zone: HostName | None = None
    dns_command: tuple[Text, ...] = ()
    dns_delegation: tuple[HostName, ...] = ()
    dns_propagation_s: Seconds = 120.0

    on_demand: bool = False
    on_demand_s: Seconds = 30.0
    ask_url: Url | None = None

    parallel: Few = 8
    order_timeout_s: Seconds = 300.0
    max_orders_per_name_week: Count = 5

    warn_url: Url | None = None
    warn_secret_file: Path | None = None


class AdminSection(msgspec.Struct, frozen=True, kw_only=True):
    """The admin API's listener; `open_to_network` allows an unsigned API on more than loopback.

    `hosts` are further names that it is called by, `trusted_origins` web pages that may use it.
    """

    listen: Address = Address("127.0.0.1:8081")
    open_to_network: bool = False
    hosts: tuple[Suffix, ...] = ()
    trusted_origins: tuple[Origin, ...] = ()


class AuthSection(msgspec.Struct, frozen=True, kw_only=True):
    """Worker authentication (contracts/plane.md decisions 2 and 19)."""

    mode: Literal["auto", "always", "open"] = "auto"
    require_timestamp: bool = False
    worker_secret_file: Path | None = None


class CloudSection(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud account this node belongs to, if any; both `token` and `worker_id` make it cloud mode."""

    api_url: Url | None = None
    token: Secret | None = None
    worker_id: str | None = None


class JwtSection(msgspec.Struct, frozen=True, kw_only=True):
    """Which mesh tokens are believed: a shared secret, PEM public keys, a JWKS URL, or any of them together."""

    secret: Secret | None = None
    pem_files: tuple[Path, ...] = ()
    jwks_url: Url | None = None
    issuer: Text = "zexio-service-mesh"
    audience: Text | None = None
    leeway_s: Leeway = 30.0
    max_token_bytes: Size = 8192


class LogSection(msgspec.Struct, frozen=True, kw_only=True):
    """What the node says about itself, and about requests."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "human", "json"] = "auto"
    access: Literal["json", "combined", "logfmt", "off"] = "off"
    entries: Entries = 10_000


class MetricsSection(msgspec.Struct, frozen=True, kw_only=True):
    """What Prometheus is told: `top_...` are the numbers of those with figures of their own."""

    top_targets: Number = 0
    top_routes: Number = 0
    top_certificates: Number = 100


class TracingSection(msgspec.Struct, frozen=True, kw_only=True):
    """Spans over OTLP/HTTP: `ratio` is the share of requests that are recorded when who sends them does not say."""

    endpoint: Url | None = None
    ratio: Ratio = 1.0
    service: Text = "zexio"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be configured, validated once."""

    node: NodeSection
    mesh: MeshSection
    tls: TlsSection = TlsSection()
    certs: CertsSection = CertsSection()
    admin: AdminSection = AdminSection()
    auth: AuthSection = AuthSection()
    cloud: CloudSection = CloudSection()
    jwt: JwtSection = JwtSection()
    log: LogSection = LogSection()
    metrics: MetricsSection = MetricsSection()
    tracing: TracingSection = TracingSection()

    @property
    def is_cloud(self) -> bool:
        """Whether a cloud account is configured (contracts/plane.md decision 2)."""
        return bool(self.cloud.token and self.cloud.worker_id)

    @property
    def is_signed(self) -> bool:
        """Whether protected endpoints of the admin API ask for a signature."""
        return self.auth.mode == "always" or (self.auth.mode == "auto" and self.is_cloud)


class SettingsError(Exception):
    """The settings cannot be used; `problems` holds every reason."""

    def __init__(self, problems: list[Problem]) -> None:
        """All problems at once, one line each."""
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class CannotStart(Exception):
    """The settings are valid, and the node cannot start with them here; one line that names the one to change."""


def load(config: Path | None, environ: Mapping[str, str], flags: Mapping[str, str]) -> Settings:
    """The settings of a file, the environment and flags (`node.sources.FLAGS`), of which the later wins.

    Raises SettingsError with every unknown name, wrong value and broken rule.
    """
    kinds = known_keys()
    found = [*(read_file(config, kinds) if config else ()), *read_environment(environ, kinds), *read_flags(flags)]
    problems = [each for each in found if isinstance(each, Problem)]
    values: dict[str, object] = {"node.data": default_data(environ), "mesh.workers": os.cpu_count() or 1}
    origins: dict[str, str] = {}
    for entry in found:
        if isinstance(entry, Entry):
            _accept(entry, kinds[entry.key], values, problems)
            origins[entry.key] = entry.origin
    settings = assemble(values)
    problems += [Problem(origins.get(key, key), reason) for key, reason in _broken_rules(settings)]
    if problems:
        raise SettingsError(problems)
    return settings


def answerable(settings: Settings) -> tuple[ChallengeType, ...]:
    """The challenges that are allowed, and that a node with these listeners can answer."""
    mesh = settings.mesh
    listeners = {"http-01": bool(mesh.listen), "tls-alpn-01": bool(mesh.tls_listen)}
    return tuple(challenge for challenge in settings.certs.challenges if listeners.get(challenge, True))


def known_keys() -> dict[str, object]:
    """The type of every setting by its key, `mesh.workers` for example."""
    sections = get_type_hints(Settings)
    return {
        f"{section}.{name}": kind
        for section, fields in sections.items()
        for name, kind in get_type_hints(fields, include_extras=True).items()
    }


def flatten(settings: Settings) -> dict[str, object]:
    """The value of every setting by its key."""
    return {key: getattr(getattr(settings, key.partition(".")[0]), key.partition(".")[2]) for key in known_keys()}


def default_data(environ: Mapping[str, str]) -> Path:
    """The data folder when none is configured: a system folder for root, else one in the home folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/zexio")
    return Path(environ.get("HOME") or Path.home()) / ".local/share/zexio"


def _accept(entry: Entry, kind: object, values: dict[str, object], problems: list[Problem]) -> None:
    try:
        values[entry.key] = convert(entry.raw, kind, from_text=entry.from_text)
    except ValueError:
        shown = "this value" if holds_secret(kind) else repr(entry.raw)
        problems.append(Problem(entry.origin, f"{shown} is not accepted; give {accepts(kind)}"))


def assemble(values: Mapping[str, object]) -> Settings:
    """The settings that hold these values by their keys, and defaults for the rest; the reverse of `flatten`."""
    sections: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in values.items():
        section, _dot, name = key.partition(".")
        sections[section][name] = value
    return Settings(**{section: fields(**sections[section]) for section, fields in get_type_hints(Settings).items()})


def _broken_rules(settings: Settings) -> Iterator[tuple[str, str]]:
    if not (settings.mesh.listen or settings.mesh.tls_listen):
        yield "mesh.listen", f"the mesh needs an address; give {Address.ACCEPTS}"
    yield from _weak_secret(settings.jwt.secret)
    yield from _unfit_keys_url(settings.jwt.jwks_url)
    yield from _half_a_cloud(settings.cloud)
    yield from _unfit_certs(settings.certs)
    if settings.certs.challenges and not answerable(settings):
        yield (
            "certs.challenges",
            "none of these can be answered: http-01 takes mesh.listen, tls-alpn-01 mesh.tls_listen",
        )
    if not (settings.is_signed or settings.admin.listen.is_loopback or settings.admin.open_to_network):
        yield (
            "admin.listen",
            (
                f"{settings.admin.listen} opens the unsigned admin API to the network; give a loopback address, "
                'set auth.mode = "always", or say --admin-open-to-network (admin.open_to_network = true)'
            ),
        )


def _weak_secret(secret: str | None) -> Iterator[tuple[str, str]]:
    if secret is None:
        return
    advice = "give a random one, or none and the node makes its own"
    if secret.encode() == WELL_KNOWN_SECRET:
        yield "jwt.secret", f"this is the published example secret, with which anybody can mint tokens; {advice}"
    elif len(secret.encode()) < MIN_SECRET_BYTES:
        yield "jwt.secret", f"the secret is shorter than {MIN_SECRET_BYTES} bytes (RFC 7518 section 3.2); {advice}"


def _unfit_keys_url(url: str | None) -> Iterator[tuple[str, str]]:
    if url is None:
        return
    try:
        check_keys_url(url)
    except ValueError as reason:
        yield "jwt.jwks_url", str(reason)


def _half_a_cloud(cloud: CloudSection) -> Iterator[tuple[str, str]]:
    # Half of it would be an open node in place of one that asks for signatures.
    for name, other in (("token", "worker_id"), ("worker_id", "token")):
        if getattr(cloud, other) and not getattr(cloud, name):
            yield f"cloud.{name}", f"this is missing beside cloud.{other}; cloud mode needs both"


def _unfit_certs(certs: CertsSection) -> Iterator[tuple[str, str]]:
    if not certs.issuers:
        yield "certs.issuers", "there has to be one; an authority is asked only for names that want a certificate"
    if not certs.challenges:
        yield "certs.challenges", "there has to be one of http-01, tls-alpn-01 and dns-01"
    has_server, has_command = certs.rfc2136_server is not None, bool(certs.dns_command)
    for key in ("rfc2136_key_file", "rfc2136_zone"):
        if getattr(certs, key) is not None and not has_server:
            yield f"certs.{key}", "this is missing beside it: certs.rfc2136_server, the name server that takes updates"
    if has_server and has_command:
        yield "certs.dns_command", "certs.rfc2136_server answers dns-01 already; give one of them"
    if has_command and not Path(certs.dns_command[0]).is_absolute():
        # It acts for every name that there is: not whatever program comes first on somebody's PATH.
        yield "certs.dns_command", f"{certs.dns_command[0]} has to be the whole path of the program"
    if set(certs.challenges) == {"dns-01"} and not (has_server or has_command):
        yield "certs.challenges", "dns-01 needs certs.rfc2136_server or certs.dns_command to prove a name"
    if "dns-01" not in certs.challenges or not (has_server or has_command):
        for name in (name for name in certs.names if name.startswith("*.")):
            yield "certs.names", f"{name} needs dns-01, with certs.rfc2136_server or certs.dns_command"
