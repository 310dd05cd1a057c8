"""One coarse timer for all connections of a worker: setting a deadline is an assignment, not a timer."""

from __future__ import annotations

from typing import Final, Generic, Protocol, TypeVar

TICK_S: Final = 0.1


class Expiring(Protocol):
    """Something with a deadline; `looked_at` is the tick of its next look, 0 when none is planned."""

    deadline: float
    looked_at: int

    def expired(self) -> None:
        """The deadline has passed."""


E = TypeVar("E", bound=Expiring)


class Deadlines(Generic[E]):
    """Buckets of things to look at, one bucket per tick.

    A deadline may move later without a word: the look finds it in the future and plans another. Only a deadline that
    moves before the planned look has to be watched again.
    """

    __slots__ = ("_buckets", "_done")

    def __init__(self, now: float) -> None:
        """Start at the time `now`, in seconds of a monotonic clock."""
        self._buckets: dict[int, set[E]] = {}
        self._done = int(now / TICK_S)

    def watch(self, item: E) -> None:
        """Plan a look at `item` not later than one tick after its deadline."""
        tick = max(int(item.deadline / TICK_S) + 1, self._done + 1)
        if item.looked_at and item.looked_at <= tick:
            return
        self.forget(item)
        item.looked_at = tick
        self._buckets.setdefault(tick, set()).add(item)

    def forget(self, item: E) -> None:
        """Plan no look at `item` any more, and keep nothing of it."""
        bucket = self._buckets.get(item.looked_at)
        if bucket is not None:
            bucket.discard(item)
        item.looked_at = 0

    def due(self, now: float) -> list[E]:
        """The items whose deadline has come, each watched no more."""
        ticks = range(self._done + 1, int(now / TICK_S) + 1)
        self._done = max(self._done, ticks.stop - 1)
        expired: list[E] = []
        for item in [item for tick in ticks for item in self._buckets.pop(tick, ())]:
            item.looked_at = 0
            if item.deadline <= now:
                expired.append(item)
            else:
                self.watch(item)
        return expired
