"""`Throttle`: how often something may be done for one key, as token buckets that are forgotten when they are full."""

from __future__ import annotations

from typing import Final

_SWEEP: Final = 10_000


class Throttle:
    """So many at once for each key, and as many again evenly over a span of time. The clock is the caller's."""

    def __init__(self, amount: int, span_s: float) -> None:
        """Nothing has been done yet."""
        self._amount = amount
        self._interval_s = span_s / amount
        # When a key's bucket is full again.
        self._full_at: dict[str, float] = {}
        self._sweep_at = _SWEEP

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str, now: float) -> float:
        """Do it once more for `key`: 0, or, and then it must not be done, in how many seconds it may be."""
        full_at = max(self._full_at.get(key, now), now)
        wait_s = full_at - (self._amount - 1) * self._interval_s - now
        if wait_s > 0:
            return wait_s
        if len(self._full_at) >= self._sweep_at:
            self._sweep(now)
        self._full_at[key] = full_at + self._interval_s
        return 0.0

    def _sweep(self, now: float) -> None:
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        # When most had to stay, the next walk waits until there are twice as many: one for each call would be endless.
        self._sweep_at = max(_SWEEP, 2 * len(self._full_at))
