"""What a route may ask for beyond its targets, as values in the form that the API shows, each field with its rules.

They say what `mesh.policies` says; `node.compile` brings the ones to the others by the names of their fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec

from state import header_rules, text_rules
from state.refusal import Problem
from state.rules import Fold, Length, Range

HashSource = Literal["address", "header", "cookie"]
RateBy = Literal["address", "token", "header"]
Encoding = Literal["zstd", "br", "gzip"]
ProxyProtocol = Literal["off", "v1", "v2"]
RedirectStatus = Literal[301, 302, 303, 307, 308]

Seconds = Annotated[float, Range(0, 86_400, above=True)]
Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(0, 1_000_000)]
Checks = Annotated[int, Range(1, 100)]
Bytes = Annotated[int, Range(0, 2**63 - 1)]
Lifetime = Annotated[int, Range(0, 10 * 365 * 86_400)]
Status = Annotated[int, Range(400, 599)]

Token = Annotated[str, Fold(header_rules.check_token)]
Name = Annotated[str, Fold(header_rules.check_edited)]
FieldValue = Annotated[str, Fold(header_rules.check_value)]
Names = Annotated[tuple[Name, ...], Length(0, 64), Fold(header_rules.check_named_once)]
Tokens = Annotated[tuple[Token, ...], Length(0, 64)]
OptionalName = Annotated[str, Length(0, 255), Fold(text_rules.fold_name)]
Html = Annotated[str, Length(0, 65_536)]
Pem = Annotated[str, Length(0, 65_536), Fold(text_rules.check_certificates)]
RequestPath = Annotated[str, Length(1, 1024), Fold(text_rules.check_request_path)]
PathPrefix = Annotated[str, Length(1, 1024), Fold(text_rules.check_path_prefix)]
Networks = Annotated[tuple[Annotated[str, Fold(text_rules.fold_network)], ...], Length(0, 1024)]
StatusRange = Annotated[str, Fold(text_rules.fold_statuses), msgspec.Meta(examples=["200-399", "204"])]
ErrorStatus = Annotated[str, Fold(text_rules.check_error_status)]
UserName = Annotated[str, Length(1, 128), Fold(text_rules.check_user)]
PasswordHash = Annotated[str, Length(1, 512), Fold(text_rules.check_password_hash)]


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True):
    """How targets are probed; as many results in a row as the two counts say turn a target.

    `host` is the Host that is sent, by default the route's. A good answer has one of `statuses` and holds `body`.
    """

    path: RequestPath = "/health"
    host: Annotated[str, Length(0, 260), Fold(text_rules.fold_authority)] = ""
    interval_s: Seconds = 5.0
    timeout_s: Seconds = 2.0
    healthy_after: Checks = 2
    unhealthy_after: Checks = 3
    statuses: Annotated[tuple[StatusRange, ...], Length(1, 16)] = ("200-399",)
    body: Annotated[str, Length(0, 4096)] = ""


class Ejection(msgspec.Struct, frozen=True, kw_only=True):
    """When a target is taken out for failing visitors: after so many failures in a row, for `base_s`, then twice that.

    A failure is no connection, no answer, or an answer with one of `statuses`. At most `max_share` of a route's
    targets are out at a time. 0 failures: never.
    """

    after: Annotated[int, Range(0, 1000)] = 5
    base_s: Seconds = 10.0
    max_s: Seconds = 300.0
    max_share: Share = 0.5
    statuses: Annotated[tuple[Status, ...], Length(0, 64)] = ()

    def problems(self) -> Iterator[Problem]:
        """The first time out is not longer than the longest."""
        if self.base_s > self.max_s:
            yield Problem("base_s", "is more than max_s")


class Circuit(msgspec.Struct, frozen=True, kw_only=True):
    """How much one target is asked to do at a time, in each worker: requests in flight, and waiting for one of these.

    0 in flight: any number, and none waits. One that waits longer than `pending_s` seconds gets 503.
    """

    max_in_flight: Count = 0
    max_pending: Count = 0
    pending_s: Seconds = 5.0

    def problems(self) -> Iterator[Problem]:
        """Nothing waits where nothing is limited."""
        if self.max_pending and not self.max_in_flight:
            yield Problem("max_pending", "has no meaning without max_in_flight")


class RetryBudget(msgspec.Struct, frozen=True, kw_only=True):
    """How many of a route's requests may be second tries: a `share` of all, and `min_per_s` in any case."""

    share: Share = 0.2
    min_per_s: Annotated[float, Range(0, 1_000_000)] = 3.0


class Hash(msgspec.Struct, frozen=True, kw_only=True):
    """What consistent_hash goes by: the visitor's address, or a header or cookie called `name` (else the address)."""

    source: HashSource = "address"
    name: Annotated[str, Length(0, 256)] = ""

    def problems(self) -> Iterator[Problem]:
        """A header and a cookie have a name, an address has none."""
        yield from name_problems(self.name, needed=self.source != "address", by=self.source)


class Sticky(msgspec.Struct, frozen=True, kw_only=True):
    """A cookie that brings a visitor back to the same target; for the browser's session when `max_age_s` is 0."""

    cookie: Token = "zexio_target"
    max_age_s: Lifetime = 0


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Limits in seconds; null is the node's setting: `mesh.connect_timeout_s` and so on.

    To connect, to the head of the answer, between two reads of its body and of the request's, and for the whole.
    """

    connect_s: Seconds | None = None
    response_s: Seconds | None = None
    idle_s: Seconds | None = None
    body_idle_s: Seconds | None = None
    total_s: Seconds | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of requests; null is the node's setting, which they cannot loosen."""

    max_head_bytes: Annotated[int, Range(1, 2**31)] | None = None
    max_headers: Annotated[int, Range(1, 100_000)] | None = None
    max_requests_per_connection: Annotated[int, Range(1, 2**31)] | None = None


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """At most `requests` in `per_s` seconds for one address, token or value of `header`, `burst` at once (0: the same).

    It holds for all workers of the node together.
    """

    requests: Annotated[int, Range(1, 1_000_000_000)]
    per_s: Seconds = 1.0
    burst: Annotated[int, Range(0, 1_000_000_000)] = 0
    by: RateBy = "address"
    header: Annotated[str, Length(0, 256)] = ""

    def problems(self) -> Iterator[Problem]:
        """Only a header has a name."""
        yield from name_problems(self.header, needed=self.by == "header", by=self.by, field="header")


