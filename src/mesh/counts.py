"""What came of one route's requests: counts, and durations by the buckets of `mesh.latency`."""

from __future__ import annotations

import math
from typing import Final

from mesh.latency import BOUNDS
from mesh.routes import RouteKey

_BOUNDS: Final[tuple[float, ...]] = BOUNDS
_BUCKETS: Final = len(BOUNDS) + 1
# A line through the places of the first and the last bound, over their logarithms.
_PLACES_PER_E: Final = (len(BOUNDS) - 1) / math.log(BOUNDS[-1] / BOUNDS[0])
_PLACE_OF_1: Final = -math.log(BOUNDS[0]) * _PLACES_PER_E


class RouteCounts:
    """What came of one route's requests since it was last asked."""

    __slots__ = (
        "durations",
        "durations_sum_s",
        "first_bytes",
        "first_bytes_sum_s",
        "holders",
        "rate_limited",
        "received",
        "retries",
        "route",
        "sent",
        "statuses",
    )

    def __init__(self, route: RouteKey | None) -> None:
        """Nothing yet; without a `route` these are the counts of many."""
        self.route = route
        # How many live routes have this key: for a moment it can be two, the old one and its successor.
        self.holders = 0
        self.clear()

    def clear(self) -> None:
        """Count from zero again."""
        self.statuses = [0] * 10
        self.received = 0
        self.sent = 0
        self.retries = 0
        self.rate_limited = 0
        self.durations = [0] * _BUCKETS
        self.durations_sum_s = 0.0
        self.first_bytes = [0] * _BUCKETS
        self.first_bytes_sum_s = 0.0

    def settled(self, status: int, received: int, sent: int, duration_s: float, first_byte_s: float) -> None:
        """Count an exchange that has ended; `first_byte_s` is 0 when no target has answered."""
        self.statuses[status // 100] += 1
        self.received += received
        self.sent += sent
        if status == 101:
            # A tunnel lasts as long as people talk, which says nothing about how quick the target is.
            return
        self.durations[_bucket(duration_s)] += 1
        self.durations_sum_s += duration_s
        if first_byte_s:
            self.first_bytes[_bucket(first_byte_s)] += 1
            self.first_bytes_sum_s += first_byte_s


def _bucket(seconds: float) -> int:
    """The place of the first bound that is not exceeded, as `bisect_left` finds it.

    The bounds grow by steps of the logarithm, so that where to look first can be worked out.
    """
    if seconds <= _BOUNDS[0]:
        return 0
    place = min(int(math.log(seconds) * _PLACES_PER_E + _PLACE_OF_1), _BUCKETS - 1)
    while place and _BOUNDS[place - 1] >= seconds:
        place -= 1
    while place < _BUCKETS - 1 and _BOUNDS[place] < seconds:
        place += 1
    return place
