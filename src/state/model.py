"""What operators want, as frozen values: organizations, routes, and `Desired`, which holds them all at one revision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import msgspec
from rpds import HashTrieMap

from state.history import History, Touch
from state.hosts import fold_domain, fold_route_host
from state.index import Entry, Index, members, reindexed
from state.kinds import Kind, Reference
from state.policies import (
    BasicAuth,
    Bytes,
    Circuit,
    Compression,
    Cors,
    Ejection,
    ErrorStatus,
    FieldValue,
    ForwardAuth,
    Hash,
    HeaderEdits,
    HealthCheck,
    Hsts,
    Html,
    Limits,
    Networks,
    PathPrefix,
    Pem,
    ProxyProtocol,
    RateLimit,
    Redirect,
    RetryBudget,
    Seconds,
    Share,
    Sticky,
    TargetTls,
    Timeouts,
    name_problems,
)
from state.refusal import Problem
from state.rules import Fold, Length, Range
from state.target_urls import fold_target_url
from state.text_rules import check_org_id

Access = Literal["public", "tenant"]
Balance = Literal["round_robin", "least_requests", "random_two", "consistent_hash"]
Https = Literal["off", "on", "redirect"]
CertificateWish = Literal["auto", "off"]
TrafficMode = Literal["serve", "pause", "stop"]
SplitBy = Literal["share", "header", "cookie"]
Message = Annotated[str, Length(0, 4096)]
RetryAfter = Annotated[int, Range(0, 31_536_000)]
OrgId = Annotated[str, Fold(check_org_id)]


class Organization(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant: who owns routes, and whose mesh tokens they admit."""

    id: str
    name: str
    created_at: datetime
    revision: int = 0

    @property
    def key(self) -> str:
        """The id."""
        return self.id

    @property
    def references(self) -> tuple[Reference, ...]:
        """None."""
        return ()


class Target(msgspec.Struct, frozen=True):
    """Where requests go. One that is draining is given no new requests; a PUT neither sets nor ends that."""

    url: Annotated[
        str,
        Fold(fold_target_url),
        msgspec.Meta(
            description="http://host:port, https://host:port, h2c://host:port or h2://host:port (HTTP/2, plain and "
            "over TLS), or unix:/path",
            examples=["http://[::1]:9000"],
        ),
    ]
    weight: Annotated[int, Range(0, 1000)] = 1
    draining: bool = False