class HeaderEdits(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of requests and of answers.

    First some are removed, then others set in place of any of the same name (or removed, with an empty value), then
    others added.
    """

    request: Annotated[Mapping[Name, FieldValue], Length(0, 64), Fold(header_rules.check_named_once)] = msgspec.field(
        default_factory=dict
    )
    response: Annotated[Mapping[Name, FieldValue], Length(0, 64), Fold(header_rules.check_named_once)] = msgspec.field(
        default_factory=dict
    )
    add_request: Annotated[Mapping[Name, Annotated[tuple[FieldValue, ...], Length(1, 64)]], Length(0, 64)] = (
        msgspec.field(default_factory=dict)
    )
    add_response: Annotated[Mapping[Name, Annotated[tuple[FieldValue, ...], Length(1, 64)]], Length(0, 64)] = (
        msgspec.field(default_factory=dict)
    )
    remove_request: Names = ()
    remove_response: Names = ()


class Redirect(msgspec.Struct, frozen=True, kw_only=True):
    """Every request is answered with `status` and `to`, in which {host}, {path} and {query} are the request's own."""

    to: Annotated[
        str, Length(1, 2048), Fold(text_rules.check_redirect), msgspec.Meta(examples=["https://{host}{path}"])
    ]
    status: RedirectStatus = 308


class BasicAuth(msgspec.Struct, frozen=True, kw_only=True):
    """Visitors give a name and a password; `users` are argon2id hashes by name."""

    users: Annotated[Mapping[UserName, PasswordHash], Length(1, 256)]
    realm: Annotated[str, Length(1, 128), Fold(text_rules.check_realm)] = "Restricted"


class ForwardAuth(msgspec.Struct, frozen=True, kw_only=True):
    """Every request is first shown, without its body, to `url`: 2xx lets it pass, any other answer goes to the visitor.

    The fields of its answer named in `copy_headers` replace those of the request for the target.
    """

    url: Annotated[str, Length(1, 2048), Fold(text_rules.check_url)]
    copy_headers: Names = ()
    timeout_s: Seconds = 5.0


class Cors(msgspec.Struct, frozen=True, kw_only=True):
    """Which pages of other origins may use the route; preflights are answered by the proxy."""

    origins: Annotated[tuple[Annotated[str, Length(1, 300), Fold(text_rules.fold_origin)], ...], Length(1, 256)]
    methods: Annotated[tuple[Token, ...], Length(1, 64)] = ("GET", "HEAD", "POST")
    headers: Tokens = ()
    expose: Tokens = ()
    credentials: bool = False
    max_age_s: Annotated[int, Range(0, 86_400)] = 600

    def problems(self) -> Iterator[Problem]:
        """Fetch standard, section 3.3.5: browsers refuse the combination, and every page could act as its visitor."""
        if self.credentials and "*" in self.origins:
            yield Problem("credentials", "must not be true for every origin; name the origins")


class Compression(msgspec.Struct, frozen=True, kw_only=True):
    """Answers are compressed in the first of `encodings` that the visitor accepts, if they are worth it.

    `types` are media types, or their beginnings up to a `*`.
    """

    encodings: Annotated[tuple[Encoding, ...], Length(1, 3)] = ("zstd", "br", "gzip")
    min_bytes: Annotated[int, Range(0, 2**31)] = 1024
    types: Annotated[tuple[Annotated[str, Length(1, 128), Fold(text_rules.fold_media_type)], ...], Length(1, 64)] = (
        "text/*",
        "application/json",
        "application/javascript",
        "application/xml",
        "application/wasm",
        "application/manifest+json",
        "image/svg+xml",
    )


class Hsts(msgspec.Struct, frozen=True, kw_only=True):
    """Strict-Transport-Security on answers over TLS (RFC 6797)."""

    max_age_s: Lifetime = 31_536_000
    include_subdomains: bool = False
    preload: bool = False

    def problems(self) -> Iterator[Problem]:
        """What hstspreload.org asks for."""
        if self.preload and not (self.include_subdomains and self.max_age_s >= 31_536_000):
            yield Problem("preload", "needs include_subdomains and a max_age_s of a year")


class TargetTls(msgspec.Struct, frozen=True, kw_only=True):
    """How TLS targets are spoken to: `ca` is PEM (empty: the system's roots), `server_name` what they are called.

    `certificate` is a name that a certificate of the node covers, which is shown to targets that ask for one.
    """

    ca: Pem = ""
    server_name: OptionalName = ""
    verify: bool = True
    certificate: Annotated[str, Length(0, 255), Fold(text_rules.fold_covered_name)] = ""


def name_problems(name: str, *, needed: bool, by: str, field: str = "name") -> Iterator[Problem]:
    """What is wrong with the name of a header or cookie, where there is to be one or none."""
    if not needed:
        if name:
            yield Problem(field, f"has no meaning beside {by}")
        return
    try:
        header_rules.check_token(name)
    except ValueError as reason:
        yield Problem(field, str(reason) if name else f"is required beside {by}")
