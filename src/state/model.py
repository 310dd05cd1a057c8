"""What operators want, as frozen values: organizations, routes, and `Desired`, which holds them all at one revision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal, Self, TypeAlias

import msgspec
from rpds import HashTrieMap

from state.history import History, Touch
from state.kinds import Kind, Reference

Access = Literal["public", "tenant"]
Balance = Literal["round_robin", "least_requests", "random_two", "consistent_hash"]
Https = Literal["off", "on", "redirect"]


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
    """Where requests go: `http://host:port`, `https://host:port` or `unix:/path`."""

    url: str
    weight: int = 1


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True):
    """How a target is probed: times in seconds, and how many results in a row turn its state."""

    path: str = "/health"
    interval_s: float = 5.0
    timeout_s: float = 2.0
    healthy_after: int = 2
    unhealthy_after: int = 3


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Limits in seconds: to connect, to the head of the answer, and between two reads of a body."""

    connect_s: float = 5.0
    response_s: float = 60.0
    idle_s: float = 60.0


class HeaderEdits(msgspec.Struct, frozen=True, kw_only=True):
    """Fields that are set on the way to the target and on the way back, in place of any of the same name."""

    request: Mapping[str, str] = msgspec.field(default_factory=dict)
    response: Mapping[str, str] = msgspec.field(default_factory=dict)


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

    `access` None means the default for the host's suffix (contracts/plane.md decision 9). `revision` is that of the
    change that wrote the route, and so its ETag.
    """

    host: str
    targets: tuple[Target, ...]
    org_id: str | None = None
    access: Access | None = None
    balance: Balance = "round_robin"
    path_prefix: str = "/"
    strip_prefix: bool = False
    health: HealthCheck | None = None
    timeouts: Timeouts = Timeouts()
    retries: int = 1
    max_body_bytes: int | None = None
    forward_token: bool = False
    preserve_host: bool = True
    headers: HeaderEdits = HeaderEdits()
    https: Https = "off"
    revision: int = 0

    @property
    def key(self) -> RouteKey:
        """The host and the path prefix."""
        return RouteKey(self.host, self.path_prefix)

    @property
    def references(self) -> tuple[Reference, ...]:
        """The organization."""
        return () if self.org_id is None else ((Kind.ORGANIZATION, self.org_id),)


Entity: TypeAlias = Organization | Route


class KindSpec(msgspec.Struct, frozen=True):
    """How values of a kind are kept: their type, what reads their key back from text, and whether they hold secrets."""

    type: type[Entity]
    parse_key: Callable[[str], Hashable]
    is_secret: bool = False


KINDS: Final[Mapping[Kind, KindSpec]] = MappingProxyType(
    {
        Kind.ORGANIZATION: KindSpec(Organization, str),
        Kind.ROUTE: KindSpec(Route, RouteKey.parse),
    }
)

Uses: TypeAlias = "HashTrieMap[Reference, int]"


class Desired(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is wanted at one revision.

    The maps are persistent: a change shares all but O(log n) of them with the value before it. `uses` counts how many
    values refer to another, so that nothing that is in use is removed.
    """

    revision: int = 0
    organizations: HashTrieMap[str, Organization] = HashTrieMap()
    routes: HashTrieMap[RouteKey, Route] = HashTrieMap()
    uses: Uses = HashTrieMap()
    history: History = History()

    @classmethod
    def restored(cls, revision: int, values: Mapping[Kind, Collection[Entity]]) -> Self:
        """What was wanted at `revision`, from all its values; nothing is known of how it came about."""
        maps: dict[str, Any] = {
            kind.collection: HashTrieMap((value.key, value) for value in found) for kind, found in values.items()
        }
        uses = Counter(reference for found in values.values() for value in found for reference in value.references)
        return cls(revision=revision, uses=HashTrieMap(uses), history=History(revision), **maps)

    def values(self, kind: Kind) -> HashTrieMap[Any, Any]:
        """The map of one kind."""
        values: HashTrieMap[Any, Any] = getattr(self, kind.collection)
        return values

    def get(self, kind: Kind, key: Hashable) -> Entity | None:
        """One value, or None."""
        found: Entity | None = self.values(kind).get(key)
        return found

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
        changes: dict[str, Any] = {
            touch.kind.collection: values.discard(touch.key) if value is None else values.insert(touch.key, value),
            "uses": _recounted(self.uses, values.get(touch.key), value),
            "history": self.history.with_touch(touch),
        }
        return msgspec.structs.replace(self, **changes)


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
