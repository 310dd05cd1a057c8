"""How one of several targets is chosen: by turns, by load, by lot, or by hash.

A way of choosing is made for some targets with weights. Its `first` choice is cheap and takes every target for usable;
`among` chooses from those that are, by weights that may be less than whole.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import gcd, log
from typing import Final, Protocol

from mesh.policies import Hash
from mesh.routes import Balance

# Precomputed turns cost one step for each target and each turn; beyond so many the turns are taken one by one.
_MAX_STEPS: Final = 4096
_SLOTS: Final = 16_384
_64_BITS: Final = 2**64 - 1


class Asks(Protocol):
    """What a choice may depend on: the request, and chance."""

    @property
    def address(self) -> bytes:
        """The visitor's address."""

    @property
    def is_secure(self) -> bool:
        """Whether the visitor came by TLS."""

    def draw(self) -> float:
        """A random number from 0 up to, but not including, 1."""

    def field(self, name: bytes) -> bytes:
        """The value of the request's field with this lower-case name, or nothing."""

    def cookie(self, name: bytes) -> bytes:
        """The value of the request's cookie with this name, or nothing."""


class Busy(Protocol):
    """A target, as far as its load goes."""

    in_flight: int


class Way(Protocol):
    """A way of choosing; targets are given and named by their index."""

    def first(self, targets: Sequence[Busy], asks: Asks) -> int:
        """The choice if every one of `targets` is usable."""

    def among(self, usable: Sequence[int], weights: Sequence[float], targets: Sequence[Busy], asks: Asks) -> int:
        """The choice from `usable`, which is not empty; `weights` are those of all targets at the moment."""


def way(balance: Balance, weights: Sequence[int], names: Sequence[str], source: Hash) -> Way:
    """The way of choosing that a route wants; all `weights` are positive, `names` tell the targets apart for good."""
    match balance:
        case "least_requests":
            return LeastRequests(weights)
        case "random_two":
            return RandomTwo(weights)
        case "consistent_hash":
            return ConsistentHash(weights, names, source)
        case _:
            return Turns(weights)


class Turns:
    """Smooth weighted round robin as nginx does it: the turns of a heavy target are spread, not in a row."""

    __slots__ = ("_current", "_order", "_place", "_weights")

    def __init__(self, weights: Sequence[int]) -> None:
        """Nobody has had a turn."""
        self._weights = weights
        self._current = [0.0] * len(weights)
        self._order: tuple[int, ...] = ()
        self._place = -1
        period = sum(weights) // gcd(*weights)
        if len(set(weights)) == 1:
            self._order = tuple(range(len(weights)))
        elif len(weights) * period <= _MAX_STEPS:
            everyone = range(len(weights))
            self._order = tuple(self._next(everyone, weights) for _ in range(period))

    def first(self, _targets: Sequence[Busy], asks: Asks) -> int:
        order, place = self._order, self._place
        if not order:
            return self._next(range(len(self._weights)), self._weights)
        if place < 0:
            # Every worker, and every change of the route, begins anew: they must not all begin with the same target.
            place = int(asks.draw() * len(order))
        self._place = place + 1 if place + 1 < len(order) else 0
        return order[place]

    def among(self, usable: Sequence[int], weights: Sequence[float], _targets: Sequence[Busy], _asks: Asks) -> int:
        return self._next(usable, weights)

    def _next(self, usable: Sequence[int], weights: Sequence[float]) -> int:
        current = self._current
        total = 0.0
        chosen = usable[0]
        for index in usable:
            total += weights[index]
            current[index] += weights[index]
            if current[index] > current[chosen]:
                chosen = index
        current[chosen] -= total
        return chosen


