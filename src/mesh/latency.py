"""How long things took, in buckets: a histogram that costs a look-up per value, adds up, and knows its quantiles."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Final

# Upper bounds in seconds, as Prometheus is given them.
COARSE: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0),
)
_STEPS_PER_DECADE: Final = 48
_DECADES: Final = 6
_LEAST_S: Final = 1e-4
# 48 bounds per decade, each less than 5 % above the one before; the coarse ones are among them, so that nothing has to
# be guessed when the buckets between two of those are put together.
BOUNDS: Final = tuple(
    sorted(
        {
            *(
                round(_LEAST_S * 10 ** (step / _STEPS_PER_DECADE), 9)
                for step in range(_STEPS_PER_DECADE * _DECADES + 1)
            ),
            *COARSE,
        }
    )
)
_COARSE_PLACES: Final = tuple(BOUNDS.index(bound) for bound in COARSE)


class Histogram:
    """Counts of durations between 100 microseconds and 100 seconds; what is shorter or longer is in the end buckets."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        """Empty."""
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum_s += seconds

    @property
    def number(self) -> int:
        """How many durations were counted."""
        return sum(self.counts)

    def merge(self, filled: Mapping[int, int], sum_s: float) -> None:
        """Add what another histogram took; `filled` are its buckets that hold anything (see `take`)."""
        for place, count in filled.items():
            self.counts[place] += count
        self.sum_s += sum_s

    def take(self) -> tuple[dict[int, int], float]:
        """The buckets that hold anything, by place, and the sum of the durations; empty from then on."""
        counts, self.counts = self.counts, [0] * len(self.counts)
        sum_s, self.sum_s = self.sum_s, 0.0
        return filled(counts), sum_s

    def quantiles(self, *shares: float) -> tuple[float, ...]:
        """In seconds, for each share (0.99 for example): a bound that this share did not exceed; 0 when empty.

        It is at most 5 % too high, except beyond the last bound, which is given for everything above it.
        """
        below = list(accumulate(self.counts))
        if not below[-1]:
            return (0.0,) * len(shares)
        # The smallest bucket that a share can end in holds its first duration.
        places = (bisect_left(below, max(1, share * below[-1])) for share in shares)
        return tuple(BOUNDS[min(place, len(BOUNDS) - 1)] for place in places)

    def coarse(self) -> list[int]:
        """How many durations were at most as long as each bound in `COARSE`, and how many there are at all."""
        below = list(accumulate(self.counts))
        return [*(below[place] for place in _COARSE_PLACES), below[-1]]


def filled(counts: Iterable[int]) -> dict[int, int]:
    """The buckets that hold anything, by place."""
    return {place: count for place, count in enumerate(counts) if count}


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """All of them in one."""
    whole = Histogram()
    for histogram in histograms:
        whole.counts = [a + b for a, b in zip(whole.counts, histogram.counts, strict=True)]
        whole.sum_s += histogram.sum_s
    return whole
