"""The live record of each target address, and the choice of a target for a request.

Records are keyed by address and outlive snapshots: in-flight counts, failures and ejections survive a change of routes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from typing import Final, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from mesh.pool import Pool, Poolable
from mesh.routes import Route

C = TypeVar("C", bound=Poolable)

EJECT_AFTER: Final = 5
EJECT_S: Final = 10.0
_DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
_NOBODY: Final[frozenset[object]] = frozenset()


class Place(NamedTuple):
    """Where an address leads: a host and a port, or a socket's path; `host_value` is the target's own Host."""

    scheme: str
    host: str
    port: int
    path: str
    host_value: bytes

    @classmethod
    def read(cls, address: str) -> Place:
        """Read an address as `mesh.routes.Target` defines it."""
        if address.startswith("unix:"):
            return cls("unix", "", 0, address.removeprefix("unix:"), b"localhost")
        parts = urlsplit(address)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 80)
        return cls(parts.scheme, parts.hostname or "", port, "", parts.netloc.encode())


class TargetState(Generic[C]):
    """What is known of one address: where it is, how busy, how it failed lately, and its idle connections."""

    __slots__ = (
        "address",
        "ejected_until",
        "failures",
        "host_value",
        "in_flight",
        "place",
        "pool",
        "requests",
        "routes",
    )

    def __init__(self, address: str, pool_size: int) -> None:
        """Read `address` as `mesh.routes.Target` defines it."""
        self.address = address
        self.pool: Pool[C] = Pool(pool_size)
        self.in_flight = 0
        self.failures = 0
        self.requests = 0
        # How many live routes point here; at none the record is dropped.
        self.routes = 0
        self.ejected_until = 0.0
        self.place = Place.read(address)
        self.host_value = self.place.host_value

    def failed(self, now: float) -> None:
        """Count a failure to connect or to answer; enough of them in a row take the target out for a while."""
        self.failures += 1
        if self.failures >= EJECT_AFTER:
            self.ejected_until = now + EJECT_S

    def succeeded(self) -> None:
        """An answer came: forget the failures."""
        self.failures = 0
        self.ejected_until = 0.0


class LiveRoute(Generic[C]):
    """A route with the records of its targets and the position of its balancer; made when the route is first used."""

    __slots__ = (
        "_current",
        "_down",
        "_weights",
        "is_open",
        "only",
        "request_edits",
        "response_edits",
        "route",
        "stripped",
        "targets",
    )

    def __init__(self, route: Route, targets: Iterable[TargetState[C]]) -> None:
        """`targets` are the records of `route.targets`, in the same order."""
        self.route = route
        self.targets = tuple(targets)
        self._down: frozenset[str] = frozenset()
        # The common case of one target skips every choice.
        self.only: TargetState[C] | None = None
        self.use_health(())
        self.request_edits = Edits(route.request_headers) if route.request_headers else None
        self.response_edits = Edits(route.response_headers) if route.response_headers else None
        # Whether anybody may come with any request, so that nothing has to be checked.
        self.is_open = route.access == "public" and route.max_body_bytes is None and route.https != "redirect"
        # How many bytes of a target are taken off before it goes on.
        self.stripped = len(route.path_prefix.rstrip("/").encode()) if route.strip_prefix else 0
        self._weights = [target.weight for target in route.targets]
        self._current = [0] * len(self.targets)

    def use_health(self, down: Iterable[str]) -> None:
        """From now on the targets with these addresses are down and are given no requests."""
        self._down = frozenset(down)
        self.only = self.targets[0] if len(self.targets) == 1 and not self._down else None

    def choose(self, now: float, key: bytes, draw: float, tried: Container[object] = _NOBODY) -> TargetState[C] | None:
        """A target that is neither down, nor in `tried`, nor ejected at `now`; an ejected one rather than none.

        `key` (the visitor's address) decides for consistent_hash, `draw` (0 <= draw < 1) for random_two.
        """
        left = [
            index
            for index, target in enumerate(self.targets)
            if self._weights[index] and target not in tried and target.address not in self._down
        ]
        usable = [index for index in left if self.targets[index].ejected_until <= now] or left
        if not usable:
            return None
        match self.route.balance:
            case "least_requests":
                chosen = min(usable, key=self._load)
            case "random_two":
                chosen = self._better_of_two(usable, draw)
            case "consistent_hash":
                chosen = max(usable, key=lambda index: self._score(index, key))
            case _:
                chosen = self._next_in_turn(usable)
        return self.targets[chosen]

    def _load(self, index: int) -> float:
        return (self.targets[index].in_flight + 1) / self._weights[index]

    def _better_of_two(self, usable: list[int], draw: float) -> int:
        first = int(draw * len(usable))
        second = (first + 1 + int(draw * len(usable) * 7919) % max(1, len(usable) - 1)) % len(usable)
        return min(usable[first], usable[second], key=self._load)

    def _score(self, index: int, key: bytes) -> float:
        # Rendezvous hashing: a target that comes or goes moves only the keys that are its own.
        digest = hashlib.blake2b(key + self.targets[index].address.encode(), digest_size=8).digest()
        return float((int.from_bytes(digest) / 2**64) ** (1 / self._weights[index]))

    def _next_in_turn(self, usable: list[int]) -> int:
        # Smooth weighted round robin as nginx does it: the turns of a heavy target are spread, not in a row.
        for index in usable:
            self._current[index] += self._weights[index]
        chosen = max(usable, key=self._current.__getitem__)
        self._current[chosen] -= sum(self._weights[index] for index in usable)
        return chosen


class Edits:
    """Fields that a route sets on every message: their lines, and the names that they replace."""

    __slots__ = ("lines", "names")

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        """`fields` are pairs of name and value; an empty value only removes."""
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        self.names = frozenset(name.lower() for name, _value in pairs)
        self.lines = b"".join(b"%b: %b\r\n" % pair for pair in pairs if pair[1])

    def apply(self, lines: bytes) -> bytes:
        """Field lines with those of the same names replaced."""
        kept = [line for line in lines.splitlines(keepends=True) if line.split(b":", 1)[0].lower() not in self.names]
        return b"".join(kept) + self.lines
