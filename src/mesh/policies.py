"""What a route may ask for beyond its targets, as values: checks of requests, edits of messages, habits of targets."""

from __future__ import annotations

from typing import Literal

import msgspec

HashSource = Literal["address", "header", "cookie"]
RateBy = Literal["address", "token", "header"]
Encoding = Literal["zstd", "br", "gzip"]
ProxyProtocol = Literal["off", "v1", "v2"]
TrafficMode = Literal["serve", "pause", "stop"]
SplitBy = Literal["share", "header", "cookie"]


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where requests go: `http://host:port`, `https://…`, `h2c://…` and `h2://…` (HTTP/2, plain and TLS), `unix:/path`.

    One that `is_draining` is given no new requests. Requests go through the HTTP proxy at `via`, if that is given, for
    as long as something listens there.
    """

    address: str
    weight: int = 1
    is_draining: bool = False
    via: str = ""


class Health(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How a target is checked: every `interval_s`, within `timeout_s`, and how many results in a row turn it.

    `host` is the Host that is sent (empty: that of the route's visitors); a good answer has a status within one of
    `statuses`, both ends included, and `body` somewhere in the first 64 KiB.
    """

    path: str = "/health"
    host: str = ""
    interval_s: float = 5.0
    timeout_s: float = 2.0
    healthy_after: int = 2
    unhealthy_after: int = 3
    statuses: tuple[tuple[int, int], ...] = ((200, 399),)
    body: str = ""


class Ejection(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """When a target is taken out for failing visitors: after so many failures in a row, for `base_s`, then twice that.

    A failure is no connection, no answer, or an answer with one of `statuses`. At most `max_share` of a route's
    targets are out at a time. 0 failures: never.
    """

    after: int = 5
    base_s: float = 10.0
    max_s: float = 300.0
    max_share: float = 0.5
    statuses: tuple[int, ...] = ()


class Circuit(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How much one target is asked to do at a time, in each worker: requests in flight, and waiting for one of these.

    0 in flight: any number, and none waits. One that waits longer than `pending_s` seconds gets 503.
    """

    max_in_flight: int = 0
    max_pending: int = 0
    pending_s: float = 5.0


class RetryBudget(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How many of a route's requests may be second tries: a `share` of all, and `min_per_s` in any case."""

    share: float = 0.2
    min_per_s: float = 3.0


class Hash(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What consistent_hash goes by: the visitor's address, or a header or cookie called `name` (else the address)."""

    source: HashSource = "address"
    name: str = ""


class Sticky(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A cookie that brings a visitor back to the same target; for the browser's session when `max_age_s` is 0."""

    cookie: str = "zexio_target"
    max_age_s: int = 0


class Timeouts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A route's own limits in seconds; None is the worker's setting of the same name."""

    connect_s: float | None = None
    response_s: float | None = None
    idle_s: float | None = None
    body_idle_s: float | None = None
    total_s: float | None = None


class Limits(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A route's own limits; None is the worker's setting of the same name, which they can only tighten for heads.

    0 is no limit for bodies, as it is in the settings.
    """

    max_body_bytes: int | None = None
    max_head_bytes: int | None = None
    max_headers: int | None = None
    max_requests_per_connection: int | None = None


class RateLimit(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """At most `requests` in `per_s` seconds for one address, token or value of `header`, `burst` at once (0: the same).

    It holds for all workers of the node together.
    """

    requests: int
    per_s: float = 1.0
    burst: int = 0
    by: RateBy = "address"
    header: str = ""


class HeaderEdits(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Fields of a message that are removed, set in place of any of the same name, and added, in this order."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()


class Redirect(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Every request is answered with `status` and `to`, in which {host}, {path} and {query} are the request's own."""

    to: str
    status: int = 308


class BasicAuth(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Visitors give a name and a password; `users` are pairs of a name and an argon2id hash in PHC form."""

    users: tuple[tuple[str, str], ...]
    realm: str = "Restricted"


class ForwardAuth(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Every request is first shown, without its body, to `url`: 2xx lets it pass, any other answer goes to the visitor.

    The fields of its answer named in `copy_headers` replace those of the request for the target.
    """

    url: str
    copy_headers: tuple[str, ...] = ()
    timeout_s: float = 5.0


class Cors(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Which pages of other origins may use the route; preflights are answered here."""

    origins: tuple[str, ...]
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age_s: int = 600


class Compression(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Answers are compressed in the first of `encodings` that the visitor accepts, if they are worth it.

    `types` are media types, or their beginnings up to a `*`.
    """

    encodings: tuple[Encoding, ...] = ("zstd", "br", "gzip")
    min_bytes: int = 1024
    types: tuple[str, ...] = (
        "text/*",
        "application/json",
        "application/javascript",
        "application/xml",
        "application/wasm",
        "application/manifest+json",
        "image/svg+xml",
    )


class ErrorPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """The page for `statuses` (`502`, `5xx`): HTML, in which {status}, {detail} and {request_id} are filled in."""

    statuses: str
    html: str


class ErrorPages(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Pages for what the proxy answers itself; with `intercept` also for the targets' own errors."""

    pages: tuple[ErrorPage, ...]
    intercept: bool = False


class Hsts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Strict-Transport-Security on answers over TLS (RFC 6797)."""

    max_age_s: int = 31_536_000
    include_subdomains: bool = False
    preload: bool = False


class TargetTls(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How TLS targets are spoken to: `ca` is PEM (empty: the system's roots), `server_name` what they are called.

    `certificate` is a name that a certificate of the node covers, which is shown to targets that ask for one.
    """

    ca: str = ""
    server_name: str = ""
    verify: bool = True
    certificate: str = ""


class Split(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A second set of targets, and who is sent there: a `share` of requests (0 to 1), or who brings a header or cookie.

    With `values` empty, any value of the header or cookie called `name` will do.
    """

    targets: tuple[Target, ...]
    by: SplitBy = "share"
    share: float = 0.0
    name: str = ""
    values: tuple[str, ...] = ()


class Traffic(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What becomes of new requests: they are served, held for up to `hold_s` seconds, or answered with 503.

    A stopped route says `message`, and to come back after `retry_after_s` seconds (0: it does not say).
    """

    mode: TrafficMode = "serve"
    hold_s: float = 30.0
    message: str = ""
    retry_after_s: int = 0
    split: Split | None = None
