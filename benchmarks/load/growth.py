"""Whether a process grows: what it holds, sampled over time, and the straight line that fits best."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Held(msgspec.Struct, frozen=True):
    """What one process held at a moment, in seconds since the start."""

    at_s: float
    rss_mib: float
    files: float
    threads: float


class Growth(msgspec.Struct, frozen=True):
    """A quantity over a span: at its begin and at its end by the line, and what the line gains."""

    begin: float
    end: float

    @property
    def gained(self) -> float:
        """How much more at the end."""
        return self.end - self.begin


def growth(times: Sequence[float], values: Sequence[float]) -> Growth:
    """The line by least squares; raises ValueError with fewer than two moments."""
    if len(times) < 2:
        raise ValueError("a trend needs two moments")
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((at - middle) ** 2 for at in times)
    slope = sum((at - middle) * (value - mean) for at, value in zip(times, values, strict=True)) / spread
    return Growth(mean + slope * (times[0] - middle), mean + slope * (times[-1] - middle))