class LeastRequests:
    """The fewest requests in flight for its weight; those that are equally busy take turns."""

    __slots__ = ("_turns", "_weights")

    def __init__(self, weights: Sequence[int]) -> None:
        """Nobody has had a turn."""
        self._weights = weights
        self._turns = Turns(weights)

    def first(self, targets: Sequence[Busy], asks: Asks) -> int:
        chosen = self._turns.first(targets, asks)
        least = targets[chosen].in_flight / self._weights[chosen]
        if not least:
            return chosen
        for index, (target, weight) in enumerate(zip(targets, self._weights, strict=True)):
            load = target.in_flight / weight
            if load < least:
                chosen, least = index, load
        return chosen

    def among(self, usable: Sequence[int], weights: Sequence[float], targets: Sequence[Busy], asks: Asks) -> int:
        loads = [targets[index].in_flight / weights[index] for index in usable]
        least = min(loads)
        idlest = [index for index, load in zip(usable, loads, strict=True) if load == least]
        return self._turns.among(idlest, weights, targets, asks)


class RandomTwo:
    """The less busy of two targets that are drawn by weight; the first one drawn when they are equally busy."""

    __slots__ = ("_everyone", "_weights")

    def __init__(self, weights: Sequence[int]) -> None:
        """Whose lots are how many."""
        self._weights = weights
        self._everyone = tuple(accumulate(weights))

    def first(self, targets: Sequence[Busy], asks: Asks) -> int:
        one, other = _two(self._everyone, asks.draw)
        weights = self._weights
        return other if targets[other].in_flight / weights[other] < targets[one].in_flight / weights[one] else one

    def among(self, usable: Sequence[int], weights: Sequence[float], targets: Sequence[Busy], asks: Asks) -> int:
        drawn = _two(tuple(accumulate(weights[index] for index in usable)), asks.draw)
        one, other = (usable[place] for place in drawn)
        return other if targets[other].in_flight / weights[other] < targets[one].in_flight / weights[one] else one


def _two(ends: Sequence[float], draw: Callable[[], float]) -> tuple[int, int]:
    """Two places drawn by weight, without putting the first one back; `ends` are the sums of the weights up to each."""
    last = len(ends) - 1
    one = min(bisect_right(ends, draw() * ends[last]), last)
    if not last:
        return one, one
    begin = ends[one - 1] if one else 0
    point = draw() * (ends[last] - ends[one] + begin)
    if point >= begin:
        # Past the lots of the first one, which are not drawn again.
        point += ends[one] - begin
    other = min(bisect_right(ends, point), last)
    # Rounding at the very end may lead back to the first one.
    return one, other if other != one else (one - 1 if one else 1)


class ConsistentHash:
    """Whoever brings the same key gets the same target, and a target that comes or goes moves only keys of its own.

    Keys fall into a fixed number of slots. Each slot belongs to the target that wins it by weighted rendezvous, which
    costs one step per target and so is done when the slot is first asked for, and kept. Workers and nodes agree.
    """

    __slots__ = ("_name", "_owners", "_read", "_seeds", "_source", "_weights")

    def __init__(self, weights: Sequence[int], names: Sequence[str], source: Hash) -> None:
        """No slot is settled."""
        self._weights = weights
        self._source = source.source
        self._name = source.name.lower().encode() if source.source == "header" else source.name.encode()
        self._seeds = [_number(name.encode()) for name in names]
        self._owners = array("h", [-1]) * _SLOTS

    def first(self, _targets: Sequence[Busy], asks: Asks) -> int:
        slot = self._slot(asks)
        owner = self._owners[slot]
        if owner < 0:
            owner = self._owners[slot] = self._winner(slot, range(len(self._seeds)), self._weights)
        return owner

    def among(self, usable: Sequence[int], weights: Sequence[float], _targets: Sequence[Busy], asks: Asks) -> int:
        return self._winner(self._slot(asks), usable, weights)

    def _slot(self, asks: Asks) -> int:
        key = b""
        if self._source == "header":
            key = asks.field(self._name)
        elif self._source == "cookie":
            key = asks.cookie(self._name)
        return _number(key or asks.address) % _SLOTS

    def _winner(self, slot: int, usable: Sequence[int], weights: Sequence[float]) -> int:
        # An odd number times each target's own is as good as a hash of both, and costs one multiplication.
        factor = _number(b"slot %d" % slot) | 1
        seeds = self._seeds
        chosen, best = usable[0], float("-inf")
        for index in usable:
            score = log(((seeds[index] * factor & _64_BITS) + 1) / 2**64) / weights[index]
            if score > best:
                chosen, best = index, score
        return chosen


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())