Targets = Annotated[tuple[Target, ...], Length(0, 256)]


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """A second set of targets, and who is sent there: a `share` of requests (0 to 1), or who brings a header or cookie.

    With `values` empty, any value of the header or cookie called `name` will do.
    """

    targets: Annotated[tuple[Target, ...], Length(1, 256)]
    by: SplitBy = "share"
    share: Share = 0.0
    name: Annotated[str, Length(0, 256)] = ""
    values: Annotated[tuple[FieldValue, ...], Length(0, 64)] = ()

    def problems(self) -> Iterator[Problem]:
        """A share has no name, and a header or cookie has no share."""
        yield from target_problems(self.targets)
        yield from name_problems(self.name, needed=self.by != "share", by=self.by)
        if self.values and self.by == "share":
            yield Problem("values", "have no meaning beside share")
        if self.share and self.by != "share":
            yield Problem("share", f"has no meaning beside {self.by}")


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of new requests: they are served, held for up to `hold_s` seconds, or answered with 503.

    A stopped route says `message`, and to come back after `retry_after_s` seconds (0: it does not say).
    """

    mode: TrafficMode = "serve"
    hold_s: Seconds = 30.0
    message: Message = ""
    retry_after_s: RetryAfter = 0
    split: Split | None = None


class RouteKey(msgspec.Struct, frozen=True, order=True):
    """What makes a route unique: the host (`shop.example.com`, `*.example.com`, `*`) and the path prefix."""

    host: str
    path_prefix: str = "/"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that reads `text`."""
        host, slash, rest = text.partition("/")
        return cls(host, slash + rest)

    def __str__(self) -> str:
        """`shop.example.com/api`: a host has no slash and a prefix begins with one, so no two keys read the same."""
        return f"{self.host}{self.path_prefix}"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One host and path prefix, who may use it, and the targets that answer for it.

    `access` None means the default for the host's suffix (contracts/plane.md decision 9). `traffic` is steered by
    changes of its own. `revision` is that of the change that wrote the route, and so its ETag.
    """

    host: Annotated[str, Fold(fold_route_host), msgspec.Meta(examples=["shop.example.com", "*.example.com"])]
    targets: Annotated[Targets, msgspec.Meta(description="At least one, except beside redirect.")] = ()
    org_id: Annotated[OrgId | None, msgspec.Meta(description="Whose mesh tokens the route admits.")] = None
    access: Annotated[Access | None, msgspec.Meta(description="null is the default for the host's suffix.")] = None
    tenants: Annotated[tuple[OrgId, ...], Length(0, 256), msgspec.Meta(description="Guests beside org_id.")] = ()
    balance: Balance = "round_robin"
    path_prefix: PathPrefix = "/"
    strip_prefix: bool = False
    rewrite_prefix: Annotated[
        PathPrefix | None, msgspec.Meta(description="What is put in the place of the path prefix.")
    ] = None
    hash: Hash = Hash()
    sticky: Sticky | None = None
    slow_start_s: Annotated[float, Range(0, 3600)] = 0.0
    health: HealthCheck | None = None
    ejection: Ejection = Ejection()
    circuit: Circuit = Circuit()
    retries: Annotated[int, Range(0, 5)] = 1
    retry_budget: RetryBudget = RetryBudget()
    finish_abandoned: Annotated[
        bool, msgspec.Meta(description="Whether a target may finish what no visitor waits for any more.")
    ] = False
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    max_body_bytes: Annotated[Bytes | None, msgspec.Meta(description="null is the node's setting, 0 no limit.")] = None
    rate_limit: RateLimit | None = None
    allow: Annotated[Networks, msgspec.Meta(description="If any, only visitors from these networks.")] = ()
    deny: Annotated[Networks, msgspec.Meta(description="No visitors from these networks.")] = ()
    forward_token: bool = False
    preserve_host: bool = True
    redirect: Redirect | None = None
    headers: HeaderEdits = HeaderEdits()
    basic_auth: BasicAuth | None = None
    forward_auth: ForwardAuth | None = None
    cors: Cors | None = None
    compression: Compression | None = None
    error_pages: Annotated[
        Mapping[ErrorStatus, Html],
        Length(0, 16),
        msgspec.Meta(description="HTML by status (`502`, `5xx`), with {status}, {reason}, {detail}, {request_id}."),
    ] = msgspec.field(default_factory=dict)
    intercept_errors: Annotated[
        bool, msgspec.Meta(description="Whether error_pages also replace the targets' own errors.")
    ] = False
    https: Annotated[
        Https,
        msgspec.Meta(
            description="redirect answers plain requests with 308 to https://; off and on serve them as they come."
        ),
    ] = "off"
    hsts: Hsts | None = None
    client_ca: Annotated[
        Pem, msgspec.Meta(description="Certificates in PEM; visitors must show one that is signed by one of them.")
    ] = ""
    target_tls: TargetTls = TargetTls()
    proxy_protocol: Annotated[
        ProxyProtocol, msgspec.Meta(description="The PROXY header that connections to targets begin with.")
    ] = "off"
    traffic: Traffic = Traffic()
    revision: int = 0

    def problems(self) -> Iterator[Problem]:
        """Requests go somewhere, and a prefix is either taken off or replaced."""
        if self.redirect is None:
            yield from target_problems(self.targets)
        for field in ("targets", "health"):
            if self.redirect is not None and getattr(self, field):
                yield Problem(field, "has no meaning beside redirect, which answers every request")
        if self.strip_prefix and self.rewrite_prefix is not None:
            yield Problem("rewrite_prefix", "has no meaning beside strip_prefix")
        if self.basic_auth is not None:
            yield from self._beside_basic_auth()
        if self.intercept_errors and not self.error_pages:
            yield Problem("intercept_errors", "has no meaning without error_pages")

    def _beside_basic_auth(self) -> Iterator[Problem]:
        """A request has one Authorization field (RFC 9110 section 11.6.2), which cannot hold a password and a token."""
        if self.access == "tenant":
            reason = 'excludes access "tenant": a request has one Authorization field, for a password or a mesh token'
            yield Problem("basic_auth", reason)
        for field in ("tenants", "forward_token"):
            if getattr(self, field):
                yield Problem(field, "has no meaning beside basic_auth, which reads no mesh tokens")

    @property
    def key(self) -> RouteKey:
        """The host and the path prefix."""
        return RouteKey(self.host, self.path_prefix)

    @property
    def references(self) -> tuple[Reference, ...]:
        """The organization."""
        return () if self.org_id is None else ((Kind.ORGANIZATION, self.org_id),)


def target_problems(targets: tuple[Target, ...]) -> Iterator[Problem]:
    """What is wrong with targets taken together."""
    if not targets:
        yield Problem("targets", "must be 1 to 256 targets")
    elif not any(target.weight for target in targets):
        yield Problem("targets", "all have the weight 0")
    seen: set[str] = set()
    for place, target in enumerate(targets):
        if target.url in seen:
            yield Problem(f"targets[{place}].url", "is listed twice")
        seen.add(target.url)


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """A name that visitors use and that wants a certificate: `shop.example.com`, or `*.shop.example.com`.

    It answers as the host `serves` does, with all the routes of that; None: it has routes of its own, or none yet. With
    `certificate` "off" nobody asks for one. `https` says what becomes of plain requests once there is a certificate;
    until then they are served. `ownership` is the token that the customer puts into a TXT record, or "" when none is
    asked for.
    """

    name: Annotated[str, Fold(fold_domain), msgspec.Meta(examples=["shop.example.com", "*.shop.example.com"])]
    serves: Annotated[
        str | None,
        msgspec.Meta(description="The host whose routes answer; null when the name has routes of its own."),
    ] = None
    certificate: Annotated[
        CertificateWish, msgspec.Meta(description="`auto` obtains and renews one, `off` does not.")
    ] = "auto"
    https: Annotated[Https, msgspec.Meta(description="What becomes of plain requests once there is a certificate.")] = (
        "redirect"
    )
    created_at: datetime
    ownership: str = ""
    revision: int = 0

    @property
    def key(self) -> str:
        """The name."""
        return self.name

    @property
    def references(self) -> tuple[Reference, ...]:
        """None."""
        return ()


Entity: TypeAlias = Organization | Route | Domain


class KindSpec(msgspec.Struct, frozen=True):
    """How values of a kind are kept: their type, what reads their key back from text, and whether they hold secrets."""

    type: type[Entity]
    parse_key: Callable[[str], Hashable]
    is_secret: bool = False


KINDS: Final[Mapping[Kind, KindSpec]] = MappingProxyType(
    {
        Kind.ORGANIZATION: KindSpec(Organization, str),
        Kind.ROUTE: KindSpec(Route, RouteKey.parse),
        Kind.DOMAIN: KindSpec(Domain, str),
    }
)

Uses: TypeAlias = "HashTrieMap[Reference, int]"


class Desired(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is wanted at one revision.

    The maps are persistent: a change shares all but O(log n) of them with the value before it. `uses` counts how many
    values refer to another, so that nothing that is in use is removed. `prefixes` lists the path prefixes of the routes
    of a host, and `aliases` the domains that answer as a host does.
    """

    revision: int = 0
    organizations: HashTrieMap[str, Organization] = HashTrieMap()
    routes: HashTrieMap[RouteKey, Route] = HashTrieMap()
    domains: HashTrieMap[str, Domain] = HashTrieMap()
    prefixes: Index = HashTrieMap()
    aliases: Index = HashTrieMap()
    uses: Uses = HashTrieMap()
    history: History = History()

    @classmethod
    def restored(cls, revision: int, values: Mapping[Kind, Collection[Entity]]) -> Self:
        """What was wanted at `revision`, from all its values; nothing is known of how it came about."""
        maps: dict[str, Any] = {
            kind.collection: HashTrieMap((value.key, value) for value in found) for kind, found in values.items()
        }
        counts = Counter(reference for found in values.values() for value in found for reference in value.references)
        uses: Uses = HashTrieMap(counts)
        prefixes: Index = HashTrieMap()
        aliases: Index = HashTrieMap()
        for value in (value for found in values.values() for value in found):
            prefixes = reindexed(prefixes, None, _prefix_entry(value))
            aliases = reindexed(aliases, None, _alias_entry(value))
        maps |= {"uses": uses, "prefixes": prefixes, "aliases": aliases}
        return cls(revision=revision, history=History(revision), **maps)

    def values(self, kind: Kind) -> HashTrieMap[Any, Any]:
        """The map of one kind."""
        values: HashTrieMap[Any, Any] = getattr(self, kind.collection)
        return values

    def get(self, kind: Kind, key: Hashable) -> Entity | None:
        """One value, or None."""
        found: Entity | None = self.values(kind).get(key)
        return found

    def routes_of(self, host: str) -> list[Route]:
        """The routes of a host, in no particular order."""
        return [self.routes[RouteKey(host, prefix)] for prefix in members(self.prefixes, host)]

    def touched_since(self, revision: int) -> frozenset[tuple[Kind, Any]] | None:
        """Kind and key of what was put or removed after `revision`; None, for everything, when that is too long ago."""
        if revision < self.history.start:
            return None
        return frozenset((touch.kind, touch.key) for touch in self.history.after(revision))

    def advanced_to(self, revision: int) -> Self:
        """The same content at a later revision."""
        return msgspec.structs.replace(self, revision=revision)

    def with_value(self, kind: Kind, value: Entity) -> Self:
        """This with `value` put, as a touch of this revision."""
        return self._with(Touch(self.revision, kind, value.key), value)

    def without(self, kind: Kind, key: Hashable) -> Self:
        """This without the value of `key`, as a touch of this revision."""
        return self._with(Touch(self.revision, kind, key), None)

    def _with(self, touch: Touch, value: Entity | None) -> Self:
        values = self.values(touch.kind)
        before = values.get(touch.key)
        changes: dict[str, Any] = {
            touch.kind.collection: values.discard(touch.key) if value is None else values.insert(touch.key, value),
            "uses": _recounted(self.uses, before, value),
            "prefixes": reindexed(self.prefixes, _prefix_entry(before), _prefix_entry(value)),
            "aliases": reindexed(self.aliases, _alias_entry(before), _alias_entry(value)),
            "history": self.history.with_touch(touch),
        }
        return msgspec.structs.replace(self, **changes)


def _prefix_entry(value: Entity | None) -> Entry:
    return (value.host, value.path_prefix) if isinstance(value, Route) else None


def _alias_entry(value: Entity | None) -> Entry:
    return (value.serves, value.name) if isinstance(value, Domain) and value.serves is not None else None


def _recounted(uses: Uses, old: Entity | None, new: Entity | None) -> Uses:
    gone, come = (value.references if value else () for value in (old, new))
    if gone == come:
        return uses
    for reference in gone:
        left = uses[reference] - 1
        uses = uses.insert(reference, left) if left else uses.remove(reference)
    for reference in come:
        uses = uses.insert(reference, uses.get(reference, 0) + 1)
    return uses
