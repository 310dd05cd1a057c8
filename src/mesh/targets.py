"""The live record of each target address, and the choice of a target for a request.

Records are keyed by address and outlive snapshots: in-flight counts, failures and ejections survive a change of routes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from mesh.affinity import Affinity
from mesh.balance import Asks, Way, way
from mesh.budget import Budget
from mesh.policies import Ejection, Split, Target
from mesh.pool import Pool, Poolable
from mesh.routes import Route

if TYPE_CHECKING:
    from mesh.sides import Session

C = TypeVar("C", bound=Poolable)

_EJECTION: Final = Ejection()
EJECT_AFTER: Final = _EJECTION.after
_DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "h2c": 80, "https": 443, "h2": 443}
_NOBODY: Final[frozenset[object]] = frozenset()
_MAX_DOUBLINGS: Final = 30
_LEAST_SHARE: Final = 0.1

# `TargetState.since` is the time when the target began to take requests, or one of these.
_NEW: Final = -2.0
_BACK: Final = -1.0
_LONG_AGO: Final = 0.0


class Saturated(Exception):
    """Every target that could be used has as many requests as it may have; `queue` is where to wait for one."""

    def __init__(self, queue: Queue) -> None:
        """One for each choice that failed so."""
        super().__init__("every target has as many requests as it may have")
        self.queue = queue


class Waiter(Protocol):
    """Somebody who waits for a target to have room."""

    def resume(self) -> bool:
        """Choose again: there may be room now. False when that is not wanted any more."""


class Place(NamedTuple):
    """Where an address leads: a host and a port, or a socket's path; `host_value` is the target's own Host."""

    scheme: str
    host: str
    port: int
    path: str
    host_value: bytes

    @classmethod
    def read(cls, address: str) -> Place:
        """Read an address as `mesh.policies.Target` defines it."""
        if address.startswith("unix:"):
            return cls("unix", "", 0, address.removeprefix("unix:"), b"localhost")
        parts = urlsplit(address)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 80)
        return cls(parts.scheme, parts.hostname or "", port, "", parts.netloc.encode())

    @property
    def has_tls(self) -> bool:
        """Whether TLS is spoken there."""
        return self.scheme in ("https", "h2")

    @property
    def has_http2(self) -> bool:
        """Whether HTTP/2 is spoken there, without asking first."""
        return self.scheme in ("h2", "h2c")


class TargetState(Generic[C]):
    """What is known of one address: where it is, how busy, how it failed lately, and its connections."""

    __slots__ = (
        "_back_at",
        "address",
        "awaited",
        "ejected_at",
        "ejected_until",
        "ejections",
        "failures",
        "host_value",
        "in_flight",
        "place",
        "pool",
        "requests",
        "routes",
        "sessions",
        "since",
        "via",
    )

    def __init__(self, address: str, pool_size: int, via: str = "") -> None:
        """Read `address` and `via` as `mesh.policies.Target` defines them."""
        self.address = address
        self.pool: Pool[C] = Pool(pool_size)
        # Connections that carry several requests at a time.
        self.sessions: list[Session] = []
        self.in_flight = 0
        self.failures = 0
        self.requests = 0
        # How many live routes point here; at none the record is dropped.
        self.routes = 0
        self.ejected_until = 0.0
        self.ejected_at = 0.0
        # How often it was taken out lately; each time is twice as long as the one before.
        self.ejections = 0
        self._back_at = 0.0
        self.since = _NEW
        # The queues in which somebody waits for this target, of whatever route, the next one first.
        self.awaited: dict[Queue, None] = {}
        self.place = Place.read(address)
        self.host_value = self.place.host_value
        self.via = Place.read(via) if via else None

    @property
    def is_idle(self) -> bool:
        """Whether no request and no tunnel is with the target."""
        return not self.in_flight

    def failed(self, now: float, ejection: Ejection = _EJECTION) -> bool:
        """Count a failure to connect or to answer; True when it was one too many and took the target out for a while.

        A target that comes back and fails at once is taken out again. `now` is in seconds.
        """
        self.failures += 1
        if not 0 < ejection.after <= self.failures or now < self.ejected_until:
            return False
        # The back-off decays by a step for each `base_s` that the target stayed in.
        good_s = max(0.0, now - self._back_at)
        if self.ejections:
            self.ejections = max(0, self.ejections - int(good_s / max(ejection.base_s, 0.001)))
        self.ejections += 1
        doublings = min(self.ejections - 1, _MAX_DOUBLINGS)
        self.ejected_at = now
        self._back_at = self.ejected_until = now + min(ejection.max_s, ejection.base_s * 2**doublings)
        return True

    def succeeded(self) -> None:
        """An answer came: forget the failures."""
        self.failures = 0
        if self.ejected_until:
            self.ejected_until = 0.0
            self.since = _BACK

    def answered(self, status: int, now: float, ejection: Ejection = _EJECTION) -> bool:
        """An answer with `status` came: a failure or a success; True when it took the target out."""
        if status in ejection.statuses:
            return self.failed(now, ejection)
        if self.failures:
            self.succeeded()
        return False

    def next_waiter(self) -> Waiter | None:
        """Who is to choose again because a request has left this target; routes take turns."""
        for queue in tuple(self.awaited):
            del self.awaited[queue]
            waiter = queue.next()
            if len(queue):
                self.awaited[queue] = None
            if waiter is not None:
                return waiter
        return None

    def ramp(self, now: float, slow_start_s: float) -> float:
        """When a slow start of so many seconds ends, for a target that is new or has come back; 0 when it is over."""
        if self.since < 0:
            # One that has work already, for another route, is not new.
            self.since = _LONG_AGO if self.since == _NEW and self.requests else now
        begin = max(self.since, self.ejected_until)
        return begin + slow_start_s if begin and now < begin + slow_start_s else 0.0


class TargetLoad(msgspec.Struct, frozen=True, gc=False):
    """What a worker has to say of one target of a route; counts are those of the address, for whatever route.

    `ejected_until` is in seconds of the worker's monotonic clock, 0 when the target is in.
    """

    address: str
    weight: int
    in_flight: int
    requests: int
    failures: int
    ejected_until: float
    is_draining: bool
    is_down: bool
    is_split: bool


class Awaited(Protocol):
    """A target, as far as those go who wait for it."""

    awaited: dict[Queue, None]


class Queue:
    """Those who wait until one of some targets has room, the longest waiting first."""

    __slots__ = ("_most", "_targets", "_waiting")

    def __init__(self, targets: Sequence[Awaited], max_pending: int) -> None:
        """At most `max_pending` for each of `targets`."""
        self._targets = targets
        self._most = max_pending * len(targets)
        self._waiting: OrderedDict[Waiter, None] = OrderedDict()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def wait(self, waiter: Waiter) -> bool:
        """Let `waiter` wait until it is resumed or forgotten; False when too many wait already."""
        if len(self._waiting) >= self._most:
            return False
        if not self._waiting:
            for target in self._targets:
                target.awaited[self] = None
        self._waiting[waiter] = None
        return True

    def forget(self, waiter: Waiter) -> None:
        """Let `waiter` wait no more."""
        self._waiting.pop(waiter, None)

    def next(self) -> Waiter | None:
        """Who waits longest, and from now on does not wait any more."""
        return self._waiting.popitem(last=False)[0] if self._waiting else None

    def wake(self) -> None:
        """Let everybody choose again, in turn; who finds no room waits again."""
        for _ in range(len(self._waiting)):
            waiter = self.next()
            if waiter is not None:
                waiter.resume()


class Group(Generic[C]):
    """One set of targets of a route, and the choice among them."""

    __slots__ = (
        "_balance",
        "_ejection",
        "_members",
        "_most_in_flight",
        "_route",
        "_slow_start_s",
        "_slow_until",
        "_targets",
        "_way",
        "_weights",
        "queue",
        "states",
        "usable",
    )

    def __init__(self, route: Route, targets: Sequence[Target], states: Sequence[TargetState[C]]) -> None:
        """`states` are the records of `targets`, which `route` wants balanced; `use` has to follow."""
        self._route = route
        self._ejection = route.ejection
        self._most_in_flight = route.circuit.max_in_flight
        self._slow_start_s = route.slow_start_s
        # Until when some target may have less than its weight.
        self._slow_until = 0.0
        self._members = targets
        self.states = states
        self.queue = Queue(states, route.circuit.max_pending)
        self.use(())

    def use(self, down: Container[str]) -> None:
        """Give no requests to targets whose addresses are `down`, nor to draining ones, nor to those of weight 0."""
        members = [
            (target, state)
            for target, state in zip(self._members, self.states, strict=True)
            if target.weight and not target.is_draining and target.address not in down
        ]
        self._targets = tuple(state for _target, state in members)
        self._weights = tuple(target.weight for target, _state in members)
        self.usable = frozenset(self._targets)
        self._way: Way | None = None

    def choose(self, now: float, asks: Asks, tried: Container[object]) -> TargetState[C] | None:
        """See `LiveRoute.choose`."""
        chosen = self._way or self._begin()
        if chosen is None:
            return None
        if now >= self._slow_until:
            target = self._targets[chosen.first(self._targets, asks)]
            if target not in tried and self._takes(target, now) and not self._is_slow(target, now):
                return target
        return self._choose_with_care(chosen, now, asks, tried)

    def takes(self, target: TargetState[C], now: float, tried: Container[object]) -> bool:
        """Whether `target` is one of the group that can be given a request."""
        return target in self.usable and target not in tried and self._takes(target, now)

    def _begin(self) -> Way | None:
        if self._targets:
            names = [target.address for target in self._targets]
            self._way = way(self._route.balance, self._weights, names, self._route.hash)
        return self._way

    def _takes(self, target: TargetState[C], now: float) -> bool:
        most = self._most_in_flight
        return target.ejected_until <= now and not (most and target.in_flight >= most)

    def _is_slow(self, target: TargetState[C], now: float) -> bool:
        return self._slow_start_s > 0 and target.ramp(now, self._slow_start_s) > 0

    def _choose_with_care(self, chosen: Way, now: float, asks: Asks, tried: Container[object]) -> TargetState[C] | None:
        """Something is the matter with one of the targets: look at each."""
        targets = self._targets
        left = [index for index, target in enumerate(targets) if target not in tried]
        out = self._out(now)
        # An ejected target rather than none: trying is the only way to find out that it works again.
        left = [index for index in left if index not in out] or left
        if not left:
            return None
        most = self._most_in_flight
        free = [index for index in left if targets[index].in_flight < most] if most else left
        if not free:
            raise Saturated(self.queue)
        weights = self._ramped(now) if self._slow_start_s else self._weights
        return targets[chosen.among(free, weights, targets, asks)]

    def _out(self, now: float) -> Container[int]:
        ejected = [index for index, target in enumerate(self._targets) if target.ejected_until > now]
        most = int(len(self._targets) * self._ejection.max_share)
        if len(ejected) > most:
            # Those that were ejected longest ago are the likeliest to work again.
            ejected.sort(key=lambda index: self._targets[index].ejected_at, reverse=True)
            del ejected[most:]
        return ejected

    def _ramped(self, now: float) -> Sequence[float]:
        slow_start_s = self._slow_start_s
        weights: list[float] = []
        self._slow_until = 0.0
        for target, weight in zip(self._targets, self._weights, strict=True):
            until = target.ramp(now, slow_start_s)
            # Linear from the least share; one that is ejected, and used for want of others, begins there too.
            share = 1.0 - (1.0 - _LEAST_SHARE) * min(1.0, (until - now) / slow_start_s) if until else 1.0
            weights.append(weight * share)
            self._slow_until = max(self._slow_until, until)
        return weights


class LiveRoute(Generic[C]):
    """A route with the records of its targets and the position of its balancer; made when the route is first used."""

    __slots__ = (
        "_affinity",
        "_down",
        "_main",
        "_split",
        "_split_values",
        "_states",
        "budget",
        "only",
        "route",
        "targets",
    )

    def __init__(
        self, route: Route, targets: Iterable[TargetState[C]], *, split_targets: Iterable[TargetState[C]] = ()
    ) -> None:
        """The records of `route.targets`, and of `route.traffic.split.targets`, in the same order."""
        self.route = route
        self._states = tuple(targets)
        others = tuple(split_targets)
        self.targets = self._states + others
        self.budget = Budget(route.retry_budget, self.targets)
        self._down: frozenset[str] = frozenset()
        # Most routes have one target, and never choose.
        self._main: Group[C] | None = None
        self._split: Group[C] | None = None
        self._affinity = (
            Affinity(route, [target.address for target in self.targets]) if route.sticky is not None else None
        )
        split = route.traffic.split
        self._split_values = frozenset(value.encode() for value in split.values) if split is not None else frozenset()
        if split is not None:
            self._split = Group(route, split.targets, others)
        # The target of every request, where there is nothing to choose.
        self.only: TargetState[C] | None = self._only()

    @property
    def waiting(self) -> int:
        """How many requests wait for a target to have room."""
        return sum(len(group.queue) for group in self._groups())

    def forget(self, waiter: Waiter) -> None:
        """Let `waiter` wait no more, if it does."""
        for group in self._groups():
            group.queue.forget(waiter)

    def use_health(self, down: Iterable[str]) -> None:
        """From now on the targets with these addresses are down and are given no requests."""
        before, self._down = self._down, frozenset(down)
        if self._down == before:
            return
        for target in self.targets:
            if target.address in before and target.address not in self._down:
                target.since = _BACK
        for group in self._groups():
            group.use(self._down)
        self.only = self._only()
        for group in self._groups():
            group.queue.wake()

    def choose(self, now: float, asks: Asks, tried: Container[object] = _NOBODY) -> TargetState[C] | None:
        """A target for a request, or None when none is left; an ejected one rather than none.

        It is neither down, nor draining, nor in `tried`. `now` is in seconds. Raises Saturated when those that are
        left have as many requests as the route's circuit lets them have.
        """
        if now >= self.budget.due:
            self.budget.note(now)
        group = self._main or self._choosing()
        split = self._split
        if split is None and self._affinity is None:
            return group.choose(now, asks, tried)
        found = self._find(asks)
        wish = self.route.traffic.split
        is_split = split is not None and wish is not None and self._is_split(wish, asks, found)
        if split is not None and is_split:
            group, split = split, group
        if found is not None and found[0] is group and group.takes(found[1], now, tried):
            return found[1]
        target = group.choose(now, asks, tried)
        if target is None and split is not None and is_split and wish is not None and wish.by == "share":
            # The route's own targets serve whom chance sent away; never the other way, the share is a promise.
            return split.choose(now, asks, tried)
        return target

    def sticky_line(self, target: TargetState[C], asks: Asks) -> bytes:
        """The Set-Cookie line, with its line end, for a visitor who is to come back to `target`; mostly nothing."""
        return self._affinity.line(target.address, asks) if self._affinity is not None else b""

    def load(self) -> list[TargetLoad]:
        """What every target does now, those of the split behind the others."""
        split = self.route.traffic.split
        wanted = (*self.route.targets, *(split.targets if split is not None else ()))
        return [
            TargetLoad(
                address=state.address,
                weight=target.weight,
                in_flight=state.in_flight,
                requests=state.requests,
                failures=state.failures,
                ejected_until=state.ejected_until,
                is_draining=target.is_draining,
                is_down=target.address in self._down,
                is_split=index >= len(self._states),
            )
            for index, (target, state) in enumerate(zip(wanted, self.targets, strict=True))
        ]

    def _groups(self) -> list[Group[C]]:
        return [group for group in (self._main, self._split) if group is not None]

    def _choosing(self) -> Group[C]:
        group = self._main = Group(self.route, self.route.targets, self._states)
        group.use(self._down)
        return group

    def _find(self, asks: Asks) -> tuple[Group[C], TargetState[C]] | None:
        """The target that the visitor's cookie names, and the set that it is in."""
        index = self._affinity.find(asks) if self._affinity is not None else None
        if index is None:
            return None
        group = self._split if index >= len(self._states) else self._main
        return (group, self.targets[index]) if group is not None else None

    def _only(self) -> TargetState[C] | None:
        route = self.route
        if route.traffic.split is not None or route.sticky is not None or route.circuit.max_in_flight:
            return None
        usable = [
            state
            for target, state in zip(route.targets, self._states, strict=True)
            if target.weight and not target.is_draining and target.address not in self._down
        ]
        return usable[0] if len(usable) == 1 else None

    def _is_split(self, split: Split, asks: Asks, found: tuple[Group[C], TargetState[C]] | None) -> bool:
        """Whether a request goes to the second set of targets."""
        if split.by == "share":
            # Who knows a target stays with its set, until all or nobody is sent to the second one.
            is_known = found is not None and 0 < split.share < 1
            return found[0] is self._split if found is not None and is_known else asks.draw() < split.share
        name = split.name.encode()
        value = asks.field(name.lower()) if split.by == "header" else asks.cookie(name)
        return value in self._split_values if self._split_values else bool(value)
